"""All steps of a sequence at once, when its states are known: every value that a step computes, and its derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ostinato.errors import InputError
from ostinato.inspect.traced import program_of
from ostinato.program import Program
from ostinato.program.evaluate import Run, Schedule
from ostinato.program.trace import tensors_of
from ostinato.recurrent import Recurrent
from ostinato.recurrent.adjoints import previous
from ostinato.recurrent.arguments import Lengths, Tensors, listed


@dataclass(frozen=True)
class Replay:
    """A sequence, ready to be run again as one batch of single steps.

    Attributes:
        program: of the cell.
        states: every state after every step, ``[B, T, ...]``.
        before: what each step finds of every state, ``[B T, D, ...]``, the latest last.
        given: parameters and inputs by their names in the program; inputs are ``[B T, ...]``.
        live: which steps there are, bool ``[B, T]``.
    """

    recurrent: Recurrent
    program: Program
    states: Mapping[str, Tensor]
    before: Mapping[str, Tensor]
    given: Mapping[str, Tensor]
    live: Tensor

    @property
    def lead(self) -> tuple[int, int]:
        """B and T."""
        return int(self.live.shape[0]), int(self.live.shape[1])

    def values(self, nodes: list[int], before: Mapping[str, Tensor] | None = None,
               program: Program | None = None) -> list[Tensor]:
        """What some nodes of the program compute, ``[B T, ...]``, with gradients where the given values ask for them.

        Args:
            nodes: which.
            before: in the place of the sequence's own.
            program: a rewritten one with the same leaves.
        """
        program, before = program or self.program, before or self.before
        count = self.live.numel()
        like = next(iter(self.before.values()))
        run = Run(like.dtype, like.device, (count,))
        values = {i: self.given[name] for name, i in program.inputs.items()}
        values |= {i: before[n["state"]][:, -n["delay"]] for i, n in enumerate(program.nodes) if n.op == "read"}
        schedule = Schedule(program, range(len(program.nodes)), range(len(program.nodes)))
        schedule.start(values, run)
        schedule(values, run)
        return [values[i].expand(count, *program.nodes[i].shape) for i in nodes]


def replay(recurrent: Recurrent, x: Tensors, initial: Tensors | None = None, lengths: Lengths | None = None) -> Replay:
    """Run a sequence and keep what every step found.

    Raises:
        InputError: when a step has random masks, or constants of the sequence.
        FallbackError: when the step cannot be traced.
    """
    own = (lambda v: v) if recurrent.batch_first else (lambda v: v.transpose(0, 1))
    xs = [own(v) for v in listed(x, "x")]
    batch, steps = xs[0].shape[:2]
    program = program_of(recurrent.cell, xs)
    unknown = [n.op for n in program.nodes if n.op in ("q", "draw", "noise")]
    if unknown:
        raise InputError(f"{type(recurrent.cell).__name__} has {unknown[0]} values in its step; call eval() first"
                         if unknown[0] != "q" else "a step with constants of the sequence cannot be replayed")
    with torch.no_grad():
        _, _, states = recurrent(x, initial, lengths, return_all_states=True)
        first = recurrent.initial_states(batch) if initial is None else listed(initial, "initial")
        states = {name: own(v) for name, v in states.items()}
        before = {}
        for s, start in zip(recurrent.cell.states, first, strict=True):
            start = (start if s.depth > 1 else start.unsqueeze(1)).to(states[s.name])  # [B, D, ...]
            before[s.name] = previous(states[s.name], start, s.depth, recurrent.reverse).flatten(0, 1)
    live = torch.ones(batch, steps, dtype=torch.bool)
    if lengths is not None:
        live = torch.arange(steps) < torch.as_tensor(lengths).cpu().unsqueeze(1)
    dtype = next(iter(before.values())).dtype
    given = {name: table[key] for table, key, name, *_ in tensors_of(recurrent.cell)} | dict(program.tensors)
    given |= {f"x{i}": (v.to(dtype) if v.is_floating_point() else v).flatten(0, 1) for i, v in enumerate(xs)}
    return Replay(recurrent, program, states, before, given, live)
