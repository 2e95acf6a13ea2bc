"""A recurrence run with weights that live somewhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ostinato.engines.plan import Plan
from ostinato.program import CannotTrace
from ostinato.program.evaluate import Run
from ostinato.program.sizes import Sizes
from ostinato.recurrent.arguments import Arguments, autocasting, check
from ostinato.recurrent.module import Recurrent
from ostinato.recurrent.programs import can_pack, lock_of, run_program, run_steps, signature_of

CPU = torch.device("cpu")


class Weightless:
    """Runs the programs of a ``Recurrent`` (time first, one input) with given parameters, which are not put into it.

    Args:
        names: the parameters' names, by those that a caller gives them.
    """

    def __init__(self, recurrent: Recurrent, names: Mapping[str, str]) -> None:
        self.recurrent, self.names = recurrent, names
        self.plans: dict[tuple, Plan] = {}
        self.ready: dict[torch.dtype, tuple[Plan, list[int]]] = {}
        """By dtype: what runs a call on cpu without padding, and in which order it takes weights and input."""

    def __call__(self, named: Mapping[str, Tensor], x: Tensor, initial: Sequence[Tensor], lengths: Tensor | None,
                 mask: Tensor | None = None, constants: Sequence[Tensor] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Repeat the cell.

        Args:
            named: all its parameters.
            x: ``[T, B, ...]``.
            initial: its states before the first step, ``[D, B, ...]`` each, oldest first.
            lengths: ``[B]``, or None where every sequence has T steps.
            mask: bool ``[T, B]``, instead of lengths: which steps count.
            constants: ``[B, ...]`` each.

        Returns:
            outputs ``[T, B, ...]``, zero in the padding, and the last states, ``[D, B, ...]`` each.
        """
        if torch.compiler.is_compiling():
            full = {f"cell.{name}": value for name, value in named.items()}
            output, ends = functional_call(self.recurrent, full, (x, _as_given(initial), lengths, mask),
                                           {"constants": constants}, strict=True)
            return output, tuple(s.transpose(0, 1) if len(start) > 1 else s.unsqueeze(0)
                                 for s, start in zip(ends, initial, strict=True))
        if autocasting(x.device):
            dtype = next(iter(named.values())).dtype
            with torch.autocast(x.device.type, enabled=False):
                return self(named, x.to(dtype), [s.to(dtype) for s in initial], lengths, mask, constants)
        return self._run(named, x, initial, lengths, mask, constants)

    def at_once(self, weights: Mapping[str, Tensor], x: Tensor,
                initial: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same on cpu, without padding, autocast or compiler, with the least to do beside the run itself; the
        weights have the caller's names, always in the same order."""
        ready = self.ready.get(x.dtype)
        if ready is None:
            named = {self.names[name]: weight for name, weight in weights.items()}
            plan = self.plan(named, Arguments([x], [], list(initial), None, None, x.dtype))
            places = [*named, "x0"]
            ready = self.ready[x.dtype] = plan, [places.index(name) for name in plan.program.inputs]
        plan, order = ready
        given, shape = [*weights.values(), x], x.shape
        run = Run(x.dtype, CPU, (shape[0], shape[1]))
        (output,), finals = plan.results([given[k] for k in order], initial, run, self.recurrent.reverse)
        return output, tuple(finals)

    def packed(self, named: Mapping[str, Tensor], x: Tensor, initial: Sequence[Tensor],
               sizes: Sizes) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same without padding: x and the outputs are ``[N, 1, ...]``, the longest of the sequences comes first."""
        if autocasting(x.device):
            dtype = next(iter(named.values())).dtype
            with torch.autocast(x.device.type, enabled=False):
                return self.packed(named, x.to(dtype), [s.to(dtype) for s in initial], sizes)
        given = Arguments([x], [], list(initial), None, None, x.dtype)
        plan = self.plan(named, given)
        if can_pack(plan, given):
            output, _, finals = run_steps(plan, self.recurrent.cell.states, dict(named), given, self.recurrent.reverse,
                                          sizes)
            return output, tuple(finals)
        padded, lengths = pad_packed_sequence(PackedSequence(x.squeeze(1), torch.tensor(sizes)))
        output, finals = self._run(named, padded, initial, lengths, None, ())
        return pack_padded_sequence(output, lengths).data.unsqueeze(1), finals

    def _run(self, named: Mapping[str, Tensor], x: Tensor, initial: Sequence[Tensor], lengths: Tensor | None,
             mask: Tensor | None, constants: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        cell, dtype = self.recurrent.cell, initial[0].dtype  # x may be of whole numbers
        if lengths is None and mask is None:
            given = Arguments([x], list(constants), list(initial), None, None, dtype)
        else:
            given = check(cell, x, _as_given(initial), lengths, mask, None, constants, False, dtype)
        plan = self.plan(named, given)
        if given.packing is not None and not can_pack(plan, given):
            given = given.dense
            plan = self.plan(named, given)
        output, _, finals = run_program(plan, cell.states, dict(named), given, self.recurrent.reverse)
        return output, tuple(finals)

    def plan(self, named: Mapping[str, Tensor], given: Arguments) -> Plan:
        """The plan for a kind of call."""
        return self.plans.get(_kind_of(given)) or self._plan(named, given)

    def _plan(self, named: Mapping[str, Tensor], given: Arguments) -> Plan:
        cell, programs = self.recurrent.cell, self.recurrent._programs
        with lock_of(cell), nn.utils.stateless._reparametrize_module(cell, dict(named)):
            program = programs.program(cell, signature_of(given))
            if isinstance(program, CannotTrace):
                raise program
            plan = self.plans[_kind_of(given)] = programs.plan(program, given.live is not None, False, False,
                                                               packed=given.packing is not None)
        return plan


def _as_given(initial: Sequence[Tensor]) -> list[Tensor]:
    """States ``[D, B, ...]`` as a ``Recurrent`` that has the time first is given them."""
    return [s.transpose(0, 1) if len(s) > 1 else s[0] for s in initial]


def _kind_of(given: Arguments) -> tuple:
    """What the plan of a call depends on."""
    return given.kinds, given.live is None, given.packing is None
