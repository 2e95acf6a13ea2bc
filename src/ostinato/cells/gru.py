"""Gated recurrent units: the two readings of the reset gate, and the minimal unit with one gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cells.arguments import Device, check_choice
from ostinato.cells.gated import Gated


class GRU(Gated):
    """The gated recurrent unit::

        r[t] = sigmoid(W_r x[t] + U_r h[t-1] + b_r)
        z[t] = sigmoid(W_z x[t] + U_z h[t-1] + b_z)
        n[t] = tanh(W_n x[t] + r[t] (U_n h[t-1] + c_n) + b_n)       reset="after"
        n[t] = tanh(W_n x[t] + U_n (r[t] h[t-1]) + b_n)             reset="before"
        h[t] = (1 - z[t]) n[t] + z[t] h[t-1]

    "after" resets after the product by ``U_n`` (torch.nn, cuDNN); it has a bias ``c`` of its own on ``U``, whose parts
    for r and z add to ``b`` (it keeps them, as torch.nn does). "before" resets the state itself, as the paper does. In
    both, ``z`` keeps the old state, as in torch.nn and in the paper; some texts exchange ``z`` and ``1 - z``.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        reset: "after" (default) or "before".
        bias: whether there are ``b``, the bias of ``W``, and with reset "after" ``c``, the bias of ``U``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters, with the rows of r, z, n in that order: ``W.weight [3H, N]``, ``W.bias [3H]``, ``U.weight [3H, H]``, and
    with reset "after" ``U.bias [3H]``. In ``torch.nn.GRU`` they are ``weight_ih``, ``bias_ih``, ``weight_hh``,
    ``bias_hh``.

    Raises:
        ValueError: on a size below 1 or an unknown ``reset``.

    Source: the lecture, "Gated Recurrent Unit (GRU)"; Cho et al., "Learning Phrase Representations using RNN
    Encoder-Decoder for Statistical Machine Translation", EMNLP 2014 (arXiv 1406.1078), equations 5 to 8; "after": the
    same paper's version 1 and the cuDNN library.

    >>> GRU(3, 4, reset="before")(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, keep = ("r", "z", "n"), "z"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset: str = "after",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        state_bias = bias and reset == "after"
        super().__init__(input_size, hidden_size, None, state_bias, bias=bias, device=device, dtype=dtype)
        self.reset = check_choice("reset", reset, ("after", "before"))
        self.reset_parameters()

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return self._reset_after(x, h) if self.reset == "after" else self._reset_before(x, h)

    def _reset_after(self, x: Tensor, h: Tensor) -> Tensor:
        x_r, x_z, x_n = self.W(x).chunk(3, -1)
        h_r, h_z, h_n = self.U(h).chunk(3, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return (1 - z) * n + z * h

    def _reset_before(self, x: Tensor, h: Tensor) -> Tensor:
        U_rz, U_n = self.U.weight[: 2 * self.hidden_size], self.U.weight[2 * self.hidden_size :]
        x_r, x_z, x_n = self.W(x).chunk(3, -1)
        h_r, h_z = nn.functional.linear(h, U_rz).chunk(2, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + nn.functional.linear(r * h, U_n))
        return (1 - z) * n + z * h

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, reset={self.reset!r}"


class MinimalGRU(Gated):
    """The minimal gated unit, whose one gate both resets and updates::

        f[t]  = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
        h~[t] = tanh(W_h x[t] + U_h (f[t] h[t-1]) + b_h)
        h[t]  = (1 - f[t]) h[t-1] + f[t] h~[t]

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [2H, N]``, ``W.bias [2H]``, ``U.weight [2H, H]`` with the rows of f, h~ in that order.

    Raises:
        ValueError: on a size below 1.

    Source: Zhou, Wu, Zhang and Zhou, "Minimal Gated Unit for Recurrent Neural Networks", International Journal of
    Automation and Computing 13, 2016 (arXiv 1603.09420).

    >>> MinimalGRU(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, write = ("f", "h~"), "f"

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        U_f, U_h = self.U.weight[: self.hidden_size], self.U.weight[self.hidden_size :]
        x_f, x_h = self.W(x).chunk(2, -1)
        f = torch.sigmoid(x_f + nn.functional.linear(h, U_f))
        new = torch.tanh(x_h + nn.functional.linear(f * h, U_h))
        return (1 - f) * h + f * new
