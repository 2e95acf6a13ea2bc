"""Where boxes and states stand in a drawing: time goes to the right, inputs are below, outputs on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ostinato.inspect.graph import LONG, Box, Edge, Graph, Node, Step
from ostinato.inspect.layers import Layers
from ostinato.inspect.rows import Row
from ostinato.inspect.unfolding import given_out

LAYER, PAD, GUTTER, ROWS, MARGIN = 72.0, 18.0, 96.0, 50.0, 24.0
"""The height of a layer; around the boxes of a step; between steps; between rows; around all."""
PILL = (46.0, 26.0)
EARLIER = 60.0
"""Between initial states of different times."""
LETTER, SMALL = 8.0, 6.1
"""The width of a letter of a label, and of a formula."""
Point = tuple[float, float]


@dataclass
class Place:
    """A box: its middle and its size."""

    x: float
    y: float
    w: float
    h: float


@dataclass
class Panel:
    """The frame of one row at one time."""

    x: float
    y: float
    w: float
    h: float
    time: int
    row: int


@dataclass
class Curve:
    """An edge: the points that it goes through, smooth or with round corners."""

    edge: Edge
    points: list[Point]
    corners: bool = False


@dataclass
class Layout:
    """A drawing without its looks."""

    places: dict[str, Place] = field(default_factory=dict)
    panels: list[Panel] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def state_of(node: Node) -> str:
    """The name of a state's node, whatever is written on it."""
    return node.id.split("@")[0].split(".state.")[1]


def lines_of(detail: str) -> list[str]:
    """A formula on one line, or on two."""
    if len(detail) <= LONG // 2 or " " not in detail:
        return [detail] if detail else []
    spaces = [i for i, c in enumerate(detail) if c == " " and detail[i + 1] in "+-·("] or [
        i for i, c in enumerate(detail) if c == " "]
    cut = min(spaces, key=lambda i: abs(i - len(detail) / 2))
    return [detail[:cut], detail[cut + 1 :]]


def size_of(box: Box | Node) -> tuple[float, float]:
    """The width and height of a box."""
    if box.kind in ("input", "target", "output", "constant", "random", "state", "initial"):
        return max(PILL[0], 22 + LETTER * len(box.label)), PILL[1]
    lines = lines_of(box.detail)
    chips = 0 if box.kind == "product" else sum(14 + SMALL * len(p) for p in box.parameters)
    inner = max([LETTER * len(box.label) + chips, *[SMALL * len(line) for line in lines]])
    return max(38.0, inner + 20), 28.0 + 13 * len(lines)


class Places:
    """Where the nodes of a graph stand.

    Args:
        graph: unfolded over ``steps``, or folded (0).
        rows: what it was made of.
        steps: how many.
    """

    def __init__(self, graph: Graph, rows: Sequence[Row], steps: int) -> None:
        self.graph, self.rows, self.steps = graph, rows, steps
        self.layout = Layout()
        self.layers = [_layers(row) for row in rows]
        widest = max(layers.width for layers in self.layers)
        self.column = widest + 2 * PAD
        self._rows()
        for node in graph.nodes:
            self._place(node)
        self._spread_states()

    @property
    def times(self) -> range:
        return range(1, self.steps + 1) if self.steps else range(1)

    def _rows(self) -> None:
        """The bottom of each row; y grows downwards, so upper rows have the smaller ones."""
        y = 0.0
        self.bottom, self.top = [], []
        pair = PILL[1] + ROWS * 0.7
        for layers, row in zip(self.layers, self.rows, strict=True):
            y -= pair if not self.bottom else ROWS
            self.bottom.append(y)
            y -= LAYER * len(layers.rows) - (LAYER - 46) + PAD
            self.top.append(y)
            y -= self._sky(row)
            for time in self.times:
                framed = (not row.last or time == self.steps) and row.name
                if framed:
                    self.layout.panels.append(Panel(self._left(time), self.top[-1], self.column,
                                                    self.bottom[-1] - self.top[-1], time, len(self.bottom) - 1))

    def _sky(self, row: Row) -> float:
        """Room above a row for what leaps over steps."""
        leaps = [r for r in row.step.reads if r.delay > 1 or not self.steps]
        return 8.0 + 11 * max([self._rank(row, r.state, r.delay) for r in leaps]) if leaps else 0.0

    def _rank(self, row: Row, state: str, delay: int) -> int:
        """How high a leap over steps is drawn."""
        leaps = sorted({(r.delay, list(row.step.states).index(r.state)) for r in row.step.reads
                        if r.delay > 1 or not self.steps})
        return leaps.index((delay, list(row.step.states).index(state))) + 1

    def _left(self, time: int) -> float:
        """Where the panel of a time begins."""
        return (time - (1 if self.steps else 0)) * (self.column + GUTTER)

    def _gutter(self, row: Row, time: int) -> float:
        """The middle of the gutter where a row's state of a time stands: behind its panel in the row's direction."""
        if not row.reverse:
            over = max(0, -time) * EARLIER if self.steps else 0.0
            return self._left(max(time, 0) if self.steps else time) + self.column + GUTTER / 2 - over
        over = max(0, time - self.steps - 1) * EARLIER if self.steps else 0.0
        return self._left(min(time, self.steps + 1) if self.steps else time) - GUTTER / 2 + over

    def _place(self, node: Node) -> None:
        w, h = size_of(node)
        row, layers = self.rows[node.row], self.layers[node.row]
        key = node.id.split("@")[0].split(".", 1)[-1]
        if node.kind == "input":
            names = [n.id for n in self.graph.nodes if n.kind == "input" and n.time == node.time]
            at = names.index(node.id) - (len(names) - 1) / 2
            users = [e.target for e in self.graph.edges if e.source == node.id and e.target.startswith("0.")]
            keys = [u.split("@")[0].split(".", 1)[1] for u in users]
            inner = [self._inner(0, key, node.time) for key in keys]
            x = sum(inner) / len(inner) if inner and len(names) == 1 else self._left(node.time) + self.column / 2
            x, y = x + at * 64, -PILL[1] / 2
        elif key == "output":
            x = self._inner(node.row, given_out(row), node.time)
            y = self.top[node.row] - self._sky(row) - ROWS * 0.6 - PILL[1] / 2
        elif node.kind == "target" and key in row.step.boxes:
            beside = next(b for a, b in row.step.edges if a == key)
            x = self._inner(node.row, beside, node.time) + size_of(row.step.boxes[beside])[0] / 2 + 16 + w / 2
            y = self._level(node.row, layers.layer[beside])
        elif key.startswith("state."):
            maker = row.step.states[key.removeprefix("state.")]
            readers = [r.box for r in row.step.reads if r.state == state_of(node) and r.delay == 1]
            levels = [layers.layer[maker]] if maker in layers.layer else []
            levels += [sum(layers.layer[b] for b in readers) / len(readers)] if readers else []
            x, y = self._gutter(row, node.time), self._level(node.row, sum(levels) / len(levels) if levels else 0)
        else:
            x, y = self._inner(node.row, key, node.time), self._level(node.row, layers.layer[key])
        self.layout.places[node.id] = Place(x, y, w, h)

    def _inner(self, row: int, key: str, time: int) -> float:
        """The middle of a box in its panel; a reverse row is a mirror image."""
        layers = self.layers[row]
        inset = (self.column - layers.width) / 2
        x = layers.x[key]
        return self._left(time) + inset + (layers.width - x if self.rows[row].reverse else x)

    def _level(self, row: int, layer: float) -> float:
        return self.bottom[row] - PAD - 20 - LAYER * layer

    def _spread_states(self) -> None:
        """States of one gutter stand apart."""
        for row in range(len(self.rows)):
            for time in {n.time for n in self.graph.nodes}:
                here = [self.layout.places[n.id] for n in self.graph.nodes
                        if n.row == row and n.time == time and ".state." in n.id]
                here.sort(key=lambda p: -p.y)
                middle = sum(p.y for p in here) / len(here) if here else 0
                for _ in range(20):
                    for a, b in pairwise(here):
                        if (missing := 36 - (a.y - b.y)) > 0.1:
                            a.y, b.y = a.y + missing / 2, b.y - missing / 2
                shift = middle - sum(p.y for p in here) / len(here) if here else 0
                for p in here:
                    p.y += shift


def _layers(row: Row) -> Layers:
    """The layers of a row's boxes, without its inputs and targets."""
    step: Step = row.step
    boxes = {key: box for key, box in step.boxes.items() if box.kind not in ("input", "target")}
    edges = [e for e in step.edges if e[0] in boxes]
    fed = {target for source, target in step.edges if source not in boxes} | set(step.inputs)
    pull = dict.fromkeys(boxes, 0.0)
    for read in step.reads:
        pull[read.box] -= 1
    for maker in step.states.values():
        if maker in pull:
            pull[maker] += 0.5
    return Layers({key: size_of(box)[0] for key, box in boxes.items()}, edges, fed & set(boxes), pull)
