"""Long short-term memory: the lecture's cell, and the same projected, or with peepholes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes
from ostinato.cells.gated import ForgetGated


class LSTM(ForgetGated):
    """Long short-term memory, with a projection of its output where ``proj_size`` asks for one::

        i[t]  = sigmoid(W_i x[t] + U_i h[t-1] + b_i)
        f[t]  = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
        C~[t] = tanh(W_C x[t] + U_C h[t-1] + b_C)
        o[t]  = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
        C[t]  = f[t] C[t-1] + i[t] C~[t]
        h[t]  = o[t] tanh(C[t])             or, projected,  h[t] = P (o[t] tanh(C[t]))

    The lecture's ``W . [h[t-1], x[t]]`` is one map of both; here ``U`` is its part for ``h``, ``W`` its part for ``x``.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``C``: ``[B, H]``.
        proj_size: R, the width of the state ``h``: ``[B, R]``; 0 (default) for no projection, then R = H.
        forget_bias: what ``b_f`` starts from, by default 1: remember.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [4H, N]``, ``W.bias [4H]``, ``U.weight [4H, R]`` with the rows of i, f, C~, o in that order,
    and ``P.weight [R, H]``. In ``torch.nn.LSTM`` they are ``weight_ih``, ``bias_ih + bias_hh``, ``weight_hh``,
    ``weight_hr``.

    Raises:
        ValueError: on a size below 1 or a projection that is not narrower than ``hidden_size``.

    Source: the lecture, "Step-by-step LSTM walk through"; Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural
    Computation 9, 1997; the forget gate: Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation 12,
    2000; the projection: Sak, Senior and Beaufays, "Long Short-Term Memory Based Recurrent Neural Network Architectures
    for Large Vocabulary Speech Recognition", 2014 (arXiv 1402.1128).

    >>> h, C = LSTM(3, 4, proj_size=2)(torch.ones(5, 3), torch.zeros(5, 2), torch.zeros(5, 4))
    >>> h.shape, C.shape
    (torch.Size([5, 2]), torch.Size([5, 4]))
    """

    gates, keep, write = ("i", "f", "C~", "o"), "f", "i"
    memory = ("h", "C")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        proj_size: int = 0,
        forget_bias: float = 1.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_sizes(hidden_size=hidden_size)
        if not isinstance(proj_size, int) or not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"proj_size must be a whole number from 1 to hidden_size - 1 = {hidden_size - 1}, or 0 for no "
                f"projection, got {proj_size!r}"
            )
        width = proj_size or hidden_size
        super().__init__(input_size, hidden_size, width, forget_bias=forget_bias, bias=bias, device=device, dtype=dtype)
        self.P = nn.Linear(hidden_size, proj_size, False, device, dtype) if proj_size else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` and ``P`` by Glorot's rule and ``U`` orthogonal; ``b`` is zero, for the forget gate 1."""
        super().reset_parameters()
        if self.P is not None:
            initialise.glorot(self.P)

    def step(self, x: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        a_i, a_f, a_C, a_o = (self.W(x) + self.U(h)).chunk(4, -1)
        i, f, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)
        C = f * C + i * torch.tanh(a_C)
        h = o * torch.tanh(C)
        return h if self.P is None else self.P(h), C


class ProjectedLSTM(LSTM):
    """LSTM whose output is a projection of its memory to half the width, or to ``proj_size``::

        i[t]  = sigmoid(W_i x[t] + U_i h[t-1] + b_i)
        f[t]  = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
        C~[t] = tanh(W_C x[t] + U_C h[t-1] + b_C)
        o[t]  = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
        C[t]  = f[t] C[t-1] + i[t] C~[t]
        h[t]  = P (o[t] tanh(C[t]))

    It is :class:`LSTM` with a ``proj_size``, and has its other arguments and parameters.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``C``: ``[B, H]``; at least 2.
        proj_size: R, the width of the state ``h``: ``[B, R]``; by default H // 2.
        forget_bias: what ``b_f`` starts from, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Raises:
        ValueError: on a size below 1 or a projection that is not narrower than ``hidden_size``.

    Source: Sak, Senior and Beaufays, "Long Short-Term Memory Based Recurrent Neural Network Architectures for Large
    Vocabulary Speech Recognition", 2014 (arXiv 1402.1128), equations 1 to 7 without peepholes.

    >>> [state.shape for state in ProjectedLSTM(3, 6).states]
    [(3,), (6,)]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        proj_size: int | None = None,
        forget_bias: float = 1.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_sizes(hidden_size=hidden_size)
        if hidden_size < 2:
            raise ValueError("hidden_size must be at least 2: a projection is narrower, got 1")
        width = hidden_size // 2 if proj_size is None else proj_size
        check_sizes(proj_size=width)
        super().__init__(
            input_size, hidden_size, proj_size=width, forget_bias=forget_bias, bias=bias, device=device, dtype=dtype
        )


class PeepholeLSTM(ForgetGated):
    """LSTM whose gates see the cell state::

        i[t]  = sigmoid(W_i x[t] + U_i h[t-1] + p_i C[t-1] + b_i)
        f[t]  = sigmoid(W_f x[t] + U_f h[t-1] + p_f C[t-1] + b_f)
        C~[t] = tanh(W_C x[t] + U_C h[t-1] + b_C)
        C[t]  = f[t] C[t-1] + i[t] C~[t]
        o[t]  = sigmoid(W_o x[t] + U_o h[t-1] + p_o C[t] + b_o)
        h[t]  = o[t] tanh(C[t])

    ``p_i``, ``p_f`` and ``p_o`` are vectors: the gates of a unit see its own cell alone, the output gate the new one.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h`` and ``C``: ``[B, H]`` each.
        forget_bias: what ``b_f`` starts from, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [4H, N]``, ``W.bias [4H]``, ``U.weight [4H, H]`` with the rows of i, f, C~, o in that order;
    ``p_i``, ``p_f``, ``p_o [H]``.

    Raises:
        ValueError: on a size below 1.

    Source: Gers, Schraudolph and Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", JMLR 3, 2002, as
    written in Graves, "Generating Sequences With Recurrent Neural Networks", 2013 (arXiv 1308.0850), equations 7 to 11.

    >>> h, C = PeepholeLSTM(3, 4)(torch.ones(5, 3), torch.zeros(5, 4), torch.zeros(5, 4))
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
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, forget_bias=forget_bias, bias=bias, device=device, dtype=dtype)
        self.p_i = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.p_f = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.p_o = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the :class:`LSTM` does, the peepholes from zero."""
        super().reset_parameters()
        for peephole in (self.p_i, self.p_f, self.p_o):
            nn.init.zeros_(peephole)

    def step(self, x: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        a_i, a_f, a_C, a_o = (self.W(x) + self.U(h)).chunk(4, -1)
        i = torch.sigmoid(a_i + self.p_i * C)
        f = torch.sigmoid(a_f + self.p_f * C)
        C = f * C + i * torch.tanh(a_C)
        o = torch.sigmoid(a_o + self.p_o * C)
        return o * torch.tanh(C), C
