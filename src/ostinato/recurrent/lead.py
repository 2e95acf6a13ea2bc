"""How many steps and sequences a call has: its inputs say so, or, where the cell has none, the caller."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from torch import Tensor

from ostinato.cell import Cell


def lead_of(cell: Cell, xs: Sequence[Tensor], steps: int | None, batch: int | None,
            others: Sequence[Tensor], constants: int) -> tuple[int, int]:
    """T and B of a call.

    Args:
        xs: the inputs, ``[T, B, ...]`` each.
        steps, batch: as the caller gave them; with inputs they may only say the same.
        others: what a call without inputs also knows B from, ``[B, ...]`` each.

        constants: how many of them are constants.

    Raises:
        TypeError: when a number is no whole one.
        ValueError: when T or B is not known, below 1 (T) or 0 (B), or not that of the inputs; without inputs, when
            ``step`` takes some.
    """
    for name, value in (("steps", steps), ("batch", batch)):
        if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__")):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
    if xs:
        found = xs[0].shape[:2]
        for name, value, own in (("steps", steps, found[0]), ("batch", batch, found[1])):
            if value is not None and value != own:
                raise ValueError(f"{name}={value} was given with an input that has {own}; it is for a cell without "
                                 "inputs")
        return found[0], found[1]
    _check_autonomous(cell, constants)
    if batch is None:
        batch = next((v.shape[0] for v in others if v.dim()), None)
    if steps is None or batch is None:
        lacks = "steps=" if steps is None else "batch= or initial="
        raise ValueError(f"{type(cell).__name__} was given no input: {lacks} must say how many there are")
    if steps < 1 or batch < 0:
        raise ValueError(f"without an input, steps must be at least 1 and batch at least 0, got {steps} and {batch}")
    return steps, batch


def _check_autonomous(cell: Cell, constants: int) -> None:
    """Whether ``step`` can do with the states and so many constants."""
    kinds = inspect.signature(cell.step).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in kinds):
        return
    needed = [p for p in kinds if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    if len(needed) > sum(len(s.delays) for s in cell.states) + constants:
        raise ValueError(f"{type(cell).__name__}.step needs at least one input, got none")
