"""An LSTM and a GRU with layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cells.arguments import Device, check_positive
from ostinato.cells.gated import ForgetGated, Gated


class LayerNormLSTM(ForgetGated):
    """LSTM with layer normalisation of both maps and of the cell state::

        a[t] = LN_W(W x[t]) + LN_U(U h[t-1]) + b            a = (a_i, a_f, a_C, a_o)
        C[t] = sigmoid(a_f[t]) C[t-1] + sigmoid(a_i[t]) tanh(a_C[t])
        h[t] = sigmoid(a_o[t]) tanh(LN_C(C[t]))

    ``LN(v) = gain (v - mean(v)) / sqrt(var(v) + eps) + shift``, with the mean and the variance of all 4H values of the
    four gates together for ``LN_W`` and ``LN_U``. The paper gives each its own shift beside ``b``; the two shifts and
    ``b`` only ever appear as their sum, which is kept once, as the bias of ``norm_W``.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h`` and ``C``: ``[B, H]`` each.
        forget_bias: what ``b_f`` starts from, by default 1.
        eps: added to the variance, by default 1e-5.
        bias: whether there are a ``b`` and a shift of ``LN_C``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [4H, N]`` and ``U.weight [4H, H]`` with the rows of i, f, C~, o in that order;
    ``norm_W.weight``, ``norm_W.bias`` (``b``) and ``norm_U.weight [4H]``; ``norm_C.weight``, ``norm_C.bias [H]``.

    Raises:
        ValueError: on a size below 1 or an eps that is not positive.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016 (arXiv 1607.06450), equations 20 to 22.

    >>> h, C = LayerNormLSTM(3, 4)(torch.ones(5, 3), torch.zeros(5, 4), torch.zeros(5, 4))
    >>> h.shape
    torch.Size([5, 4])
    """

    gates, keep, write = ("i", "f", "C~", "o"), "f", "i"
    memory = ("h", "C")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        eps: float = 1e-5,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, forget_bias=forget_bias, bias=False, device=device, dtype=dtype)
        check_positive(eps=eps)
        rows = len(self.gates) * hidden_size
        self.norm_W = nn.LayerNorm(rows, eps, bias=bias, device=device, dtype=dtype)
        self.norm_U = nn.LayerNorm(rows, eps, bias=False, device=device, dtype=dtype)
        self.norm_C = nn.LayerNorm(hidden_size, eps, bias=bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal; gains are 1, shifts 0, the forget gate's 1."""
        for norm in (self.norm_W, self.norm_U, self.norm_C):
            norm.reset_parameters()
        super().reset_parameters()

    @property
    def shift(self) -> Tensor | None:
        return self.norm_W.bias

    def step(self, x: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        a_i, a_f, a_C, a_o = (self.norm_W(self.W(x)) + self.norm_U(self.U(h))).chunk(4, -1)
        i, f, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)
        C = f * C + i * torch.tanh(a_C)
        return o * torch.tanh(self.norm_C(C)), C


class LayerNormGRU(Gated):
    """GRU with layer normalisation of both maps, the gates apart from the candidate::

        a_rz[t] = LN_1(W_rz x[t]) + LN_2(U_rz h[t-1]) + b_rz            a_rz = (a_r, a_z)
        r[t] = sigmoid(a_r[t]),   z[t] = sigmoid(a_z[t])
        n[t] = tanh(LN_3(W_n x[t]) + r[t] LN_4(U_n h[t-1]) + b_n)
        h[t] = (1 - z[t]) n[t] + z[t] h[t-1]

    ``LN(v) = gain (v - mean(v)) / sqrt(var(v) + eps)``, with the mean and the variance of all 2H values of both gates
    together for ``LN_1`` and ``LN_2``. Of the paper's shifts, those of ``LN_1``, ``LN_2`` and ``LN_3`` only appear in
    sums with ``b``, which is kept once; that of ``LN_4``, which is reset, is left out. ``z`` keeps the old state, as in
    :class:`~ostinato.cells.GRU`; the paper has ``1 - z`` there.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        eps: added to the variance, by default 1e-5.
        bias: whether there is a ``b``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [3H, N]``, ``W.bias`` none, ``U.weight [3H, H]`` with the rows of r, z, n in that order;
    ``norm_W_rz.weight``, ``norm_U_rz.weight [2H]``, ``norm_W_n.weight``, ``norm_U_n.weight [H]``, ``b [3H]``.

    Raises:
        ValueError: on a size below 1 or an eps that is not positive.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016 (arXiv 1607.06450), the supplement's equations of the
    GRU.

    >>> LayerNormGRU(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, keep = ("r", "z", "n"), "z"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        eps: float = 1e-5,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias=False, device=device, dtype=dtype)
        check_positive(eps=eps)
        both, one = 2 * hidden_size, hidden_size
        self.norm_W_rz = nn.LayerNorm(both, eps, bias=False, device=device, dtype=dtype)
        self.norm_U_rz = nn.LayerNorm(both, eps, bias=False, device=device, dtype=dtype)
        self.norm_W_n = nn.LayerNorm(one, eps, bias=False, device=device, dtype=dtype)
        self.norm_U_n = nn.LayerNorm(one, eps, bias=False, device=device, dtype=dtype)
        self.b = nn.Parameter(torch.empty(3 * hidden_size, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal; gains are 1, ``b`` is zero."""
        super().reset_parameters()
        for norm in (self.norm_W_rz, self.norm_U_rz, self.norm_W_n, self.norm_U_n):
            norm.reset_parameters()
        if self.b is not None:
            nn.init.zeros_(self.b)

    @property
    def shift(self) -> Tensor | None:
        return self.b

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        both, one = 2 * self.hidden_size, self.hidden_size
        x_rz, x_n = self.W(x).split([both, one], -1)
        h_rz, h_n = self.U(h).split([both, one], -1)
        x_rz, x_n = self.norm_W_rz(x_rz), self.norm_W_n(x_n)
        if self.b is not None:
            x_rz, x_n = x_rz + self.b[:both], x_n + self.b[both:]
        r, z = torch.sigmoid(x_rz + self.norm_U_rz(h_rz)).chunk(2, -1)
        n = torch.tanh(x_n + r * self.norm_U_n(h_n))
        return (1 - z) * n + z * h
