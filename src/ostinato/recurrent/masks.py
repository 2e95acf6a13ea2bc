"""The masks of a call: drawn before it begins, or given and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ostinato.noise import PREFIX, Draw, bernoulli


class Kept(dict[str, Tensor]):
    """Masks that stay from call to call: :func:`complete` adds those that are not of each step."""


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
    known = {d.name.removeprefix(PREFIX): d for d in draws}
    for name, value in given.items():
        if isinstance(given, Kept) and name not in known:
            continue  # of another mode
        if name not in known:
            raise ValueError(f"drawn: no mask is called {name!r} here; there are: {', '.join(known) or 'none'}")
        _check(name, known[name], value, steps, batch, batch_first)
    masks = {}
    for name, d in known.items():
        if name in given:
            value = given[name].to(device)
            masks[d.name] = value.transpose(0, 1) if batch_first and d.each == "step" else value
        else:
            masks[d.name] = bernoulli(d.size(steps, batch), d.p, device, generator)
    if isinstance(given, Kept):
        given.update({name: masks[d.name] for name, d in known.items() if d.each != "step"})
    return masks


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
