"""Run one of the classical cells with weights that live somewhere else.

The drop-ins for torch.nn own their parameters under torch.nn's names; what they repeat is a bare cell without weights
of its own. It is built once for each kind and shape and shared by all layers of that shape, so it is in no module, no
state dict and no pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ostinato import cells
from ostinato.cell import Cell
from ostinato.program.sizes import Sizes
from ostinato.recurrent import Recurrent
from ostinato.recurrent.weightless import Weightless

CELLS: dict[str, Callable[..., Cell]] = {
    "RNN_TANH": partial(cells.Elman, nonlinearity="tanh"),
    "RNN_RELU": partial(cells.Elman, nonlinearity="relu"),
    "LSTM": cells.LSTM,
    "GRU": partial(cells.GRU, reset="after"),
}

NAMES = {"weight_ih": "W.weight", "weight_hh": "U.weight", "bias_ih": "W.bias", "bias_hh": "U.bias",
         "weight_hr": "P.weight"}
"""torch.nn's names of the weights, and those that the cells give them."""


class Kind(NamedTuple):
    """What tells one bare cell from another; ``mode`` is torch.nn's name of the cell."""

    mode: str
    input_size: int
    hidden_size: int
    proj_size: int
    bias: bool
    reverse: bool


_bare: dict[Kind, Weightless] = {}


def prepare(kind: Kind) -> Weightless:
    """A cell without weights, repeated with those it is given; built before the first call, which ``torch.compile`` may
    be tracing."""
    if kind not in _bare:
        _bare[kind] = _built(kind)
    return _bare[kind]


def _built(kind: Kind) -> Weightless:
    projection = {"proj_size": kind.proj_size} if kind.proj_size else {}
    with torch.device("meta"):  # holds no memory and draws no random numbers
        cell = CELLS[kind.mode](kind.input_size, kind.hidden_size, bias=kind.bias, **projection)
        one = cell.get_submodule("U").get_parameter("weight")
        cell.U = nn.Linear(one.shape[1], one.shape[0], kind.bias)  # torch.nn has a bias for both products
    return Weightless(Recurrent(cell, batch_first=False, reverse=kind.reverse), NAMES)


def repeat(kind: Kind, weights: Mapping[str, Tensor], x: Tensor, initial: Sequence[Tensor],
           lengths: Tensor | Sizes | None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Repeat the cell of ``kind``, with torch.nn's ``weights``, over ``x``.

    Args:
        x: ``[T, B, input_size]``; with ``Sizes``, ``[N, 1, input_size]``.
        initial: the cell's states before the first step, ``[1, B, n]`` each.
        lengths: ``[B]``; or how many sequences each step has, where there is no padding; or None where every sequence
            has T steps.

    Returns:
        outputs ``[T, B, n]``, zero in the padding, or ``[N, 1, n]``; and the states at each sequence's own end,
        ``[1, B, n]`` each.
    """
    bare = _bare.get(kind) or prepare(kind)
    if lengths is None and x.is_cpu and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling():
        return bare.at_once(weights, x, initial)
    named = {NAMES[name]: weight for name, weight in weights.items()}
    if isinstance(lengths, Sizes):
        return bare.packed(named, x, initial, lengths)
    return bare(named, x, initial, lengths)
