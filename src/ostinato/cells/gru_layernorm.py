"""A gated recurrent unit with layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cells.arguments import Device, check_positive
from ostinato.cells.gated import Gated


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
