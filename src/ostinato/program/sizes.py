"""Sequences of different lengths without their padding: the steps that there are, one after another.

As in torch's PackedSequence, the longest sequence comes first and a step holds the sequences that are still there, so
``[N, 1, ...]`` holds for step 0 its ``sizes[0]`` sequences, then for step 1 its ``sizes[1]``, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor


class Sizes(tuple[int, ...]):
    """How many sequences each step has: never more than the one before.

    Args:
        batch: how many there are, those without any step too.
    """

    batch: int

    def __new__(cls, sizes: Iterable[int], batch: int) -> Sizes:
        made = super().__new__(cls, sizes)
        made.batch = batch
        return made

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor]:
        """The step and the sequence of each row."""
        live = torch.arange(self[0] if self else 0) < torch.tensor(self, dtype=torch.int64).unsqueeze(1)  # [T, B]
        step, sequence = live.nonzero().unbind(1)
        return step, sequence

    def earlier(self, delay: int, depth: int, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Where each row finds a state's value of ``delay`` steps ago: the row of it, and, for the rows (second) that
        read an initial value, its place (third) in ``[depth * batch, ...]``, oldest first."""
        key = (delay, depth, reverse)
        if key not in self._earlier:
            self._earlier[key] = self._found(*key)
        return self._earlier[key]

    @cached_property
    def _earlier(self) -> dict[tuple, tuple[Tensor, Tensor, Tensor]]:
        return {}

    def _found(self, delay: int, depth: int, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
        step, sequence = self.rows
        sizes = torch.tensor(self, dtype=torch.int64)
        first = sizes.cumsum(0) - sizes
        at = step + delay if reverse else step - delay
        if reverse:
            length = (sizes.unsqueeze(1) > torch.arange(self[0] if self else 0)).sum(0)[sequence]
            rows = (at >= length).nonzero().squeeze(1)
            value = depth - 1 - (at - length)[rows]
        else:
            rows = torch.arange(sum(self[:delay]))
            value = depth + at[rows]
        earlier = first[at.clamp(0, max(len(self) - 1, 0))] + sequence
        return earlier.index_fill_(0, rows, 0), rows, value * self.batch + sequence[rows]
