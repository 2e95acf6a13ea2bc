"""The xLSTM family's cell with scalar memory and exponential gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cells.arguments import Device, check_choice
from ostinato.cells.gated import ForgetGated

EMPTY = -1e4
"""The stabiliser before the first step: so low that the first input gate alone decides, yet finite in half."""


class SLSTM(ForgetGated):
    """sLSTM: an LSTM with an exponential input gate, a normaliser n and a stabiliser m::

        a[t] = W x[t] + U h[t-1] + b                    a = (a_i, a_f, a_z, a_o)
        log i[t] = a_i,   log f[t] = log sigmoid(a_f) or a_f,   z[t] = tanh(a_z),   o[t] = sigmoid(a_o)
        m[t] = max(log f[t] + m[t-1], log i[t])
        i'[t] = exp(log i[t] - m[t]),   f'[t] = exp(log f[t] + m[t-1] - m[t])
        c[t] = f'[t] c[t-1] + i'[t] z[t]
        n[t] = f'[t] n[t-1] + i'[t]
        h[t] = o[t] c[t] / n[t]

    ``m`` cancels in ``c / n``: it changes no output, it only keeps both exponentials at most 1. ``m`` starts from -1e4
    where ``c`` and ``n`` start from 0, so that after the first step ``n`` is 1 whatever its input gate: started from 0,
    ``n`` would underflow for a strongly closed one, and ``h`` be 0 / 0.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h``, ``c``, ``n`` and ``m``: ``[B, H]`` each.
        forget: the forget gate's function, "sigmoid" (default) or "exp".
        forget_bias: what ``b_f`` starts from, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [4H, N]``, ``W.bias [4H]``, ``U.weight [4H, H]`` with the rows of i, f, z, o in that order.
    ``U`` is full: one head, in the paper's terms.

    Raises:
        ValueError: on a size below 1 or an unknown ``forget``.

    Source: Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024 (arXiv 2405.04517), section 2.2,
    equations 8 to 17.

    >>> cell = SLSTM(3, 4)
    >>> h, c, n, m = cell(torch.ones(5, 3), *cell.initial_states(5))
    >>> h.shape, n[0].tolist()
    (torch.Size([5, 4]), [1.0, 1.0, 1.0, 1.0])
    """

    gates, keep, write = ("i", "f", "z", "o"), "f", "i"
    memory = ("h", "c", "n")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget: str = "sigmoid",
        forget_bias: float = 1.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, forget_bias=forget_bias, bias=bias, device=device, dtype=dtype)
        self.forget = check_choice("forget", forget, ("sigmoid", "exp"))
        self.add_state("m", hidden_size, initial=EMPTY)
        self.reset_parameters()

    def step(self, x: Tensor, h: Tensor, c: Tensor, n: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        log_i, a_f, a_z, a_o = (self.W(x) + self.U(h)).chunk(4, -1)
        log_f = nn.functional.logsigmoid(a_f) if self.forget == "sigmoid" else a_f
        z, o = torch.tanh(a_z), torch.sigmoid(a_o)
        kept = log_f + m
        m = torch.maximum(kept, log_i)
        i, f = torch.exp(log_i - m), torch.exp(kept - m)
        c = f * c + i * z
        n = f * n + i
        return o * (c / n), c, n, m

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, forget={self.forget!r}"
