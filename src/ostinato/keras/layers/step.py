"""A cell of Keras as a cell of Ostinato: its ``call`` is the step, its weights are given at every call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import keras
import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.keras.layers.past import Past

tree: Any = keras.tree
MASKS = ("_dropout_mask", "_recurrent_dropout_mask")
"""Where a cell of Keras keeps its masks from step to step."""

SETTINGS = (int, float, str, type(None), FunctionType)


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


def settings_of(cell: Any) -> tuple[Any, ...]:
    """What a cell's ``call`` may depend on beside its weights: its numbers, names, functions, and which cell it is."""
    return id(cell), *((name, value) for name, value in vars(cell).items() if isinstance(value, SETTINGS))


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
        self._about = (cell, states, training, masks_of(cell)[0] if training else [])
        for number, variable in enumerate(variables_of(cell)):
            value = torch.empty(tuple(variable.shape), dtype=variable.value.dtype, device="meta")
            self.register_parameter(f"w{number}", nn.Parameter(value, requires_grad=value.is_floating_point()))
        self._count = 0  # of what it reads of its states
        for number, (shape, delays) in enumerate(reads_of(cell, states)):
            self.add_state(f"s{number}", shape, delays)
            self._count += len(delays)

    def step(self, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        cell, structure, training, places = self._about
        weights = [self._parameters[f"w{number}"] for number in range(len(self._parameters))]
        past, masks = given[: self._count], given[self._count :]
        with weights_in_place(cell, weights), masks_in_place(places, masks):
            if isinstance(cell, Past):
                return cell.advance(x, *past, training=training)
            told = {"training": training} if getattr(cell, "_call_has_training_arg", False) else {}
            with uncast(cell):
                output, following = cell(x, tree.pack_sequence_as(structure, past), **told)
        return (*tree.flatten(following), output)


def reads_of(cell: Any, states: Any) -> Sequence[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each state of a cell, its shape and the delays at which the cell reads it."""
    return cell.reads if isinstance(cell, Past) else [(tuple(s.shape[1:]), (1,)) for s in tree.flatten(states)]


@contextmanager
def uncast(cell: Any) -> Iterator[None]:
    """For a moment, a cell and those stacked in it take what they are given, also the doubles of a trial run; the
    layer has cast it before."""
    layers = [part for part in (cell, *parts_of(cell)) if isinstance(part, keras.Layer)]
    before = [part.autocast for part in layers]
    for part in layers:
        part.autocast = part.autocast and part.compute_dtype != part.variable_dtype
    try:
        yield
    finally:
        for part, value in zip(layers, before, strict=True):
            part.autocast = value


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
