"""Depth: every layer reads the outputs of the one below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.layers.parts import Lengths, Tensors, as_layer, first_layout, one_each
from ostinato.layers.streams import StackStream


class Stack(nn.Module):
    """Layers on top of each other.

    Args:
        layers: cells, or layers: ``Recurrent``, ``Bidirectional``, ``TDNN``, ``Stack``, or, over images,
            ``Recurrent2d``, ``ReNet`` and ``Patches``; the lowest first.
        dropout: probability of dropping an output between two layers, in training. Default: 0.
        residual: add to the output of every layer above the lowest what it read, so that the layer learns a change.

    Raises:
        ValueError: no layers, a dropout outside of [0, 1], a layer below another that returns several outputs
            (``merge=None``), or layouts (``batch_first``) that differ.
        TypeError: a layer that is none.

    Source of the residual: Wu et al., "Google's Neural Machine Translation System", 2016 (arXiv 1609.08144), eq. 6.

    >>> import torch
    >>> from ostinato import cells
    >>> from ostinato.layers import Bidirectional
    >>> deep = Stack([cells.Elman(3, 5), Bidirectional(cells.GRU(5, 4), cells.GRU(5, 4)), cells.LSTM(8, 2)])
    >>> output, states = deep(torch.ones(2, 7, 3), lengths=torch.tensor([7, 4]))
    >>> output.shape, len(states), [s.shape[-1] for s in states[2]]
    (torch.Size([2, 7, 2]), 3, [2, 2])
    """

    def __init__(self, layers: Sequence[nn.Module], dropout: float = 0.0, residual: bool = False) -> None:
        super().__init__()
        if not layers:
            raise ValueError("a stack needs at least one layer")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability from 0 to 1, got {dropout}")
        if any(getattr(layer, "merge", "") is None for layer in layers[:-1]):
            raise ValueError("only the last layer of a stack may have merge=None: it returns several outputs")
        self.batch_first = first_layout(layers)
        self.layers = nn.ModuleList(as_layer(layer, self.batch_first) for layer in layers)
        self.dropout, self.residual = dropout, residual

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
            lengths, mask, reset: as for ``Recurrent``, of ``x``; where a layer gives fewer steps than it reads, those
                above it get fewer (its ``output_lengths``).
            constants: the per-sequence constants, one entry a layer.

        Returns:
            (output of the last layer ``[B, T, ...]``, final states with one entry a layer).

        Raises:
            ValueError: with ``residual``, when a layer's output has another shape than its input.
        """
        starts = one_each(initial, len(self.layers), "initial", None)
        each_constants = one_each(constants, len(self.layers), "constants", None)
        output: Any = x
        finals = []
        for index, (layer, start, values) in enumerate(zip(self.layers, starts, each_constants, strict=True)):
            below = output
            if index and self.dropout and self.training:
                output = F.dropout(output, self.dropout)
            given = {} if values is None else {"constants": values}
            output, final = layer(output, start, lengths, mask, reset, **given)
            finals.append(final)
            if index and self.residual:
                output = _sum(output, below, index)
            lengths = _passed_on(layer, lengths)
        return output, tuple(finals)

    def output_lengths(self, lengths: Lengths) -> Tensor:
        """How many outputs sequences of these lengths have."""
        found = torch.as_tensor(lengths)
        for layer in self.layers:
            found = _passed_on(layer, found)
        return found

    def stream(self) -> StackStream:
        """A stream that takes chunks of any size; together its outputs equal those of one long call.

        Raises:
            ValueError: when a layer needs the whole sequence.
        """
        return StackStream(self)

    def extra_repr(self) -> str:
        shown = {"dropout": self.dropout, "residual": self.residual}
        return ", ".join(f"{name}={value}" for name, value in shown.items() if value)


def _passed_on(layer: nn.Module, lengths: Any) -> Any:
    """The lengths of a layer's outputs."""
    change = getattr(layer, "output_lengths", None)
    return lengths if lengths is None or change is None else change(lengths)


def _sum(output: Any, below: Tensor, index: int) -> Tensor:
    shapes = [list(v.shape) if isinstance(v, Tensor) else "several" for v in (output, below)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"residual=True needs layers that put out what they read in shape: layer {index} reads "
                         f"{shapes[1]} and puts out {shapes[0]}")
    return output + below
