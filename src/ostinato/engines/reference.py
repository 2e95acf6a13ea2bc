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
            inputs: in the loop's order; ``[T, B, ...]`` (x), ``[B, ...]`` (q) or ``[...]`` (p). With ``run.sizes``
                there are none of the second kind, and the first are ``[N, 1, ...]``.
            initial: the last D values of each state, oldest first, ``[D, B, ...]``.
            reverse: from the last step to the first.

        Returns:
            the emits ``[T, B, ...]`` (``[N, 1, ...]``) and the last D values of each state ``[D, B, ...]``.
        """
        loop = self.loop
        sizes = (run.batch,) * run.lead[0] if run.sizes is None else run.sizes
        steps = len(sizes)
        fixed: Values = {}
        moving: list[tuple[int, tuple[Tensor, ...]]] = []
        for (_, i), value in zip(loop.inputs.items(), inputs, strict=True):
            if loop.nodes[i].op == "x":
                moving.append((i, value.unbind(0) if run.sizes is None else value.squeeze(1).split(sizes)))
            else:
                fixed[i] = value
        self.schedule.start(fixed, run)
        reads = [(i, n["state"], n["delay"]) for i, n in enumerate(loop.nodes) if n.op == "read"]
        history = {s.name: list(v.unbind(0)) for s, v in zip(loop.states, initial, strict=True)}
        emitted: list[list[Tensor]] = [[torch.empty(0)] * steps for _ in loop.emit]
        for t in reversed(range(steps)) if reverse else range(steps):
            values, size = dict(fixed), sizes[t]
            for i, sequence in moving:
                values[i] = sequence[t]
            for i, state, delay in reads:
                values[i] = _first(history[state][-delay], size)
            self.schedule(values, run)
            for out, i in zip(emitted, loop.emit.values(), strict=True):
                out[t] = values[i].expand((size, *loop.nodes[i].shape))
            for s in loop.states:
                past = history[s.name]
                following = [*[_first(v, size) for v in past[1:]], values[loop.next[s.name]].expand((size, *s.shape))]
                history[s.name] = [_over(new, old) for new, old in zip(following, past, strict=True)]
        join = torch.stack if run.sizes is None else (lambda values: torch.cat(values).unsqueeze(1))
        empty = [torch.empty((*run.lead, *loop.nodes[i].shape), dtype=run.dtype) for i in loop.emit.values()]
        outs = [join(v) for v in emitted] if steps else empty
        return outs, [torch.stack(history[s.name]) for s in loop.states]


def _first(value: Tensor, size: int) -> Tensor:
    return value if len(value) == size else value[:size]


def _over(new: Tensor, old: Tensor) -> Tensor:
    """The new values of the first sequences, the old ones of the rest."""
    return new if len(new) == len(old) else torch.cat([new, old[len(new) :]])
