"""Engines that check themselves: every loop that is run is run by the reference engine too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from close import assert_close
from torch import Tensor

from ostinato.engines import choice
from ostinato.engines.cpu import unavailable
from ostinato.engines.reference import Reference
from ostinato.program.evaluate import Run
from ostinato.program.ir import Program

native = pytest.mark.skipif(unavailable() is not None, reason=f"the CPU engine: {unavailable()}")


def compared(engine: type) -> type:
    """An engine whose every run is compared with the reference engine's, in float64."""

    class Compared:
        name, fuses = f"compared {engine.name}", True
        runs = 0

        def __init__(self, loop: Program) -> None:
            self.engine, self.reference, self.loop = engine(loop), Reference(loop), loop

        @staticmethod
        def refusal(loop: Program, dtype: torch.dtype, device: torch.device) -> str | None:
            return None

        def run(self, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool) -> Any:
            found = self.engine.run(inputs, initial, run, reverse)
            wanted = self.reference.run([_wide(v) for v in inputs], [_wide(v) for v in initial],
                                        replace(run, dtype=torch.float64), reverse)
            for part, one, other in zip(("emits", "finals"), found, wanted, strict=True):
                assert_close([v.to(run.dtype) if v.is_floating_point() else v for v in other],
                             [v.clone() for v in one], name=part)
            type(self).runs += 1
            return found

    return Compared


def _wide(value: Tensor) -> Tensor:
    return value.detach().double() if value.is_floating_point() else value


@contextmanager
def only(engine: type) -> Iterator[type]:
    """Run everything inside on this engine."""
    before = dict(choice.ENGINES)
    choice.ENGINES.clear()
    choice.ENGINES[engine.name] = engine
    try:
        yield engine
    finally:
        choice.ENGINES.clear()
        choice.ENGINES.update(before)


def stages(words: Sequence[int]) -> list[str]:
    """The kinds of a plan's stages, in order."""
    from words import Machine

    return [("GEMM", "MAP", "REDUCE")[kind] for kind, _ in Machine.read(words, []).stages]


