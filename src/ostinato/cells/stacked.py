"""Several cells as one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells.wrapper import checked, within


class StackedCells(Cell):
    """Cells on top of each other, as one cell: at every step each reads what the one below has just put out::

        (s_0[t], y_0[t]) = cell_0(x[t], s_0[t-1])
        (s_k[t], y_k[t]) = cell_k(y_{k-1}[t], s_k[t-1])             k = 1, 2, ...
        y[t] = y_K[t]

    The same network as ``layers.Stack``, in one loop instead of several: for steps that arrive one by one, and for
    wrappers around the whole.

    Args:
        cells: the lowest first. Inputs and per-sequence constants go to the lowest; the others have one input.

    The states are those of all cells, ``h_0``, ``C_0``, ``h_1``, ... for two LSTMs; the parameters ``cells.0.W.weight``
    and so on.

    Raises:
        TypeError: on something that is not a cell.
        ValueError: without cells, on a cell that occurs twice, or one above another that takes more than one input.

    Source: Graves, "Generating Sequences With Recurrent Neural Networks", 2013 (arXiv 1308.0850), section 2; El Hihi
    and Bengio, "Hierarchical Recurrent Neural Networks for Long-Term Dependencies", NIPS 1995.

    >>> from ostinato import cells
    >>> [s.name for s in StackedCells([cells.LSTM(3, 5), cells.GRU(5, 4)]).states]
    ['h_0', 'C_0', 'h_1']
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        super().__init__()
        if not cells:
            raise ValueError("a stack needs at least one cell")
        for k, cell in enumerate(cells):
            if checked(cell, "StackedCells").inputs != 1 and k:
                raise ValueError(f"only the lowest cell may have more than one input, number {k} takes {cell.inputs}")
        if len(set(map(id, cells))) < len(cells):
            raise ValueError("a cell occurs twice: each has its own weights and states")
        self.inputs = cells[0].inputs
        self.recurrent = tuple(f"cells.{k}.{name}" for k, cell in enumerate(cells) for name in cell.recurrent)
        self.cells = nn.ModuleList(cells)
        for k, cell in enumerate(cells):
            for s in cell.states:
                self.add_state(f"{s.name}_{k}", s.shape, s.delays, within(f"cells.{k}", s.initial))

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        given, rest, states = list(args[: self.inputs]), list(args[self.inputs :]), []
        constants = rest[sum(len(s.delays) for s in self.states) :]
        for cell in self.cells:
            assert isinstance(cell, Cell)
            reads = sum(len(s.delays) for s in cell.states)
            new, output = cell.split_result(cell.step(*given, *rest[:reads], *constants))
            states += new
            given, rest, constants = [output], rest[reads:], []
        return (*states, given[0])
