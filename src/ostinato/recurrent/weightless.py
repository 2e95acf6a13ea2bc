"""A recurrence run with weights that live somewhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ostinato.engines.plan import Plan
from ostinato.program import CannotTrace
from ostinato.recurrent.arguments import Arguments, autocasting, check
from ostinato.recurrent.module import Recurrent
from ostinato.recurrent.programs import lock_of, run_program, signature_of


class Weightless:
    """Runs the programs of a ``Recurrent`` (time first, one input) with given parameters, which are not put into it."""

    def __init__(self, recurrent: Recurrent) -> None:
        self.recurrent = recurrent
        self.plans: dict[tuple, Plan] = {}

    def __call__(self, named: Mapping[str, Tensor], x: Tensor, initial: Sequence[Tensor],
                 lengths: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Repeat the cell.

        Args:
            named: all its parameters.
            x: ``[T, B, ...]``.
            initial: its states before the first step, ``[1, B, ...]`` each.
            lengths: ``[B]``, or None where every sequence has T steps.

        Returns:
            outputs ``[T, B, ...]``, zero in the padding, and the last states, ``[1, B, ...]`` each.
        """
        if torch.compiler.is_compiling():
            full = {f"cell.{name}": value for name, value in named.items()}
            output, ends = functional_call(self.recurrent, full, (x, [s[0] for s in initial], lengths), strict=True)
            return output, tuple(s.unsqueeze(0) for s in ends)
        if autocasting(x.device):
            dtype = next(iter(named.values())).dtype
            with torch.autocast(x.device.type, enabled=False):
                return self(named, x.to(dtype), [s.to(dtype) for s in initial], lengths)
        return self._run(named, x, initial, lengths)

    def _run(self, named: Mapping[str, Tensor], x: Tensor, initial: Sequence[Tensor],
             lengths: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        recurrent = self.recurrent
        if lengths is None:
            given = Arguments([x], [], list(initial), None, None, x.dtype)
        else:
            given = check(recurrent.cell, x, [s[0] for s in initial], lengths, None, None, (), False, x.dtype)
        plan = self.plans.get((given.kinds, lengths is None)) or self._plan(named, given)
        output, _, finals = run_program(plan, recurrent.cell.states, dict(named), given, recurrent.reverse)
        return given.without_padding(output), tuple(finals)

    def _plan(self, named: Mapping[str, Tensor], given: Arguments) -> Plan:
        cell, programs = self.recurrent.cell, self.recurrent._programs
        with lock_of(cell), nn.utils.stateless._reparametrize_module(cell, dict(named)):
            program = programs.program(cell, signature_of(given))
            if isinstance(program, CannotTrace):
                raise program
            plan = self.plans[given.kinds, given.live is None] = programs.plan(program, given.live is not None, False,
                                                                               False)
        return plan
