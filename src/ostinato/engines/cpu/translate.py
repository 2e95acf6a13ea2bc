"""From a loop's nodes to the machine's values: views become strides, every other operation a value of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from ostinato.engines.cpu.layout import Strides, View, dense, merged, whole
from ostinato.engines.cpu.values import (
    Array,
    CannotRun,
    Join,
    Kind,
    Leaf,
    Operand,
    Point,
    Product,
    Reduction,
    Value,
)
from ostinato.program.ir import Node, Program, Shape

LARGEST = 2**24
"""Whole numbers up to it are numbers of float32 too."""


class Translation:
    """The values of a loop, and what each of its nodes is of them.

    Raises:
        CannotRun: naming the first operation that the machine does not have.
    """

    def __init__(self, loop: Program) -> None:
        self.loop = loop
        self.values: list[Value] = []
        self.weights: list[int] = []
        """The nodes that are weights."""
        self.states = {s.name: Array(Kind.STATE, prod(s.shape), i, s.depth) for i, s in enumerate(loop.states)}
        self._inputs = {i: number for number, i in enumerate(loop.inputs.values())}
        self._arrays: dict[int, Array] = {}
        self._leaves: dict[tuple[int, int], int] = {}
        self.at: list[Operand | None] = []
        for i, node in enumerate(loop.nodes):
            self.at.append(self._translate(i, node))

    def node(self, i: int) -> Operand:
        """What a node is."""
        found = self.at[i]
        if found is None:  # an input, which is an array only where it is read as one
            found = self.at[i] = self._input(i)
        return found

    def add(self, value: Value) -> View:
        """All of a new value."""
        self.values.append(value)
        return whole(len(self.values) - 1, value.shape)

    def copied(self, operand: Operand, shape: Shape, source: str = "") -> View:
        """The same elements without gaps, in a value of their own."""
        return self.add(Point(shape, "copy", (operand,), source))

    def leaf(self, array: Array, shape: Shape, delay: int = 0) -> View:
        """An array at a delay."""
        key = (id(array), delay)
        if key not in self._leaves:
            self._leaves[key] = self.add(Leaf((prod(shape),), array, delay)).of
        return whole(self._leaves[key], shape)

    def in_numbers(self, view: View) -> bool:
        """Whether a view's elements are numbers in memory (not bytes)."""
        value = self.values[view.of]
        return not (isinstance(value, Leaf) and value.array.kind.flags)

    def _translate(self, i: int, node: Node) -> Operand | None:
        if prod(node.shape) == 0:
            raise CannotRun(f"{node.op} of nothing: a dimension of size 0", node.source)
        if node.op in ("p", "q", "x"):
            if node.dtype == "int":
                raise CannotRun("takes whole numbers as an input", node.source)
            return None
        if node.op == "const":
            if node.dtype == "int" and abs(node["value"]) > LARGEST:
                raise CannotRun(f"counts with {node['value']}", node.source)
            return float(node["value"])
        if node.op == "read":
            return self.leaf(self.states[node["state"]], node.shape, node["delay"])
        if node.op == "matmul":
            return self._product(node)
        rule = VIEWS.get(node.op) or POINTS.get(node.op)
        if rule is None:
            raise CannotRun(f"{node.op} is not an operation of the CPU engine's loops", node.source)
        return rule(self, node, [self.node(a) for a in node.args])

    def _input(self, i: int) -> View:
        node = self.loop.nodes[i]
        if i not in self._arrays:
            # Flags of a parameter are those of every sequence, with no step from one to the next.
            kinds = {"x": (Kind.X, Kind.FLAGS_X), "q": (Kind.Q, Kind.FLAGS_Q), "p": (Kind.P, Kind.FLAGS_Q)}
            kind = kinds[node.op][node.dtype == "bool"]
            self._arrays[i] = Array(kind, prod(node.shape), self._inputs[i])
        return self.leaf(self._arrays[i], node.shape)

    def _product(self, node: Node) -> View:
        a, w = node.args
        weight = self.loop.nodes[w]
        if weight.op != "p":
            raise CannotRun("a product by what the loop computes", node.source)
        if w not in self.weights:
            self.weights.append(w)
        operand, shape = self.node(a), self.loop.nodes[a].shape
        if not isinstance(operand, View) or not operand.dense or not self.in_numbers(operand):
            operand = self.copied(operand, shape, node.source)
        repeats = prod(shape) // prod(weight.shape[:-1])
        return self.add(Product(node.shape, operand, self.weights.index(w), repeats, None, node.source))

    def dtypes(self, node: Node) -> list[str]:
        """The dtypes of a node's operands."""
        return [self.loop.nodes[a].dtype for a in node.args]

    def point(self, op: str, node: Node, *args: Operand) -> View:
        """A pointwise instruction over operands that broadcast to the node's shape."""
        wide = tuple(a.expand(node.shape) if isinstance(a, View) else a for a in args)
        return self.add(Point(node.shape, op, wide, node.source))

    def truth(self, node: Node, i: int, operand: Operand) -> Operand:
        """The operand ``i`` of a node as 0 or 1."""
        given = self.loop.nodes[node.args[i]]
        if given.dtype == "bool":
            return operand
        if not isinstance(operand, View):
            return float(operand != 0)
        return self.add(Point(operand.shape, "truth", (operand,), node.source))


Rule = Callable[[Translation, Node, Sequence[Operand]], Operand]


def _plain(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    return t.point(node.op, node, *args)


def _add(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    return t.point("or" if node.dtype == "bool" else "add", node, *args)


def _logic(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    return t.point(node.op, node, *[t.truth(node, i, a) for i, a in enumerate(args)])


def _pow(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    (a,), exponent = args, float(node["exponent"])
    if exponent == 2:
        return t.point("mul", node, a, a)
    if exponent == 3:
        return t.point("mul", node, t.point("mul", node, a, a), a)
    if exponent == -2:
        return t.point("reciprocal", node, t.point("mul", node, a, a))
    simple = {1.0: "copy", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(exponent)
    return t.point(simple, node, a) if simple else t.point("pow", node, a, exponent)


def _cast(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    (a,), (before,), to = args, t.dtypes(node), node["to"]
    if to == "int" and before == "float":
        raise CannotRun("cast of a float to a whole number", node.source)
    return t.truth(node, 0, a) if to == "bool" else a


def _same(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    return args[0]


def _viewed(change: Callable[[View, Node], View]) -> Rule:
    """A rule that only looks at its operand in another way; a number is the same in any shape."""
    return lambda t, node, args: change(args[0], node) if isinstance(args[0], View) else args[0]


def _reshape(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    (a,) = args
    if not isinstance(a, View):
        return a
    return a.reshape(node.shape) or whole(t.copied(a, a.shape, node.source).of, node.shape)


def _rectangle(shape: Shape, dim: int, start: int, size: int) -> tuple[Shape, int, Strides]:
    """The part of a dense value that begins at ``start`` along ``dim``: its shape, offset and strides."""
    strides, at = dense(shape), dim + len(shape)
    return (*shape[:at], size, *shape[at + 1 :]), start * strides[at], strides


def _joined(t: Translation, node: Node, dim: int, pieces: Sequence[tuple[Operand, int, int]]) -> View:
    """A value of (what, where, how long) along a dimension."""
    join = Join(node.shape, source=node.source)
    for piece, start, size in pieces:
        shape, offset, strides = _rectangle(node.shape, dim, start, size)
        join.pieces.append((piece, shape, offset, strides))
    return t.add(join)


def _cat(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    dim, start, pieces = node["dim"], 0, []
    for a, operand in zip(node.args, args, strict=True):
        size = t.loop.nodes[a].shape[dim]
        pieces.append((operand, start, size))
        start += size
    return _joined(t, node, dim, pieces)


def _pad(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    dim, before, after = node["dim"], node["before"], node["after"]
    size = node.shape[dim] - before - after
    pieces = [(0.0, 0, before), (args[0], before, size), (0.0, before + size, after)]
    return _joined(t, node, dim, [p for p in pieces if p[2]])


def _runs(index: Sequence[int]) -> list[tuple[int, int, int]]:
    """The index as (start, step, count), one after the other."""
    out: list[tuple[int, int, int]] = []
    at = 0
    while at < len(index):
        step = index[at + 1] - index[at] if at + 1 < len(index) else 1
        count = 1
        while at + count < len(index) and index[at + count] == index[at] + count * step:
            count += 1
        out.append((index[at], step, count))
        at += count
    return out


def _take(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    (a,), dim, at, pieces = args, node["dim"], 0, []
    if not isinstance(a, View):
        return a
    runs = _runs(node["index"])
    if len(runs) == 1:
        return a.every(dim, *runs[0])
    for start, step, count in runs:
        pieces.append((a.every(dim, start, step, count), at, count))
        at += count
    return _joined(t, node, dim, pieces)


def _put(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    """Where an index stands several times, several values are added: one for each time."""
    (a,), dim, rounds = args, node["dim"], []
    for position, place in enumerate(node["index"]):
        free = next((r for r in rounds if place not in r), None)
        if free is None:
            rounds.append(free := {})
        free[place] = position
    total: View | None = None
    for chosen in rounds:
        part = _put_once(t, node, a, dim, chosen)
        total = part if total is None else t.point("add", node, total, part)
    return 0.0 if total is None else total


def _put_once(t: Translation, node: Node, a: Operand, dim: int, chosen: dict[int, int]) -> View:
    pieces: list[tuple[Operand, int, int]] = []
    at, size = 0, node.shape[dim]
    while at < size:
        count = 1
        if at in chosen:
            while chosen.get(at + count) == chosen[at] + count:
                count += 1
            pieces.append((a.slice(dim, chosen[at], chosen[at] + count) if isinstance(a, View) else a, at, count))
        else:
            while at + count < size and at + count not in chosen:
                count += 1
            pieces.append((0.0, at, count))
        at += count
    return _joined(t, node, dim, pieces)


def _reduce(t: Translation, node: Node, args: Sequence[Operand]) -> Operand:
    operand, given = args[0], t.loop.nodes[node.args[0]]
    if given.dtype == "bool" and node.op == "sum":
        raise CannotRun("sum of booleans", node.source)
    rank, op = len(given.shape), "max" if node.op == "amax" else "sum"
    if not isinstance(operand, View):
        return operand if op == "max" else operand * (prod(given.shape) // prod(node.shape))
    if not t.in_numbers(operand):
        operand = t.copied(operand, given.shape, node.source)
    along = {d + rank for d in node["dims"]}
    pairs = list(zip(operand.shape, operand.strides, strict=True))
    gone = sorted((pairs[d] for d in along), key=lambda p: -abs(p[1]))
    gone = merged(tuple(n for n, _ in gone), tuple(s for _, s in gone))
    kept = [pairs[d] for d in range(rank) if d not in along]
    while gone:
        first = gone.pop()
        operand = _reduced(t, node, op, operand, [first, *gone, *kept])
        sizes = tuple(n for n, _ in kept)
        gone = merged(tuple(n for n, _ in gone), operand.strides[: len(gone)])
        kept = list(zip(sizes, dense(sizes), strict=True))
    found = View(operand.of, tuple(n for n, _ in kept), tuple(s for _, s in kept), operand.offset).reshape(node.shape)
    assert found is not None
    return found


def _reduced(t: Translation, node: Node, op: str, operand: View, pairs: Sequence[tuple[int, int]]) -> View:
    """``operand`` seen with these sizes and strides, reduced along the first."""
    a = View(operand.of, tuple(n for n, _ in pairs), tuple(s for _, s in pairs), operand.offset)
    return t.add(Reduction(a.shape[1:], op, a, node.source))


PLAIN = ("exp", "log", "log1p", "expm1", "tanh", "sigmoid", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "erf", "neg",
         "relu", "abs", "sign", "floor", "ceil", "round", "mul", "maximum", "minimum", "sub", "div", "gt", "ge", "lt",
         "le", "eq", "ne", "where")
POINTS: dict[str, Rule] = {
    **dict.fromkeys(PLAIN, _plain), "add": _add, "pow": _pow, "cast": _cast, "stopgrad": _same,
    **dict.fromkeys(("and", "or", "xor", "not"), _logic),
}
VIEWS: dict[str, Rule] = {
    "slice": _viewed(lambda a, n: a.slice(n["dim"], n["start"], n["stop"])),
    "permute": _viewed(lambda a, n: a.permute(n["dims"])),
    "expand": _viewed(lambda a, n: a.expand(n.shape)),
    "reshape": _reshape, "cat": _cat, "pad": _pad, "take": _take, "put": _put, "sum": _reduce, "amax": _reduce,
}
