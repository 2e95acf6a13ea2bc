"""Run one of the classical cells with weights that live somewhere else.

The drop-ins for torch.nn own their parameters under torch.nn's names; what they repeat is a bare ``Recurrent`` without
weights of its own. It is built once for each kind and shape and shared by all layers of that shape, so it is in no
module, no state dict and no pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from ostinato import cells
from ostinato.cell import Cell
from ostinato.recurrent import Recurrent

CELLS: dict[str, Callable[..., Cell]] = {
    "RNN_TANH": partial(cells.Elman, nonlinearity="tanh"),
    "RNN_RELU": partial(cells.Elman, nonlinearity="relu"),
    "LSTM": cells.LSTM,
    "GRU": partial(cells.GRU, reset="after"),
}


class Kind(NamedTuple):
    """What tells one bare ``Recurrent`` from another; ``mode`` is torch.nn's name of the cell."""

    mode: str
    input_size: int
    hidden_size: int
    proj_size: int
    bias: bool
    reverse: bool


_idle: dict[Kind, list[Recurrent]] = {}


def build(kind: Kind) -> Recurrent:
    """A bare ``Recurrent``: on the meta device it holds no memory and draws no random numbers."""
    projection = {"proj_size": kind.proj_size} if kind.proj_size else {}
    with torch.device("meta"):
        cell = CELLS[kind.mode](kind.input_size, kind.hidden_size, bias=kind.bias, **projection)
    return Recurrent(cell, batch_first=False, reverse=kind.reverse)


def prepare(kind: Kind) -> None:
    """Build it before the first call, which ``torch.compile`` may be tracing."""
    idle = _idle.setdefault(kind, [])
    if not idle:
        idle.append(build(kind))


def cell_weights(kind: Kind, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torch.nn's ``weight_ih, weight_hh, bias_ih, bias_hh, weight_hr`` under the names that the cell gives them."""
    named = {"W.weight": weights["weight_ih"], "U.weight": weights["weight_hh"]}
    if kind.proj_size:
        named["P.weight"] = weights["weight_hr"]
    if kind.bias and kind.mode == "GRU":  # the reset gate comes between its two biases
        named |= {"W.bias": weights["bias_ih"], "U.bias": weights["bias_hh"]}
    elif kind.bias:
        named["W.bias"] = weights["bias_ih"] + weights["bias_hh"]
    return named


def repeat(
    kind: Kind, weights: Mapping[str, Tensor], x: Tensor, initial: Sequence[Tensor], lengths: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Repeat the cell of ``kind``, with torch.nn's ``weights``, over ``x``.

    Args:
        x: ``[T, B, input_size]``.
        initial: the cell's states before the first step, ``[B, n]`` each.
        lengths: ``[B]``, or None where every sequence has T steps.

    Returns:
        outputs ``[T, B, n]``, zero in the padding, and the states at each sequence's own end, ``[B, n]`` each.
    """
    idle = _idle.setdefault(kind, [])
    try:  # taken out while it runs: a functional call puts the weights into it, which two threads must not do at once
        recurrent = idle.pop()
    except IndexError:
        recurrent = build(kind)
    try:
        named = {f"cell.{name}": weight for name, weight in cell_weights(kind, weights).items()}
        return functional_call(recurrent, named, (x, initial, lengths), strict=True)
    finally:
        idle.append(recurrent)
