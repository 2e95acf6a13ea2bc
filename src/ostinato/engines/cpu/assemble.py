"""From stages to the words of the C interface (native/include/ostinato.h says what they mean)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ostinato.engines.cpu.layout import Strides, View, cuts, dense, divided, reshaped
from ostinato.engines.cpu.opcodes import NUMBER
from ostinato.engines.cpu.schedule import Schedule, Stage
from ostinato.engines.cpu.values import (
    Array,
    CannotRun,
    Leaf,
    Operand,
    Place,
    Point,
    Product,
    Reduction,
    operands,
)
from ostinato.program.ir import Shape

GEMM, MAP, REDUCE = range(3)
SUM, MAX = range(2)
ABSENT = (-1, 0, 0)
Dims = tuple[int, int, int, int]


class Assembler:
    """Writes stages as words; collects the arrays, weights and constants that they refer to."""

    def __init__(self, schedule: Schedule, states: Sequence[Array]) -> None:
        self.schedule, self.values = schedule, schedule.values
        self.home = schedule.places.home
        self.arrays: list[Array] = []
        self.weights: dict[int, tuple[int, tuple[int, int, int]]] = {}  # by node number: its place and G, K, N
        self.constants: list[float] = []
        self._numbers: dict[int, int] = {}
        self._constants: dict[str, int] = {}
        for state in states:
            self.array(state)
        self.stages = [self._stage(stage) for stage in schedule.stages]
        for array in [a.alias for a in states if a.alias]:
            self.array(array)

    def array(self, array: Array) -> int:
        """The number of an array."""
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return self._numbers[id(array)]

    def constant(self, value: float) -> int:
        """A constant as an operand."""
        key = float(value).hex()
        if key not in self._constants:
            self._constants[key] = len(self.constants)
            self.constants.append(float(value))
        return -2 - self._constants[key]

    def header(self) -> list[int]:
        """The words of the arrays and weights, with their counts and the stages' in front."""
        out = [len(self.arrays), len(self.weights), len(self.stages)]
        for a in self.arrays:
            out += [int(a.kind), a.size, a.depth, -1 if a.alias is None else self.array(a.alias)]
        for _, sizes in self.weights.values():
            out += sizes
        return out

    def _stage(self, stage: Stage) -> list[int]:
        value = self.values[stage.members[0]]
        if isinstance(value, Product):
            kind, words = GEMM, self._product(stage.members[0], value)
        elif isinstance(value, Reduction):
            kind, words = REDUCE, self._reduction(stage.members[0], value)
        else:
            kind, words = MAP, _Map(self, stage).words()
        return [kind, len(words), *words]

    def source(self, view: View) -> tuple[int, int, int]:
        """Array, delay and offset of a view."""
        value = self.values[view.of]
        if isinstance(value, Leaf):
            return self.array(value.array), value.delay, view.offset
        home = self.home[view.of]
        return self.array(home.array), 0, home.offset + view.offset

    def target(self, i: int) -> tuple[int, int, int]:
        """Array, delay and offset of a value's home."""
        return self.array(self.home[i].array), 0, self.home[i].offset

    def _product(self, i: int, p: Product) -> list[int]:
        node = self.schedule.places.t.weights[p.weight]
        shape = self.schedule.places.loop.nodes[node].shape
        sizes = (shape[0] if len(shape) == 3 else 1, shape[-2], shape[-1])
        weight, _ = self.weights.setdefault(node, (len(self.weights), sizes))
        init = self.source(p.init) if p.init else ABSENT
        return [p.repeats, weight, *self.source(p.a), *init, *self.target(i)]

    def _reduction(self, i: int, r: Reduction) -> list[int]:
        home, kept = self.home[i], r.a.strides[1:]
        to = dense(r.shape) if home.strides is None else home.strides
        dims = divided(prod(r.shape), cuts(r.shape, kept) | cuts(r.shape, to))
        if dims is None:
            raise CannotRun("a reduction that leaves more than four dimensions", r.source)
        words = [MAX if r.op == "max" else SUM, *dims, r.a.shape[0]]
        words += [*self.source(r.a), *over(dims, r.shape, kept), r.a.strides[0]]
        return [*words, *self.target(i), *over(dims, r.shape, to)]


def over(dims: Dims, shape: Shape, strides: Strides) -> Strides:
    """The strides along the dimensions of a stage."""
    found = reshaped(shape, strides, dims)
    assert found is not None
    return found


class _Map:
    """One map: its instructions in an order that keeps few values at a time, over tile slots that serve again."""

    def __init__(self, assembler: Assembler, stage: Stage) -> None:
        self.assembler, self.values, self.home = assembler, assembler.values, assembler.home
        self.inside = set(stage.members)
        self.numel = prod(self.values[stage.members[0]].shape)
        dims = divided(self.numel, stage.cuts)
        assert dims is not None
        self.dims: Dims = dims
        self.order = self._arranged(stage.members)
        self.refs: dict[tuple[int, ...], int] = {}
        self.slot: dict[int, int] = {}
        self.slots = 0

    def words(self) -> list[int]:
        """The words after the length."""
        self._allot()
        lines = [self._line(i) for i in self.order]
        out: list[int] = [*self.dims, self.slots, len(self.refs), len(lines)]
        for ref in self.refs:
            out += ref
        for line in lines:
            # A ref is written as its number after the slots, whose count is only known now.
            out += [word if isinstance(word, int) else self.slots + word[0] for word in line]
        return out

    def _local(self, i: int) -> list[int]:
        """The operands of a value that are tile slots."""
        return [v.of for v in operands(self.values[i]) if v.of in self.inside and v.of not in self.home]

    def _arranged(self, members: Sequence[int]) -> list[int]:
        """Each value right before what needs it, as far as possible."""
        order: dict[int, None] = {}
        for root in members:
            stack = [(root, False)] if root in self.home else []
            while stack:
                i, entered = stack.pop()
                if i in order:
                    continue
                if entered:
                    order[i] = None
                    continue
                stack.append((i, True))
                before = [v.of for v in operands(self.values[i]) if v.of in self.inside and v.of not in order]
                stack.extend((d, False) for d in reversed(before))
        return list(order)

    def _allot(self) -> None:
        """A slot for each value without a home; an operand's slot is free once it is read for the last time."""
        last = {d: k for k, i in enumerate(self.order) for d in self._local(i)}
        free: list[int] = []
        for k, i in enumerate(self.order):
            free += [self.slot[d] for d in dict.fromkeys(self._local(i)) if last[d] == k]
            if i not in self.home:
                self.slot[i] = free.pop() if free else self.slots
                self.slots = max(self.slots, self.slot[i] + 1)

    def _line(self, i: int) -> list[int | tuple[int]]:
        value = self.values[i]
        assert isinstance(value, Point)
        given = [self._operand(a) for a in value.args]
        target = self._home(i) if i in self.home else self.slot[i]
        return [NUMBER[value.op], target, *given, *[-1] * (3 - len(given))]

    def _operand(self, a: Operand) -> int | tuple[int]:
        if not isinstance(a, View):
            return self.assembler.constant(a)
        if a.of in self.inside and a.of not in self.home:
            return self.slot[a.of]
        return self._ref((*self.assembler.source(a), *over(self.dims, a.shape, a.strides)))

    def _home(self, i: int) -> tuple[int]:
        home: Place = self.home[i]
        shape = self.values[i].shape
        strides = dense(shape) if home.strides is None else home.strides
        return self._ref((*self.assembler.target(i), *over(self.dims, shape, strides)))

    def _ref(self, ref: tuple[int, ...]) -> tuple[int]:
        return (self.refs.setdefault(ref, len(self.refs)),)

