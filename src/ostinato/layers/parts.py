"""What the layers share: their parts, values nested one for each part, how outputs are merged, what is not padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.recurrent import Recurrent

Tensors = Tensor | Sequence[Tensor]
Lengths = Tensor | Sequence[int]

MERGE: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "concat": lambda outputs: torch.cat(list(outputs), -1),
    "sum": lambda outputs: reduce(torch.add, outputs),
    "average": lambda outputs: reduce(torch.add, outputs) / len(outputs),
    "mul": lambda outputs: reduce(torch.mul, outputs),
}
"""How the outputs of several directions become one."""


def check_merge(merge: str | None) -> str | None:
    """``merge``, or a ValueError that says what is known."""
    if merge is not None and merge not in MERGE:
        raise ValueError(f"merge must be one of {', '.join(MERGE)}, or None, got {merge!r}")
    return merge


def merged(merge: str | None, outputs: Sequence[Tensor]) -> Any:
    """The outputs as one; without a ``merge``, as they are, in a tuple.

    Raises:
        ValueError: when their shapes differ and ``merge`` needs equal ones.
    """
    if merge is None:
        return tuple(outputs)
    shapes = [list(output.shape) for output in outputs]
    if merge != "concat" and any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"merge={merge!r} needs equal outputs, got {' and '.join(map(str, shapes))}")
    return MERGE[merge](outputs)


def live_steps(lengths: Tensor, steps: int) -> Tensor:
    """Bool ``[B, T]``, true where a step counts."""
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)


def refuse(layer: str, **given: Any) -> None:
    """Raise a ValueError for the first argument that was given: the layer does not support it."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{layer} does not take {name}")


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
