"""Which engine runs a loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ostinato.engines.cpu import CPU
from ostinato.engines.reference import Reference
from ostinato.program.evaluate import Run
from ostinato.program.ir import Program


class Engine(Protocol):
    """Runs one loop; see :meth:`ostinato.engines.reference.Reference.run`."""

    name: ClassVar[str]
    fuses: ClassVar[bool]
    """Whether pointwise operations cost next to nothing in its loop."""

    def __init__(self, loop: Program) -> None: ...

    @staticmethod
    def refusal(loop: Program, dtype: torch.dtype, device: torch.device) -> str | None:
        """Why it cannot run a loop, if it cannot."""

    def run(
        self, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool
    ) -> tuple[list[Tensor], list[Tensor]]: ...


ENGINES: dict[str, type[Engine]] = {"cpu": CPU, "reference": Reference}
"""The engines there are, the preferred one first."""

_wanted: ContextVar[str | None] = ContextVar("engine", default=None)
_strict: ContextVar[bool] = ContextVar("strict", default=False)


class FallbackError(RuntimeError):
    """Under :func:`strict`: something would have run on a slower path than the one asked for."""


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Run everything inside on the engine of that name, or raise.

    Raises:
        ValueError: on a name that is not an engine.

    >>> with engine("reference"):
    ...     pass
    """
    if name not in ENGINES:
        raise ValueError(f"no engine is called {name!r}; there are: {', '.join(ENGINES)}")
    token = _wanted.set(name)
    try:
        yield
    finally:
        _wanted.reset(token)


@contextmanager
def strict() -> Iterator[None]:
    """Make any fallback an error: inside, a step that cannot be traced raises :class:`FallbackError`."""
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)


def wanted() -> str | None:
    """The engine asked for by name, if any."""
    return _wanted.get()


def is_strict() -> bool:
    """Whether a fallback is an error here."""
    return _strict.get()


def candidates() -> list[type[Engine]]:
    """The engines that may run a program here, the preferred one first."""
    name = _wanted.get()
    return list(ENGINES.values()) if name is None else [ENGINES[name]]


def chosen() -> str:
    """The engine that runs a program here, if it can."""
    return candidates()[0].name


def reason_of(engine: type[Engine], refusals: Sequence[str]) -> str:
    """Why an engine runs, after those that refused."""
    if refusals:
        return "; ".join(refusals)
    if wanted() is not None:
        return "asked for by name"
    return "preferred" if len(ENGINES) > 1 else "the only engine there is"
