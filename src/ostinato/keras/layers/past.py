"""Cells of Keras that read states from further back than one step."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras
from torch import Tensor

ops: Any = keras.ops


class Past:
    """Mixed into a cell of Keras: its states are histories.

    A cell says what it reads (:attr:`reads`) and computes ``advance``; as a cell of Keras, each of its states is the
    last values of one of them, oldest first, in one row: ``[B, D * n]``.
    """

    reads: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    """For each state, its shape ``[*shape]`` and the delays at which it is read."""

    def advance(self, inputs: Any, *past: Any, training: bool = False) -> tuple[Any, ...]:
        """The next states and the output, from the states at each of their delays; ``[B, ...]`` all."""
        raise TypeError(f"{type(self).__name__} has no advance(): write one that returns next states and the output")

    @property
    def state_size(self) -> list[int]:
        return [max(delays) * prod(shape) for shape, delays in self.reads]

    @state_size.setter
    def state_size(self, value: Any) -> None:
        """The constructors of Keras's cells set it; what is read says what it is."""

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """One step, as a cell of Keras is called."""
        histories = [self.history(state, i) for i, state in enumerate(states)]  # [B, D, *shape] each
        past = [h[:, -d] for h, (_, delays) in zip(histories, self.reads, strict=True) for d in delays]
        *following, output = self.advance(inputs, *past, training=training)
        return output, [self.row(_after(h, new)) for h, new in zip(histories, following, strict=True)]

    def history(self, state: Tensor, number: int) -> Tensor:
        """A state ``[B, D * n]`` as ``[B, D, *shape]``."""
        shape, delays = self.reads[number]
        return ops.reshape(state, (-1, max(delays), *shape))

    def row(self, history: Tensor) -> Tensor:
        """And back."""
        return ops.reshape(history, (-1, prod(history.shape[1:])))

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Zeros."""
        dtype = self.compute_dtype  # type: ignore[attr-defined] # Keras's
        return [ops.zeros((batch_size, size), dtype=dtype) for size in self.state_size]


def _after(history: Any, new: Any) -> Any:
    """A history ``[B, D, *shape]`` a step later."""
    new = ops.expand_dims(new, 1)  # [B, 1, *shape]
    return new if history.shape[1] == 1 else ops.concatenate([history[:, 1:], new], 1)
