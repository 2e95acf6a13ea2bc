"""The two operations that a graph of torch.compile sees.

``ostinato::recurrent`` is a whole call; a compiler takes it apart into ordinary operations and ``ostinato::loop``,
which is opaque and differentiable. Both take T and B as they come: nothing is compiled again for another length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.engines.derivatives import memory, pull_back, run_of
from ostinato.engines.plan import LoopPlan

_library = torch.library.Library("ostinato", "DEF")
_library.define("loop(str plan, bool keep, bool reverse, SymInt steps, Tensor[] tensors) -> Tensor[]")
_library.define("recurrent(int handle, int[] whole, float[] real, str text, Tensor[] x, Tensor[] initial, "
                "Tensor? lengths, Tensor? mask, Tensor? reset, Tensor[] constants, SymInt? steps, SymInt? batch, "
                "str taught, Tensor[] teacher, Tensor? own, Tensor[] tensors, bool all_states, str drawn, "
                "Tensor[] masks) -> Tensor[]")

recurrent: Callable[..., list[Tensor]] = torch.ops.ostinato.recurrent


def define_recurrent(function: Callable[..., list[Tensor]]) -> None:
    """Say what ``ostinato::recurrent`` does; the module that repeats a cell knows."""
    _library.impl("recurrent", function, "CompositeImplicitAutograd")


def _loop(name: str, keep: bool, reverse: bool, steps: int, tensors: Sequence[Tensor]) -> list[Tensor]:
    plan = LoopPlan.called(name)
    n = len(plan.loop.inputs)
    emits, finals = plan.run(keep, tensors[:n], tensors[n:], run_of(plan, tensors, steps), reverse)
    return [*emits, *finals]


def _shapes(name: str, keep: bool, reverse: bool, steps: int, tensors: Sequence[Tensor]) -> list[Tensor]:
    plan = LoopPlan.called(name)
    starts = tensors[len(plan.loop.inputs) :]
    dtypes = {"float": starts[0].dtype, "int": torch.int64, "bool": torch.bool}
    nodes = plan.loop.nodes
    emits = [starts[0].new_empty((steps, starts[0].shape[1], *nodes[i].shape), dtype=dtypes[nodes[i].dtype])
             for i in plan.program(keep).emit.values()]
    return [*emits, *[torch.empty_like(s) for s in starts]]


def _remember(ctx: Any, inputs: tuple, output: Sequence[Tensor]) -> None:
    ctx.plan, keep, ctx.reverse, ctx.steps, tensors = inputs
    ctx.needs = [t.requires_grad for t in tensors]
    plan = LoopPlan.called(ctx.plan)
    kept = memory(plan, tensors, output, everything=True) if keep else []
    ctx.save_for_backward(*kept)


def _backward(ctx: Any, cotangents: Sequence[Tensor | None]) -> tuple[Any, ...]:
    plan = LoopPlan.called(ctx.plan)
    kept = ctx.saved_tensors
    run = run_of(plan, kept, ctx.steps)
    given = [g if g is None or g.is_floating_point() else None for g in cotangents]
    return None, None, None, None, pull_back(plan, kept, given, ctx.needs, run, ctx.reverse)


_library.impl("loop", _loop, "CompositeExplicitAutograd")
torch.library.register_fake("ostinato::loop", _shapes, lib=_library)
torch.library.register_autograd("ostinato::loop", _backward, setup_context=_remember, lib=_library)
