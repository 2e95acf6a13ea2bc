"""The cells by the names that commands and files use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ostinato.cell import Cell
from ostinato.cells.elman import Elman
from ostinato.cells.gru import GRU, MinimalGRU
from ostinato.cells.indrnn import IndRNN
from ostinato.cells.leaky import Leaky
from ostinato.cells.lstm import LSTM, LayerNormLSTM, PeepholeLSTM
from ostinato.cells.output import NARX, OutputRecurrence
from ostinato.cells.skip import Skip
from ostinato.cells.slstm import SLSTM

CELLS: Mapping[str, tuple[Callable[..., Cell], Mapping[str, Any]]] = {
    "elman": (Elman, {"nonlinearity": "tanh"}),
    "elman-relu": (Elman, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "lstm-peephole": (PeepholeLSTM, {}),
    "lstm-layernorm": (LayerNormLSTM, {}),
    "gru": (GRU, {"reset": "after"}),
    "gru-before": (GRU, {"reset": "before"}),
    "mgu": (MinimalGRU, {}),
    "leaky": (Leaky, {"learned": False}),
    "leaky-learned": (Leaky, {"learned": True}),
    "skip": (Skip, {}),
    "output": (OutputRecurrence, {}),
    "narx": (NARX, {}),
    "indrnn": (IndRNN, {}),
    "slstm": (SLSTM, {}),
}
"""For each name the class, and the options that the name has settled."""


def names() -> tuple[str, ...]:
    """The names that :func:`create` knows."""
    return tuple(CELLS)


def options(name: str) -> tuple[str, ...]:
    """The options that :func:`create` takes for a name.

    Raises:
        ValueError: on an unknown name.

    >>> options("gru-before")
    ('bias', 'device', 'dtype')
    """
    factory, settled = _lookup(name)
    kinds = inspect.signature(factory).parameters.values()
    return tuple(p.name for p in kinds if p.kind is p.KEYWORD_ONLY and p.name not in settled)


def create(name: str, input_size: int, hidden_size: int, **given: Any) -> Cell:
    """The cell with that name.

    Args:
        name: one of :func:`names`.
        input_size: the width of its input.
        hidden_size: the width of its hidden units.
        **given: the class's own options, but for those that the name settles; :func:`options` lists them.

    Raises:
        ValueError: on an unknown name or option, or where the class refuses a value.

    >>> create("lstm", 3, 4, proj_size=2).states[0].shape
    (2,)
    """
    factory, settled = _lookup(name)
    known = options(name)
    for option in given:
        if option not in known:
            raise ValueError(f"cell {name!r} has no option {option!r}; it takes {', '.join(known)}")
    return factory(input_size, hidden_size, **settled, **given)


def output_size(cell: Cell) -> int:
    """The width of what a cell without an output of its own puts out: of its first state.

    >>> output_size(create("output", 3, 4, output_size=2))
    2
    """
    return cell.states[0].shape[-1]


def _lookup(name: str) -> tuple[Callable[..., Cell], Mapping[str, Any]]:
    if name not in CELLS:
        raise ValueError(f"unknown cell {name!r}; known are {', '.join(CELLS)}")
    return CELLS[name]
