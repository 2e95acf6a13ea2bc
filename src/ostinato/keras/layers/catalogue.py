"""Every cell of :mod:`ostinato.cells`, and one's own, as a cell of Keras."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import keras
import torch
from torch import Tensor

from ostinato import cells
from ostinato.cell import Cell as OstinatoCell
from ostinato.keras.layers.past import Past

ops: Any = keras.ops

OF_LAYER = ("name", "trainable", "dtype")


@keras.saving.register_keras_serializable("ostinato")
class Cell(Past, keras.Layer):
    """A cell for :class:`RNN`: ``RNN(Cell("lstm-peephole", 64))``.

    Args:
        kind: a name from ``ostinato.cells.names()``; or a cell made before, one's own too. The latter is not saved.
        units: its hidden units; not with a cell made before.
        **options: the cell's own, as ``tau=5``; and a Keras layer's ``name``, ``trainable``, ``dtype``.

    Its weights are the cell's parameters, drawn by the cell's rules and named as it names them. A state that is read
    at longer delays is given by ``return_state`` as its last values, oldest first, in a row.

    Raises:
        ValueError: an unknown name or option, or a value that the cell refuses.

    >>> from ostinato.keras.layers import RNN
    >>> layer = RNN(Cell("gru-before", 4), return_sequences=True)
    >>> layer(keras.ops.ones((2, 7, 3))).shape, [w.name for w in layer.weights]
    (torch.Size([2, 7, 4]), ['W_weight', 'W_bias', 'U_weight'])
    """

    def __init__(self, kind: str | OstinatoCell, units: int | None = None, **options: Any) -> None:
        super().__init__(**{name: options.pop(name) for name in OF_LAYER if name in options})
        if isinstance(kind, str) == (units is None):
            raise ValueError("give a cell's name and its units, or a cell that has been made")
        self.kind, self.units, self.options = kind if isinstance(kind, str) else None, units, options
        with torch.device("meta"):
            made = cells.create(kind, 1, units, **options) if isinstance(kind, str) else kind  # type: ignore[arg-type]
        self._keep(made)
        self.output_size = cells.output_size(made)

    def _keep(self, module: OstinatoCell) -> None:
        self.__dict__["_made"] = [module]  # in no list of Keras's or PyTorch's: its weights are this layer's

    @property
    def made(self) -> OstinatoCell:
        """The cell, whose own numbers are those that this layer's weights began with."""
        return self.__dict__["_made"][0]

    @property
    def reads(self) -> Any:
        return [(s.shape, s.delays) for s in self.made.states]

    def build(self, input_shape: Any) -> None:
        if self.kind is not None:
            self._keep(cells.create(self.kind, input_shape[-1], self.units, **self.options))  # type: ignore[arg-type]
        found = [*self.made.named_parameters(), *self.made.named_buffers()]
        self._numbers = {}
        for name, value in found:
            if value.is_floating_point():
                self._numbers[name] = self.add_weight(
                    shape=tuple(value.shape), name=name.replace(".", "_"), trainable=value.requires_grad,
                    initializer=lambda shape, dtype=None, value=value: value.detach().clone())
        self.built = True

    def _weighted(self) -> AbstractContextManager[Any]:
        """While this is open, the cell has this layer's weights."""
        named: dict[str, Tensor] = {name: variable.value for name, variable in self._numbers.items()}
        return torch.nn.utils.stateless._reparametrize_module(self.made, named)

    def advance(self, inputs: Any, *past: Any, training: bool = False) -> tuple[Any, ...]:
        made = self.made.train(training)
        with self._weighted():
            following, output = made.split_result(made.step(inputs, *past))
        return (*following, output)

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """What the cell's states begin with: where that is a weight, as it is now."""
        with self._weighted():
            starts = self.made.initial_states(batch_size, dtype=getattr(torch, self.compute_dtype))
        return [ops.reshape(value, (batch_size, -1)) for value in starts]

    def get_config(self) -> dict[str, Any]:
        if self.kind is None:
            raise ValueError(f"{type(self.made).__name__} was given as an object, which a file cannot hold: save the "
                             "weights (model.save_weights), or give a cell by its name")
        return {**super().get_config(), "kind": self.kind, "units": self.units, **self.options}
