"""The Legendre memory unit: a window on the past, in the best polynomials."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_positive, check_sizes


class LegendreMemory(Cell):
    """The Legendre memory unit (LMU): a simple network that writes one number a step into a window on the past::

        u[t] = e_x x[t] + e_h h[t-1] + e_m m[t-1]
        m[t] = A m[t-1] + B u[t]
        h[t] = tanh(W x[t] + U h[t-1] + M m[t] + b)

    ``m`` holds the coefficients of the first ``order`` Legendre polynomials of u over the last ``window`` steps, as
    near as they can. ``A`` and ``B`` follow from these two numbers, and are not trained.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        order: the width of the state ``m``: ``[B, order]``, by default 16.
        window: how many steps it looks back, by default 100.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, H]``, ``M.weight [H, order]``, ``e_x.weight [1,
    N]``, ``e_h.weight [1, H]``, ``e_m.weight [1, order]``; the buffers ``A [order, order]`` and ``B [order]``.

    Raises:
        ValueError: on a size below 1 or a window that is not positive.

    Source: Voelker, Kajic and Eliasmith, "Legendre Memory Units: Continuous-Time Representation in Recurrent Neural
    Networks", NeurIPS 2019, equations 1 to 7; A and B of one step with the input held over it.

    >>> h, m = LegendreMemory(3, 4, order=6)(torch.ones(5, 3), torch.zeros(5, 4), torch.zeros(5, 6))
    >>> h.shape, m.shape
    (torch.Size([5, 4]), torch.Size([5, 6]))
    """

    A: Tensor
    B: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        order: int = 16,
        window: float = 100.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, order=order)
        check_positive(window=window)
        self.window = window
        for name, value in zip("AB", _window(order, window), strict=True):
            self.register_buffer(name, value.to(device=device, dtype=dtype or torch.get_default_dtype()))
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.M = nn.Linear(order, hidden_size, False, device, dtype)
        self.e_x = nn.Linear(input_size, 1, False, device, dtype)
        self.e_h = nn.Linear(hidden_size, 1, False, device, dtype)
        self.e_m = nn.Linear(order, 1, False, device, dtype)
        self.add_state("h", hidden_size)
        self.add_state("m", order)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W``, ``M``, ``e_x`` and ``e_h`` by Glorot's rule and ``U`` orthogonal; ``e_m`` and ``b`` are zero."""
        for linear in (self.W, self.M, self.e_x, self.e_h):
            initialise.glorot(linear)
        initialise.orthogonal(self.U)
        nn.init.zeros_(self.e_m.weight)

    def step(self, x: Tensor, h: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        u = self.e_x(x) + self.e_h(h) + self.e_m(m)  # [B, 1]
        m = nn.functional.linear(m, self.A) + u * self.B
        return torch.tanh(self.W(x) + self.U(h) + self.M(m)), m

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, window={self.window}"


def _window(order: int, window: float) -> tuple[Tensor, Tensor]:
    """``A [order, order]`` and ``B [order]``: ``window dm/dt = A' m + B' u``, solved over a step that holds u."""
    i = torch.arange(order, dtype=torch.float64)
    above = i.unsqueeze(1) < i  # [row, column]
    signs = (-1.0) ** (i.unsqueeze(1) - i + 1)
    drift = (2 * i + 1).unsqueeze(1) * torch.where(above, -1.0, signs)
    push = (2 * i + 1) * (-1.0) ** i
    # One exponential for both: of [[A', B'], [0, 0]] over a step.
    system = torch.zeros(order + 1, order + 1, dtype=torch.float64)
    system[:order, :order], system[:order, order] = drift / window, push / window
    solved = torch.linalg.matrix_exp(system)
    return solved[:order, :order], solved[:order, order]
