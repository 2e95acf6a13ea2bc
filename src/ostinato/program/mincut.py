"""A minimum cut, for the two places where a program asks what is smallest to keep: the values saved for the backward
pass, and the border between what is computed for all steps at once and the loop (Dinic 1970)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

INFINITE = 1 << 60


def minimum_cut(weights: Mapping[int, int], edges: Iterable[tuple[int, int]], sources: Iterable[int],
                sinks: Iterable[int]) -> set[int]:
    """The lightest set of nodes that every path from a source to a sink passes; of several, the one nearest the sinks.

    Args:
        weights: what each node costs to cut.
        edges: ``(a, b)`` where b is computed from a.
        sources: where paths begin. A source may be cut itself.
        sinks: where they end. A sink may be cut itself.
    """
    flow = _Flow()
    for node, weight in weights.items():
        flow.edge(("in", node), ("out", node), weight)
    for a, b in edges:
        flow.edge(("out", a), ("in", b), INFINITE)
    for node in sources:
        flow.edge("source", ("in", node), INFINITE)
    for node in sinks:
        flow.edge(("out", node), "sink", INFINITE)
    flow.fill()
    near_sink = flow.reaching_sink()
    return {n for n in weights if ("in", n) not in near_sink and ("out", n) in near_sink}


class _Flow:
    """A maximum flow by Dinic's method; nodes are any hashable names."""

    def __init__(self) -> None:
        self.ids: dict[object, int] = {}
        self.heads: list[list[int]] = []
        self.to: list[int] = []
        self.room: list[int] = []

    def _id(self, name: object) -> int:
        if name not in self.ids:
            self.ids[name] = len(self.ids)
            self.heads.append([])
        return self.ids[name]

    def edge(self, a: object, b: object, capacity: int) -> None:
        i, j = self._id(a), self._id(b)
        for start, end, room in ((i, j, capacity), (j, i, 0)):
            self.heads[start].append(len(self.to))
            self.to.append(end)
            self.room.append(room)

    def fill(self) -> None:
        source, sink = self._id("source"), self._id("sink")
        while (level := self._levels(source))[sink] >= 0:
            unused = [0] * len(self.heads)
            while self._push(source, sink, level, unused):
                pass

    def _levels(self, source: int) -> list[int]:
        level = [-1] * len(self.heads)
        level[source] = 0
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for e in self.heads[node]:
                if self.room[e] and level[self.to[e]] < 0:
                    level[self.to[e]] = level[node] + 1
                    queue.append(self.to[e])
        return level

    def _push(self, source: int, sink: int, level: list[int], unused: list[int]) -> int:
        """Send flow along one path; edges known to be useless are skipped from then on."""
        path: list[int] = []
        node = source
        while node != sink:
            heads = self.heads[node]
            while unused[node] < len(heads):
                e = heads[unused[node]]
                if self.room[e] and level[self.to[e]] == level[node] + 1:
                    break
                unused[node] += 1
            if unused[node] < len(heads):
                path.append(heads[unused[node]])
                node = self.to[path[-1]]
            elif path:
                back = path.pop()
                node = self.to[back ^ 1]
                unused[node] += 1
            else:
                return 0
        amount = min(self.room[e] for e in path)
        for e in path:
            self.room[e] -= amount
            self.room[e ^ 1] += amount
        return amount

    def reaching_sink(self) -> set[object]:
        """The nodes from which the sink can still be reached."""
        found = {self._id("sink")}
        stack = list(found)
        while stack:
            node = stack.pop()
            for e in self.heads[node]:
                other = self.to[e]
                if self.room[e ^ 1] and other not in found:
                    found.add(other)
                    stack.append(other)
        return {name for name, i in self.ids.items() if i in found}
