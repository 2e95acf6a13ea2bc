"""A padded batch without its padding (see ``program.sizes``), and back."""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.program.sizes import Sizes


class Packing:
    """How a padded batch is packed.

    Args:
        lengths: ``[B]``, of whole numbers from 0 up.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.batch = len(lengths)
        lengths = self.lengths = lengths.to(torch.int64)
        ordered, self.order = lengths.sort(descending=True, stable=True)
        self.sorted = torch.equal(ordered, lengths)
        ends = torch.bincount(lengths, minlength=1)  # how many sequences end after so many steps
        self.sizes = Sizes((self.batch - ends.cumsum(0))[:-1].tolist(), self.batch)
        self.step, rank = self.sizes.rows
        self.row = rank if self.sorted else self.order[rank]

    def live(self, steps: int) -> Tensor:
        """Where there are steps: bool ``[T, B]``."""
        return torch.arange(steps).unsqueeze(1) < self.lengths

    @property
    def total(self) -> int:
        """How many steps there are in all."""
        return len(self.row)

    def pack(self, value: Tensor) -> Tensor:
        """``[T, B, ...]`` to ``[N, 1, ...]``."""
        steps, batch = value.shape[:2]
        if value.transpose(0, 1).is_contiguous():
            rows, index = value.transpose(0, 1), self.row * steps + self.step
        else:
            rows, index = value, self.step * batch + self.row
        return rows.flatten(0, 1).index_select(0, index).unsqueeze(1)

    def spread(self, value: Tensor) -> Tensor:
        """What sequences have of their own, ``[B, ...]``, at each of their steps: ``[N, 1, ...]``."""
        return value.index_select(0, self.row).unsqueeze(1)

    def unpack(self, value: Tensor, steps: int, batch_first: bool) -> Tensor:
        """``[N, 1, ...]`` to ``[T, B, ...]``, zero at padding; in memory, with the batch first or the time."""
        index = self.row * steps + self.step if batch_first else self.step * self.batch + self.row
        whole = value.new_zeros((steps * self.batch, *value.shape[2:])).index_copy_(0, index, value.squeeze(1))
        if batch_first:
            return whole.unflatten(0, (self.batch, steps)).transpose(0, 1)
        return whole.unflatten(0, (steps, self.batch))

    def sort(self, value: Tensor) -> Tensor:
        """``[D, B, ...]`` with the longest sequence first."""
        return value if self.sorted else value.index_select(1, self.order)

    def restore(self, value: Tensor) -> Tensor:
        """``[D, B, ...]`` as it was before :meth:`sort`."""
        return value if self.sorted else value.index_select(1, self.order.argsort())
