"""A program as a person would draw it: products, and what is computed between them, in boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ostinato.inspect.names import VIEWS, _users, parameter_names, piece_names, unique, variables
from ostinato.program import Program
from ostinato.program.ops import UNARY_FLOAT

NONLINEAR = {*UNARY_FLOAT, "relu"}
OWN = ("matmul", "x", "q", "draw", "noise", "read")
"""Operations that are never a part of another box."""


@dataclass(frozen=True)
class Reading:
    """A program, and how it is read.

    Attributes:
        box: for every node that depends on more than parameters, the last node of its box.
        name: what the values of the boxes are called, by their last nodes.
        pieces: what slices take.
        parameters: short names of the parameters, by their full ones.
    """

    program: Program
    box: Mapping[int, int]
    name: Mapping[int, str]
    pieces: Mapping[int, str]
    parameters: Mapping[str, str]

    @cached_property
    def boxes(self) -> dict[int, list[int]]:
        """The nodes of each box, by its last node, in order."""
        found: dict[int, list[int]] = {}
        for node, root in sorted(self.box.items()):
            found.setdefault(root, []).append(node)
        return dict(sorted(found.items()))

    def sources(self, root: int) -> list[int]:
        """The boxes that a box reads."""
        args = {a for i in self.boxes[root] for a in self.program.nodes[i].args}
        return sorted({self.box[a] for a in args if a in self.box} - {root})

    def weights(self, root: int) -> list[str]:
        """The full names of the parameters that a box uses itself."""
        found: dict[str, None] = {}
        stack = [a for i in self.boxes[root] for a in self.program.nodes[i].args if a not in self.box]
        while stack:
            node = self.program.nodes[stack.pop(0)]
            if node.op == "p":
                found[node["name"]] = None
            stack.extend(node.args)
        return list(found)


def read(program: Program) -> Reading:
    """Put the nodes of a program into boxes, and name them.

    A box of its own have: inputs, states, products; what a state becomes and what is given out; what the step names;
    and what several others use. Everything else is in the box of the one that uses it.
    """
    named, used, box = variables(program), _users(program), {}
    pieces = piece_names(program, named)
    ends = set(program.next.values()) | set(program.emit.values())
    roots: set[int] = set()
    for i in reversed(range(len(program.nodes))):
        node = program.nodes[i]
        if program.parts[i] == "P" or (not used[i] and i not in ends):
            continue
        above = {box[u] for u in used[i]}
        called = node.op not in VIEWS and i in named and {named[i]} != {named.get(root) for root in above}
        if node.op in OWN or node.op.startswith("aten:") or i in ends or called or len(above) != 1 or (
                not _one_piece(program, next(iter(above))) and _gate(program, i, pieces) is not None):
            roots.add(i)
        elif node.op not in VIEWS and next(iter(above)) in roots and program.nodes[next(iter(above))].op in OWN:
            roots.add(i)  # a product is only a product
        box[i] = i if i in roots else next(iter(above), i)
    box = dict(sorted(box.items()))
    for i, root in list(box.items()):  # a view before a product is a box's own too
        if i != root and program.nodes[root].op == "matmul":
            box[i] = i
    return Reading(program, box, _names(program, box, named, pieces), pieces, parameter_names(program))


def _one_piece(program: Program, root: int) -> bool:
    return program.nodes[root].op in VIEWS


def _gate(program: Program, i: int, pieces: Mapping[int, str]) -> str | None:
    """What a nonlinearity of a slice is called, after what it takes: a gate that the step does not name."""
    node = program.nodes[i]
    if node.op not in NONLINEAR:
        return None
    at = node.args[0]
    piece = pieces.get(at, "")
    if program.nodes[at].op != "slice" or not piece.isidentifier():
        return None
    return piece if node.op == "sigmoid" else piece + "~"


def _names(program: Program, box: Mapping[int, int], named: Mapping[int, str],
           pieces: Mapping[int, str]) -> dict[int, str]:
    """States by their names; what the step names, so; gates after their slices; the rest by letters."""
    found = {i: name for name, i in reversed(list(program.next.items()))}
    taken = {s.name for s in program.states}
    for i, node in enumerate(program.nodes):
        if node.op in ("x", "q"):
            alone = sum(n.op == node.op for n in program.nodes) == 1
            found[i] = unique(node["name"].rstrip("0123456789") if alone else node["name"], taken)
        elif node.op in ("draw", "noise"):
            found[i] = unique(node.op if node.op == "noise" else node["name"], taken)
    roots = [i for i in sorted(set(box.values())) if i not in found and program.nodes[i].op not in ("read", "matmul")]
    used = _users(program)
    roots.sort(key=lambda i: all(program.nodes[u].op == "slice" for u in used[i]))  # what is only taken apart, last
    output = program.emit["output"]
    for i in roots:
        default = "o" if i == output else "a"
        found[i] = unique(named.get(i) or _gate(program, i, pieces) or default, taken)
    products = [i for i in sorted(set(box.values())) if program.nodes[i].op == "matmul" and i not in found]
    return found | {i: unique("o" if i == output else named.get(i, "p"), taken) for i in products}
