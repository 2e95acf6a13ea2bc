"""The running average: the linear memory that leaky units have inside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes, numbers


class RunningAverage(Cell):
    """The running average of what comes in::

        v[t]  = W x[t] + b                              or, without a hidden_size,  x[t]
        mu[t] = alpha mu[t-1] + (1 - alpha) v[t]

    With ``alpha`` near 1 it remembers for long, near 0 it drops the past at once; the time constant is
    ``1 / (1 - alpha)`` steps. It starts from 0, so that the first averages are low.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of ``v`` and of the state ``mu``: ``[B, H]``; without one (default) there is no ``W``
            and ``mu`` is the average of ``x``, ``[B, N]``.
        alpha: what is kept, from 0 up to but not 1: a number for all units (default 0.9), or one for each.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, or none. An ``alpha`` for each unit is a buffer ``[H]``.

    Raises:
        ValueError: on a size below 1, an ``alpha`` out of range, or another count than H of them.

    Source: the lecture, "Leaky units and a spectrum of time scales".

    >>> RunningAverage(2, alpha=0.75)(torch.tensor([[4.0, 8.0]]), torch.tensor([[0.0, 4.0]])).tolist()
    [[1.0, 5.0]]
    """

    alpha: float | Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int | None = None,
        *,
        alpha: float | Sequence[float] | Tensor = 0.9,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        width = input_size if hidden_size is None else hidden_size
        check_sizes(input_size=input_size, hidden_size=width)
        values = numbers("alpha", alpha, width)
        for value in values:
            if not 0 <= value < 1:
                raise ValueError(f"alpha must be from 0 up to but not 1, got {value}")
        if len(values) == 1:
            self.alpha = values[0]
        else:
            self.register_buffer("alpha", torch.tensor(values, device=device, dtype=dtype))
        self.W = None if hidden_size is None else nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.add_state("mu", width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule; ``b`` is zero."""
        if self.W is not None:
            initialise.glorot(self.W)

    def step(self, x: Tensor, mu: Tensor) -> Tensor:
        v = x if self.W is None else self.W(x)
        return self.alpha * mu + (1 - self.alpha) * v

    def extra_repr(self) -> str:
        alpha = f"{self.alpha.min():g}..{self.alpha.max():g}" if isinstance(self.alpha, Tensor) else self.alpha
        return f"{super().extra_repr()}, alpha={alpha}"
