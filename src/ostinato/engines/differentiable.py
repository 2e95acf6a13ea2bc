"""A loop as one differentiable operation of torch.

Three forms of it: an ``autograd.Function`` for ordinary runs, one for torch.func and forward mode, and a custom
operation (for torch.compile, whose graphs cannot hold the former). All call the engine forwards and, backwards, run the
adjoint program, which is differentiable in the same way: so derivatives of any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch._C._autograd import _top_saved_tensors_default_hooks  # pyright: ignore[reportAttributeAccessIssue]
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor
from torch.autograd import forward_ad

from ostinato.engines.derivatives import memory, pull_back, push_forward
from ostinato.engines.plan import LoopPlan
from ostinato.engines.reference import Reference
from ostinato.engines.runner import Results
from ostinato.program.evaluate import Run

PLAIN = (Tensor, nn.Parameter)


def apply(plan: LoopPlan, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool,
          plain: bool = False) -> Results:
    """Run a loop; returns its emits and the last values of its states (see ``engines.reference``). ``plain`` where it
    is known that all are :func:`ordinary`."""
    tensors = [*inputs, *initial]
    if not plain and not ordinary(tensors):
        return _apply_under_transformations(plan, inputs, initial, run, reverse)
    if not differentiated(tensors):
        return plan.run(False, inputs, initial, run, reverse)
    outs, emits = _apply_loop(plan, run, reverse, *tensors), len(plan.keeping.emit)
    return list(outs[:emits]), list(outs[emits:])


def _apply_under_transformations(plan: LoopPlan, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run,
                                 reverse: bool) -> Results:
    tensors = [*inputs, *initial]
    if _forward_over_forward() or _batched(tensors):
        return Reference(plan.loop).run(inputs, initial, run, reverse)
    forward_mode = _forward_mode()
    keep = forward_mode or differentiated(tensors)
    if torch.compiler.is_compiling() or faked(tensors):
        outs = torch.ops.ostinato.loop(plan.name, keep, reverse, run.lead[0], tensors)
    elif not keep:
        return plan.run(False, inputs, initial, run, reverse)
    else:
        outs = (FunctionalLoop if forward_mode else Loop).apply(plan, run, reverse, *tensors)
    emits = len(plan.program(keep).emit)
    return list(outs[:emits]), list(outs[emits:])


def ordinary(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing but plain tensors takes part: no transformation, no compiler, no subclass."""
    if _forward_mode() or torch.compiler.is_compiling():
        return False
    for t in tensors:
        if type(t) not in PLAIN or is_legacy_batchedtensor(t) or is_functorch_wrapped_tensor(t):
            return False
    return True


def differentiated(tensors: Sequence[Tensor]) -> bool:
    """Whether a derivative by one of them may be wanted."""
    if torch.is_grad_enabled():
        for t in tensors:
            if t.requires_grad and t.is_floating_point():
                return True
    return False


def compiling(tensors: Sequence[Tensor]) -> bool:
    """Whether torch.func, forward mode or a compiler takes part."""
    return _forward_mode() or torch.compiler.is_compiling() or faked(tensors) or _batched(tensors)


def _forward_mode() -> bool:
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def _forward_over_forward() -> bool:
    """Whether two forward modes of torch.func are nested. There torch takes the tangent of a custom function's tangent
    for zero, without a word; plain operations, such as the reference engine's, are right."""
    if not torch._C._are_functorch_transforms_active():
        return False
    stack = _functorch.get_interpreter_stack() or []
    return sum(level.key() == _functorch.TransformType.Jvp for level in stack) > 1


def _batched(tensors: Sequence[Tensor | None]) -> bool:
    """Whether tensors stand for several, as many cotangents at once do (``is_grads_batched``)."""
    return any(t is not None and is_legacy_batchedtensor(t) for t in tensors)


def faked(tensors: Sequence[Tensor]) -> bool:
    """Whether a compiler is looking, and not a run."""
    return any(type(t).__name__ in ("FakeTensor", "FunctionalTensor") for t in tensors)


class Loop(torch.autograd.Function):
    """The loop for ordinary runs. Arguments: plan, run, reverse, then inputs and initial values."""

    @staticmethod
    def forward(ctx: Any, plan: LoopPlan, run: Run, reverse: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        n, runner = len(plan.loop.inputs), plan.runners(True)(run.dtype, run.device)
        emits, finals = plan.run_on(runner, tensors[:n], tensors[n:], run, reverse)
        ctx.plan, ctx.run, ctx.reverse = plan, run, reverse
        ctx.own = runner.replays is not None and _top_saved_tensors_default_hooks(True) is None
        ctx.save_for_backward(*memory(plan, tensors, emits))
        ctx.set_materialize_grads(False)
        if plan.discrete:
            ctx.mark_non_differentiable(*[emits[k] for k in plan.discrete])
        return (*emits, *finals)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[3:]
        return None, None, None, *pull_back(ctx.plan, ctx.saved_tensors, cotangents, needs, ctx.run, ctx.reverse,
                                            ctx.own and not torch.is_grad_enabled() and not _batched(cotangents))


_apply_loop: Any = super(torch.autograd.Function, Loop).apply  # pyright: ignore[reportAttributeAccessIssue]
"""``Loop.apply`` for :func:`ordinary` tensors, without torch's search among them for others."""


class FunctionalLoop(torch.autograd.Function):
    """The loop for torch.func and forward mode. Arguments: as for :class:`Loop`."""

    @staticmethod
    def forward(plan: LoopPlan, run: Run, reverse: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        n = len(plan.loop.inputs)
        emits, finals = plan.run(True, tensors[:n], tensors[n:], run, reverse)
        return (*emits, *finals)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        plan, run, reverse, *tensors = inputs
        ctx.plan, ctx.run, ctx.reverse, ctx.own = plan, run, reverse, False
        kept = memory(plan, tensors, output, everything=_forward_mode())
        ctx.save_for_backward(*kept)
        if _forward_mode():
            ctx.save_for_forward(*kept)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*[output[k] for k in plan.discrete])

    backward = Loop.backward

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, ...]:
        return push_forward(ctx.plan, ctx.saved_tensors, tangents[3:], ctx.run, ctx.reverse)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, plan: LoopPlan, run: Run, reverse: bool, *tensors: Tensor) -> tuple:
        dims = in_dims[3:]
        kinds = [plan.loop.nodes[i].op for i in plan.loop.inputs.values()] + ["initial"] * len(plan.loop.states)
        if run.sizes is not None or any(kind == "p" and d is not None for kind, d in zip(kinds, dims, strict=True)):
            return _each(info.batch_size, dims, plan, run, reverse, tensors)
        folded = [_fold(t, d, 0 if kind == "q" else 1, kind, info.batch_size)
                  for t, d, kind in zip(tensors, dims, kinds, strict=True)]
        wide = Run(run.dtype, run.device, (run.lead[0], run.lead[1] * info.batch_size))
        outs = FunctionalLoop.apply(plan, wide, reverse, *folded)
        return tuple(o.unflatten(1, (info.batch_size, run.lead[1])) for o in outs), (1,) * len(outs)


def _each(size: int, dims: Sequence[int | None], plan: LoopPlan, run: Run, reverse: bool,
          tensors: Sequence[Tensor]) -> tuple:
    """One run after the other."""
    runs = []
    for k in range(size):
        own = [t if d is None else t.select(d, k) for t, d in zip(tensors, dims, strict=True)]
        runs.append(FunctionalLoop.apply(plan, run, reverse, *own))
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
