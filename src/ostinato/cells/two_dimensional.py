"""Steps with two pasts: the neighbour on the left and the one above, for :class:`ostinato.layers.Recurrent2d`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ostinato.cell import Cell, State
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes
from ostinato.cells.wrapper import within

GATES = 5


class Cell2d(Cell):
    """One position of a two-dimensional recurrence: ``s[i,j] = f(x[i,j], s[i-1,j], s[i,j-1]; theta)``.

    ``step(x, above..., states...)`` receives the input ``[B, ...]``, the states of the position above, ``[B, *shape]``
    each, and those of the position on the left, in the order declared (there once for every delay); it returns the next
    states, as any cell's.

    >>> class Sum(Cell2d):
    ...     "s[i,j] = x[i,j] + s[i-1,j] + s[i,j-1]"
    ...     def __init__(self, size):
    ...         super().__init__()
    ...         self.add_state("s", size)
    ...     def step(self, x, s_above, s):
    ...         return x + s_above + s
    >>> Sum(2)(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2))
    tensor([[3., 3.]])
    """

    @property
    def above(self) -> tuple[State, ...]:
        """The states of the position above that ``step`` reads: by default all of them."""
        return self.states


class RowAbove(Cell2d):
    """Any cell in two dimensions: the first state of the position above is a part of its input::

        s[i,j] = step([x[i,j], h[i-1,j]], s[i,j-1])

    With :class:`~ostinato.cells.Elman` this is ``h[i,j] = g(W x[i,j] + A h[i-1,j] + U h[i,j-1] + b)``, the
    multi-dimensional network of Graves, with ``[W A]`` side by side in ``W.weight``. Gates see both neighbours, but
    what a state keeps by itself (the ``C`` of an LSTM) it keeps along its row only; :class:`LSTM2d` keeps it both ways.

    Args:
        cell: a cell whose input is N + H wide, for inputs ``x[i,j]`` of width N and a first state of width H.

    Raises:
        TypeError: when ``cell`` is no cell, or is one of two dimensions already.
        ValueError: when its first state is no vector.

    Source: Graves, Fernández and Schmidhuber, "Multi-Dimensional Recurrent Neural Networks", ICANN 2007.

    >>> from ostinato.cells import Elman
    >>> RowAbove(Elman(3 + 4, 4))(torch.ones(2, 3), torch.zeros(2, 4), torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        if not isinstance(cell, Cell) or isinstance(cell, Cell2d):
            raise TypeError(f"RowAbove takes a cell of one dimension, got a {type(cell).__name__}")
        if len(cell.states[0].shape) != 1:
            raise ValueError(f"RowAbove takes a cell whose first state is a vector, that of {type(cell).__name__} is "
                             f"{list(cell.states[0].shape)}")
        self.cell = cell
        for state in cell.states:
            self.add_state(state.name, state.shape, state.delays, within("cell", state.initial), state.symbols)

    @property
    def above(self) -> tuple[State, ...]:
        """The first state."""
        return self.states[:1]

    def step(self, x: Tensor, above: Tensor, *states: Tensor) -> Any:
        return self.cell.step(torch.cat([x, above], -1), *states)


class LSTM2d(Cell2d):
    """Long short-term memory in two dimensions, with a forget gate for each of them::

        i[i,j]  = sigmoid(W_i x[i,j] + A_i h[i-1,j] + U_i h[i,j-1] + b_i)
        e[i,j]  = sigmoid(W_e x[i,j] + A_e h[i-1,j] + U_e h[i,j-1] + b_e)
        f[i,j]  = sigmoid(W_f x[i,j] + A_f h[i-1,j] + U_f h[i,j-1] + b_f)
        C~[i,j] = tanh(W_C x[i,j] + A_C h[i-1,j] + U_C h[i,j-1] + b_C)
        o[i,j]  = sigmoid(W_o x[i,j] + A_o h[i-1,j] + U_o h[i,j-1] + b_o)
        C[i,j]  = e[i,j] C[i-1,j] + f[i,j] C[i,j-1] + i[i,j] C~[i,j]
        h[i,j]  = o[i,j] tanh(C[i,j])

    The paper's gates also see the cells (peepholes). Where both ``e`` and ``f`` are near 1, ``C`` grows with the number
    of paths between two positions, that is, exponentially: so they begin at 1/2 each, a ``forget_bias`` of 0.

    Args:
        input_size: N, the width of ``x[i,j]``: ``[B, N]``.
        hidden_size: H, the width of the states ``h`` and ``C``: ``[B, H]`` each.
        forget_bias: what ``b_e`` and ``b_f`` start from, by default 0.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [5H, N]``, ``W.bias [5H]``, ``A.weight [5H, H]`` and ``U.weight [5H, H]`` with the rows of i,
    e, f, C~, o in that order.

    Raises:
        ValueError: on a size below 1.

    Source: Graves, Fernández and Schmidhuber, "Multi-Dimensional Recurrent Neural Networks", ICANN 2007; the growth of
    ``C``: Leifert, Strauß, Grüning, Wustlich and Labahn, "Cells in Multidimensional Recurrent Neural Networks", JMLR
    17, 2016.

    >>> h, C = LSTM2d(3, 4)(torch.ones(2, 3), *[torch.zeros(2, 4)] * 4)
    >>> h.shape, C.shape
    (torch.Size([2, 4]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 0.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.forget_bias = forget_bias
        self.W = nn.Linear(input_size, GATES * hidden_size, bias, device, dtype)
        self.A = nn.Linear(hidden_size, GATES * hidden_size, False, device, dtype)
        self.U = nn.Linear(hidden_size, GATES * hidden_size, False, device, dtype)
        self.add_state("h", hidden_size)
        self.add_state("C", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule, ``A`` and ``U`` orthogonal; ``b`` is zero, or ``forget_bias``."""
        initialise.glorot(self.W, GATES)
        initialise.orthogonal(self.A, GATES)
        initialise.orthogonal(self.U, GATES)
        if self.W.bias is not None:
            with torch.no_grad():
                for b in self.W.bias.chunk(GATES)[1:3]:
                    b.fill_(self.forget_bias)

    def step(self, x: Tensor, h_above: Tensor, C_above: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        a_i, a_e, a_f, a_C, a_o = (self.W(x) + self.A(h_above) + self.U(h)).chunk(GATES, -1)
        i, e, f, o = torch.sigmoid(a_i), torch.sigmoid(a_e), torch.sigmoid(a_f), torch.sigmoid(a_o)
        C = e * C_above + f * C + i * torch.tanh(a_C)
        return o * torch.tanh(C), C
