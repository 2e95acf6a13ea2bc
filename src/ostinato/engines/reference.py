"""The reference engine: a plain Python loop over the nodes of a program's loop, one torch call each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from ostinato.program.evaluate import Run, Schedule, Values
from ostinato.program.ir import Program


class Reference:
    """One loop, ready to run."""

    name: ClassVar[str] = "reference"
    fuses: ClassVar[bool] = False

    def __init__(self, loop: Program) -> None:
        self.loop = loop

    @staticmethod
    def refusal(loop: Program, dtype: torch.dtype, device: torch.device) -> str | None:
        """Nothing is refused."""

    @cached_property
    def schedule(self) -> Schedule:
        keep = [*self.loop.emit.values(), *self.loop.next.values()]
        return Schedule(self.loop, range(len(self.loop.nodes)), keep)

    def run(
        self, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Repeat the loop over time.

        Args:
            inputs: in the loop's order; ``[T, B, ...]`` (x), ``[B, ...]`` (q) or ``[...]`` (p).
            initial: the last D values of each state, oldest first, ``[D, B, ...]``.
            reverse: from the last step to the first.

        Returns:
            the emits ``[T, B, ...]`` and the last D values of each state ``[D, B, ...]``.
        """
        loop, (steps, batch) = self.loop, run.lead
        fixed: Values = {}
        moving: list[tuple[int, tuple[Tensor, ...]]] = []
        for (_, i), value in zip(loop.inputs.items(), inputs, strict=True):
            if loop.nodes[i].op == "x":
                moving.append((i, value.unbind(0)))
            else:
                fixed[i] = value
        self.schedule.start(fixed, run)
        reads = [(i, n["state"], n["delay"]) for i, n in enumerate(loop.nodes) if n.op == "read"]
        history = {s.name: list(v.unbind(0)) for s, v in zip(loop.states, initial, strict=True)}
        following = [(s.name, loop.next[s.name], (batch, *s.shape)) for s in loop.states]
        emitted: list[list[Tensor]] = [[torch.empty(0)] * steps for _ in loop.emit]
        for t in reversed(range(steps)) if reverse else range(steps):
            values = dict(fixed)
            for i, sequence in moving:
                values[i] = sequence[t]
            for i, state, delay in reads:
                values[i] = history[state][-delay]
            self.schedule(values, run)
            for out, i in zip(emitted, loop.emit.values(), strict=True):
                out[t] = values[i]
            for state, i, shape in following:
                past = history[state]
                past.append(values[i].expand(shape))
                del past[0]
        outs = [_stacked(v, (batch, *loop.nodes[i].shape)) for v, i in zip(emitted, loop.emit.values(), strict=True)]
        return outs, [torch.stack(history[s.name]) for s in loop.states]


def _stacked(values: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    return torch.stack([v.expand(shape) for v in values])
