"""Teacher forcing in a call: the values that states are given, checked, and laid out as a program takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from ostinato.cell import Cell, State
from ostinato.engines.ragged import Packing
from ostinato.program.teacher import OWN, lesson


class Teacher(NamedTuple):
    """The states that have a teacher in a call, time first."""

    values: dict[str, Tensor]  # [T, B, *shape] each
    own: Tensor | None  # bool [T, B]: where a state keeps its own value

    @property
    def kinds(self) -> tuple:
        """What a program for it depends on."""
        return tuple(self.values), self.own is not None


NOBODY = Teacher({}, None)


def check_teacher(cell: Cell, teacher: Mapping[str, Tensor] | None, own: Tensor | None, lead: tuple[int, int],
                  batch_first: bool, device: torch.device, live: Tensor | None = None) -> Teacher:
    """Check what a call says of teachers; ``live``, bool ``[T, B]``, says where there are steps.

    Raises:
        ValueError, TypeError: naming the state, what was expected and what came.
    """
    if teacher is None:
        if own is not None:
            raise ValueError("own says where a state keeps its own value in spite of a teacher: give teacher= too")
        return NOBODY
    if not isinstance(teacher, Mapping) or not teacher:
        raise TypeError(f"teacher must be values by the name of a state, got {_kind(teacher)}")
    shown = lead[::-1] if batch_first else lead
    states = {s.name: s for s in cell.states}
    values = {}
    for name, value in teacher.items():
        if name not in states:
            raise ValueError(f"teacher: {type(cell).__name__} has no state {name!r}, it has {', '.join(states)}")
        wanted = [*shown, *states[name].shape]
        if not isinstance(value, Tensor):
            raise TypeError(f"teacher[{name!r}] must be a tensor {wanted}, got {_kind(value)}")
        if list(value.shape) != wanted:
            raise ValueError(f"teacher[{name!r}] must be {wanted}, got {list(value.shape)}")
        values[name] = (value.transpose(0, 1) if batch_first else value).to(device)
    if own is not None:
        if not isinstance(own, Tensor) or own.dtype != torch.bool:
            raise TypeError(f"own must be a bool tensor {list(shown)}, got "
                            f"{own.dtype if isinstance(own, Tensor) else _kind(own)}")
        if tuple(own.shape) != shown:
            raise ValueError(f"own must be {list(shown)}, got {list(own.shape)}")
        own = (own.transpose(0, 1) if batch_first else own).to(device)
    for name, value in values.items():
        counts = [flags for flags in (live, None if own is None else ~own) if flags is not None]
        check_symbols(states[name], value, f"teacher[{name!r}]", counts)
    return Teacher(values, own)


def check_symbols(state: State, value: Tensor, name: str, counts: Sequence[Tensor] | None = None) -> None:
    """Refuse values of a state of symbols that are none.

    Args:
        value: ``[T, B, *shape]``, or past values ``[D, B, *shape]``.
        name: what they are called.
        counts: for values of steps, bool ``[T, B]`` each; where one is false nothing is looked at.

    Raises:
        ValueError: naming the value, the symbols that there are, and its place.
    """
    if state.symbols is None or not readable(value, *counts or ()):
        return
    wrong = (value < 0) | (value >= state.symbols)
    if value.is_floating_point():
        wrong |= value != value.floor()  # so is what is not a number
    for flags in counts or ():
        wrong &= flags.reshape(*flags.shape, *[1] * (value.dim() - 2))
    if wrong.any():
        step, sequence, *rest = wrong.nonzero()[0].tolist()
        where = f"of sequence {sequence}" if counts is None else f"at step {step} of sequence {sequence}"
        raise ValueError(f"{name} must be one of {state.symbols} symbols, 0 to {state.symbols - 1}, got "
                         f"{value[(step, sequence, *rest)].item():g} {where}")


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


class Lessons(NamedTuple):
    """A teacher's values as a program takes them."""

    inputs: dict[str, Tensor]  # [T, B, ...] each
    ends: dict[str, Tensor]  # the last D values of the states that are not in the loop, [D, B, ...]

    def packed(self, packing: Packing) -> Lessons:
        """The same without padding: the inputs ``[N, 1, ...]``, the ends in the order of the packing."""
        return Lessons({name: packing.pack(v) for name, v in self.inputs.items()},
                       {name: packing.sort(v) for name, v in self.ends.items()})


NOTHING = Lessons({}, {})


def lessons(teacher: Teacher, cell: Cell, initial: Sequence[Tensor], live: Tensor | None, reset: Tensor | None,
            reverse: bool) -> Lessons:
    """What a program with a teacher (see ``program.teacher``) is given.

    Args:
        initial: ``[D, B, ...]`` for each state, oldest first.
        live, reset: bool ``[T, B]``.
    """
    inputs = {lesson(name, 0): value for name, value in teacher.values.items()}
    if teacher.own is not None:
        return Lessons({**inputs, OWN: teacher.own}, {})
    ends = {}
    for s, start in zip(cell.states, initial, strict=True):
        if s.name in teacher.values:
            value = teacher.values[s.name]
            past = _Plain(value, start, reverse) if live is None and reset is None else _Flagged(
                value, start, live, reset, reverse, cell.initial_value(s))
            inputs |= {lesson(s.name, d): past(d)[0] for d in s.delays}
            ends[s.name] = torch.stack([past(d)[1] for d in range(s.depth, 0, -1)])
    return Lessons(inputs, ends)


class _Plain:
    """What steps read of a sequence ``[T, B, ...]`` at a delay, and what a step after the last would."""

    def __init__(self, value: Tensor, start: Tensor, reverse: bool) -> None:
        self.steps, self.reverse, self.depth = len(value), reverse, len(start)
        self.line = torch.cat([value, start.flip(0)] if reverse else [start, value])  # [D + T, B, ...]

    def __call__(self, delay: int) -> tuple[Tensor, Tensor]:
        if self.reverse:
            return self.line.narrow(0, delay, self.steps), self.line[delay - 1]
        return self.line.narrow(0, self.depth - delay, self.steps), self.line[len(self.line) - delay]


class _Flagged:
    """The same where steps are padding or a sequence starts anew."""

    def __init__(self, value: Tensor, start: Tensor, live: Tensor | None, reset: Tensor | None, reverse: bool,
                 fresh: Tensor) -> None:
        steps, batch = value.shape[:2]
        self.reverse, self.depth, self.batch = reverse, len(start), batch
        no = torch.zeros((steps, batch), dtype=torch.bool, device=value.device)
        live, reset = ~no if live is None else live, no if reset is None else reset
        if reverse:
            value, live, reset = value.flip(0), live.flip(0), reset.flip(0)
        anew = fresh.to(start).expand_as(start[:1])
        self.pool = torch.cat([start, value, anew]).flatten(0, 1)  # [(D + T + 1) B, ...]
        self.times = torch.argsort((~live).byte(), dim=0, stable=True)  # [T, B]: the live steps first
        count = torch.cat([no[:1].long(), live.long().cumsum(0)])  # [T + 1, B]: how many live steps came before
        begun = torch.where(reset, count[:-1], -1)  # [T, B]
        self.count, self.begun = count, torch.cat([begun, begun[:1] * 0 - 1]).cummax(0).values  # [T + 1, B]
        self.fresh = self.depth + steps

    def __call__(self, delay: int) -> tuple[Tensor, Tensor]:
        wanted = self.count - delay  # the number of the live step whose value is read
        found = self.depth + self.times.gather(0, wanted.clamp(0, len(self.times) - 1))
        before = torch.where(self.begun < 0, self.depth + wanted, self.fresh)
        place = torch.where(wanted >= self.begun.clamp(min=0), found, before)  # [T + 1, B]
        place = place * self.batch + torch.arange(self.batch, device=place.device)
        read = self.pool.index_select(0, place.flatten()).unflatten(0, place.shape)
        return (read[:-1].flip(0) if self.reverse else read[:-1]), read[-1]


def readable(*values: Tensor) -> bool:
    """Whether the numbers can be looked at: not inside a compiler or torch.func."""
    return all(type(v) in (Tensor, nn.Parameter) and not is_functorch_wrapped_tensor(v) for v in values)
