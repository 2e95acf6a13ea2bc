"""The derivatives of a loop: its adjoint and tangent programs, given what was kept of its run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ostinato.engines.cpu.tape import noting
from ostinato.engines.replays import Replays
from ostinato.program.evaluate import Run
from ostinato.program.ir import StateVar
from ostinato.program.sizes import Sizes

if TYPE_CHECKING:
    from ostinato.engines.plan import LoopPlan, Plan


def memory(plan: LoopPlan, tensors: Sequence[Tensor], outs: Sequence[Tensor],
           everything: bool = False) -> list[Tensor | None]:
    """What is kept between forward and backward: in the places of all inputs, initial values and emits, only what is
    needed; with ``everything``, all inputs and initial values."""
    given, made = plan.remembered
    kept = list(tensors) if everything else [t if keep else None for t, keep in zip(tensors, given, strict=True)]
    return kept + [o if keep else None for o, keep in zip(outs, made, strict=False)]


class PullBack:
    """The cotangents of a loop's inputs and initial values: its adjoint program, run the other way in time.

    Args:
        plan: the loop's.
        given: for each emit and each final state, whether it has a cotangent.
        needs: for each input and each initial value, whether its cotangent is wanted.
    """

    def __init__(self, plan: LoopPlan, given: Sequence[bool], needs: Sequence[bool]) -> None:
        loop = plan.loop
        inputs, emits = list(loop.inputs.items()), list(plan.keeping.emit.items())
        self.n, self.emits, self.replays = len(inputs), len(emits), Replays()
        wrt = frozenset(name for (name, i), need in zip(inputs, needs, strict=False)
                        if need and loop.nodes[i].dtype == "float")
        wrt_states = frozenset(s.name for s, need in zip(loop.states, needs[self.n :], strict=True) if need)
        self.adjoint: Plan | None = None
        if not wrt and not wrt_states:
            return
        moving = {f"g.{name}": k for k, ((name, i), has) in enumerate(zip(emits, given, strict=False))
                  if has and loop.nodes[i].dtype == "float"}
        self.adjoint = plan.adjoint(frozenset(name[2:] for name in moving), wrt, wrt_states)
        wanted = self.adjoint.program.inputs
        self.moving = [(name, k) for name, k in moving.items() if name in wanted]
        self.recall = Recall(plan, wanted)
        self.states = [(self.emits + k, s) for s in self.adjoint.program.states
                       for k, own in enumerate(loop.states) if own.name == _state(s.name)]
        self.longest = {s.name: s.depth for s in loop.states}
        self.grads = [(f"d.{name}" if name in wrt else None, loop.nodes[i].op, loop.nodes[i].shape)
                      for name, i in inputs]
        self.firsts = [s if s.name in wrt_states else None for s in loop.states]

    def __call__(self, kept: Sequence[Tensor | None], cotangents: Sequence[Tensor | None], run: Run,
                 reverse: bool, own: bool = False) -> list[Tensor | None]:
        """One cotangent, or None, for each input and each initial value; ``own``: what was kept is as the CPU engine
        left it, and no derivative of this is wanted."""
        if self.adjoint is None:
            return [None] * (self.n + len(cotangents) - self.emits)
        if own and self.adjoint.runners(run.dtype, run.device).replays is not None:
            n = len(kept)
            found = self.replays(lambda given: self._pulled(given[:n], given[n:], run, reverse), [*kept, *cotangents],
                                 run, reverse)
            if found is not None:
                return found
        return self._pulled(kept, cotangents, run, reverse)

    def _pulled(self, kept: Sequence[Tensor | None], cotangents: Sequence[Tensor | None], run: Run,
                reverse: bool) -> list[Tensor | None]:
        assert self.adjoint
        values = self.recall(kept, run, reverse)
        for name, k in self.moving:
            values[name] = cotangents[k]  # pyright: ignore[reportArgumentType]
        start = [_turned(cotangents[k], s, self.longest[_state(s.name)], run) for k, s in self.states]
        outs, finals = self.adjoint.run(values, start, run, not reverse)
        grads: list[Tensor | None] = []
        for name, kind, shape in self.grads:
            if name is None:
                grads.append(None)
                continue
            whole = (*(run.lead if kind == "x" else run.lead[1:] if kind == "q" else ()), *shape)
            grads.append(outs[name] if outs[name].shape == whole else outs[name].expand(whole))
        final = {s.name: f for (_, s), f in zip(self.states, finals, strict=True)}
        return grads + [None if s is None else _first(s, final, run) for s in self.firsts]


def pull_back(plan: LoopPlan, kept: Sequence[Tensor | None], cotangents: Sequence[Tensor | None],
              needs: Sequence[bool], run: Run, reverse: bool, own: bool = False) -> list[Tensor | None]:
    """The cotangents of a loop's inputs and initial values, from those of its emits and final states."""
    given = tuple([g is not None for g in cotangents])
    return plan.pull_back(given, tuple(needs))(kept, cotangents, run, reverse, own)


def _state(name: str) -> str:
    return name.rsplit("@", 1)[0]


def _turned(end: Tensor | None, state: StateVar, longest: int, run: Run) -> Tensor:
    """The adjoint state before its first step: the final state's cotangent, for the longest delay."""
    if end is not None and state.depth == longest:
        return end.flip(0) if longest > 1 else end
    zeros = torch.zeros((state.depth, run.batch, *state.shape), dtype=run.dtype, device=run.device)
    return noting.tape.same(zeros) if noting.tape else zeros


def _first(state: StateVar, final: dict[str, Tensor], run: Run) -> Tensor:
    """The cotangent of a state's initial values, ``[D, B, ...]``: what the reads before the first step received."""
    total: Tensor | None = None
    for name, value in final.items():
        if _state(name) == state.name:
            missing = state.depth - value.shape[0]
            value = value.flip(0) if value.shape[0] > 1 else value
            if missing:
                value = torch.cat([value.new_zeros((missing, *value.shape[1:])), value])
            total = value if total is None else total + value
    assert total is not None
    return total


class Recall:
    """The forward values that a derivative program asks for by name, found in what was kept."""

    def __init__(self, plan: LoopPlan, names: Iterable[str]) -> None:
        loop = plan.loop
        emitted = {i: len(loop.inputs) + len(loop.states) + k for k, i in enumerate(plan.keeping.emit.values())}
        inputs = {name: k for k, name in enumerate(loop.inputs)}
        initial = {s.name: len(loop.inputs) + k for k, s in enumerate(loop.states)}
        self.plain: list[tuple[str, int]] = []
        self.reads: list[tuple[str, int, int, int]] = []
        for name in names:
            kind, _, rest = name.partition(".")
            if kind == "in":
                self.plain.append((name, inputs[rest]))
            elif kind == "saved":
                self.plain.append((name, emitted[int(rest)]))
            elif kind == "read":
                state, delay = rest.rsplit(".", 1)
                self.reads.append((name, emitted[loop.next[state]], initial[state], int(delay)))

    def __call__(self, kept: Sequence[Tensor | None], run: Run, reverse: bool) -> dict[str, Tensor]:
        values: dict[str, Tensor | None] = {name: kept[k] for name, k in self.plain}
        for name, sequence, initial, delay in self.reads:
            values[name] = _read(kept[sequence], kept[initial], delay, run, reverse)
        return values  # pyright: ignore[reportReturnType]


def _read(sequence: Tensor | None, initial: Tensor | None, delay: int, run: Run, reverse: bool) -> Tensor:
    """What the steps read of a state at a delay, ``[T, B, ...]``: its sequence, shifted."""
    assert sequence is not None and initial is not None
    if run.sizes is not None:
        return _read_ragged(sequence, initial, delay, run.sizes, reverse)
    steps, window = run.lead[0], _window(sequence, initial, delay, reverse)
    if window is not None:
        return window
    if reverse:
        return torch.cat([sequence, initial.flip(0)]).narrow(0, delay, steps)
    return torch.cat([initial, sequence]).narrow(0, initial.shape[0] - delay, steps)


def _read_ragged(sequence: Tensor, initial: Tensor, delay: int, sizes: Sizes, reverse: bool) -> Tensor:
    """The same for sequences without padding, ``[N, 1, ...]``."""
    earlier, rows, places = sizes.earlier(delay, initial.shape[0], reverse)
    first = initial.flatten(0, 1).index_select(0, places).unsqueeze(1)
    return sequence.index_select(0, earlier).index_copy_(0, rows, first)


def _window(sequence: Tensor, initial: Tensor, delay: int, reverse: bool) -> Tensor | None:
    """The same without a copy, where an engine left the initial values beside the sequence and no derivative of it is
    wanted."""
    followed = torch.is_grad_enabled() and (sequence.requires_grad or initial.requires_grad)
    if followed or not (_is_own(sequence) and _is_own(initial)) or not sequence.is_contiguous():
        return None
    depth, at, size = initial.shape[0], sequence.storage_offset(), sequence.stride(0)
    room = sequence.numel() if reverse else -depth * size
    end = at + max(0, room) + depth * size
    if at + room < 0 or end * sequence.element_size() > sequence.untyped_storage().nbytes():
        return None
    beside = sequence.as_strided(initial.shape, sequence.stride(), at + room)
    as_read = initial.flip(0) if reverse and depth > 1 else initial
    if not noting.tape and not torch.equal(beside, as_read):  # what is replayed is as the engine left it
        return None
    return sequence.as_strided(sequence.shape, sequence.stride(), at + (delay if reverse else -delay) * size)


def _is_own(value: Tensor) -> bool:
    """Whether a tensor is one in memory, and not a wrapped one."""
    return type(value) is Tensor and not is_functorch_wrapped_tensor(value)


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


def run_of(plan: LoopPlan, tensors: Sequence[Tensor | None], steps: int) -> Run:
    """The run of a loop that is given these tensors."""
    first = tensors[len(plan.loop.inputs)]
    assert first is not None
    return Run(first.dtype, first.device, (steps, first.shape[1]))
