"""A layered drawing of one step: which box on which layer, in which order, how far to the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

GAP = 16.0
"""Between two boxes of a layer."""


class Layers:
    """Boxes in layers, the first at the bottom, after Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of
    Hierarchical System Structures", 1981: layers by the longest path, order by barycentres, places by least squares.

    Args:
        widths: of each box.
        edges: pairs of boxes, without a cycle.
        low: boxes that stay on the lowest layer.
        pull: boxes that are drawn to the left (-1) or right (1).

    Attributes:
        layer: of each box.
        x: the middle of each box; the leftmost box begins at 0.
        paths: for each edge the places between its ends, ``(x, layer)``.
        width: of all.
    """

    def __init__(self, widths: Mapping[str, float], edges: Sequence[tuple[str, str]], low: set[str],
                 pull: Mapping[str, float]) -> None:
        self.layer = _longest(list(widths), edges, low)
        self._widths, self._pull = dict(widths), pull
        self._chains = {e: self._chain(e) for e in edges}
        self._links = [link for chain in self._chains.values() for link in pairwise(chain)]
        count = max(self.layer.values()) + 1
        self.rows: list[list[str]] = [[k for k in self.layer if self.layer[k] == n] for n in range(count)]
        for _ in range(12):
            self._order()
        while self._swap():
            pass
        places = self._places()
        left = min(x - self._widths[k] / 2 for k, x in places.items())
        self.x = {k: places[k] - left for k in widths}
        self.width = max(x - left + self._widths[k] / 2 for k, x in places.items())
        self.paths = {e: [(places[k] - left, self.layer[k]) for k in chain[1:-1]] for e, chain in self._chains.items()}

    def _chain(self, edge: tuple[str, str]) -> list[str]:
        """The ends of an edge, and a thin box on every layer between them."""
        source, target = edge
        between = []
        for n in range(self.layer[source] + 1, self.layer[target]):
            name = f"{source} to {target} at {n}"
            self.layer[name], self._widths[name] = n, 4.0
            between.append(name)
        return [source, *between, target]

    def _order(self) -> None:
        """Sort every layer by where the neighbours stand, below and above."""
        at = {k: (i + 0.5) / len(row) for row in self.rows for i, k in enumerate(row)}
        near: dict[str, list[float]] = {k: [] for k in at}
        for a, b in self._links:
            near[a].append(at[b])
            near[b].append(at[a])
        for row in self.rows:
            wish = {k: sum([*near[k], at[k]]) / (len(near[k]) + 1) + 0.35 * self._pull.get(k, 0) for k in row}
            row.sort(key=lambda k: wish[k])

    def _swap(self) -> bool:
        """Exchange neighbours in a layer wherever that leaves fewer crossings; whether any were."""
        better = False
        for row in self.rows:
            for i in range(len(row) - 1):
                before = self._crossings(row[i], row[i + 1])
                if self._crossings(row[i + 1], row[i]) < before:
                    row[i], row[i + 1] = row[i + 1], row[i]
                    better = True
        return better

    def _crossings(self, left: str, right: str) -> float:
        """How often the links of two boxes cross, if the one stands on the left of the other; half a crossing more
        where that is against their pull."""
        at = {k: i for row in self.rows for i, k in enumerate(row)}
        crossings = 0.5 * (self._pull.get(left, 0) > self._pull.get(right, 0))
        for end, other in ((0, 1), (1, 0)):
            mine = [at[link[other]] for link in self._links if link[end] == left]
            others = [at[link[other]] for link in self._links if link[end] == right]
            crossings += sum(m > o for m in mine for o in others)
        return crossings

    def _places(self) -> dict[str, float]:
        """Places near those of the neighbours, in order and apart."""
        x: dict[str, float] = {}
        for row in self.rows:
            x |= dict(zip(row, _apart([0.0] * len(row), self._distances(row)), strict=True))
        near: dict[str, list[str]] = {k: [] for k in x}
        for a, b in self._links:
            near[a].append(b)
            near[b].append(a)
        for turn in range(24):
            for row in self.rows if turn % 2 else reversed(self.rows):
                wish = [sum(x[n] for n in near[k]) / len(near[k]) if near[k] else x[k] for k in row]
                x |= dict(zip(row, _apart(wish, self._distances(row)), strict=True))
        return x

    def _distances(self, row: Sequence[str]) -> list[float]:
        w = self._widths
        return [(w[a] + w[b]) / 2 + GAP for a, b in pairwise(row)]


def _longest(boxes: Sequence[str], edges: Sequence[tuple[str, str]], low: set[str]) -> dict[str, int]:
    """Layers by the longest path from below; what could be lower than its users by more than one is raised."""
    layer = dict.fromkeys(boxes, 0)
    for _ in boxes:
        for a, b in edges:
            layer[b] = max(layer[b], layer[a] + 1)
    fed = {b for _, b in edges}
    for box in boxes:
        users = [layer[b] for a, b in edges if a == box]
        if users and box not in fed and box not in low:
            layer[box] = min(users) - 1
    return layer


def _apart(wish: Sequence[float], distances: Sequence[float]) -> list[float]:
    """The places nearest to the wishes, in their order and at least so far apart (isotonic regression)."""
    offsets = [0.0]
    for d in distances:
        offsets.append(offsets[-1] + d)
    blocks: list[list[float]] = []  # sum, count
    for w, o in zip(wish, offsets, strict=True):
        blocks.append([w - o, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    flat = [total / count for total, count in blocks for _ in range(int(count))]
    return [f + o for f, o in zip(flat, offsets, strict=True)]
