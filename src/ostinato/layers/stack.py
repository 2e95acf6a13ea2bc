"""Depth: every recurrence reads the outputs of the one below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.parts import Lengths, Tensors, as_layer, first_layout, one_each


class Stack(nn.Module):
    """Recurrences on top of each other.

    Args:
        layers: cells, ``Recurrent``, ``Bidirectional`` or ``Stack``, the lowest first.
        dropout: probability of dropping an output between two layers, in training. Default: 0.

    Raises:
        ValueError: no layers, a dropout outside of [0, 1], a layer below another that returns a pair (``merge=None``),
            or layouts (``batch_first``) that differ.
        TypeError: a layer that is no cell and no recurrence.

    >>> import torch
    >>> from ostinato import cells
    >>> deep = Stack([cells.Elman(3, 5), Bidirectional(cells.GRU(5, 4), cells.GRU(5, 4)), cells.LSTM(8, 2)])
    >>> output, states = deep(torch.ones(2, 7, 3), lengths=torch.tensor([7, 4]))
    >>> output.shape, len(states), [s.shape[-1] for s in states[2]]
    (torch.Size([2, 7, 2]), 3, [2, 2])
    """

    def __init__(self, layers: Sequence[nn.Module], dropout: float = 0.0) -> None:
        super().__init__()
        if not layers:
            raise ValueError("a stack needs at least one layer")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability from 0 to 1, got {dropout}")
        if any(isinstance(layer, Bidirectional) and layer.merge is None for layer in layers[:-1]):
            raise ValueError("only the last layer of a stack may be Bidirectional with merge=None")
        self.batch_first = first_layout(layers)
        self.layers = nn.ModuleList(as_layer(layer, self.batch_first) for layer in layers)
        self.dropout = dropout

    def forward(
        self,
        x: Tensors,
        initial: Any = None,
        lengths: Lengths | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        *,
        constants: Any = None,
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run all layers.

        Args:
            x: ``[B, T, ...]``, or several such inputs of the first layer.
            initial: the states before the first step, one entry a layer as returned; None anywhere: the initial value.
            lengths, mask, reset: as for ``Recurrent``, the same for all layers.
            constants: the per-sequence constants, one entry a layer.

        Returns:
            (output of the last layer ``[B, T, ...]``, final states with one entry a layer).
        """
        starts = one_each(initial, len(self.layers), "initial", None)
        each_constants = one_each(constants, len(self.layers), "constants", None)
        output: Any = x
        finals = []
        for index, (layer, start, values) in enumerate(zip(self.layers, starts, each_constants, strict=True)):
            if index and self.dropout and self.training:
                output = F.dropout(output, self.dropout)
            given = {} if values is None else {"constants": values}
            output, final = layer(output, start, lengths, mask, reset, **given)
            finals.append(final)
        return output, tuple(finals)

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}" if self.dropout else ""
