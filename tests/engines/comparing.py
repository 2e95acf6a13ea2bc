"""Engines that check themselves: every loop that is run is run by the reference engine too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import catalogue
import pytest
import torch
from close import assert_close
from torch import Tensor

from ostinato import Cell, Recurrent, strict
from ostinato.engines import choice
from ostinato.engines.cpu import unavailable
from ostinato.engines.reference import Reference
from ostinato.program.evaluate import Run
from ostinato.program.ir import Program

native = pytest.mark.skipif(unavailable() is not None, reason=f"the CPU engine: {unavailable()}")


def compared(engine: type) -> type:
    """An engine whose every run is compared with the reference engine's, in float64."""

    class Compared:  # and it remembers what it ran
        name, fuses = f"compared {engine.name}", True
        seen: ClassVar[list[tuple[Program, Sequence[Tensor], Sequence[Tensor], Run, bool]]]

        def __init__(self, loop: Program) -> None:
            self.engine, self.reference, self.loop = engine(loop), Reference(loop), loop

        @staticmethod
        def refusal(loop: Program, dtype: torch.dtype, device: torch.device) -> str | None:
            plain = device.type == "cpu" and dtype in (torch.float32, torch.float64)
            return None if plain else f"{dtype} on {device}"

        def run(self, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool) -> Any:
            found = self.engine.run(inputs, initial, run, reverse)
            wanted = self.reference.run([_wide(v) for v in inputs], [_wide(v) for v in initial],
                                        replace(run, dtype=torch.float64), reverse)
            for part, one, other in zip(("emits", "finals"), found, wanted, strict=True):
                assert_close([v.to(run.dtype) if v.is_floating_point() else v for v in other],
                             [v.clone() for v in one], name=part)
            type(self).seen.append((self.loop, inputs, initial, run, reverse))
            return found

    Compared.seen = []
    return Compared


def _wide(value: Tensor) -> Tensor:
    return value.detach().double() if value.is_floating_point() else value


@contextmanager
def only(engine: type) -> Iterator[type]:
    """Prefer this engine inside; the reference engine is still there for who asks for it by name."""
    before = dict(choice.ENGINES)
    choice.ENGINES.clear()
    choice.ENGINES.update({engine.name: engine, "reference": Reference})
    try:
        yield engine
    finally:
        choice.ENGINES.clear()
        choice.ENGINES.update(before)


def trained(cell: Cell, steps: int, batch: int, reverse: bool = False, orders: int = 1, **features: Tensor) -> Tensor:
    """Run a cell forwards and backwards, from random initial states and by everything; the output."""
    module = Recurrent(cell, reverse=reverse)
    x = catalogue.inputs(cell, steps, batch).requires_grad_()
    initial = [v.requires_grad_() for v in catalogue.initial(cell, batch)]
    wrt = [x, *initial, *cell.parameters()]
    with strict():
        output, finals = module(x, initial, **features)
        results = [output, *finals]
        for _ in range(orders):
            total = sum((r * torch.linspace(0.5, 1.5, r.numel(), dtype=r.dtype).reshape(r.shape)).sum()
                        for r in results)
            assert isinstance(total, Tensor)
            results = torch.autograd.grad(total, wrt, create_graph=orders > 1, allow_unused=True,
                                          materialize_grads=True)
    return output
