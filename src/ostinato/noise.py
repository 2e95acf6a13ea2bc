"""Random masks: a step asks for one by name, and whoever runs the step decides where it comes from.

Outside of a run it is drawn on the spot. A run draws every mask once, before the first step, and a program takes them
as it takes its inputs; so they can be seen beforehand, given, and used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

EACH = ("step", "sequence", "call")
"""For what a mask is drawn anew: every step of every sequence, every sequence, or every call."""
PREFIX = "draw."
"""How the names of masks begin among the inputs of a program."""


class Draw(NamedTuple):
    """A mask that a step asks for."""

    name: str
    """With the path of the module that asks, as a parameter's."""
    each: str
    p: float
    """The probability of true."""
    shape: tuple[int, ...]
    """Its features: without time and batch."""

    def size(self, steps: int, batch: int) -> tuple[int, ...]:
        """``[T, B, ...]`` for each step, ``[B, ...]`` for each sequence, ``[...]`` for a call."""
        return (*{"step": (steps, batch), "sequence": (batch,), "call": ()}[self.each], *self.shape)


Source = Callable[[nn.Module, str, Tensor, float, str], Tensor]
"""Gives a module the mask of a name; see :func:`draw`."""

_source: ContextVar[Source | None] = ContextVar("source", default=None)


@contextmanager
def drawing(source: Source) -> Iterator[None]:
    """Take the masks that are asked for inside from ``source``."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def paths_of(cell: nn.Module) -> dict[nn.Module, str]:
    """For each module of a cell the path by which its masks are called."""
    return {module: f"{PREFIX}{path}." if path else PREFIX for path, module in cell.named_modules()}


def asked_for(paths: dict[nn.Module, str], owner: nn.Module, name: str, like: Tensor, p: float, each: str) -> Draw:
    """What a module of a cell asks for."""
    if owner not in paths:
        raise ValueError(f"the mask {name!r} is asked for by a {type(owner).__name__} that is no part of the cell")
    return Draw(paths[owner] + name, each, float(p), tuple(like.shape[each != "call" :]))


def draw(owner: nn.Module, name: str, like: Tensor, p: float, each: str) -> Tensor:
    """What :meth:`ostinato.Cell.draw` gives."""
    if each not in EACH:
        raise ValueError(f"each must be one of {', '.join(EACH)}, got {each!r}")
    if not 0 <= p <= 1:
        raise ValueError(f"the probability of {name!r} must lie between 0 and 1, got {p!r}")
    source = _source.get()
    return bernoulli(like.shape, p, like.device) if source is None else source(owner, name, like, p, each)


def bernoulli(shape: Sequence[int], p: float, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Bool, each element true with probability ``p``; the same for the same state of torch's generator.

    Torch's generator seeds one of NumPy's, which is several times faster: a byte for each element is compared with
    ``256 p``, and where the two agree in whole numbers, one time in 256, another number decides. Inside a compiler or
    torch.func, where only torch's own operations may be, other numbers are drawn.
    """
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return torch.rand(tuple(shape), device=device) < p
    seed, count = int(torch.randint(2**63 - 1, (), generator=generator)), prod(shape)
    if p in (0, 1):
        return torch.full(tuple(shape), p == 1, device=device)
    numbers = np.random.SFC64(seed)
    given = numbers.random_raw(-(-count // 8)).view(np.uint8)[:count]
    whole, rest = divmod(256 * p, 1)
    mask = given < np.uint8(whole)
    undecided = np.flatnonzero(given == np.uint8(whole))
    mask[undecided] = np.random.Generator(numbers).random(len(undecided)) < rest
    return torch.from_numpy(mask).reshape(tuple(shape)).to(device)
