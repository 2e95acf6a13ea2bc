"""Steps side by side: the graph of a network, unfolded over time or folded."""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.inspect.graph import Box, Edge, Graph, Node
from ostinato.inspect.rows import Row


def unfolded(rows: Sequence[Row], steps: int) -> Graph:
    """The graph at the times 1 to ``steps``, with the initial states before (of a reverse row, after) them."""
    return _Unfolding(rows, steps).graph


def folded(rows: Sequence[Row]) -> Graph:
    """The graph of one step, with edges that go back in time."""
    return _Unfolding(rows, 0).graph


class _Unfolding:
    def __init__(self, rows: Sequence[Row], steps: int) -> None:
        self.rows, self.steps = rows, steps
        self.nodes: dict[str, Node] = {}
        self.edges: dict[Edge, None] = {}
        for time in range(1, steps + 1) or (0,):
            for index, row in enumerate(rows):
                if not row.last or time == steps:
                    self._row(index, row, time)
        self._outputs()
        self.graph = Graph(tuple(self.nodes.values()), tuple(self.edges))

    def _row(self, index: int, row: Row, time: int) -> None:
        for key, box in row.step.boxes.items():
            if box.kind != "input" or not row.below:
                self._node(self._id(index, key, time), box, time, index)
        for source, target in row.step.edges:
            for below in self._sources(index, row, source, time):
                self._edge(below, self._id(index, target, time))
        if row.below and not any(row.step.boxes[key].kind == "input" for key in row.step.inputs):
            for key in row.step.inputs:
                for below in self._sources(index, row, "", time):
                    self._edge(below, self._id(index, key, time))
        for name, maker in row.step.states.items():
            if name not in row.taught and maker:
                self._edge(self._id(index, maker, time), self._state(index, row, name, time))
        for read in row.step.reads:
            at = time if not self.steps else time + read.delay if row.reverse else time - read.delay
            self._edge(self._state(index, row, read.state, at), self._id(index, read.box, time), read.delay)

    def _id(self, index: int, key: str, time: int) -> str:
        box = self.rows[index].step.boxes[key]
        return f"{key}@{time}" if box.kind == "input" else f"{index}.{key}@{time}"

    def _sources(self, index: int, row: Row, key: str, time: int) -> list[str]:
        """A box of this row; or, in the place of its input, the outputs of the rows below."""
        if key and (row.step.boxes[key].kind != "input" or not row.below):
            return [self._id(index, key, time)]
        return [self._id(below, given_out(self.rows[below]), time) for below in row.below]

    def _node(self, id: str, box: Box, time: int, row: int) -> str:
        self.nodes.setdefault(id, Node(id, box.kind, box.label, box.detail, box.parameters, box.nodes, time, row))
        return id

    def _state(self, index: int, row: Row, name: str, time: int) -> str:
        id = f"{index}.state.{name}@{time}"
        initial = self.steps and not 1 <= time <= self.steps
        kind = "initial" if initial else "target" if name in row.taught else "state"
        self.nodes.setdefault(id, Node(id, kind, "y" if kind == "target" else name, "", (), (), time, index))
        return id

    def _edge(self, source: str, target: str, delay: int = 0) -> None:
        self.edges[Edge(source, target, delay)] = None

    def _outputs(self) -> None:
        """What the top gives out, if it is not a loss."""
        read = {below for row in self.rows for below in row.below}
        for index, row in enumerate(self.rows):
            if index not in read and not any(box.kind == "loss" for box in row.step.boxes.values()):
                for time in range(1, self.steps + 1) or (0,):
                    if not row.last or time == self.steps:
                        id = self._node(f"{index}.output@{time}", Box("output", "output", "output"), time, index)
                        self._edge(self._id(index, given_out(row), time), id)


def given_out(row: Row) -> str:
    """The key of the box whose value a row gives out."""
    return row.step.output or next(iter(row.step.states.values()))
