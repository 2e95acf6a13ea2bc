"""Checkpointed back-propagation through time: a long call keeps the states between its segments, and makes the rest
again, segment by segment, on the way back (see :mod:`ostinato.recurrent.schedule`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ostinato.cell import Cell, State
from ostinato.engines.choice import FallbackError, is_strict
from ostinato.engines.chunks import LARGE, spans
from ostinato.engines.differentiable import compiling
from ostinato.engines.plan import Plan
from ostinato.engines.runner import Runner
from ostinato.noise import Draw
from ostinato.program.sizes import Sizes
from ostinato.recurrent import schedule
from ostinato.recurrent.arguments import Arguments, Outcome
from ostinato.recurrent.programs import by_step, run_steps
from ostinato.recurrent.schedule import Costs, Schedule
from ostinato.recurrent.segments import Call, Checkpointed, is_random

RANDOM = 5056
"""Bytes of the random generator's state."""


class Checkpoint:
    """Runs calls as :func:`ostinato.recurrent.programs.run_steps` does, in segments.

    Args:
        steps: of a segment; ``"sqrt"``: as many as there are segments.
        limit: bytes, in the place of ``steps``.

    Raises:
        ValueError: when both are given, or one is neither.
    """

    def __init__(self, steps: int | str | None, limit: int | None) -> None:
        whole = isinstance(steps, int) and not isinstance(steps, bool) and steps > 0
        if steps is not None and steps != "sqrt" and not whole:
            raise ValueError(f"checkpoint must be a number of steps from 1 up, 'sqrt' or None, got {steps!r}")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise ValueError(f"checkpoint_bytes must be a number of bytes or None, got {limit!r}")
        if steps is not None and limit is not None:
            raise ValueError("give checkpoint or checkpoint_bytes, not both")
        self.steps, self.limit = steps, limit

    def __repr__(self) -> str:
        return repr(self.steps) if self.limit is None else f"{self.limit} bytes"

    def __call__(self, plan: Plan, states: Sequence[State], named: dict[str, Tensor], given: Arguments, reverse: bool,
                 sizes: Sizes | None = None) -> Outcome:
        moving, named = spread(plan, named, given)
        tensors = [*given.inputs, *moving.values(), *given.constants, *given.initial, *named.values()]
        wanted = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        chosen = self.schedule(plan, given, given.steps if sizes is None else len(sizes)) if wanted else None
        if chosen is None:
            return run_steps(plan, states, named, given, reverse, sizes)
        if compiling(tensors):
            if is_strict():
                raise FallbackError("checkpointing would not take place under torch.func, forward mode or a compiler")
            return run_steps(plan, states, named, given, reverse, sizes)
        call = Call(plan, states, (list(moving), list(named)), given, reverse, sizes, chosen)
        found = Checkpointed.apply(call, *tensors)
        sequences, taught = found[: call.sequences], given.taught.ends
        ends = dict(zip([s.name for s in states], found[call.sequences :], strict=True)) | taught
        return sequences[0], dict(zip(call.emitted, sequences[1:], strict=True)), list(ends.values())

    def by_step(self, cell: Cell, given: Arguments, reverse: bool,
                mask: Callable[[Draw], Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """:func:`ostinato.recurrent.programs.by_step` in segments.

        Raises:
            ValueError: with ``checkpoint_bytes``, since nothing is known of what a step takes.
        """
        if self.limit is not None:
            raise ValueError("checkpoint_bytes needs a step that can be traced: give checkpoint, a number of steps")
        parts, ends = {}, given.initial
        for begin, end in spans(given.steps, self._by_length(given.steps).steps, reverse):
            part = replace(given.between(begin, end), initial=ends)
            source = partial(_mask_between, mask, begin, end)
            output, values, ends = checkpoint(by_step, cell, part, reverse, source, use_reentrant=False)
            parts[begin] = [output, *values]
        output, *values = [torch.cat(each) for each in zip(*[parts[k] for k in sorted(parts)], strict=True)]
        return output, values, ends

    def _by_length(self, total: int) -> Schedule:
        steps = self.steps
        return schedule.by_steps(total, steps) if isinstance(steps, int) else schedule.by_root(total)

    def schedule(self, plan: Plan, given: Arguments, total: int) -> Schedule | None:
        """How a call is cut, or None where one segment is enough."""
        if total < 2 or not plan.loop:
            return None
        limit = self.limit
        found = self._by_length(total) if limit is None else schedule.by_bytes(total, costs(plan, given), limit)
        return None if found.steps >= total else found


def _mask_between(mask: Callable[[Draw], Tensor], begin: int, end: int, asked: Draw) -> Tensor:
    """What some steps have of a mask."""
    return mask(asked)[begin:end] if asked.each == "step" else mask(asked)


def spread(plan: Plan, named: dict[str, Tensor], given: Arguments) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a program takes by name: the sequences, such as a mask of each step or a teacher's values; and what is the
    same for all steps."""
    program = plan.program
    each = {name for name, i in program.inputs.items() if program.parts[i] == "X"}
    moving = {name: v for name, v in given.drawn.items() if name in each} | given.taught.inputs
    return moving, named | {name: v for name, v in given.drawn.items() if name not in each}


def costs(plan: Plan, given: Arguments) -> Costs:
    """What a call takes: the values that its programs make for each step."""
    loop = plan.loop
    assert loop is not None
    batch, width, device = given.initial[0].shape[1], given.dtype.itemsize, given.device
    runners = [loop.runners(True)(given.dtype, device), loop.whole_adjoint.runners(given.dtype, device)]
    size = lambda program, nodes: sum(  # noqa: E731
        prod(n.shape) * {"float": width, "int": 8, "bool": 1}[n.dtype]
        for i in set(nodes) if (n := program.nodes[i]).op != "x" and program.parts[i] in "XSY")
    outside = plan.pieces.cut
    kept = size(loop.keeping, loop.keeping.emit.values()) + size(plan.program, [*outside.before, *outside.after])
    given_out = size(loop.whole_adjoint.program, loop.whole_adjoint.program.emit.values())
    state = sum(prod(v.shape) for v in given.initial) * width + (RANDOM if is_random(plan) else 0)
    if all(r.chunks and r.chunks.possible for r in runners):
        passing, piece = max(r.chunks.passed for r in runners if r.chunks) * width, LARGE
    else:  # each step's values in a list, then one after the other
        passing, piece = max(2 * size(r.pieces.program, _made(r)) for r in runners), sys.maxsize
    return Costs(state, batch * (kept + given_out), batch * passing, piece)


def _made(runner: Runner) -> list[int]:
    """The nodes that exist for all steps of a run."""
    cut = runner.pieces.cut
    return [*cut.before, *cut.after, *runner.pieces.taken]
