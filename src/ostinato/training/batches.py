"""Batches of examples of like length, so that little is padding; each is a function of its epoch and its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Buckets:
    """Which examples come together.

    Every epoch draws a new order, cuts it into pools of ``pool`` batches, sorts each pool by length, cuts it into
    batches and shuffles those. An epoch's batches depend on the seed and its number alone, so a training that is killed
    goes on with the batch that would have come.

    Args:
        lengths: of the examples, ``[N]``.
        size: examples in a batch.
        seed: of the order.
        pool: batches that are sorted together; more pad less, fewer mix better.
        least: batches of an epoch; little data is read several times in one.

    >>> buckets = Buckets([3, 9, 3, 8, 9, 2], size=2, seed=1)
    >>> len(buckets), sorted(int(i) for batch in buckets.epoch(0) for i in batch)
    (3, [0, 1, 2, 3, 4, 5])
    """

    def __init__(self, lengths: Sequence[int] | Indices, size: int, seed: int = 0, pool: int = 50,
                 least: int = 1) -> None:  # fmt: skip
        if size < 1 or pool < 1:
            raise ValueError(f"size and pool must be at least 1, got {size} and {pool}")
        self._lengths, self._size, self._seed, self._pool = np.asarray(lengths), size, seed, pool
        if not len(self._lengths):
            raise ValueError("there are no examples")
        self._reads = -(-least // -(-len(self._lengths) // size))
        self._last: tuple[int, list[Indices]] = (-1, [])

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self._lengths) // self._size) * self._reads

    def epoch(self, number: int) -> list[Indices]:
        """The batches of an epoch (from 0), each the places of its examples, longest first."""
        if self._last[0] != number:
            reads = range(number * self._reads, (number + 1) * self._reads)
            draws = (self._draw(np.random.default_rng([self._seed, read])) for read in reads)
            self._last = number, [batch for draw in draws for batch in draw]
        return self._last[1]

    def _draw(self, random: np.random.Generator) -> list[Indices]:
        order = random.permutation(len(self._lengths))
        width = self._size * self._pool
        # whole batches first: what is left over is one smaller batch, of whatever lengths
        rest = len(order) % self._size
        full, last = order[: len(order) - rest], order[len(order) - rest :]
        batches = [batch for start in range(0, len(full), width) for batch in self._cut(full[start : start + width])]
        if rest:
            batches.append(self._sorted(last))
        return [batches[i] for i in random.permutation(len(batches))]

    def _cut(self, pool: Indices) -> list[Indices]:
        ordered = self._sorted(pool)
        return [ordered[start : start + self._size] for start in range(0, len(ordered), self._size)]

    def _sorted(self, places: Indices) -> Indices:
        return places[np.argsort(-self._lengths[places], kind="stable")]


def in_order(lengths: Sequence[int] | Indices, size: int) -> list[Indices]:
    """All examples in batches of like length, without chance: for evaluation."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]
