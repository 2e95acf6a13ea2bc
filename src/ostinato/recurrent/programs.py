"""The programs of one cell: traced when first needed, kept, and traced again only when the cell itself changed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ostinato.cell import Cell, State
from ostinato.engines import eager
from ostinato.engines.choice import FallbackError, engine, is_strict
from ostinato.engines.differentiable import compiling, faked
from ostinato.engines.plan import Plan
from ostinato.engines.ragged import Packing
from ostinato.noise import Draw
from ostinato.program import CannotTrace, Program, Signature, trace
from ostinato.program.by_row import by_row, reads_sequences
from ostinato.program.evaluate import Run
from ostinato.program.loaded import ProgramCell, input_spec
from ostinato.program.loop_features import LIVE, RESET, register, with_features
from ostinato.program.probe import probe
from ostinato.program.sizes import Sizes
from ostinato.program.teacher import with_teacher
from ostinato.program.trace import tensors_of, undisturbed
from ostinato.recurrent.arguments import Arguments, Outcome
from ostinato.recurrent.masks import check_names
from ostinato.recurrent.teacher import NOBODY
from ostinato.recurrent.watch import OWN, Watch, fingerprint

if TYPE_CHECKING:
    from ostinato.recurrent.checkpoint import Checkpoint


@dataclass
class Programs:
    """What is known of a cell so far. A copy or a pickle of it is empty: it fills itself again."""

    save: int | str | None = None
    traces: int = 0
    """How many times a step was traced."""
    last: tuple | None = None
    """The key of the latest call."""
    taught: tuple = NOBODY.kinds
    """Which states had a teacher in it."""
    found: dict[tuple, Program | CannotTrace] = field(default_factory=dict)
    plans: dict[tuple, Plan] = field(default_factory=dict)
    watch: Watch | None = None
    ready: dict[tuple, Ready] = field(default_factory=dict)
    """By kind of call, for the cell as it is watched."""

    def __deepcopy__(self, memo: dict) -> Programs:
        return Programs(self.save)

    def __reduce__(self) -> tuple:
        return Programs, (self.save,)

    def program(self, cell: Cell, signature: Signature) -> Program | CannotTrace:
        """The program of a cell for a signature, or why there is none."""
        with lock_of(cell):
            key = self._key(cell, signature)
            return self.found[key]

    def _key(self, cell: Cell, signature: Signature) -> tuple:
        """The key of the program for a signature, which is made if it is not there."""
        modes, rest = fingerprint(cell)
        key = self.last = (signature, modes, rest)
        if key not in self.found:
            self.found = {k: v for k, v in self.found.items() if k[2] == rest}
            try:
                self.found[key] = self._made(cell, signature)
            except CannotTrace as refusal:
                refusal.__cause__ = refusal.__context__ = None  # they would keep every tensor of their frames
                self.found[key] = refusal.with_traceback(None)
        return key

    def _made(self, cell: Cell, signature: Signature) -> Program:
        if isinstance(cell, ProgramCell):
            return cell.program_for(signature)
        self.traces += 1
        with _said(cell, signature), undisturbed(), _unhooked():
            program = trace(cell, signature)
        plan = Plan(program)

        def by_program(xs: Any, starts: Any, constants: Any, named: dict[str, Tensor]) -> list[Tensor]:
            run = Run(torch.float64, signature.device, (1, starts[0].shape[1]))
            given = _inputs(xs, constants) | named
            outs, finals = plan.run(given, starts, run, False)
            return [*_full(outs, run, program).values(), *finals]

        def by_step(xs: Any, starts: Any, constants: Any, named: dict[str, Tensor]) -> list[Tensor]:
            outputs, values, finals = eager.run(cell, xs, constants, starts, drawn=lambda d: named[d.name], steps=1)
            return [outputs, *values, *finals]

        with engine("reference"), _unhooked():
            probe(cell, program, signature, by_program, by_step)
        return program

    def plan(self, program: Program, live: bool, reset: bool, all_states: bool, taught: tuple = NOBODY.kinds,
             packed: bool = False) -> Plan:
        """The plan that runs the latest program with these features of the loop."""
        assert self.last is not None
        rows = packed and reads_sequences(program)
        key = (self.last, live, reset, all_states, taught, rows)
        if key not in self.plans:
            self.plans = {k: v for k, v in self.plans.items() if k[0] in self.found}
            program = with_teacher(program, *taught) if taught != NOBODY.kinds else program
            program = by_row(program) if rows else program
            self.plans[key] = Plan(with_features(program, live, reset, all_states), self.save)
        return self.plans[key]

    def _ready(self, cell: Cell, given: Arguments, all_states: bool) -> Ready:
        """What runs a call. As long as nothing of the cell is replaced, the fingerprint need not be taken."""
        if self.watch is None or not self.watch.unchanged(cell):
            self.watch, self.ready = Watch(cell), {}
        packed = given.packing is not None
        key = (given.kinds, given.live is None, given.reset is None, all_states, given.teacher.kinds, packed)
        found = self.ready.get(key)
        if found is None:
            self._key(cell, signature_of(given))
            found = self.ready[key] = self._prepare(cell, given, all_states)
        self.last, self.taught = found.key, given.teacher.kinds
        return found

    def _prepare(self, cell: Cell, given: Arguments, all_states: bool) -> Ready:
        assert self.last is not None
        program = self.found[self.last]
        if isinstance(program, CannotTrace):
            return Ready(self.last, program, [], ())
        plan = self.plan(program, given.live is not None, given.reset is not None, all_states, given.teacher.kinds,
                         given.packing is not None)
        places = [place[:3] for place in tensors_of(cell) if place[2] in plan.program.inputs]
        return Ready(self.last, plan, places, program.draws)

    def draws(self, cell: Cell, given: Arguments) -> Sequence[Draw]:
        """The masks that a call asks for."""
        with lock_of(cell):
            ready = self._ready(cell, given.dense, False)
            if isinstance(ready.plan, Plan):
                return ready.draws
            with undisturbed():
                return eager.masks_of(cell, given.first_step(cell))

    def run(self, cell: Cell, given: Arguments, reverse: bool, all_states: bool,
            checkpoint: Checkpoint | None = None) -> Outcome:
        """Repeat the cell: by its program, or step by step where it has none. Results are zero at padding.

        Args:
            checkpoint: how to do so in segments, where that is wanted.

        Raises:
            FallbackError: under ``strict()``, when the step cannot be traced.
        """
        with lock_of(cell):
            ready = self._ready(cell, given, all_states)
            if isinstance(ready.plan, Plan):
                given = given.with_masks(ready.draws)
            if given.packing is not None and not can_pack(ready.plan, given):
                given = given.dense
                ready = self._ready(cell, given, all_states)
            if isinstance(ready.plan, CannotTrace):
                return self._by_step(cell, ready.plan, signature_of(given), given, reverse, checkpoint)
            named = {name: table[key] for table, key, name in ready.places}
        return run_program(ready.plan, cell.states, named, given.with_lessons(cell, reverse), reverse, checkpoint)

    def _by_step(self, cell: Cell, refusal: CannotTrace, signature: Signature, given: Arguments,
                 reverse: bool, checkpoint: Checkpoint | None) -> Outcome:
        if is_strict():
            raise FallbackError(f"{type(cell).__name__} would run step by step: {refusal}") from refusal
        with _said(cell, signature):
            asked: dict[str, Tensor] = {}

            def mask(wanted: Draw) -> Tensor:
                if wanted.name not in asked:
                    asked[wanted.name] = given.mask(wanted)
                return asked[wanted.name]

            run = checkpoint.by_step if checkpoint else by_step
            outputs, values, finals = run(cell, given, reverse, mask)
        check_names(list(asked), given.drawn)
        return given.without_padding((outputs, dict(zip((s.name for s in cell.states), values, strict=True)), finals))


def by_step(cell: Cell, given: Arguments, reverse: bool,
            mask: Callable[[Draw], Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """A call without a program: its outputs, its states at all steps, and their last values."""
    return eager.run(cell, given.inputs, given.constants, given.initial, given.live, given.reset, reverse, mask,
                     given.steps, given.teacher)


class Ready(NamedTuple):
    """What runs a kind of call, and where its parameters are."""

    key: tuple
    plan: Plan | CannotTrace
    places: list[tuple[dict[str, Any], str, str]]
    draws: Sequence[Draw]


def can_pack(plan: Plan | CannotTrace, given: Arguments) -> bool:
    """Whether a call can do without its padding: on the CPU engine, unless a sequence's constants, which each of its
    steps would then be given, are wider than what a step reads anyway (as what an attention looks at is)."""
    if isinstance(plan, CannotTrace) or not plan.loop or compiling(given.tensors):
        return False
    if _width(given.constants, 1) > _width([*given.inputs, *given.initial], 2):
        return False
    return plan.loop.runners(True)(given.dtype, given.device).name == "cpu"


def _width(values: Sequence[Tensor], lead: int) -> int:
    return sum(prod(v.shape[lead:]) for v in values)


def run_program(plan: Plan, states: Sequence[State], named: dict[str, Tensor], given: Arguments,
                reverse: bool, checkpoint: Checkpoint | None = None) -> Outcome:
    """Run a plan with these parameters; ``states`` as the cell declares them. Results are zero at padding."""
    steps = checkpoint or run_steps
    if given.packing is not None:
        return _run_packed(plan, states, named, given, given.packing, reverse, steps)
    return given.without_padding(steps(plan, states, named, given, reverse))


def run_steps(plan: Plan, states: Sequence[State], named: dict[str, Tensor], given: Arguments, reverse: bool,
              sizes: Sizes | None = None) -> Outcome:
    """The same, whatever is at padding; with ``sizes``, of sequences that are packed."""
    run = Run(given.dtype, given.device, (given.steps, given.batch), sizes)
    values = {**_inputs(given.inputs, given.constants), **named, **given.drawn, **given.taught.inputs}
    for name, flags in ((LIVE, given.live), (RESET, given.reset)):
        if flags is not None:
            values[name] = flags
    if plan.program.tensors:
        values |= _constants(plan.program.tensors, given, run)
    ends = given.taught.ends
    initial = [v for s, v in zip(states, given.initial, strict=True) if s.name not in ends]
    in_registers = given.live is not None or given.reset is not None
    if in_registers:
        initial = [v[v.shape[0] - d : v.shape[0] - d + 1]
                   for v in initial for d in range(1, v.shape[0] + 1)]
    outs, finals = plan.run(values, initial, run, reverse)
    if in_registers:
        by_name = dict(zip((s.name for s in plan.program.states), finals, strict=True))
        finals = [torch.cat([by_name[register(s.name, d)] for d in range(s.depth, 0, -1)]) for s in states
                  if s.name not in ends]
    if ends:
        own = iter(finals)
        finals = [ends[s.name] if s.name in ends else next(own) for s in states]
    full = _full(outs, run, plan.program)
    return full["output"], {s.name: full[f"state.{s.name}"] for s in states if f"state.{s.name}" in full}, finals


def _run_packed(plan: Plan, states: Sequence[State], named: dict[str, Tensor], given: Arguments, packing: Packing,
                reverse: bool, steps: Callable[..., Outcome]) -> Outcome:
    """The same without padding; what a sequence has of its own is given at each of its steps (``program.by_row``)."""
    own = {f"q{i}": packing.spread(v) for i, v in enumerate(given.constants)}
    drawn = {d.name: _without_padding(given.drawn[d.name], len(d.shape), packing) for d in plan.program.draws}
    batch_first = bool(given.inputs) and given.inputs[0].transpose(0, 1).is_contiguous()
    packed = replace(given, inputs=[packing.pack(v) for v in given.inputs], constants=[], drawn=own | drawn,
                     initial=[packing.sort(v) for v in given.initial], packing=None, alone=(packing.total, 1),
                     taught=given.taught.packed(packing))
    output, values, finals = steps(plan, states, named, packed, reverse, packing.sizes)
    unpacked = {name: packing.unpack(v, given.steps, batch_first) for name, v in values.items()}
    return packing.unpack(output, given.steps, batch_first), unpacked, [packing.restore(f) for f in finals]


def _without_padding(mask: Tensor, features: int, packing: Packing) -> Tensor:
    """A mask of each step ``[T, B, ...]`` or sequence ``[B, ...]`` as ``[N, 1, ...]``; that of a call as it is."""
    lead = mask.dim() - features
    return packing.pack(mask) if lead == 2 else packing.spread(mask) if lead == 1 else mask


def _constants(tensors: Mapping[str, Tensor], given: Arguments, run: Run) -> dict[str, Tensor]:
    """The constants of a program where the run is."""
    if faked(given.tensors):  # a graph that is being made takes no tensor from outside as it is
        tensors = {name: torch.ops.aten.lift_fresh_copy.default(value) for name, value in tensors.items()}
    return {name: value.to(run.device, run.dtype if value.is_floating_point() else value.dtype)
            for name, value in tensors.items()}


_locks: weakref.WeakKeyDictionary[Cell, threading.RLock] = weakref.WeakKeyDictionary()


def lock_of(cell: Cell) -> threading.RLock:
    """Held by whoever looks at a cell's parameters: tracing replaces them for a moment."""
    with _making_a_lock:
        return _locks.setdefault(cell, threading.RLock())


_making_a_lock = threading.Lock()


def _inputs(xs: list[Tensor], constants: list[Tensor]) -> dict[str, Tensor]:
    return {**{f"x{i}": v for i, v in enumerate(xs)}, **{f"q{i}": v for i, v in enumerate(constants)}}


@contextmanager
def _said(cell: Cell, signature: Signature) -> Iterator[None]:
    """An error of the step's own says also what the step was given."""
    try:
        yield
    except CannotTrace:
        raise
    except Exception as error:
        error.add_note(f"{type(cell).__name__}.step was called with {_arguments(cell, signature)}")
        raise


def _unhooked() -> AbstractContextManager[Any]:
    """Keeps what is made here once from the hooks of ``torch.utils.checkpoint``, which expects it a second time;
    ``torch.func`` has no such hooks, and takes none."""
    autograd = torch._C._autograd  # pyright: ignore[reportAttributeAccessIssue]
    possible = autograd._saved_tensors_hooks_is_enabled()
    return saved_tensors_hooks(lambda t: t, lambda t: t) if possible else nullcontext()


def _arguments(cell: Cell, signature: Signature) -> str:
    """What a step is given, in words."""
    inputs = [f"{str(x.dtype).removeprefix('torch.')} {['B', *x.shape]}" for x in signature.inputs]
    states = [s.name + (f"[t-{d}]" if d > 1 else "") for s in cell.states for d in s.delays]
    constants = [f"{str(c.dtype).removeprefix('torch.')} {['B', *c.shape]}" for c in signature.constants]
    words = f"the inputs {', '.join(inputs)}, the states {', '.join(states)}"
    return (words + (f", the constants {', '.join(constants)}" if constants else "")).replace("'", "")


def _full(outs: dict[str, Tensor], run: Run, program: Program) -> dict[str, Tensor]:
    """The emits with T and B, also those that depend on neither."""
    nodes, emit = program.nodes, program.emit
    return {name: value if value.dim() == 2 + len(nodes[emit[name]].shape) else
            value.expand((*run.lead, *nodes[emit[name]].shape)) for name, value in outs.items()}


def signature_of(given: Arguments) -> Signature:
    """What a call's program depends on."""
    device = given.device
    return Signature(tuple(input_spec(x, 2) for x in given.inputs), tuple(input_spec(c, 1) for c in given.constants),
                     given.dtype, torch.device("cpu") if device.type == "meta" else device)


def attribute_names(cell: Cell) -> list[list[str]]:
    """For each module of a cell the names of its attributes, which a compiler cannot list for itself."""
    return [[key for key in module.__dict__ if key not in OWN] for module in cell.modules()]


def readings(cell: Cell, names: list[list[str]]) -> tuple[list[int], list[float], str]:
    """The modes, numbers and words of :func:`fingerprint`, for a compiler: it compiles again when one of them changes,
    since they are arguments of an operation in its graph."""
    whole, real, text = [], [], ""
    for module, own in zip(cell.modules(), names, strict=False):
        for key in own:
            value = getattr(module, key, None)
            if isinstance(value, int):
                whole.append(int(value))
            elif isinstance(value, float):
                real.append(value)
            elif isinstance(value, str):
                text += value + " "
    return whole, real, text
