"""The clockwork network: modules that run at different rates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import NONLINEARITIES, Device, check_choice, check_sizes


class ClockworkRNN(Cell):
    """A simple recurrent network in modules, the g-th of which runs every T_g steps::

        a[t] = W x[t] + U h[t-1] + b
        h[t] = g(a[t])          for the units whose period divides t = 0, 1, 2, ...
        h[t] = h[t-1]           for the others

    ``U`` is block upper triangular: a unit sees those of its own period and of longer ones. Every sequence counts its
    own steps, in the state ``clock``: t modulo each unit's period, so that lengths and resets are right, and a count
    never outgrows its dtype.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h`` and ``clock``: ``[B, H]`` each.
        periods: ``T_g``, whole numbers in rising order; by default 1, 2, 4, ... 128, of which the first H. The units
            are shared out among the modules as evenly as can be, the first ones the larger.
        nonlinearity: ``g``, "tanh" (default) or "relu".
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, H]``, of which what lies below the blocks counts for
    nothing and gets no gradient. Each unit's period is the buffer ``period [H]``.

    Raises:
        ValueError: on a size below 1, periods that do not rise or are more than H, or an unknown nonlinearity.

    Source: Koutnik, Greff, Gomez and Schmidhuber, "A Clockwork RNN", ICML 2014 (arXiv 1402.3511), section 3.

    >>> ClockworkRNN(3, 5, periods=(1, 4)).period.tolist()
    [1.0, 1.0, 1.0, 4.0, 4.0]
    """

    period: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        periods: Sequence[int] | None = None,
        nonlinearity: str = "tanh",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        period = _of_units(periods, hidden_size)
        self.register_buffer("period", torch.tensor(period, device=device, dtype=dtype or torch.get_default_dtype()))
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.add_state("h", hidden_size)
        self.add_state("clock", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal, before its lower blocks are left out; ``b`` is zero."""
        initialise.glorot(self.W)
        initialise.orthogonal(self.U)

    def step(self, x: Tensor, h: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        U = self.U.weight * (self.period >= self.period.unsqueeze(1))  # [H, H], block upper triangular
        a = self.W(x) + nn.functional.linear(h, U)
        # Thresholds between whole numbers: the clocks are floats.
        h = torch.where(clock < 0.5, NONLINEARITIES[self.nonlinearity](a), h)
        clock = clock + 1
        return h, torch.where(clock > self.period - 0.5, clock - self.period, clock)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity!r}"


def _of_units(periods: Sequence[int] | None, size: int) -> list[int]:
    """The period of each unit."""
    periods = [2**k for k in range(min(8, size))] if periods is None else list(periods)
    whole = all(isinstance(p, int) and p >= 1 for p in periods)
    if not periods or not whole or sorted(set(periods)) != periods:
        raise ValueError(f"periods must be whole numbers of at least 1 in rising order, got {periods}")
    if len(periods) > size:
        raise ValueError(f"there are more periods than units: {len(periods)} and hidden_size = {size}")
    share, more = divmod(size, len(periods))
    return [p for k, p in enumerate(periods) for _ in range(share + (k < more))]
