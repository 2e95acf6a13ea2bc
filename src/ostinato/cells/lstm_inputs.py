"""LSTMs whose input and state change each other before the gates see them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes
from ostinato.cells.gated import ForgetGated


class MultiplicativeLSTM(ForgetGated):
    """LSTM whose gates see, instead of the state, its product with the input: a transition for each input::

        m[t]  = (M_x x[t]) (M_h h[t-1])
        i[t]  = sigmoid(W_i x[t] + U_i m[t] + b_i)
        f[t]  = sigmoid(W_f x[t] + U_f m[t] + b_f)
        C~[t] = tanh(W_C x[t] + U_C m[t] + b_C)
        o[t]  = sigmoid(W_o x[t] + U_o m[t] + b_o)
        C[t]  = f[t] C[t-1] + i[t] C~[t]
        h[t]  = o[t] tanh(C[t])

    Not the mLSTM of the xLSTM paper, which has a matrix for a memory.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h`` and ``C``: ``[B, H]`` each.
        forget_bias: what ``b_f`` starts from, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [4H, N]``, ``W.bias [4H]``, ``U.weight [4H, H]`` with the rows of i, f, C~, o in that order;
    ``M_x.weight [H, N]``, ``M_h.weight [H, H]``.

    Raises:
        ValueError: on a size below 1.

    Source: Krause, Lu, Murray and Renals, "Multiplicative LSTM for sequence modelling", 2016 (arXiv 1609.07959),
    section 2.

    >>> h, C = MultiplicativeLSTM(3, 4)(torch.ones(5, 3), torch.zeros(5, 4), torch.zeros(5, 4))
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
        self.M_x = nn.Linear(input_size, hidden_size, False, device, dtype)
        self.M_h = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the :class:`LSTM` does; ``M_x`` by Glorot's rule, ``M_h`` orthogonal."""
        super().reset_parameters()
        initialise.glorot(self.M_x)
        initialise.orthogonal(self.M_h)

    def step(self, x: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        m = self.M_x(x) * self.M_h(h)
        a_i, a_f, a_C, a_o = (self.W(x) + self.U(m)).chunk(4, -1)
        i, f, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)
        C = f * C + i * torch.tanh(a_C)
        return o * torch.tanh(C), C


class MogrifierLSTM(ForgetGated):
    """LSTM whose input and state gate each other, in turns, before the step::

        x[t]   := 2 sigmoid(Q_1 h[t-1]) x[t]            round 1, 3, 5, ...
        h[t-1] := 2 sigmoid(R_1 x[t]) h[t-1]            round 2, 4, ...
        i[t]  = sigmoid(W_i x[t] + U_i h[t-1] + b_i)
        f[t]  = sigmoid(W_f x[t] + U_f h[t-1] + b_f)
        C~[t] = tanh(W_C x[t] + U_C h[t-1] + b_C)
        o[t]  = sigmoid(W_o x[t] + U_o h[t-1] + b_o)
        C[t]  = f[t] C[t-1] + i[t] C~[t]
        h[t]  = o[t] tanh(C[t])

    With no round it is the :class:`~ostinato.cells.LSTM`. Every product is in the loop, that of the input too, for the
    input depends on the state.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h`` and ``C``: ``[B, H]`` each.
        rounds: how often one gates the other, by default 5.
        forget_bias: what ``b_f`` starts from, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [4H, N]``, ``W.bias [4H]``, ``U.weight [4H, H]`` with the rows of i, f, C~, o in that order;
    ``Q.0.weight``, ``Q.1.weight``, ... ``[N, H]`` for the odd rounds, ``R.0.weight``, ... ``[H, N]`` for the even ones.

    Raises:
        ValueError: on a size or a number of rounds below 1.

    Source: Melis, Kocisky and Blunsom, "Mogrifier LSTM", ICLR 2020 (arXiv 1909.01792), equations 1 and 2.

    >>> h, C = MogrifierLSTM(3, 4)(torch.ones(5, 3), torch.zeros(5, 4), torch.zeros(5, 4))
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
        rounds: int = 5,
        forget_bias: float = 1.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_sizes(rounds=rounds)
        super().__init__(input_size, hidden_size, forget_bias=forget_bias, bias=bias, device=device, dtype=dtype)
        self.rounds = rounds
        odd, even = (rounds + 1) // 2, rounds // 2
        self.Q = nn.ModuleList(nn.Linear(hidden_size, input_size, False, device, dtype) for _ in range(odd))
        self.R = nn.ModuleList(nn.Linear(input_size, hidden_size, False, device, dtype) for _ in range(even))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the :class:`LSTM` does; ``Q`` and ``R`` by Glorot's rule."""
        super().reset_parameters()
        for linear in (*self.Q, *self.R):
            assert isinstance(linear, nn.Linear)
            initialise.glorot(linear)

    def step(self, x: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        for turn in range(self.rounds):
            if turn % 2 == 0:
                x = 2 * torch.sigmoid(self.Q[turn // 2](h)) * x
            else:
                h = 2 * torch.sigmoid(self.R[turn // 2](x)) * h
        a_i, a_f, a_C, a_o = (self.W(x) + self.U(h)).chunk(4, -1)
        i, f, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)
        C = f * C + i * torch.tanh(a_C)
        return o * torch.tanh(C), C

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rounds={self.rounds}"
