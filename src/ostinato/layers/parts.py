"""What Bidirectional and Stack share: their parts, and values nested one for each part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.recurrent import Recurrent

Tensors = Tensor | Sequence[Tensor]
Lengths = Tensor | Sequence[int]


def as_layer(part: nn.Module, batch_first: bool, reverse: bool = False) -> nn.Module:
    """A cell, wrapped in ``Recurrent``; a layer, as it is.

    Raises:
        TypeError: when ``part`` is neither, or is a drop-in for torch.nn, which has other arguments.
        ValueError: when a layer's ``batch_first`` is another.
    """
    if isinstance(part, Cell):
        return Recurrent(part, batch_first=batch_first, reverse=reverse)
    if isinstance(part, nn.RNNBase) or not isinstance(part, nn.Module) or not hasattr(part, "batch_first"):
        raise TypeError(f"expected a cell, a Recurrent or a layer made of them, got a {type(part).__name__}")
    if part.batch_first != batch_first:
        raise ValueError(f"expected parts with batch_first={batch_first}, got {type(part).__name__} with the other")
    return part


def first_layout(parts: Sequence[Any]) -> bool:
    """``batch_first`` of the first part that has one; cells have none, and then it is True."""
    return next((bool(part.batch_first) for part in parts if hasattr(part, "batch_first")), True)


def one_each(values: Any, count: int, name: str, default: Any) -> Sequence[Any]:
    """``values``, one for each part; ``default`` for all where it is None.

    Raises:
        ValueError: when there are more or fewer.
    """
    if values is None:
        return [default] * count
    if not isinstance(values, (tuple, list)) or len(values) != count:
        got = len(values) if isinstance(values, (tuple, list)) else f"a {type(values).__name__}"
        raise ValueError(f"{name}: expected a tuple with one entry for each of {count} parts, got {got}")
    return values
