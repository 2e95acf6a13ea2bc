"""Dropout that is the same at all steps: of what the recurrent weights map, and of the weights themselves."""

from __future__ import annotations

from torch import Tensor

from ostinato.cell import Cell
from ostinato.cells.products import MaskedProducts
from ostinato.cells.wrapper import Wrapper, check_probability, dropped, recurrent_weights, replaced


class RecurrentDropout(Wrapper):
    """Variational dropout: one mask a sequence, the same at all its steps::

        z_x ~ Bernoulli(1 - input_p)     z_h ~ Bernoulli(1 - p)     once for each sequence
        (s[t], y[t]) = cell(x[t] z_x / (1 - input_p), s[t-1]),  in which U h  stands for  U (h z_h / (1 - p))

    The mask is on what the recurrent weights map, not on the state: what a cell carries on without a product (C of the
    LSTM, h of the GRU and of leaky units) is carried on whole. Each recurrent weight has a mask of its own, for all
    gates together. In evaluation mode nothing is dropped.

    Args:
        cell: any cell; what maps its states is named in its ``recurrent``, by default ``U``.
        p: the probability of dropping what a recurrent weight maps.
        input_p: the probability of dropping an input. Default: 0.

    Masks, true where kept: for each recurrent weight ``state.U.weight`` (its path in the cell inside), ``[B, K]``, and
    ``input``, ``[B, N]`` (the first input), each of a sequence.

    Raises:
        TypeError: when ``cell`` is not a cell.
        ValueError: on a probability outside of [0, 1], on a cell without recurrent weights, and, in a step, on a
            recurrent weight that is in no product.

    Source: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", NIPS
    2016 (arXiv 1512.05287), equation 7.

    >>> import torch
    >>> from ostinato import Recurrent, cells
    >>> rnn = Recurrent(cells.RecurrentDropout(cells.GRU(3, 5), p=0.25, input_p=0.5))
    >>> {name: list(mask.shape) for name, mask in rnn.draw(torch.zeros(2, 7, 3)).items()}
    {'input': [2, 3], 'state.U.weight': [2, 5]}
    """

    def __init__(self, cell: Cell, p: float, input_p: float = 0.0) -> None:
        super().__init__(cell)
        self.p, self.input_p = check_probability("p", p), check_probability("input_p", input_p)
        recurrent_weights(cell)

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        if not self.training:
            return super().step(*args)
        inputs, past, constants = self.split(args)
        if self.input_p:
            inputs = [self._dropped("input", inputs[0], self.input_p), *inputs[1:]]
        if not self.p:
            states, output = self.inside(inputs, past, constants)
            return (*states, output)
        with MaskedProducts(recurrent_weights(self.cell), self._mapped) as products:
            states, output = self.inside(inputs, past, constants)
        if products.unused:
            raise ValueError(f"{type(self.cell).__name__} maps nothing by its recurrent weights "
                             f"{', '.join(sorted(products.unused))}")
        return (*states, output)

    def _mapped(self, name: str, operand: Tensor) -> Tensor:
        return self._dropped(f"state.{name}", operand, self.p)

    def _dropped(self, name: str, value: Tensor, p: float) -> Tensor:
        return dropped(value, self.draw(name, value, 1 - p, "sequence"), p)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}, input_p={self.input_p}"


class WeightDropout(Wrapper):
    """DropConnect on the recurrent weights: one mask of the weights a call, the same at all steps and for all
    sequences::

        M ~ Bernoulli(1 - p)                                        once for each call
        (s[t], y[t]) = cell(x[t], s[t-1]),  with  U M / (1 - p)  in the place of  U

    In evaluation mode nothing is dropped.

    Args:
        cell: any cell; what maps its states is named in its ``recurrent``, by default ``U``.
        p: the probability of dropping a weight.

    Masks, true where kept: for each recurrent weight ``weight.U.weight`` (its path in the cell inside), of its shape,
    for a call.

    Raises:
        TypeError: when ``cell`` is not a cell.
        ValueError: on a probability outside of [0, 1], and on a cell without recurrent weights.

    Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018 (arXiv 1708.02182),
    section 2; Wan et al., "Regularization of Neural Networks using DropConnect", ICML 2013.

    >>> import torch
    >>> from ostinato import Recurrent, cells
    >>> rnn = Recurrent(cells.WeightDropout(cells.LSTM(3, 5), p=0.5))
    >>> {name: list(mask.shape) for name, mask in rnn.draw(torch.zeros(2, 7, 3)).items()}
    {'weight.U.weight': [20, 5]}
    """

    def __init__(self, cell: Cell, p: float) -> None:
        super().__init__(cell)
        self.p = check_probability("p", p)
        recurrent_weights(cell)

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        if not (self.training and self.p):
            return super().step(*args)
        weights = {name: dropped(weight, self.draw(f"weight.{name}", weight, 1 - self.p, "call"), self.p)
                   for name, weight in recurrent_weights(self.cell).items()}
        with replaced(self.cell, weights):
            return super().step(*args)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"
