"""The simple recurrent network, with its recurrence between hidden units; and its start as the identity."""

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
        initialise.glorot(self.W)
        initialise.orthogonal(self.U)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        g = NONLINEARITIES[self.nonlinearity]
        return g(self.W(x) + self.U(h))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity!r}"


class IRNN(Elman):
    """The simple recurrent network of rectified linear units that starts as the identity::

        h[t] = relu(W x[t] + U h[t-1] + b),   at the start U = 1, b = 0

    Before it has learned anything it adds up its inputs and forgets none. Rectified, the state has no bound: clip the
    gradient, and keep the step small.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, H]``. For another start than 1,
    :func:`~ostinato.cells.initialise.identity` takes a scale.

    Raises:
        ValueError: on a size below 1.

    Source: Le, Jaitly and Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015
    (arXiv 1504.00941).

    >>> IRNN(3, 2).U.weight.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, nonlinearity="relu", bias=bias, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """``U`` is the identity, ``W`` normal with a deviation of 0.001, as in the paper; ``b`` is zero."""
        nn.init.normal_(self.W.weight, std=0.001)
        initialise.identity(self.U)
        if self.W.bias is not None:
            nn.init.zeros_(self.W.bias)
