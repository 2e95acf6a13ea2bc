"""The masks of a call: drawn before it begins, or given and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ostinato.noise import PREFIX, Draw, bernoulli


class Kept(dict[str, Tensor]):
    """Masks that stay from call to call: what is drawn is added, but for the masks of each step."""


def complete(draws: Sequence[Draw], given: Mapping[str, Tensor], steps: int, batch: int, device: torch.device,
             batch_first: bool, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """All masks that a step asks for, by their names in a program, time first.

    Args:
        draws: what is asked for; drawn in this order.
        given: those that are not to be drawn, as a caller names them.
        batch_first: the layout of those of each step: ``[B, T, ...]`` or ``[T, B, ...]``.

    Raises:
        ValueError, TypeError: naming the mask, what was expected and what came.
    """
    check_names([d.name for d in draws], given)
    return {d.name: find(d, given, steps, batch, device, batch_first, generator) for d in draws}


def check_names(asked: Sequence[str], given: Mapping[str, Tensor]) -> None:
    """Raise a ValueError for a mask that is given and not asked for; those of a stream may be of another mode."""
    known = [name.removeprefix(PREFIX) for name in asked]
    for name in () if isinstance(given, Kept) else given:
        if name not in known:
            raise ValueError(f"drawn: no mask is called {name!r} here; there are: {', '.join(known) or 'none'}")


def find(d: Draw, given: Mapping[str, Tensor], steps: int, batch: int, device: torch.device, batch_first: bool,
         generator: torch.Generator | None = None) -> Tensor:
    """One mask, time first: given, or drawn now."""
    name = d.name.removeprefix(PREFIX)
    if name in given:
        _check(name, d, given[name], steps, batch, batch_first)
        value = given[name].to(device)
        return value.transpose(0, 1) if batch_first and d.each == "step" else value
    value = bernoulli(d.size(steps, batch), d.p, device, generator)
    if isinstance(given, Kept) and d.each != "step":
        given[name] = value
    return value


def shown(draws: Sequence[Draw], masks: Mapping[str, Tensor], batch_first: bool) -> dict[str, Tensor]:
    """Masks as a caller has them: by their own names, in the caller's layout."""
    return {d.name.removeprefix(PREFIX): masks[d.name].transpose(0, 1) if batch_first and d.each == "step" else
            masks[d.name] for d in draws}


def _check(name: str, asked: Draw, value: Tensor, steps: int, batch: int, batch_first: bool) -> None:
    lead = (batch, steps) if batch_first else (steps, batch)
    wanted = (*lead, *asked.shape) if asked.each == "step" else asked.size(steps, batch)
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        found = value.dtype if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TypeError(f"drawn: the mask {name!r} must be a bool tensor {list(wanted)}, got {found}")
    if tuple(value.shape) != wanted:
        raise ValueError(f"drawn: the mask {name!r} must be {list(wanted)}, got {list(value.shape)}")
