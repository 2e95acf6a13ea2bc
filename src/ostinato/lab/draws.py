"""What the tasks' generators share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn


def between(low: Tensor | int, high: Tensor | int, count: int, generator: Generator) -> Tensor:
    """Whole numbers ``[count]``, each evenly from ``low`` to ``high - 1``.

    >>> between(3, 5, 6, Generator().manual_seed(0)).unique().tolist()
    [3, 4]
    """
    share = torch.rand(count, generator=generator, dtype=torch.float64)
    return low + (share * (high - low)).long()


def last_step(count: int, steps: int) -> Tensor:
    """Ask once, at the last of all steps: bool ``[B, T]``."""
    answer = torch.zeros(count, steps, dtype=torch.bool)
    answer[:, -1] = True
    return answer


def one_hot(symbols: Tensor, size: int) -> Tensor:
    """``[B, T]`` symbols as ``[B, T, size]`` of 0 and 1."""
    return nn.functional.one_hot(symbols, size).float()


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as one tensor ``[B, T]``, zeros behind them, and their lengths ``[B]``.

    >>> padded([[1, 2, 3], [4]])[0].tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    tensors = [torch.tensor(row) for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True), torch.tensor([len(row) for row in rows])


def live(lengths: Tensor, steps: int) -> Tensor:
    """The steps that are no padding: bool ``[B, T]``."""
    return torch.arange(steps) < lengths[:, None]
