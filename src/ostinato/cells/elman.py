"""The simple recurrent network, with its recurrence between hidden units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import NONLINEARITIES, Device, check_choice, check_sizes


class Elman(Cell):
    """The simple recurrent network (design 1 of the lecture)::

        a[t] = b + W x[t] + U h[t-1]
        h[t] = g(a[t])

    The lecture writes ``a[t] = b + W h[t-1] + U x[t]``: its ``U`` is our ``W`` (the map of the input) and its ``W`` is
    our ``U`` (the recurrent map), so that ``W`` maps the input in every cell here. Its read-out ``o[t] = c + V h[t]``
    is a layer after the recurrence.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        nonlinearity: ``g``, "tanh" (default) or "relu".
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, H]``. In ``torch.nn.RNN`` they are ``weight_ih``,
    ``bias_ih + bias_hh``, ``weight_hh``.

    Raises:
        ValueError: on a size below 1 or an unknown nonlinearity.

    Source: the lecture, "Design 1: Forward Calculation"; Elman, "Finding Structure in Time", Cognitive Science 14,
    1990.

    >>> cell = Elman(3, 4, nonlinearity="relu")
    >>> cell(torch.ones(2, 3), torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.add_state("h", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal; ``b`` is zero."""
        initialise.input_map(self.W)
        initialise.recurrent_map(self.U)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        g = NONLINEARITIES[self.nonlinearity]
        return g(self.W(x) + self.U(h))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity!r}"
