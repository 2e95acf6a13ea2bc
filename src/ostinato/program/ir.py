"""The intermediate form: what a cell's step becomes.

A :class:`Program` is a flat list of nodes in the order of evaluation. A node has an operation (see
:mod:`ostinato.program.ops`), the numbers of the nodes it takes, attributes, a *feature* shape and a dtype. Time and
batch are never written down: every dimension in an attribute is negative, so that the same node is evaluated with the
leading dimensions ``()`` for parameters, ``(B,)`` for one step and ``(T, B)`` for all steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from ostinato.noise import Draw

Shape = tuple[int, ...]
LEAVES = {"p": "P", "q": "Q", "x": "X", "const": "P", "noise": "X", "draw": ""}
"""Operations without arguments, and the part each begins; ``read`` begins the loop."""
DRAWN = {"step": "X", "sequence": "Q", "call": "P"}
"""The part that a mask begins, by what it is drawn for."""
OVER_TIME = ("gemm_tb", "sum_tb", "sum_t")


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a program."""

    op: str
    args: tuple[int, ...]
    attrs: tuple[tuple[str, Any], ...]
    shape: Shape
    dtype: str  # "float" (the dtype the program is run in), "int" or "bool"
    source: str = field(default="", compare=False)

    def __getitem__(self, name: str) -> Any:
        for key, value in self.attrs:
            if key == name:
                return value
        raise KeyError(f"{self.op} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class StateVar:
    """A state of a program: its last ``depth`` values are carried from step to step."""

    name: str
    shape: Shape
    depth: int
    initial: float | str = 0.0
    """A number, or the name of a parameter."""


@dataclass(frozen=True, eq=False)
class Program:
    """Nodes, the states they read, what the states become (``next``) and what is given out (``emit``)."""

    nodes: tuple[Node, ...]
    states: tuple[StateVar, ...]
    next: Mapping[str, int]
    emit: Mapping[str, int]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Plain tensors that the step used: constants, kept beside the parameters."""

    @cached_property
    def inputs(self) -> dict[str, int]:
        """The leaves that are given at run time: name to node."""
        return {n["name"]: i for i, n in enumerate(self.nodes) if n.op in ("p", "q", "x", "draw")}

    @cached_property
    def draws(self) -> tuple[Draw, ...]:
        """The masks among them, in the order of their names."""
        found = [Draw(n["name"], n["each"], n["p"], n.shape) for n in self.nodes if n.op == "draw"]
        return tuple(sorted(found))

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """For each node, the part it belongs to by what it depends on: P, Q, X, S, Y or R."""
        return find_parts(self)

    @property
    def products(self) -> int:
        """Matrix products in the loop, per step."""
        return sum(n.op == "matmul" and part == "S" for n, part in zip(self.nodes, self.parts, strict=True))


def find_parts(program: Program) -> tuple[str, ...]:
    """Split by dependence: parameters (P), per-sequence constants (Q), inputs (X), the loop (S), after it (Y, R)."""
    parts: list[str] = []
    for node in program.nodes:
        below = {parts[a] for a in node.args}
        if node.op in OVER_TIME or "R" in below:
            parts.append("R")
        elif node.op == "read" or "S" in below:
            parts.append("S")
        elif node.op in LEAVES:
            parts.append(LEAVES[node.op] or DRAWN[node["each"]])
        else:
            parts.append("X" if "X" in below else "Q" if "Q" in below else "P")
    feeding = reachable(program.nodes, program.next.values())
    after = {i for i, n in enumerate(program.nodes) if n.op != "read" and i not in feeding}
    return tuple("Y" if part == "S" and i in after else part for i, part in enumerate(parts))


def reachable(nodes: Sequence[Node], roots: Iterable[int]) -> set[int]:
    """The nodes that the roots depend on, themselves included."""
    found: set[int] = set()
    stack = list(roots)
    while stack:
        i = stack.pop()
        if i not in found:
            found.add(i)
            stack.extend(nodes[i].args)
    return found


class Builder:
    """Makes programs node by node; equal nodes become one."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.source = ""
        self._seen: dict[tuple[Any, ...], int] = {}

    def leaf(self, op: str, shape: Shape = (), dtype: str = "float", **attrs: Any) -> Ref:
        """A node without arguments."""
        return self._append(op, (), tuple(sorted(attrs.items())), shape, dtype)

    def const(self, value: float | int | bool) -> Ref:
        """A number."""
        kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
        return self.leaf("const", dtype=kind, value=value)

    def add(self, op: str, *args: Ref | float | int | bool, **attrs: Any) -> Ref:
        """An operation on nodes; numbers become constants, pointwise operands get the same rank."""
        from ostinato.program.ops import OPS

        refs = [a if isinstance(a, Ref) else self.const(a) for a in args]
        rule = OPS[op]
        if rule.pointwise:
            rank = max((len(r.shape) for r in refs), default=0)
            refs = [self._pad_rank(r, rank) for r in refs]
        given = tuple(sorted(attrs.items()))
        shape = rule.shape([r.shape for r in refs], attrs)
        dtype = rule.dtype([r.dtype for r in refs], attrs)
        return self._append(op, tuple(r.id for r in refs), given, shape, dtype)

    def copy(self, node: Node, args: Sequence[Ref]) -> Ref:
        """The same operation on other arguments."""
        self.source = node.source
        if not node.args:
            return self._append(node.op, (), node.attrs, node.shape, node.dtype)
        if node.op.startswith("aten:"):
            return self._append(node.op, tuple(a.id for a in args), node.attrs, node.shape, node.dtype)
        return self.add(node.op, *args, **dict(node.attrs))

    def opaque(self, op: str, args: Sequence[Ref], shape: Shape, dtype: str, **attrs: Any) -> Ref:
        """An operation that torch runs as it is, outside of the loop."""
        return self._append(op, tuple(a.id for a in args), tuple(sorted(attrs.items())), shape, dtype)

    def _pad_rank(self, ref: Ref, rank: int) -> Ref:
        if self.nodes[ref.id].op == "const" or len(ref.shape) == rank:
            return ref
        return self.add("reshape", ref, shape=(1,) * (rank - len(ref.shape)) + ref.shape)

    def _append(self, op: str, args: tuple[int, ...], attrs: tuple, shape: Shape, dtype: str) -> Ref:
        key = (op, args, repr(attrs), shape, dtype)
        if key not in self._seen:
            self._seen[key] = len(self.nodes)
            self.nodes.append(Node(op, args, attrs, tuple(shape), dtype, self.source))
        return Ref(self, self._seen[key])


@dataclass(frozen=True, slots=True)
class Ref:
    """A node under construction, with the operators of Python."""

    builder: Builder
    id: int

    @property
    def node(self) -> Node:
        return self.builder.nodes[self.id]

    @property
    def shape(self) -> Shape:
        return self.node.shape

    @property
    def dtype(self) -> str:
        return self.node.dtype

    def __getattr__(self, op: str) -> Callable[..., Ref]:
        return lambda *args, **attrs: self.builder.add(op, self, *args, **attrs)

    def __add__(self, other: Ref | float) -> Ref:
        return self.builder.add("add", self, other)

    def __radd__(self, other: float) -> Ref:
        return self.builder.add("add", other, self)

    def __sub__(self, other: Ref | float) -> Ref:
        return self.builder.add("sub", self, other)

    def __rsub__(self, other: float) -> Ref:
        return self.builder.add("sub", other, self)

    def __mul__(self, other: Ref | float) -> Ref:
        return self.builder.add("mul", self, other)

    def __rmul__(self, other: float) -> Ref:
        return self.builder.add("mul", other, self)

    def __truediv__(self, other: Ref | float) -> Ref:
        return self.builder.add("div", self, other)

    def __rtruediv__(self, other: float) -> Ref:
        return self.builder.add("div", other, self)

    def __neg__(self) -> Ref:
        return self.builder.add("neg", self)


def rebuild(program: Program, change: Callable[[Builder, Node, list[Ref]], Ref | None] | None = None,
            next: Mapping[str, int] | None = None, emit: Mapping[str, int] | None = None,
            states: Sequence[StateVar] | None = None) -> Program:
    """Copy what is needed, node by node, through ``change`` (None: as it is). Equal nodes merge, dead ones go."""
    next = program.next if next is None else next
    emit = program.emit if emit is None else emit
    live = reachable(program.nodes, [*next.values(), *emit.values()])
    builder, made = Builder(), {}
    for i, node in enumerate(program.nodes):
        if i in live:
            args = [made[a] for a in node.args]
            builder.source = node.source
            changed = change(builder, node, args) if change else None
            made[i] = builder.copy(node, args) if changed is None else changed
    return finish(builder, program.states if states is None else states,
                  {k: made[v] for k, v in next.items()}, {k: made[v] for k, v in emit.items()}, program.tensors)


def finish(builder: Builder, states: Sequence[StateVar], next: Mapping[str, Ref], emit: Mapping[str, Ref],
           tensors: Mapping[str, Tensor] | None = None) -> Program:
    """The program in a builder, without its dead nodes."""
    live = sorted(reachable(builder.nodes, [r.id for r in (*next.values(), *emit.values())]))
    place = {old: new for new, old in enumerate(live)}
    nodes = []
    for i in live:
        n = builder.nodes[i]
        nodes.append(Node(n.op, tuple(place[a] for a in n.args), n.attrs, n.shape, n.dtype, n.source))
    used = {n["name"] for n in nodes if n.op == "p"}
    return Program(tuple(nodes), tuple(states), {k: place[v.id] for k, v in next.items()},
                   {k: place[v.id] for k, v in emit.items()}, {k: v for k, v in (tensors or {}).items() if k in used})
