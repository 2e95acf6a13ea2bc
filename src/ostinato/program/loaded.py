"""A cell made of programs instead of a class: what a saved model becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.cell import Cell, State
from ostinato.program.ir import Program
from ostinato.program.lower import kind_of
from ostinato.program.source import CannotTrace
from ostinato.program.trace import InputSpec, Signature


@dataclass(frozen=True, slots=True)
class Variant:
    """One program of a cell: for these inputs, in this mode."""

    training: bool
    inputs: tuple[InputSpec, ...]
    constants: tuple[InputSpec, ...]
    program: Program


class ProgramCell(Cell):
    """A cell whose step is a program. Its parameters have the names that they had in the class it came from.

    Args:
        name: the class that it came from.
        states: as that class declared them.
        variants: its programs.
        parameters, buffers: by their dotted names.
    """

    def __init__(self, name: str, states: Sequence[State], variants: Sequence[Variant],
                 parameters: Mapping[str, nn.Parameter], buffers: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.name, self.variants = name, tuple(variants)
        for s in states:
            self.add_state(s.name, s.shape, s.delays, s.initial, s.symbols)
        for full, value in [*parameters.items(), *buffers.items()]:
            *path, last = full.split(".")
            module: nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            if isinstance(value, nn.Parameter):
                module.register_parameter(last, value)
            else:
                module.register_buffer(last, value)

    def program_for(self, signature: Signature) -> Program:
        """The program for these inputs in the present mode.

        Raises:
            CannotTrace: when the cell was saved without one.
        """
        for v in self.variants:
            if v.training == self.training and _alike(v.inputs, signature.inputs) and _alike(
                    v.constants, signature.constants):
                return v.program
        known = "; ".join(f"{_words(v.inputs)}{' in training' if v.training else ''}" for v in self.variants)
        raise CannotTrace(f"the saved {self.name} has no program for inputs {_words(signature.inputs)}"
                          f"{' in training' if self.training else ''}, it was saved for {known}")

    def step(self, *args: Any) -> Any:
        """One step, by evaluating the program: used where a plain step is asked for."""
        from ostinato.program.evaluate import Run, Schedule

        reads = sum(len(s.delays) for s in self.states)
        specs = tuple(InputSpec(tuple(a.shape[1:]), a.dtype) for a in args)
        inputs, constants = specs[: self._inputs], specs[self._inputs + reads :]
        first = args[self._inputs]
        program = self.program_for(Signature(inputs, constants, first.dtype, first.device))
        given = {f"x{i}": a for i, a in enumerate(args[: self._inputs])}
        given |= {f"q{i}": a for i, a in enumerate(args[self._inputs + reads :])}
        given |= dict(self.named_parameters()) | dict(self.named_buffers()) | dict(program.tensors)
        names = [(s.name, d) for s in self.states for d in s.delays]
        past = dict(zip(names, args[self._inputs : self._inputs + reads], strict=True))
        values = {i: given[name] for name, i in program.inputs.items()}
        values |= {i: past[n["state"], n["delay"]] for i, n in enumerate(program.nodes) if n.op == "read"}
        schedule = Schedule(program, range(len(program.nodes)), [*program.emit.values(), *program.next.values()])
        run = Run(first.dtype, first.device, (first.shape[0],))
        schedule.start(values, run)
        schedule(values, run)
        batch = first.shape[0]
        news = [values[program.next[s.name]].expand(batch, *s.shape) for s in self.states]
        return (*news, values[program.emit["output"]])

    @property
    def _inputs(self) -> int:
        return len(self.variants[0].inputs)

    def extra_repr(self) -> str:
        return f"{self.name}, {super().extra_repr()}"


def _alike(saved: Sequence[InputSpec], given: Sequence[InputSpec]) -> bool:
    """The same shapes and kinds; a program serves every width of float."""
    return [(s.shape, kind_of(s.dtype)) for s in saved] == [(g.shape, kind_of(g.dtype)) for g in given]


def _words(specs: Sequence[InputSpec]) -> str:
    return ", ".join(f"{kind_of(s.dtype)}{list(s.shape)}" for s in specs)


def input_spec(value: Tensor, lead: int) -> InputSpec:
    """The spec of a tensor with that many leading dimensions."""
    dtype = value.dtype if value.dtype.is_floating_point or value.dtype == torch.bool else torch.int64
    return InputSpec(tuple(int(n) for n in value.shape[lead:]), dtype)
