"""In which stages values are computed: products and reductions one by one, pointwise values together in few maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from ostinato.engines.cpu.layout import View, cuts, divided
from ostinato.engines.cpu.place import Places
from ostinato.engines.cpu.values import Array, CannotRun, Join, Kind, Leaf, Place, Point, Product, is_whole, operands

NARROW = 8
"""Innermost runs shorter than this are kept apart from other values: they are slow to step through."""
Key = tuple[int, bool]


@dataclass
class Stage:
    """One product, one reduction, or pointwise values over the same elements."""

    members: list[int]
    cuts: frozenset[int] = field(default_factory=frozenset)
    """Of a map: the boundaries that its operands' strides have."""


class Schedule:
    """The stages of a step, in order; pointwise values that cross from one to another get scratch for a home."""

    def __init__(self, places: Places) -> None:
        self.places, self.values = places, places.values
        self.inputs: dict[int, list[int]] = {}
        """What must be computed before a value."""
        self.before: dict[int, set[int]] = {}
        """Those of them that must be in memory, in a stage before."""
        self.order = self._needed()
        self.users: dict[int, list[int]] = {i: [] for i in self.order}
        for i in self.order:
            for d in self.inputs[i]:
                self.users[d].append(i)
        self.cuts = {i: self._cuts(i) for i in self.order if isinstance(self.values[i], Point)}
        self._memory()
        self.stages = self._stages()
        self.stage = {i: k for k, stage in enumerate(self.stages) for i in stage.members}
        self._postpone()
        self._cross()
        self._share()

    def local(self, user: int, view: View) -> bool:
        """Whether a view is all of a pointwise value, for another one: then a tile can hold it."""
        made = self.values[view.of]
        return isinstance(made, Point) and isinstance(self.values[user], Point) and is_whole(view, made)

    def _makers(self, i: int) -> list[int]:
        """What computes a value; for a joined one, all that fills it."""
        value = self.values[i]
        if isinstance(value, Leaf):
            return []
        if isinstance(value, Join):
            return [m for wish in self.places.makers[i] for m in self._makers(wish.by)]
        return [i]

    def _needed(self) -> list[int]:
        """What the results and states depend on, in an order in which it can be computed."""
        out = (Kind.EMIT, Kind.STATE, Kind.FLAGS_EMIT)
        stack = [(i, False) for i, place in self.places.home.items() if place.array.kind in out]
        stack = [(m, False) for i, _ in stack for m in self._makers(i)]
        order: dict[int, None] = {}
        while stack:
            i, entered = stack.pop()
            if i in order:
                continue
            if entered:
                order[i] = None
                continue
            views = operands(self.values[i])
            self.inputs[i] = list(dict.fromkeys(m for v in views for m in self._makers(v.of)))
            self.before[i] = {m for v in views if not self.local(i, v) for m in self._makers(v.of)}
            stack.append((i, True))
            stack.extend((m, False) for m in self.inputs[i] if m not in order)
        return list(order)

    def _cuts(self, i: int) -> frozenset[int]:
        value, home = self.values[i], self.places.home.get(i)
        found = frozenset().union(*(cuts(v.shape, v.strides) for v in operands(value)))
        if home is not None and home.strides is not None:
            found |= cuts(value.shape, home.strides)
        if divided(prod(value.shape), found) is None:
            raise CannotRun("an operation over more than four dimensions", getattr(value, "source", ""))
        return found

    def _memory(self) -> None:
        """Homes for the pointwise values that something reads other than element by element."""
        for i in self.order:
            for view in operands(self.values[i]):
                if not self.local(i, view):
                    self._give_home(view.of)

    def _give_home(self, i: int) -> None:
        if isinstance(self.values[i], Point) and i not in self.places.home:
            self.places.home[i] = self.places.scratch(i)

    def _key(self, i: int) -> Key:
        within = self.cuts[i]
        return prod(self.values[i].shape), bool(within) and min(within) < NARROW

    def _stages(self) -> list[Stage]:
        left, done, stages = dict.fromkeys(self.order), set[int](), list[Stage]()
        while left:
            ready = [i for i in left if i not in self.cuts and done.issuperset(self.inputs[i])]
            found = [Stage([i]) for i in ready] or [self._best_map(left, done)]
            for stage in found:
                stages.append(stage)
                done.update(stage.members)
                for i in stage.members:
                    del left[i]
        return stages

    def _best_map(self, left: Iterable[int], done: set[int]) -> Stage:
        """The map that leaves the fewest of its elements' values for a later one."""
        keyed: dict[Key, list[int]] = {}
        for i in left:
            if i in self.cuts:
                keyed.setdefault(self._key(i), []).append(i)
        maps = [(group, self._closure(group, done)) for group in keyed.values()]
        return min((len(group) - len(stage.members), -len(stage.members), k, stage)
                   for k, (group, stage) in enumerate(maps) if stage.members)[-1]

    def _closure(self, group: Iterable[int], done: set[int]) -> Stage:
        stage, inside = Stage([]), set[int]()
        for i in group:
            ready = all(d in done or d in inside for d in self.inputs[i]) and self.before[i] <= done
            if ready and divided(prod(self.values[i].shape), stage.cuts | self.cuts[i]):
                stage.members.append(i)
                stage.cuts |= self.cuts[i]
                inside.add(i)
        return stage

    def _postpone(self) -> None:
        """Move a pointwise value to a later map where fewer values cross from map to map."""
        for i in reversed(self.order):
            if i in self.cuts and i not in self.places.home and self.users[i]:
                self._move(i, min(self.stage[u] for u in self.users[i]))

    def _move(self, i: int, to: int) -> None:
        now, stage = self.stage[i], self.stages[to]
        if to == now or stage.members[0] not in self.cuts or self._key(stage.members[0]) != self._key(i):
            return
        within = stage.cuts | self.cuts[i]
        if divided(prod(self.values[i].shape), within) is None:
            return
        spared = all(self.stage[u] == to for u in self.users[i])
        if sum(self._would_cross(d, i, now) for d in self.inputs[i]) <= spared:
            self.stages[now].members.remove(i)
            stage.members.append(i)
            stage.cuts = within
            self.stage[i] = to

    def _would_cross(self, d: int, user: int, now: int) -> bool:
        """Whether a value stays in its map now, and would not if that user went to a later one."""
        inside = all(self.stage[u] == now for u in self.users[d])
        return d not in self.places.home and self.stage[d] == now and inside

    def _cross(self) -> None:
        for i in self.order:
            if any(self.stage[u] != self.stage[i] for u in self.users[i]):
                self._give_home(i)
        self.stages = [stage for stage in self.stages if stage.members]
        place = {i: k for k, i in enumerate(self.order)}
        for stage in self.stages:
            stage.members.sort(key=place.__getitem__)

    def _share(self) -> None:
        """Scratch that is no longer needed serves again, for a value of the same size."""
        last: dict[int, int] = {}
        for k, stage in enumerate(self.stages):
            for i in stage.members:
                for j in (i, *(v.of for v in operands(self.values[i]))):
                    if j in self.places.home:
                        last[id(self.places.home[j].array)] = k
        free: dict[int, list[Array]] = {}
        real: dict[int, Array] = {}
        for k, stage in enumerate(self.stages):
            homes = [self.places.home[i].array for i in stage.members if i in self.places.home]
            for array in homes:
                if array.kind is Kind.SCRATCH and id(array) not in real:
                    spare = free.get(array.size)
                    real[id(array)] = spare.pop() if spare else array
            for at, end in list(last.items()):
                if end == k and at in real:
                    free.setdefault(real[at].size, []).append(real[at])
                    del last[at]
        for i, home in self.places.home.items():
            if id(home.array) in real:
                self.places.home[i] = Place(real[id(home.array)], home.offset, home.strides)

    def is_product(self, stage: Stage) -> bool:
        """Whether a stage is a product."""
        return isinstance(self.values[stage.members[0]], Product)
