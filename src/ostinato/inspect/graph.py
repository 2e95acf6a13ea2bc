"""Graphs of a step and of steps side by side: what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ostinato.inspect.boxes import Reading
from ostinato.inspect.script import SHORT
from ostinato.inspect.writer import Writer

LONG = 40
"""Characters; a longer formula is not written into a box."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box of one step.

    Attributes:
        key: what it is called in its step.
        kind: "input", "constant", "random", "product", "pointwise", "target", "loss", "merge" or "output".
        label: what is written on it.
        detail: its formula, where that is short.
        parameters: the short names of the parameters that it uses.
        nodes: the program's nodes in it.
    """

    key: str
    kind: str
    label: str
    detail: str = ""
    parameters: tuple[str, ...] = ()
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """A box reads what a state was some steps before."""

    state: str
    delay: int
    box: str


@dataclass(frozen=True)
class Step:
    """One step of one recurrence, or of a map that is the same at each step.

    Attributes:
        boxes: by their keys.
        edges: pairs of keys, within the step.
        reads: of states, from the steps before.
        states: for each state, the box that makes it. A box that only passes a state on is not drawn: then it is
            ``(state, delay)``.
        output: the box whose value is given out.
        inputs: the boxes that take what is below.
    """

    boxes: Mapping[str, Box]
    edges: tuple[tuple[str, str], ...]
    reads: tuple[Read, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    output: str = ""
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A box, or a state, at a time.

    Attributes:
        id: unique in the graph.
        kind: as of a ``Box``, or "state".
        label, detail, parameters, nodes: as of a ``Box``.
        time: 1, 2, ...; 0 and below for initial states; 0 in a folded graph.
        row: which recurrence or map of the network, from the bottom.
    """

    id: str
    kind: str
    label: str
    detail: str
    parameters: tuple[str, ...]
    nodes: tuple[int, ...]
    time: int
    row: int


@dataclass(frozen=True, slots=True)
class Edge:
    """From one node to another; ``delay`` is how many steps later in time that is."""

    source: str
    target: str
    delay: int = 0


@dataclass(frozen=True)
class Graph:
    """Nodes and edges."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def node(self, id: str) -> Node:
        """The node with that id."""
        return next(n for n in self.nodes if n.id == id)


def step_of(reading: Reading) -> Step:
    """The boxes of a program and what goes from one to the other; reads of states are not boxes."""
    program, boxes = reading.program, {}
    keys = {root: _key(reading, root) for root in reading.boxes}
    for root, nodes in reading.boxes.items():
        if program.nodes[root].op != "read":
            boxes[keys[root]] = _box(reading, root, keys[root], tuple(nodes))
    edges, reads = [], []
    for root in reading.boxes:
        for source in reading.sources(root):
            node = program.nodes[source]
            if node.op == "read":
                reads.append(Read(node["state"], node["delay"], keys[root]))
            else:
                edges.append((keys[source], keys[root]))
    states = {}
    for name, i in program.next.items():
        root = program.nodes[reading.box[i]] if i in reading.box else program.nodes[i]
        if root.op == "read":  # passed on as it is
            boxes[f"keep {name}"] = Box(f"keep {name}", "pointwise", name, root["state"], (), ())
            reads.append(Read(root["state"], root["delay"], f"keep {name}"))
            states[name] = f"keep {name}"
        else:
            states[name] = keys[reading.box[i]] if i in reading.box else ""
    output = reading.box.get(program.emit["output"])
    given = keys[output] if output is not None and program.nodes[output].op != "read" else ""
    inputs = tuple(key for key, box in boxes.items() if box.kind == "input")
    return Step(boxes, tuple(edges), tuple(dict.fromkeys(reads)), states, given, inputs)


def _key(reading: Reading, root: int) -> str:
    node = reading.program.nodes[root]
    return f"{node.op}{root}" if node.op in ("matmul", "read") else reading.name[root]


KINDS = {"x": "input", "q": "constant", "draw": "random", "noise": "random", "matmul": "product"}


def _box(reading: Reading, root: int, key: str, nodes: tuple[int, ...]) -> Box:
    node = reading.program.nodes[root]
    kind = KINDS.get(node.op, "product" if node.op.startswith("aten:") else "pointwise")
    used = tuple(dict.fromkeys(reading.parameters[name] for name in reading.weights(root)))
    if kind == "product":
        return Box(key, kind, ", ".join(used) or node.op.removeprefix("aten:"), "", used, nodes)
    detail = Writer(reading, SHORT).formula(root) if kind == "pointwise" else ""
    return Box(key, kind, reading.name[root], detail if len(detail) <= LONG else _symbols(reading, nodes), used, nodes)


def _symbols(reading: Reading, nodes: Sequence[int]) -> str:
    """The operations of a box that is too long for its formula."""
    found = dict.fromkeys(SIGNS.get(op := reading.program.nodes[i].op, op) for i in nodes)
    words = [word for word in found if word]
    return " ".join(words[:5]) + (" …" if len(words) > 5 else "")


SIGNS = {"add": "+", "sub": "−", "neg": "−", "mul": "·", "div": "/", "sigmoid": "σ", "matmul": "", "slice": "",
         "reshape": "", "expand": "", "cast": "", "permute": "", "stopgrad": "", "where": "if", "gt": "", "sum": "Σ"}
