"""LSTMs with fewer gates: none to forget, one that does both, and the forget gate alone."""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.cells.arguments import Device
from ostinato.cells.gated import ForgetGated, Gated


class OriginalLSTM(Gated):
    """The first LSTM, which has no forget gate::

        i[t]  = sigmoid(W_i x[t] + U_i h[t-1] + b_i)
        C~[t] = tanh(W_C x[t] + U_C h[t-1] + b_C)
        o[t]  = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
        C[t]  = C[t-1] + i[t] C~[t]
        h[t]  = o[t] tanh(C[t])

    The error passes through ``C`` unchanged (the constant error carousel), over any number of steps. Nothing clears
    ``C``: on a stream without end it grows. (The paper's squashing functions are scaled tanh; here they are tanh.)

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h`` and ``C``: ``[B, H]`` each.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [3H, N]``, ``W.bias [3H]``, ``U.weight [3H, H]`` with the rows of i, C~, o in that order.

    Raises:
        ValueError: on a size below 1.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997, section 4.

    >>> h, C = OriginalLSTM(3, 4)(torch.ones(5, 3), torch.zeros(5, 4), torch.zeros(5, 4))
    >>> h.shape
    torch.Size([5, 4])
    """

    gates, write = ("i", "C~", "o"), "i"
    memory = ("h", "C")

    def step(self, x: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        a_i, a_C, a_o = (self.W(x) + self.U(h)).chunk(3, -1)
        i, o = torch.sigmoid(a_i), torch.sigmoid(a_o)
        C = C + i * torch.tanh(a_C)
        return o * torch.tanh(C), C


class CoupledLSTM(ForgetGated):
    """LSTM with coupled input and forget gate (CIFG): it writes where it forgets::

        f[t]  = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
        C~[t] = tanh(W_C x[t] + U_C h[t-1] + b_C)
        o[t]  = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
        C[t]  = f[t] C[t-1] + (1 - f[t]) C~[t]
        h[t]  = o[t] tanh(C[t])

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h`` and ``C``: ``[B, H]`` each.
        forget_bias: what ``b_f`` starts from, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [3H, N]``, ``W.bias [3H]``, ``U.weight [3H, H]`` with the rows of f, C~, o in that order.

    Raises:
        ValueError: on a size below 1.

    Source: Greff, Srivastava, Koutnik, Steunebrink and Schmidhuber, "LSTM: A Search Space Odyssey", IEEE Transactions
    on Neural Networks and Learning Systems 28, 2017 (arXiv 1503.04069), the variant CIFG, without peepholes.

    >>> h, C = CoupledLSTM(3, 4)(torch.ones(5, 3), torch.zeros(5, 4), torch.zeros(5, 4))
    >>> h.shape
    torch.Size([5, 4])
    """

    gates, keep = ("f", "C~", "o"), "f"
    memory = ("h", "C")

    def step(self, x: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        a_f, a_C, a_o = (self.W(x) + self.U(h)).chunk(3, -1)
        f, o = torch.sigmoid(a_f), torch.sigmoid(a_o)
        C = f * C + (1 - f) * torch.tanh(a_C)
        return o * torch.tanh(C), C


class JANET(ForgetGated):
    """Just another network: an LSTM reduced to its forget gate::

        s[t]  = W_f x[t] + U_f h[t-1] + b_f
        h~[t] = tanh(W_h x[t] + U_h h[t-1] + b_h)
        h[t]  = sigmoid(s[t]) h[t-1] + (1 - sigmoid(s[t] - beta)) h~[t]

    With ``beta`` above 0 it writes a little where it keeps all. The paper starts it with
    :func:`~ostinato.cells.initialise.chrono`.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        beta: by default 1, as in the paper.
        forget_bias: what ``b_f`` starts from, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [2H, N]``, ``W.bias [2H]``, ``U.weight [2H, H]`` with the rows of f, h~ in that order.

    Raises:
        ValueError: on a size below 1.

    Source: van der Westhuizen and Lasenby, "The unreasonable effectiveness of the forget gate", 2018 (arXiv
    1804.04849), section 3.

    >>> JANET(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, keep = ("f", "h~"), "f"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        beta: float = 1.0,
        forget_bias: float = 1.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, forget_bias=forget_bias, bias=bias, device=device, dtype=dtype)
        self.beta = beta
        self.reset_parameters()

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        s, a_h = (self.W(x) + self.U(h)).chunk(2, -1)
        return torch.sigmoid(s) * h + (1 - torch.sigmoid(s - self.beta)) * torch.tanh(a_h)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, beta={self.beta}"
