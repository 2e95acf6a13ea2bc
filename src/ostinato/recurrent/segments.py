"""A call in segments of time, as one differentiable operation that makes most of what its derivative needs again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor

from ostinato.cell import State
from ostinato.engines.chunks import spans
from ostinato.engines.plan import Plan
from ostinato.program.sizes import Sizes
from ostinato.recurrent.arguments import Arguments
from ostinato.recurrent.programs import run_steps
from ostinato.recurrent.schedule import Schedule, ahead
from ostinato.recurrent.teacher import Lessons

Collect = Callable[[int, Sequence[Tensor]], None]
"""Told the number of a segment that was run, and its sequences."""


class Span(NamedTuple):
    """A segment: its steps, and where they are in the sequences (rows, where these are packed)."""

    steps: slice
    rows: slice


class Stored(NamedTuple):
    """Segments ``first`` to ``last - 1``, the states before them, and how many states may be stored for them."""

    first: int
    last: int
    states: list[Tensor]
    room: int


class Kept(NamedTuple):
    """A segment that was run for its backward pass."""

    number: int
    inputs: list[Tensor]
    states: list[Tensor]
    outs: list[Tensor]
    """Its sequences, and the states after it."""


class Call:
    """One call, all but its tensors: ``[*inputs, *moving, *constants, *initial, *parameters]``; ``names`` are those of
    what moves besides the inputs, and of the parameters."""

    def __init__(self, plan: Plan, states: Sequence[State], names: tuple[list[str], list[str]], given: Arguments,
                 reverse: bool, sizes: Sizes | None, chosen: Schedule) -> None:
        self.plan, self.states, self.reverse, self.sizes, self.schedule = plan, states, reverse, sizes, chosen
        self.moving, self.names, self.rows = *names, given.steps
        ends = {name: v.detach() for name, v in given.taught.ends.items()}
        self.given = replace(given, inputs=[], constants=[], initial=[], drawn={}, taught=Lessons({}, ends))
        self.inputs, self.n, self.m = len(given.inputs), len(given.inputs) + len(self.moving), len(given.constants)
        self.emitted = [s.name for s in states if f"state.{s.name}" in plan.program.emit]
        self.sequences = 1 + len(self.emitted)
        self.spans = list(_cut(self.rows, chosen.steps, reverse, sizes))
        self.needs: Sequence[bool] = ()
        self.stack: list[Stored | Kept] | None = None
        self.leaves: list[Tensor] = []
        self.slots: list[list[Tensor]] = []
        self.seeds: list[Tensor] | None = [] if is_random(plan) else None

    def parts(self, tensors: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The inputs; the initial states; and what is the same for all segments, constants and parameters."""
        first, n = self.n + self.m, self.n + self.m + len(self.states)
        return list(tensors[: self.n]), list(tensors[first:n]), [*tensors[self.n : first], *tensors[n:]]

    def run(self, number: int, inputs: Sequence[Tensor], states: list[Tensor],
            fixed: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """One segment, of which these are the inputs: its sequences, and the states after it."""
        (steps, rows), given = self.spans[number], self.given
        live, reset = (None if v is None else v[steps] for v in (given.live, given.reset))
        taught = Lessons(dict(zip(self.moving, inputs[self.inputs :], strict=True)), given.taught.ends)
        own = replace(given, inputs=list(inputs[: self.inputs]), constants=list(fixed[: self.m]), initial=states,
                      live=live, reset=reset, alone=(rows.stop - rows.start, given.alone[1]), taught=taught)
        sizes = None if self.sizes is None else Sizes(self.sizes[steps], self.sizes.batch)
        named = dict(zip(self.names, fixed[self.m :], strict=True))
        output, values, ends = run_steps(self.plan, self.states, named, own, self.reverse, sizes)
        return [output, *(values[name] for name in self.emitted)], ends

    def forward(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """All sequences, and the states after the last step; what is stored is put on the stack."""
        found: list[Tensor] = []

        def collect(number: int, outs: Sequence[Tensor]) -> None:
            if not found:
                found.extend(o.new_empty((self.rows, *o.shape[1:])) for o in outs)
            for whole, out in zip(found, outs, strict=True):
                whole[self.spans[number].rows] = out.detach()

        self.stack = []
        initial, count = self.parts(tensors)[1], min(self.schedule.states + self.schedule.kept, len(self.spans))
        self.slots = [[torch.empty_like(s) for s in initial] for _ in range(count)]
        begin = Stored(0, len(self.spans), initial, self.schedule.states)
        ends = self.descend(self.stack, begin, tensors, self.schedule.kept, collect)
        return [*found, *ends]

    def descend(self, stack: list[Stored | Kept], task: Stored, tensors: Sequence[Tensor], kept: int,
                collect: Collect | None = None) -> list[Tensor]:
        """Run all segments of a task, the last ``kept`` of them for their backward pass; returns the states after."""
        inputs, _, fixed = self.parts(tensors)
        first, last, states, room = task
        while last - first > kept:
            count = ahead(last - first, room)
            stack.append(Stored(first, first + count, self.store(len(stack), states), room))
            for number in range(first, first + count):
                self.seed(number)
                outs, states = self.run(number, [x[self.spans[number].rows] for x in inputs], states, fixed)
                if collect is not None:
                    collect(number, outs)
            first, room = first + count, room - 1
        for number in range(first, last):
            stack.append(kept_one := self.keep(number, tensors, self.store(len(stack), states)))
            states = [v.detach() for v in kept_one.outs[self.sequences :]]
            if collect is not None:
                collect(number, kept_one.outs[: self.sequences])
        return states

    def store(self, place: int, states: list[Tensor]) -> list[Tensor]:
        """The states where they stay, at a place of the stack. Small values made between large ones, which go, would
        keep the memory of these from being used again."""
        slot = self.slots[place]
        return states if states is slot else [own.copy_(s) for own, s in zip(slot, states, strict=True)]

    def keep(self, number: int, tensors: Sequence[Tensor], states: Sequence[Tensor]) -> Kept:
        """Run a segment for its backward pass."""
        inputs, _, fixed = self.parts(tensors)
        wanted, first, shared = self.parts(self.needs)
        rows = self.spans[number].rows
        inputs = [x[rows].detach().requires_grad_(w) for x, w in zip(inputs, wanted, strict=True)]
        states = [s.detach().requires_grad_(number > 0 or w) for s, w in zip(states, first, strict=True)]
        if not self.leaves:
            self.leaves = [t.detach().requires_grad_(w) for t, w in zip(fixed, shared, strict=True)]
        self.seed(number)
        with torch.enable_grad():
            outs, ends = self.run(number, inputs, states, self.leaves)
        return Kept(number, inputs, states, [*outs, *ends])

    def seed(self, number: int) -> None:
        """Have the noise of a segment that is run again be what it was."""
        if self.seeds is not None:
            if number < len(self.seeds):
                torch.set_rng_state(self.seeds[number])
            else:
                self.seeds.append(torch.get_rng_state())

    def backward(self, tensors: Sequence[Tensor], cotangents: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The cotangents of the call's tensors; what is on the stack is used up."""
        inputs, initial, fixed = self.parts(tensors)
        begin: list[Stored | Kept] = [Stored(0, len(self.spans), initial, self.schedule.states)]
        stack = begin if self.stack is None else self.stack
        self.stack = None  # a second time, with retain_graph, begins at the beginning
        given, ends = cotangents[: self.sequences], list(cotangents[self.sequences :])
        wanted, _, _ = self.parts(self.needs)
        moving = [torch.zeros_like(x) if w else None for x, w in zip(inputs, wanted, strict=True)]
        total: list[Tensor | None] = [None] * len(fixed)
        while stack:
            top = stack.pop()
            if isinstance(top, Stored):
                self.descend(stack, top, tensors, 1)
                continue
            rows = self.spans[top.number].rows
            found = _pulled(top.outs, [*(None if g is None else g[rows] for g in given), *ends],
                            [*top.inputs, *top.states, *self.leaves])
            del top
            for whole, part in zip(moving, found, strict=False):
                if whole is not None and part is not None:
                    whole[rows] = part
            ends = found[self.n : self.n + len(ends)]
            total = [_plus(t, g) for t, g in zip(total, found[self.n + len(ends) :], strict=True)]
        return [*moving, *total[: self.m], *ends, *total[self.m :]]

    def whole(self, tensors: Sequence[Tensor], cotangents: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The same with nothing thrown away, differentiable itself."""
        with torch.enable_grad():
            own = [t.view_as(t) if need else t for t, need in zip(tensors, self.needs, strict=True)]
            inputs, states, fixed = self.parts(own)
            outs: dict[int, list[Tensor]] = {}
            for number, span in enumerate(self.spans):
                self.seed(number)
                outs[number], states = self.run(number, [x[span.rows] for x in inputs], states, fixed)
            order = sorted(outs, key=lambda number: self.spans[number].rows.start)
            sequences = [torch.cat(parts) for parts in zip(*[outs[number] for number in order], strict=True)]
        return _pulled([*sequences, *states], cotangents, own, torch.is_grad_enabled())


class Checkpointed(torch.autograd.Function):
    """A :class:`Call` and its tensors."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        call.needs = ctx.needs_input_grad[1:]
        outs = call.forward(tensors)
        ctx.call = call
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*[o for o in outs if not o.is_floating_point()])
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        call, tensors = ctx.call, ctx.saved_tensors
        plain = not (torch.is_grad_enabled() or any(g is not None and is_legacy_batchedtensor(g) for g in cotangents))
        device = tensors[0].device.type
        with torch.random.fork_rng(devices=[], enabled=call.seeds is not None), torch.autocast(device, enabled=False):
            return None, *(call.backward if plain else call.whole)(tensors, cotangents)


def is_random(plan: Plan) -> bool:
    """Whether a program draws numbers, or may do so."""
    return any(n.op == "noise" or n.op.startswith("aten:") for n in plan.program.nodes)


def _cut(total: int, steps: int, reverse: bool, sizes: Sizes | None) -> Iterator[Span]:
    """The segments, in the order in which they are run."""
    if sizes is None:
        yield from (Span(slice(*span), slice(*span)) for span in spans(total, steps, reverse))
    else:
        first = [0, *accumulate(sizes)]
        yield from (Span(slice(a, b), slice(first[a], first[b])) for a, b in spans(len(sizes), steps, reverse))


def _pulled(outs: Sequence[Tensor], cotangents: Sequence[Tensor | None], leaves: Sequence[Tensor],
            create_graph: bool = False) -> list[Tensor | None]:
    """The cotangents of leaves, None for those that have or want none."""
    pairs = [(o, g) for o, g in zip(outs, cotangents, strict=True) if g is not None and o.requires_grad]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not pairs or not wanted:
        return [None] * len(leaves)
    found = iter(torch.autograd.grad([o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=create_graph,
                                     allow_unused=True))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def _plus(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    """Their sum, in the place of the first."""
    if more is None:
        return total
    return more.clone() if total is None else total.add_(more)
