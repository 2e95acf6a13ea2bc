"""Where values live: in a result, a state, a part of a joined value, scratch, or only in a tile.

A value's home is the place that it is written to at once; every further place that it must reach is filled by a copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ostinato.engines.cpu.layout import View, is_dense, reshaped, whole
from ostinato.engines.cpu.translate import Translation
from ostinato.engines.cpu.values import (
    Array,
    CannotRun,
    Join,
    Kind,
    Leaf,
    Operand,
    Place,
    Point,
    Product,
    Reduction,
    is_whole,
    operands,
)
from ostinato.program.ir import Program, Shape


@dataclass(eq=False)
class Wish:
    """A place that a value must reach, with strides over a shape; and the value that fills it."""

    place: Place
    shape: Shape
    by: int = -1


class Places:
    """Homes of a loop's values.

    Args:
        ragged: whether a step has fewer sequences than the one before; then no state is kept in a result.
    """

    def __init__(self, t: Translation, loop: Program, ragged: bool) -> None:
        self.t, self.values, self.loop, self.ragged = t, t.values, loop, ragged
        self.home: dict[int, Place] = {}
        self.makers: dict[int, list[Wish]] = {}
        """What fills a joined value."""
        self.emits = [self._emit_array(k, i) for k, i in enumerate(loop.emit.values())]
        self._wishes: dict[int, list[Wish]] = {}
        self._uses: Counter[int] = Counter()  # operands that read a value; a piece of a joined value is a wish instead
        self._begins: dict[int, int] = {}  # the product that begins with a value
        self._send_out()
        self._settle()

    def _emit_array(self, number: int, i: int) -> Array:
        node = self.loop.nodes[i]
        if node.dtype == "int":
            raise CannotRun("gives out whole numbers", node.source)
        return Array(Kind.FLAGS_EMIT if node.dtype == "bool" else Kind.EMIT, prod(node.shape), number)

    def computed(self, operand: Operand) -> int | None:
        """The value that an operand is all of, where the loop computes it."""
        if not isinstance(operand, View):
            return None
        value = self.values[operand.of]
        return None if isinstance(value, Leaf) or not is_whole(operand, value) else operand.of

    def _send_out(self) -> None:
        """The results and the states' next values."""
        first: dict[int, Array] = {}
        for array, i in zip(self.emits, self.loop.emit.values(), strict=True):
            self._wish(self.t.node(i), self.loop.nodes[i].shape, Place(array))
            made = self.computed(self.t.node(i))
            if made is not None and array.kind is Kind.EMIT:
                first.setdefault(made, array)
        taken: set[int] = set()
        for s in sorted(self.loop.states, key=lambda s: -s.depth):
            i, array = self.loop.next[s.name], self.t.states[s.name]
            made = self.computed(self.t.node(i))
            if made is not None and made in first and id(first[made]) not in taken and not self.ragged:
                array.alias = first[made]
                taken.add(id(first[made]))
            else:
                self._wish(self.t.node(i), s.shape, Place(array))

    def _wish(self, operand: Operand, shape: Shape, place: Place) -> Wish:
        """Let a place hold an operand."""
        wish, made = Wish(place, shape), self.computed(operand)
        if made is None:
            self._copy(operand, wish)
        else:
            self._wishes.setdefault(made, []).append(wish)
        return wish

    def _copy(self, operand: Operand, wish: Wish) -> None:
        wish.by = self.t.copied(operand, wish.shape).of
        self.home[wish.by] = wish.place
        self._read(wish.by)

    def _read(self, i: int) -> None:
        for view in operands(self.values[i]):
            self._uses[view.of] += 1

    def _settle(self) -> None:
        """Homes, from the last value to the first: a piece's home is a part of the whole's."""
        for i in reversed(range(len(self.values))):
            value, wishes = self.values[i], self._wishes.pop(i, [])
            if i in self.home or isinstance(value, Leaf) or not (self._uses[i] or wishes):
                continue  # a copy; given; not needed
            if i in self._begins and self._uses[i] == 1 and not wishes:
                wishes = [Wish(self.home[self._begins[i]], self.values[self._begins[i]].shape)]
                self._uses[i] = 0
            self._choose(i, wishes)
            if isinstance(value, Join):
                self._fill(i, value)
            else:
                self._read(i)
            if isinstance(value, Product) and value.init is not None and self.computed(value.init) is not None:
                self._begins[value.init.of] = i

    def _choose(self, i: int, wishes: Sequence[Wish]) -> None:
        value = self.values[i]
        fitting = [w for w in wishes if self._fits(i, w, self._uses[i] + len(wishes) - 1)]
        best = min(fitting, key=lambda w: self._rank(w.place), default=None)
        if best is not None:
            best.by = i
            self.home[i] = _over(best.place, best.shape, value.shape)
        elif isinstance(value, Join | Product | Reduction):
            self.home[i] = self.scratch(i)
        for wish in wishes:
            if wish is not best:
                self._copy(whole(i, wish.shape), wish)

    def scratch(self, i: int) -> Place:
        """A place of its own for a value."""
        return Place(Array(Kind.SCRATCH, prod(self.values[i].shape)))

    def _fits(self, i: int, wish: Wish, others: int) -> bool:
        """Whether a value can be written there, and read there by all others that want it."""
        place, shape, value = wish.place, wish.shape, self.values[i]
        if place.array.kind.flags:
            return isinstance(value, Point) and not others
        strides = None if place.strides is None else reshaped(shape, place.strides, value.shape)
        if place.strides is not None and strides is None:
            return False
        gaps = strides is not None and not is_dense(value.shape, strides)
        return not gaps or (not others and not isinstance(value, Product))

    @staticmethod
    def _rank(place: Place) -> int:
        return [Kind.EMIT, Kind.STATE, Kind.SCRATCH, Kind.FLAGS_EMIT].index(place.array.kind)

    def _fill(self, i: int, join: Join) -> None:
        home = self.home[i]
        filled = []
        for operand, shape, offset, strides in join.pieces:
            if home.strides is not None:
                offset, strides = self._within(home.strides, join, offset, strides)
            filled.append(self._wish(operand, shape, Place(home.array, home.offset + offset, strides)))
        self.makers[i] = filled

    @staticmethod
    def _within(home: Sequence[int], join: Join, offset: int, strides: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """A piece's place where the whole has gaps; the piece is a rectangle of the whole, along one dimension."""
        at = 0
        for n, apart, s in zip(join.shape, whole(0, join.shape).strides, home, strict=True):
            if n > 1:
                at += offset // apart * s
                offset %= apart
        return at, tuple(home)


def _over(place: Place, shape: Shape, own: Shape) -> Place:
    """A place with strides over ``shape``, with strides over the value's own shape; None for those without gaps."""
    if place.strides is None:
        return place
    strides = reshaped(shape, place.strides, own)
    assert strides is not None
    return Place(place.array, place.offset, None if is_dense(own, strides) else strides)
