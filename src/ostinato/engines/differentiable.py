"""A loop as one differentiable operation of torch.

Two forms of it: an ``autograd.Function`` (for torch.func and forward mode too) and a custom operation (for
torch.compile, whose graphs cannot hold the former). Both call the engine forwards and, backwards, run the adjoint
program, which is differentiable in the same way: so derivatives of any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad

from ostinato.engines.plan import LoopPlan, Results
from ostinato.engines.reference import Reference
from ostinato.program.evaluate import Run


def apply(plan: LoopPlan, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool) -> Results:
    """Run a loop; returns its emits and the last values of its states (see ``engines.reference``)."""
    tensors = [*inputs, *initial]
    if _forward_over_forward():
        return Reference(plan.loop).run(inputs, initial, run, reverse)
    forward_mode = _forward_mode()
    keep = forward_mode or (torch.is_grad_enabled() and any(_differentiable(t) for t in tensors))
    if torch.compiler.is_compiling() or faked(tensors):
        outs = torch.ops.ostinato.loop(plan.name, keep, reverse, run.lead[0], tensors)
    elif keep:
        outs = Loop.apply(plan, run, reverse, *tensors)
    else:
        return plan.run(False, inputs, initial, run, reverse)
    emits = len(plan.program(keep).emit)
    return list(outs[:emits]), list(outs[emits:])


def _forward_mode() -> bool:
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def _forward_over_forward() -> bool:
    """Whether two forward modes of torch.func are nested. There torch takes the tangent of a custom function's tangent
    for zero, without a word; plain operations, such as the reference engine's, are right."""
    if not torch._C._are_functorch_transforms_active():
        return False
    stack = _functorch.get_interpreter_stack() or []
    return sum(level.key() == _functorch.TransformType.Jvp for level in stack) > 1


def _differentiable(value: Tensor) -> bool:
    return value.requires_grad and value.is_floating_point()


def faked(tensors: Sequence[Tensor]) -> bool:
    """Whether a compiler is looking, and not a run."""
    return any(type(t).__name__ in ("FakeTensor", "FunctionalTensor") for t in tensors)


def run_of(plan: LoopPlan, tensors: Sequence[Tensor | None], steps: int) -> Run:
    """The run of a loop that is given these tensors."""
    first = tensors[len(plan.loop.inputs)]
    assert first is not None
    return Run(first.dtype, first.device, (steps, first.shape[1]))


class Loop(torch.autograd.Function):
    """The loop for eager torch and for torch.func. Arguments: plan, run, reverse, then inputs and initial values."""

    @staticmethod
    def forward(plan: LoopPlan, run: Run, reverse: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        n = len(plan.loop.inputs)
        emits, finals = plan.run(True, tensors[:n], tensors[n:], run, reverse)
        return (*emits, *finals)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        plan, run, reverse, *tensors = inputs
        ctx.plan, ctx.run, ctx.reverse = plan, run, reverse
        kept = memory(plan, tensors, output, everything=_forward_mode())
        ctx.save_for_backward(*kept)
        if _forward_mode():
            ctx.save_for_forward(*kept)
        ctx.set_materialize_grads(False)
        emits = plan.keeping.emit.values()
        ctx.mark_non_differentiable(
            *[o for o, i in zip(output, emits, strict=False) if plan.loop.nodes[i].dtype != "float"]
        )

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[3:]
        grads = pull_back(ctx.plan, ctx.saved_tensors, cotangents, needs, ctx.run, ctx.reverse)
        return (None, None, None, *grads)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, ...]:
        return push_forward(ctx.plan, ctx.saved_tensors, tangents[3:], ctx.run, ctx.reverse)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, plan: LoopPlan, run: Run, reverse: bool, *tensors: Tensor) -> tuple:
        dims = in_dims[3:]
        kinds = [plan.loop.nodes[i].op for i in plan.loop.inputs.values()] + ["initial"] * len(plan.loop.states)
        if any(kind == "p" and d is not None for kind, d in zip(kinds, dims, strict=True)):
            return _each(info.batch_size, dims, plan, run, reverse, tensors)
        folded = [_fold(t, d, 0 if kind == "q" else 1, kind, info.batch_size)
                  for t, d, kind in zip(tensors, dims, kinds, strict=True)]
        wide = Run(run.dtype, run.device, (run.lead[0], run.lead[1] * info.batch_size))
        outs = Loop.apply(plan, wide, reverse, *folded)
        return tuple(o.unflatten(1, (info.batch_size, run.lead[1])) for o in outs), (1,) * len(outs)


def _each(size: int, dims: Sequence[int | None], plan: LoopPlan, run: Run, reverse: bool,
          tensors: Sequence[Tensor]) -> tuple:
    """One run for each of several parameter sets."""
    runs = []
    for k in range(size):
        own = [t if d is None else t.select(d, k) for t, d in zip(tensors, dims, strict=True)]
        runs.append(Loop.apply(plan, run, reverse, *own))
    outs = tuple(torch.stack(o) for o in zip(*runs, strict=True))
    return outs, (0,) * len(outs)


def _fold(value: Tensor, dim: int | None, batch_dim: int, kind: str, size: int) -> Tensor:
    """The mapped dimension folded into the batch: it is one batch of more sequences."""
    if kind == "p":
        return value
    if dim is None:
        value = value.unsqueeze(batch_dim).expand(*value.shape[:batch_dim], size, *value.shape[batch_dim:])
    else:
        value = value.movedim(dim, batch_dim)
    return value.flatten(batch_dim, batch_dim + 1)


def memory(plan: LoopPlan, tensors: Sequence[Tensor], outs: Sequence[Tensor],
           everything: bool = False) -> list[Tensor | None]:
    """What is kept between forward and backward: in the places of all inputs and outputs, only what is needed."""
    states = {name.removeprefix("read.").rsplit(".", 1)[0] for name in plan.wanted if name.startswith("read.")}
    given = [everything or f"in.{name}" in plan.wanted for name in plan.loop.inputs]
    given += [everything or s.name in states for s in plan.loop.states]
    made = [i in plan.stash for i in plan.keeping.emit.values()] + [False] * len(plan.loop.states)
    return [t if keep else None for t, keep in zip((*tensors, *outs), (*given, *made), strict=True)]


def pull_back(plan: LoopPlan, kept: Sequence[Tensor | None], cotangents: Sequence[Tensor | None],
              needs: Sequence[bool], run: Run, reverse: bool) -> list[Tensor | None]:
    """The cotangents of a loop's inputs and initial values: its adjoint program, run the other way in time."""
    loop, keeping = plan.loop, plan.keeping
    names, emits = list(loop.inputs), list(keeping.emit.items())
    floats = [loop.nodes[i].dtype == "float" for i in loop.inputs.values()]
    wrt = frozenset(n for n, need, ok in zip(names, needs, floats, strict=False) if need and ok)
    wrt_states = frozenset(s.name for s, need in zip(loop.states, needs[len(names):], strict=True) if need)
    if not wrt and not wrt_states:
        return [None] * len(needs)
    given = {f"g.{name}": g for (name, _), g in zip(emits, cotangents, strict=False) if g is not None}
    ends = dict(zip((s.name for s in loop.states), cotangents[len(emits):], strict=True))
    adjoint = plan.adjoint(frozenset(name[2:] for name in given), wrt, wrt_states)
    values = {**given, **_remembered(plan, kept, run, reverse, adjoint.program.inputs)}
    start = [_turned(ends[_state(s.name)], s, loop, run) for s in adjoint.program.states]
    outs, finals = adjoint.run(values, start, run, not reverse)
    grads: list[Tensor | None] = []
    for name in names:
        node = loop.nodes[loop.inputs[name]]
        lead = {"x": run.lead, "q": run.lead[1:], "p": ()}[node.op]
        grads.append(outs[f"d.{name}"].expand((*lead, *node.shape)) if name in wrt else None)
    final = {s.name: f for s, f in zip(adjoint.program.states, finals, strict=True)}
    return grads + [_first(s, final, run) if s.name in wrt_states else None for s in loop.states]


def _state(name: str) -> str:
    return name.rsplit("@", 1)[0]


def _turned(end: Tensor | None, state: Any, loop: Any, run: Run) -> Tensor:
    """The adjoint state before its first step: the final state's cotangent, for the longest delay."""
    longest = next(s.depth for s in loop.states if s.name == _state(state.name))
    if end is not None and state.depth == longest:
        return end.flip(0)
    return torch.zeros((state.depth, run.lead[1], *state.shape), dtype=run.dtype, device=run.device)


def _first(state: Any, final: dict[str, Tensor], run: Run) -> Tensor:
    """The cotangent of a state's initial values, ``[D, B, ...]``: what the reads before the first step received."""
    total = torch.zeros((state.depth, run.lead[1], *state.shape), dtype=run.dtype, device=run.device)
    for name, value in final.items():
        if _state(name) == state.name:
            missing = state.depth - value.shape[0]
            padded = torch.cat([value.new_zeros((missing, *value.shape[1:])), value.flip(0)]) if missing else (
                value.flip(0))
            total = total + padded
    return total


def _remembered(plan: LoopPlan, kept: Sequence[Tensor | None], run: Run, reverse: bool,
                names: Sequence[str] | dict[str, int]) -> dict[str, Tensor]:
    """The forward values that a derivative program asks for by name."""
    loop, out = plan.loop, {}
    inputs = dict(zip(loop.inputs, kept, strict=False))
    n = len(loop.inputs)
    initial = dict(zip((s.name for s in loop.states), kept[n:], strict=False))
    emitted = dict(zip(plan.keeping.emit.values(), kept[n + len(loop.states):], strict=False))
    for name in names:
        kind, _, rest = name.partition(".")
        value: Tensor | None = None
        if kind == "in":
            value = inputs[rest]
        elif kind == "saved":
            value = emitted[int(rest)]
        elif kind == "read":
            state, delay = rest.rsplit(".", 1)
            value = _read(emitted[loop.next[state]], initial[state], int(delay), run.lead[0], reverse)
        else:
            continue
        assert value is not None, f"{name} was not kept"
        out[name] = value
    return out


def _read(sequence: Tensor | None, initial: Tensor | None, delay: int, steps: int, reverse: bool) -> Tensor:
    """What the steps read of a state at a delay, ``[T, B, ...]``: its sequence, shifted."""
    assert sequence is not None and initial is not None
    if reverse:
        return torch.cat([sequence, initial.flip(0)]).narrow(0, delay, steps)
    return torch.cat([initial, sequence]).narrow(0, initial.shape[0] - delay, steps)


def push_forward(plan: LoopPlan, kept: Sequence[Tensor | None], tangents: Sequence[Tensor | None], run: Run,
                 reverse: bool) -> tuple[Tensor | None, ...]:
    """The tangents of a loop's emits and final values: its tangent program, run beside it."""
    loop = plan.loop
    names = list(loop.inputs)
    n = len(names)
    moving = {name: t for name, t in zip(names, tangents, strict=False) if t is not None}
    tangent = plan.tangent(frozenset(moving))
    values = {**{name: v for name, v in zip(names, kept, strict=False) if v is not None},
              **{f"t.{name}": t for name, t in moving.items()}}
    starts: dict[str, Tensor] = {}
    for s, value, t in zip(loop.states, kept[n:], tangents[n:], strict=False):
        assert value is not None
        starts[s.name] = value
        starts[f"{s.name}'"] = torch.zeros_like(value) if t is None else t
    states = tangent.program.states
    outs, finals = tangent.run(values, [starts[s.name] for s in states], run, reverse)
    ends = {s.name: f for s, f in zip(states, finals, strict=True)}
    emits = [outs[name].expand((*run.lead, *loop.nodes[i].shape)) if name in outs else None
             for name, i in plan.keeping.emit.items()]
    return (*emits, *[ends[f"{s.name}'"] for s in loop.states])
