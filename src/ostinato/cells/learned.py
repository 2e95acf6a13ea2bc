"""A learned beginning."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ostinato.cell import Cell
from ostinato.cells.wrapper import Wrapper, like_parameters


class LearnedInitial(Wrapper):
    """The states before the first step, and after a reset, are parameters::

        s[0] = theta_s                                              the same for every sequence
        (s[t], y[t]) = cell(x[t], s[t-1])

    Their gradient is the sum over all sequences, and over all resets. ``initial=`` of a call goes before it; a reset
    goes to the learned value even then. A state that is read further back than one step begins with the same value at
    each of them.

    Args:
        cell: any cell.
        states: the names of the states whose beginning is learned. Default: all.

    Parameters: ``initial_NAME [*shape]`` for each of these states; they start from what the cell declares.

    Raises:
        TypeError: when ``cell`` is not a cell.
        ValueError: on a name that is no state.

    Source: Forcada and Carrasco, "Learning the Initial State of a Second-Order Recurrent Neural Network during Regular-
    Language Inference", Neural Computation 7, 1995.

    >>> from ostinato import cells
    >>> [name for name, _ in LearnedInitial(cells.Elman(3, 5)).named_parameters()]
    ['initial_h', 'cell.W.weight', 'cell.W.bias', 'cell.U.weight']
    """

    def __init__(self, cell: Cell, states: Sequence[str] | None = None) -> None:
        super().__init__(cell)
        names = [s.name for s in self.states]
        for name in names if states is None else states:
            if name not in names:
                raise ValueError(f"{type(cell).__name__} has no state {name!r}; it has {', '.join(names)}")
            inside = self.cell.states[names.index(name)]
            value = cell.initial_value(inside, **like_parameters(cell)).detach().expand(inside.shape).clone()
            self.register_parameter(f"initial_{name}", nn.Parameter(value))
            self.begin(name, f"initial_{name}")
