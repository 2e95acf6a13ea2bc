"""A cell that reads a text while it writes: a soft window that slides along the symbols and never goes back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells.arguments import check_sizes
from ostinato.cells.table import output_size
from ostinato.cells.wrapper import within

SLOW = 2.5
"""How much less than one symbol a step the window moves to begin with, in nats: pens take many steps for a letter."""


class SlidingWindow(Cell):
    """Any cell with a window over a text, a mixture of K bumps whose places only grow::

        h[t]                 = f(s[t-1], [x[t], w[t-1]])
        alpha, beta, delta   = exp(W_w h[t] + b_w)
        kappa[t]             = kappa[t-1] + delta
        phi(u)               = sum over k of alpha_k exp(-beta_k (kappa_k[t] - u)^2)
        w[t]                 = sum over u of phi(u) m_u

    ``f`` is the cell and ``h`` its output. The output is ``[h, w]``. The text is a constant of the sequence, ``m [B, U,
    M]``, zero behind its end, and beside it the places of its symbols ``u [B, U]``, as 0, 1, 2, ...; its length U may
    differ from call to call.

    Args:
        cell: the step ``f``; it reads x and M more, side by side.
        memory_size: M.
        bumps: K. Default: 10.
        hidden_size: H, the width of the cell's output; default: that of its first state.

    Parameters: the cell's, ``W_w.weight [3 K, H]``, ``W_w.bias [3 K]``. ``step(x, states, m, u)``: the cell's,
    then ``kappa [B, K]`` and ``w [B, M]``.

    Raises:
        TypeError: when ``cell`` is none.
        ValueError: on a size below 1, or a cell with states of those names.

    Source: Graves, "Generating Sequences With Recurrent Neural Networks", arXiv 1308.0850, 2013, section 5.1.

    >>> from ostinato import cells
    >>> cell = SlidingWindow(cells.LSTM(3 + 4, 5), memory_size=4, bumps=2)
    >>> m, u = torch.ones(2, 7, 4), torch.arange(7.0).expand(2, 7)
    >>> *states, output = cell(torch.ones(2, 3), *cell.initial_states(2), m, u)
    >>> output.shape, [s.name for s in cell.states]
    (torch.Size([2, 9]), ['h', 'C', 'kappa', 'w'])
    """

    def __init__(self, cell: Cell, memory_size: int, *, bumps: int = 10, hidden_size: int | None = None) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(f"SlidingWindow repeats an ostinato.Cell, got a {type(cell).__name__}")
        size = hidden_size or output_size(cell)
        check_sizes(memory_size=memory_size, bumps=bumps, hidden_size=size)
        self.cell, self.bumps = cell, bumps
        like = next(cell.parameters())
        self.W_w = nn.Linear(size, 3 * bumps, True, like.device, like.dtype)
        with torch.no_grad():
            self.W_w.bias.zero_()
            self.W_w.bias[2 * bumps :] -= SLOW
        for s in cell.states:
            self.add_state(s.name, s.shape, s.delays, within("cell", s.initial), s.symbols)
        self.add_state("kappa", bumps)
        self.add_state("w", memory_size)

    def step(self, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        *states, kappa, w, memory, places = given
        news, h = self.cell.split_result(self.cell.step(torch.cat([x, w], -1), *states))
        alpha, beta, delta = self.W_w(h).exp().chunk(3, -1)  # [B, K] each
        kappa = kappa + delta
        far = kappa.unsqueeze(-1) - places.unsqueeze(1)  # [B, K, U]
        phi = (alpha.unsqueeze(-1) * torch.exp(-beta.unsqueeze(-1) * far * far)).sum(1)  # [B, U]
        w = (phi.unsqueeze(-1) * memory).sum(1)  # [B, M]
        return (*news, kappa, w, torch.cat([h, w], -1))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bumps={self.bumps}"
