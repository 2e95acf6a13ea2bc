"""A cell of Keras as a cell of Ostinato: its ``call`` is the step, its weights are given at every call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import torch
from keras import tree
from torch import Tensor, nn

from ostinato.cell import Cell

MASKS = ("_dropout_mask", "_recurrent_dropout_mask")
"""Where a cell of Keras keeps its masks from step to step."""


def parts_of(cell: Any) -> list[Any]:
    """A cell, or those that are stacked in it."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        return [part for inner in cell.cells for part in parts_of(inner)]
    return [cell]


def masks_of(cell: Any) -> tuple[list[Any], list[Tensor]]:
    """The masks that a cell keeps: where they are, with how many there are, and the masks ``[B, ...]``."""
    places, masks = [], []
    for part in parts_of(cell):
        for name in MASKS:
            kept = getattr(part, name, None)
            if kept is not None:
                found = tree.flatten(kept)
                places.append((part, name, len(found) if isinstance(kept, (list, tuple)) else None))
                masks += found
    return places, masks


def variables_of(cell: Any) -> list[Any]:
    """A cell's weights, trainable and not; a cell that is no layer has none."""
    return list(cell.variables) if isinstance(cell, keras.Layer) else []


class KerasStep(Cell):
    """One step of a Keras cell. Its own parameters are places for the weights, without memory.

    Args:
        cell: what is called as ``cell(inputs, states)`` and returns the output and the next states.
        states: an example of its states, nested as the cell nests them, ``[B, ...]`` each.
        training: what the cell is told, where it asks.
    """

    def __init__(self, cell: Any, states: Any, training: bool) -> None:
        super().__init__()
        self._about = (cell, [None] * len(tree.flatten(states)), states, training, masks_of(cell)[0])
        for number, variable in enumerate(variables_of(cell)):
            value = torch.empty(tuple(variable.shape), dtype=variable.value.dtype, device="meta")
            self.register_parameter(f"w{number}", nn.Parameter(value, requires_grad=value.is_floating_point()))
        for number, state in enumerate(tree.flatten(states)):
            self.add_state(f"s{number}", tuple(state.shape[1:]))

    def step(self, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        cell, nothing, structure, training, places = self._about
        states = tree.pack_sequence_as(structure, given[: len(nothing)])
        told = {"training": training} if getattr(cell, "_call_has_training_arg", False) else {}
        weights = [self._parameters[f"w{number}"] for number in range(len(self._parameters))]
        with weights_in_place(cell, weights), masks_in_place(places, given[len(nothing) :]):
            output, following = cell(x, states, **told)
        return (*tree.flatten(following), output)


@contextmanager
def weights_in_place(cell: Any, weights: Sequence[Any]) -> Iterator[None]:
    """For a moment, other values in a cell's variables."""
    variables = variables_of(cell)
    before = [variable._value for variable in variables]
    try:
        for variable, weight in zip(variables, weights, strict=True):
            variable._value = weight
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable._value = value


@contextmanager
def masks_in_place(places: Sequence[Any], masks: Sequence[Tensor]) -> Iterator[None]:
    """For a moment, other masks in a cell."""
    before = [getattr(part, name) for part, name, _ in places]
    rest = iter(masks)
    try:
        for part, name, count in places:
            setattr(part, name, next(rest) if count is None else [next(rest) for _ in range(count)])
        yield
    finally:
        for (part, name, _), value in zip(places, before, strict=True):
            setattr(part, name, value)
