"""Cells whose gates see the input alone, or little else: between two steps there is no matrix product.

Where the gates see nothing of the state, it is linear in its own past, and a parallel scan could compute all steps
(``explain()`` says so).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes


class MinGRU(Cell):
    """The GRU without what ties its steps together: its gate and its candidate see the input alone::

        z[t]  = sigmoid(W_z x[t] + b_z)
        h~[t] = W_h x[t] + b_h
        h[t]  = (1 - z[t]) h[t-1] + z[t] h~[t]

    Not the minimal gated unit, which is :class:`~ostinato.cells.MinimalGRU`. Units mix through a second layer.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [2H, N]``, ``W.bias [2H]`` with the rows of z, h~ in that order.

    Raises:
        ValueError: on a size below 1.

    Source: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs All We Needed?", 2024 (arXiv 2410.01201), section
    3.1.

    >>> MinGRU(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, write = ("z", "h~"), "z"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.W = nn.Linear(input_size, len(self.gates) * hidden_size, bias, device, dtype)
        self.add_state("h", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule, gate by gate; ``b`` is zero."""
        initialise.glorot(self.W, len(self.gates))

    @property
    def shift(self) -> Tensor | None:
        """The bias of all gates."""
        return self.W.bias

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        a_z, new = self.W(x).chunk(2, -1)
        z = torch.sigmoid(a_z)
        return (1 - z) * h + z * new


class MinLSTM(MinGRU):
    """The LSTM without what ties its steps together: its gates and its candidate see the input alone::

        f[t]  = sigmoid(W_f x[t] + b_f)
        i[t]  = sigmoid(W_i x[t] + b_i)
        h~[t] = W_h x[t] + b_h
        h[t]  = (f[t] h[t-1] + i[t] h~[t]) / (f[t] + i[t])

    Both gates over their sum: what is kept and what is written add to one, so that the state's scale does not depend
    on the length of a sequence.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [3H, N]``, ``W.bias [3H]`` with the rows of f, i, h~ in that order.

    Raises:
        ValueError: on a size below 1.

    Source: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs All We Needed?", 2024 (arXiv 2410.01201), section
    3.2.

    >>> MinLSTM(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, keep, write = ("f", "i", "h~"), "f", "i"

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        a_f, a_i, new = self.W(x).chunk(3, -1)
        f, i = torch.sigmoid(a_f), torch.sigmoid(a_i)
        return (f * h + i * new) / (f + i)


class SRU(Cell):
    """The simple recurrent unit, whose gates see of the state their own unit alone::

        x~[t] = W_x x[t]
        f[t]  = sigmoid(W_f x[t] + v_f c[t-1] + b_f)
        r[t]  = sigmoid(W_r x[t] + v_r c[t-1] + b_r)
        c[t]  = f[t] c[t-1] + (1 - f[t]) x~[t]
        h[t]  = r[t] c[t] + (1 - r[t]) x[t]             or, where N is not H,  P x[t]

    ``v_f`` and ``v_r`` are vectors. ``h`` is the output, ``c`` the state: the input has a way past it.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``c`` and of the output: ``[B, H]``.
        bias: whether there are ``b_f`` and ``b_r``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [3H, N]`` with the rows of x~, f, r in that order; ``v_f``, ``v_r``, ``b_f``, ``b_r [H]``;
    ``P.weight [H, N]`` where N is not H.

    Raises:
        ValueError: on a size below 1.

    Source: Lei, Zhang, Wang, Dai and Artzi, "Simple Recurrent Units for Highly Parallelizable Recurrence", EMNLP 2018
    (arXiv 1709.02755), equations 1 to 4.

    >>> c, h = SRU(3, 4)(torch.ones(5, 3), torch.zeros(5, 4))
    >>> h.shape
    torch.Size([5, 4])
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
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.W = nn.Linear(input_size, 3 * hidden_size, False, device, dtype)
        self.P = None if input_size == hidden_size else nn.Linear(input_size, hidden_size, False, device, dtype)
        self.v_f = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.v_r = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.b_f = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype)) if bias else None
        self.b_r = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype)) if bias else None
        self.add_state("c", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` and ``P`` by Glorot's rule; ``v`` from -1 to 1, as a map of one column is; ``b`` is zero."""
        initialise.glorot(self.W, 3)
        if self.P is not None:
            initialise.glorot(self.P)
        for v in (self.v_f, self.v_r):
            nn.init.uniform_(v, -1, 1)
        for b in (self.b_f, self.b_r):
            if b is not None:
                nn.init.zeros_(b)

    def step(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        new, a_f, a_r = self.W(x).chunk(3, -1)
        if self.b_f is not None and self.b_r is not None:
            a_f, a_r = a_f + self.b_f, a_r + self.b_r
        f = torch.sigmoid(a_f + self.v_f * c)
        r = torch.sigmoid(a_r + self.v_r * c)
        c = f * c + (1 - f) * new
        return c, r * c + (1 - r) * (x if self.P is None else self.P(x))
