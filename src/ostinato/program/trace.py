"""Trace a cell's step into a program: two recordings, lowered, rewritten, verified and compared with the step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.noise import Draw, asked_for, bernoulli, drawing, paths_of
from ostinato.program.ir import Program, Ref, Shape, StateVar, finish
from ostinato.program.lower import SIZES, Lowering, Val, features
from ostinato.program.record import Recorder, TraceTensor
from ostinato.program.rewrite import optimise
from ostinato.program.source import CannotTrace, line_of, user_line
from ostinato.program.verify import verify


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The features and dtype of one input (or per-sequence constant) of a step."""

    shape: Shape
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Signature:
    """What a program is made for: everything but T and B."""

    inputs: tuple[InputSpec, ...]
    constants: tuple[InputSpec, ...]
    dtype: torch.dtype
    device: torch.device


def trace(cell: Cell, signature: Signature) -> Program:
    """The program of ``cell.step``: inputs ``x0..``, constants ``q0..``, parameters by their names; it emits
    ``output`` and, for every state, ``state.<name>``.

    Raises:
        CannotTrace: naming the operation and the line of the step that a program cannot express.
    """
    with undisturbed():
        recordings = [_record(cell, signature, size) for size in SIZES]
    (first, news, out), (second, _, _) = recordings
    low = Lowering(first, second)
    low.run()
    for name, var in first.stored.items():
        if not low.only_parameters(low.value(var).ref):  # a weight, computed by a hook
            raise _changed(cell, name)
    following = {s.name: _float(low.value(v)) for s, v in zip(cell.states, news, strict=True)}
    emit = {"output": low.value(out).ref, **{f"state.{name}": ref for name, ref in following.items()}}
    _check_batch(low, cell, news, out)
    states = [StateVar(s.name, s.shape, s.depth, s.initial) for s in cell.states]
    program = optimise(finish(low.builder, states, following, emit, low.tensors))
    verify(program)
    return program


def _float(value: Val) -> Ref:
    return value.ref if value.ref.dtype == "float" else value.ref.cast(to="float")


def _check_batch(low: Lowering, cell: Cell, news: Sequence[Any], out: Any) -> None:
    """Every result must be ``[B, ...]``."""
    names = [f"the next state {s.name!r}" for s in cell.states]
    for name, var in zip([*names, "the output"], [*news, out], strict=True):
        value = low.value(var)
        if value.at != 0 or value.fold != 1 or value.ref.shape != features(value.sizes):
            raise CannotTrace(f"{type(cell).__name__}.step returns {name} without the batch as its first dimension")


def _record(cell: Cell, signature: Signature, batch: int) -> tuple[Recorder, list[Any], Any]:
    recorder = Recorder()
    generator = torch.Generator().manual_seed(batch)

    def made(spec: InputSpec, kind: str, name: str) -> TraceTensor:
        return recorder.leaf(sample(spec, batch, signature.device, generator), kind, name)

    arguments = [made(spec, "x", f"x{i}") for i, spec in enumerate(signature.inputs)]
    for s in cell.states:
        arguments += [made(InputSpec(s.shape, signature.dtype), "read", f"{s.name}@{d}") for d in s.delays]
    arguments += [made(spec, "q", f"q{i}") for i, spec in enumerate(signature.constants)]
    asked = _Asked(cell, recorder, generator)
    with drawing(asked), swapped(cell, lambda value, name: recorder.leaf(_untouched(value), "p", name)):
        before, draws = numbers(cell), _random_states()
        news, out = cell.split_result(_called(cell, arguments))
        _check_unchanged(before, numbers(cell), cell)
        recorder.stored = {name: recorder.current(v) for name, v in _attributes(cell, TraceTensor)}
        if draws != _random_states() and not recorder.draws:
            raise CannotTrace(f"{type(cell).__name__}.step draws random numbers that are not made from its arguments; "
                              "use torch.rand_like or torch.randn_like")
        noted = [recorder.current(v) if isinstance(v, TraceTensor) else recorder.constant(v) for v in (*news, out)]
    return recorder, noted[:-1], noted[-1]


class _Asked:
    """Where a recorded step's masks come from: each is an input of the program."""

    def __init__(self, cell: Cell, recorder: Recorder, generator: torch.Generator) -> None:
        self.paths = paths_of(cell)
        self.recorder, self.generator = recorder, generator
        self.made: dict[str, tuple[Draw, TraceTensor]] = {}

    def __call__(self, owner: nn.Module, name: str, like: Tensor, p: float, each: str) -> Tensor:
        asked = asked_for(self.paths, owner, name, like, p, each)
        if asked.name not in self.made:
            value = bernoulli(like.shape, p, torch.device("cpu"), self.generator).to(like.device)
            self.recorder.asked[asked.name] = asked
            self.made[asked.name] = asked, self.recorder.leaf(value, "draw", asked.name)
        before, value = self.made[asked.name]
        if before != asked:
            raise CannotTrace(f"the mask {name!r} is asked for as {before} and as {asked}", user_line())
        return value


def _called(cell: Cell, arguments: Sequence[TraceTensor]) -> Any:
    """The step's result. An error of the step is a reason not to trace it: it comes again, with its own line, when the
    step runs as it is."""
    try:
        return cell.step(*arguments)
    except CannotTrace:
        raise
    except Exception as error:
        raise CannotTrace(f"{type(error).__name__}: {error}", line_of(error)) from error


def _random_states() -> tuple[Any, ...]:
    return random.getstate(), torch.random.get_rng_state().tolist()


def numbers(cell: nn.Module) -> dict[str, Any]:
    """The plain attributes of a cell and its parts: what a step's Python reads."""
    return dict(_attributes(cell, (int, float, str, tuple, type(None))))


def _attributes(cell: nn.Module, kinds: Any) -> list[tuple[str, Any]]:
    return [
        (f"{prefix}.{key}" if prefix else key, value)
        for prefix, module in cell.named_modules()
        for key, value in module.__dict__.items()
        if isinstance(value, kinds)
    ]


def _changed(cell: Cell, name: str) -> CannotTrace:
    return CannotTrace(f"{type(cell).__name__}.step changes self.{name}; what changes over time must be a declared "
                       "state")


def _check_unchanged(before: dict[str, Any], after: dict[str, Any], cell: Cell) -> None:
    for name, value in after.items():
        if name not in before or (before[name] is not value and before[name] != value):
            raise _changed(cell, name)


def sample(spec: InputSpec, batch: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """Values to try a step with: small floats; zeros for integers, which may be indices."""
    if not spec.dtype.is_floating_point:
        return torch.zeros((batch, *spec.shape), dtype=spec.dtype, device=device)
    return (0.5 * torch.randn((batch, *spec.shape), generator=generator)).to(device, spec.dtype)


@contextmanager
def swapped(cell: nn.Module, replace: Callable[[Tensor, str], Tensor]) -> Iterator[None]:
    """Every parameter and buffer of the cell replaced; tied ones by the same.

    The modules' dictionaries are changed and put back as they were, so that whatever a hook or a parametrisation
    stores meanwhile does not stay.
    """
    before = [(m, dict(m.__dict__), dict(m._parameters), dict(m._buffers)) for m in cell.modules()]
    made: dict[int, Tensor] = {}
    try:
        for table, key, name, value in tensors_of(cell):
            if id(value) not in made:
                made[id(value)] = replace(value, name)
                if isinstance(value, nn.Parameter):
                    made[id(value)]._is_param = True  # type: ignore[attr-defined] # isinstance asks it
            table[key] = made[id(value)]
        yield
    finally:
        for module, attributes, parameters, buffers in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            tables: list[tuple[dict[str, Any], dict[str, Any]]]
            tables = [(module._parameters, parameters), (module._buffers, buffers)]
            for table, old in tables:
                table.clear()
                table.update(old)


def tensors_of(cell: nn.Module) -> list[tuple[dict[str, Any], str, str, Tensor]]:
    """The places of all parameters and buffers: the table, the key in it, the full name, the tensor."""
    return [
        (table, key, f"{prefix}.{key}" if prefix else key, value)
        for prefix, module in cell.named_modules()
        for table in (module._parameters, module._buffers)
        for key, value in list(table.items())
        if value is not None
    ]


def double_values(cell: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers by name, floats in float64, tied ones under their first; inside torch.func
    or a compiler, made-up values of the same shapes."""
    out: dict[int, tuple[str, Tensor]] = {}
    for _, _, name, value in tensors_of(cell):
        if id(value) not in out:
            dtype = torch.float64 if value.is_floating_point() else value.dtype
            out[id(value)] = name, plain(value).to(dtype, copy=True)
    return dict(out.values())


def _untouched(value: Tensor) -> Tensor:
    """The values that a recording works with. A change of a parameter is refused before it is made; that of a buffer
    may be hidden in an operation (batch norm), so it works on a copy."""
    return plain(value) if isinstance(value, nn.Parameter) else plain(value).clone()


def plain(value: Tensor) -> Tensor:
    """The values of a tensor; inside torch.func or a compiler, made-up ones of the same shape."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(value)  # type: ignore[attr-defined]
    if type(value) not in (Tensor, nn.Parameter) or value.is_meta or wrapped:
        generator = torch.Generator().manual_seed(0)
        made = 0.1 * torch.randn(tuple(int(n) for n in value.shape), generator=generator)
        return made.to(value.dtype)
    return value.detach()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Nothing from outside reaches the trace (autocast, no_grad, torch.func, a compiler), and it leaves the random
    numbers of the user as they were."""
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.callback(random.setstate, random.getstate())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if torch._C._are_functorch_transforms_active():
            from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

            stack.enter_context(temporarily_clear_interpreter_stack())
        if torch._C._len_torch_dispatch_stack():
            from torch.utils._python_dispatch import _disable_current_modes

            stack.enter_context(_disable_current_modes())
        yield
