"""Skip connections through time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import NONLINEARITIES, Device, check_choice, check_sizes


class Skip(Cell):
    """A simple recurrent network with direct connections from the distant past::

        a[t] = b + W x[t] + U h[t-1] + sum over d of S_d h[t-d]
        h[t] = g(a[t])

    Along a skip of delay d, gradients diminish as a function of ``T/d`` rather than of ``T``.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        delays: d, a whole number of at least 2 (default 4), or several different ones.
        nonlinearity: ``g``, "tanh" (default) or "relu".
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, H]``, and ``S.0.weight [H, H]``, ``S.1.weight``, ...
    for the delays in the order given. ``step(x, h1, hd, ...)`` receives ``h[t-1]``, then ``h[t-d]`` for each delay.

    Raises:
        ValueError: on a size below 1, a delay below 2 or given twice, no delay, or an unknown nonlinearity.

    Source: the lecture, "Adding skip connections through time"; Lin, Horne, Tino and Giles, "Learning long-term
    dependencies in NARX recurrent neural networks", IEEE Transactions on Neural Networks 7, 1996.

    >>> cell = Skip(3, 4, delays=5)
    >>> cell.states[0].delays, cell(torch.ones(2, 3), torch.zeros(2, 4), torch.zeros(2, 4)).shape
    ((1, 5), torch.Size([2, 4]))
    """

    recurrent = ("U", "S")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        delays: int | Sequence[int] = 4,
        nonlinearity: str = "tanh",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        delays = (delays,) if isinstance(delays, int) else tuple(delays)
        if not delays or not all(isinstance(d, int) and d >= 2 for d in delays) or len(set(delays)) != len(delays):
            raise ValueError(f"delays must be different whole numbers of at least 2, got {delays}")
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.S = nn.ModuleList(nn.Linear(hidden_size, hidden_size, False, device, dtype) for _ in delays)
        self.add_state("h", hidden_size, delays=(1, *delays))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule; ``U`` and every ``S`` orthogonal, over their number; ``b`` is zero."""
        initialise.glorot(self.W)
        recurrent = [self.U, *self.S]
        for linear in recurrent:
            assert isinstance(linear, nn.Linear)
            initialise.orthogonal(linear)
            with torch.no_grad():
                # So that their sum does not lengthen a state that has stayed the same.
                linear.weight.div_(len(recurrent))

    def step(self, x: Tensor, h: Tensor, *past: Tensor) -> Tensor:
        a = self.W(x) + self.U(h)
        for S, h_d in zip(self.S, past, strict=True):
            a = a + S(h_d)
        return NONLINEARITIES[self.nonlinearity](a)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity!r}"
