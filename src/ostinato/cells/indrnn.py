"""Units that see only their own past."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import NONLINEARITIES, Device, check_choice, check_sizes


class IndRNN(Cell):
    """The independently recurrent network: each unit has one recurrent weight, to itself::

        h[t] = g(W x[t] + u h[t-1] + b)

    ``u`` is a vector and ``u h`` the product of their elements. Units mix through a second layer.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        nonlinearity: ``g``, "relu" (default, as in the paper) or "tanh".
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``u [H]``. With "relu", keep ``|u|`` at most ``2**(1/T)`` for
    sequences of T steps (the paper clips it), or the state can grow without bound.

    Raises:
        ValueError: on a size below 1 or an unknown nonlinearity.

    Source: Li, Li, Cook, Zhu and Gao, "Independently Recurrent Neural Network (IndRNN): Building A Longer and Deeper
    RNN", CVPR 2018 (arXiv 1803.04831).

    >>> IndRNN(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    recurrent = ("u",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "relu",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.u = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.add_state("h", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``u`` from 0 to 1, so that units keep different spans; ``b`` is zero."""
        initialise.glorot(self.W)
        nn.init.uniform_(self.u, 0, 1)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        g = NONLINEARITIES[self.nonlinearity]
        return g(self.W(x) + self.u * h)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity!r}"
