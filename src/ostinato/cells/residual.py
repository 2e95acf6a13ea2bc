"""Shortcuts around a cell: its input is added to its output, as it is or through a gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells.wrapper import Wrapper, like_parameters


class Residual(Wrapper):
    """The input is added to the output, so that the cell learns a difference::

        (s[t], y~[t]) = cell(x[t], s[t-1])
        y[t] = x[t] + y~[t]

    The states are those of the cell; the (first) input is as wide as the output.

    Args:
        cell: any cell.

    Raises:
        TypeError: when ``cell`` is not a cell.
        ValueError: in a step, when input and output differ in shape.

    Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385);
    between recurrent layers: Wu et al., "Google's Neural Machine Translation System", 2016 (arXiv 1609.08144), equation
    6.

    >>> from ostinato import cells
    >>> h, y = Residual(cells.Elman(4, 4))(torch.ones(2, 4), torch.zeros(2, 4))
    >>> torch.equal(y, 1 + h)
    True
    """

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        inputs, past, constants = self.split(args)
        states, output = self.inside(inputs, past, constants)
        same_shape(self, inputs[0], output)
        return (*states, inputs[0] + output)


class Highway(Wrapper):
    """A gate says how much of the output is the cell's and how much is the input::

        (s[t], y~[t]) = cell(x[t], s[t-1])
        g[t] = sigmoid(G x[t] + b)
        y[t] = g[t] y~[t] + (1 - g[t]) x[t]

    The states are those of the cell; the (first) input is as wide as the output.

    Args:
        cell: any cell.
        bias: what ``b`` starts from, by default -1: mostly the input.
        size: the width of input and output, by default that of the cell's first state.

    Parameters: ``G.weight [H, H]``, ``G.bias [H]``.

    Raises:
        TypeError: when ``cell`` is not a cell.
        ValueError: in a step, when input and output differ in shape.

    Source: Srivastava, Greff and Schmidhuber, "Training Very Deep Networks", NIPS 2015 (arXiv 1507.06228), equation 3.

    >>> from ostinato import cells
    >>> Highway(cells.Elman(4, 4))(torch.ones(2, 4), torch.zeros(2, 4))[1].shape
    torch.Size([2, 4])
    """

    def __init__(self, cell: Cell, *, bias: float = -1.0, size: int | None = None) -> None:
        super().__init__(cell)
        size = size or self.states[0].shape[-1]
        self.G = nn.Linear(size, size, **like_parameters(cell))
        nn.init.xavier_uniform_(self.G.weight)
        nn.init.constant_(self.G.bias, bias)

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        inputs, past, constants = self.split(args)
        states, output = self.inside(inputs, past, constants)
        same_shape(self, inputs[0], output)
        g = torch.sigmoid(self.G(inputs[0]))
        return (*states, g * output + (1 - g) * inputs[0])


def same_shape(wrapper: Wrapper, x: Tensor, output: Tensor) -> None:
    """Raise a ValueError where an input cannot be added to an output."""
    if x.shape != output.shape or not x.is_floating_point():
        raise ValueError(
            f"{type(wrapper).__name__} adds the input to the output of {type(wrapper.cell).__name__}: both must be "
            f"floats of one shape, they are {list(x.shape)} and {list(output.shape)}"
        )
