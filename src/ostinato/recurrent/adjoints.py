"""What a loss says of every state: dL/dh[t] for all t, from one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ostinato.engines.choice import FallbackError
from ostinato.engines.plan import Plan
from ostinato.errors import InputError
from ostinato.program import CannotTrace, Program
from ostinato.program.ir import Builder, Ref, finish
from ostinato.program.loop_features import with_features
from ostinato.program.trace import tensors_of
from ostinato.recurrent.arguments import Lengths, Tensors, check
from ostinato.recurrent.module import Recurrent
from ostinato.recurrent.programs import lock_of, run_program, signature_of

NUDGE = "nudge."


@dataclass
class Observed:
    """A call of a ``Recurrent`` whose states can be asked for their gradients.

    Attributes:
        outputs, ends: as the call returns them.
        states: every state at every step, by name, ``[B, T, ...]`` (``[T, B, ...]`` without ``batch_first``).
    """

    outputs: Tensor
    ends: tuple[Tensor, ...]
    states: dict[str, Tensor]
    nudges: dict[str, Tensor]
    """Zeros that were added to the states as they were made."""
    batch_first: bool

    def gradients(self, loss: Tensor, create_graph: bool = False) -> dict[str, Tensor]:
        """dL/dh[t]: how the loss changes with each state at each step, by every way from there, by its name; shaped as
        ``states``, zero at padding.

        Args:
            loss: a number made of the call's results.
            create_graph: keep what a derivative of these takes. The loss can be differentiated again in any case.
        """
        found = torch.autograd.grad(loss, list(self.nudges.values()), retain_graph=True, create_graph=create_graph,
                                    allow_unused=True, materialize_grads=True)
        return {name: g.transpose(0, 1) if self.batch_first else g
                for name, g in zip(self.nudges, found, strict=True)}


def observe(recurrent: Recurrent, x: Tensors, initial: Tensors | None = None, lengths: Lengths | None = None,
            mask: Tensor | None = None, reset: Tensor | None = None, *, constants: Tensors = ()) -> Observed:
    """Call a ``Recurrent`` so that the gradients of its states can be had afterwards.

    Zeros are added to each state at each step, in the program, and the loss is differentiated by these: one backward
    pass, on whichever engine.

    Raises:
        FallbackError: when the step cannot be traced.

    >>> from ostinato import cells
    >>> seen = observe(Recurrent(cells.LSTM(3, 5)), torch.ones(2, 7, 3), lengths=[7, 4])
    >>> {name: tuple(g.shape) for name, g in seen.gradients(seen.outputs.sum()).items()}
    {'h': (2, 7, 5), 'C': (2, 7, 5)}
    """
    cell, programs = recurrent.cell, recurrent._programs
    given = check(cell, x, initial, lengths, mask, reset, constants, recurrent.batch_first).dense
    with lock_of(cell):
        program = programs.program(cell, signature_of(given))
        if isinstance(program, CannotTrace):
            raise FallbackError(f"{type(cell).__name__} runs step by step, where states cannot be observed: {program}")
        plan = Plan(with_features(nudged(program), given.live is not None, given.reset is not None, True),
                    recurrent.save_policy)
        named = {name: table[key] for table, key, name, *_ in tensors_of(cell) if name in plan.program.inputs}
    like = given.initial[0]
    nudges = {s.name: like.new_zeros(s.shape).expand(given.steps, given.batch, *s.shape).requires_grad_()
              for s in cell.states}
    inputs = named | {NUDGE + name: value for name, value in nudges.items()}
    outputs, states, finals = run_program(plan, cell.states, inputs, given, recurrent.reverse)
    ends = tuple(f.transpose(0, 1) if s.depth > 1 else f[0] for s, f in zip(cell.states, finals, strict=True))
    own = recurrent._given_out
    return Observed(own(outputs), ends, {n: own(v) for n, v in states.items()}, nudges, recurrent.batch_first)


@contextmanager
def observing(parts: Mapping[str, Recurrent]) -> Iterator[dict[str, Observed]]:
    """While this is open, a call of one of these modules can be asked for the gradients of its states."""
    seen: dict[str, Observed] = {}

    def observed(name: str, recurrent: Recurrent) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
        def forward(x: Any = (), initial: Any = None, lengths: Any = None, mask: Any = None, reset: Any = None, *,
                    constants: Any = (), **others: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
            used = [key for key, value in others.items() if value is not None and value is not False]
            if used or name in seen:
                raise InputError(f"{name or 'the model'} is called " + (f"with {', '.join(used)}" if used else "twice")
                                 + ", where its states cannot be observed")
            seen[name] = observe(recurrent, x, initial, lengths, mask, reset, constants=constants)
            return seen[name].outputs, seen[name].ends

        return forward

    try:
        for name, recurrent in parts.items():
            recurrent.__dict__["forward"] = observed(name, recurrent)
        yield seen
    finally:
        for recurrent in parts.values():
            recurrent.__dict__.pop("forward", None)


def nudged(program: Program) -> Program:
    """The program with an input ``nudge.<state>`` that is added to each state's next value, wherever that is used."""
    builder = Builder()
    made: dict[int, Ref] = {}
    following: dict[str, Ref] = {}
    names: dict[int, list[str]] = {}
    for name, i in program.next.items():
        names.setdefault(i, []).append(name)
    shapes = {s.name: s.shape for s in program.states}
    for i, node in enumerate(program.nodes):
        builder.source = node.source
        made[i] = builder.copy(node, [made[a] for a in node.args])
        for name in names.get(i, ()):
            following[name] = made[i] + builder.leaf("x", shapes[name], name=NUDGE + name)
        if len(names.get(i, ())) == 1 and node.args:  # a value of the state's own, not one that was read
            made[i] = following[names[i][0]]
    out = {name: made[i] for name, i in program.emit.items()}
    out |= {f"state.{name}": value for name, value in following.items() if f"state.{name}" in out}
    return finish(builder, program.states, following, out, program.tensors)


def previous(values: Tensor, first: Tensor, depth: int, reverse: bool) -> Tensor:
    """What each step finds of a state.

    Args:
        values: ``[B, T, ...]``.
        first: the state before the first step, ``[B, D, ...]``, oldest first.

    Returns:
        ``[B, T, D, ...]``.
    """
    steps = values.shape[1]
    past = torch.cat([first, values.flip(1) if reverse else values], 1)
    found = torch.stack([past[:, d : d + steps] for d in range(depth)], 2)
    return found.flip(1) if reverse else found


__all__: Sequence[str] = ["Observed", "observe", "observing"]
