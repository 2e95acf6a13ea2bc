"""What a call of :class:`Recurrent` is given: checked and in one layout, or refused, saying what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor

from ostinato.cell import Cell
from ostinato.engines.ragged import Packing
from ostinato.noise import Draw
from ostinato.recurrent.lead import lead_of
from ostinato.recurrent.masks import complete, find
from ostinato.recurrent.teacher import (
    NOBODY,
    NOTHING,
    Lessons,
    Teacher,
    check_symbols,
    check_teacher,
    lessons,
    readable,
)

Tensors = Tensor | Sequence[Tensor]
Lengths = Tensor | Sequence[int]
Outcome = tuple[Tensor, dict[str, Tensor], list[Tensor]]
"""Outputs [T, B, ...], the states' sequences [T, B, ...] by name, and their last D values [D, B, ...]."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """One call, time first."""

    inputs: list[Tensor]  # [T, B, ...] each
    constants: list[Tensor]  # [B, ...] each
    initial: list[Tensor]  # [D, B, ...] each, oldest first
    live: Tensor | None  # bool [T, B]
    reset: Tensor | None  # bool [T, B]
    dtype: torch.dtype
    packing: Packing | None = None  # instead of ``live``: how to do without padding
    drawn: Mapping[str, Tensor] = field(default_factory=dict)
    """Masks by name, as the caller gives them; after :meth:`with_masks`, all of them, time first."""
    batch_first: bool = False
    """The layout of the masks that a caller gives."""
    alone: tuple[int, int] = (0, 0)  # T and B where there are no inputs
    teacher: Teacher = NOBODY
    taught: Lessons = NOTHING  # what a program is given of the teacher's values

    @property
    def dense(self) -> Arguments:
        """The same with padding."""
        if self.packing is None:
            return self
        live = self.packing.live(self.steps)
        return replace(self, inputs=[_filled(v, live) for v in self.inputs], live=live, packing=None)

    def between(self, begin: int, end: int) -> Arguments:
        """The same call's steps ``begin`` to ``end - 1``, of which the states before are not known."""
        cut = lambda v: None if v is None else v[begin:end]  # noqa: E731
        teacher = Teacher({name: v[begin:end] for name, v in self.teacher.values.items()}, cut(self.teacher.own))
        return replace(self, inputs=[x[begin:end] for x in self.inputs], live=cut(self.live), reset=cut(self.reset),
                       alone=(end - begin, self.alone[1]), teacher=teacher)

    def with_lessons(self, cell: Cell, reverse: bool) -> Arguments:
        """The same with what a program is given of the teacher's values."""
        if not self.teacher.values:
            return self
        live = self.live if self.packing is None else self.packing.live(self.steps)
        return replace(self, taught=lessons(self.teacher, cell, self.initial, live, self.reset, reverse))

    @property
    def kinds(self) -> tuple:
        """What the call's program depends on, apart from the cell; see ``programs.signature_of``."""
        specs = [(*map(int, x.shape[2:]), x.dtype) for x in self.inputs]
        specs += [(*map(int, c.shape[1:]), c.dtype) for c in self.constants]
        return len(self.inputs), self.dtype, self.device, *specs

    @property
    def steps(self) -> int:
        return self.inputs[0].shape[0] if self.inputs else self.alone[0]

    @property
    def batch(self) -> int:
        return self.inputs[0].shape[1] if self.inputs else self.alone[1]

    @property
    def tensors(self) -> list[Tensor]:
        """What a call without inputs has too."""
        return self.inputs or self.initial

    @property
    def device(self) -> torch.device:
        return self.tensors[0].device

    def mask(self, asked: Draw) -> Tensor:
        """One mask: given, or drawn now."""
        return find(asked, self.drawn, self.steps, self.batch, self.device, self.batch_first)

    def first_step(self, cell: Cell) -> list[Tensor]:
        """What the step of a cell is given at first."""
        reads = [h[-d] for s, h in zip(cell.states, self.initial, strict=True) for d in s.delays]
        return [*[x[0] for x in self.inputs], *reads, *self.constants]

    def with_masks(self, draws: Sequence[Draw]) -> Arguments:
        """The same with every mask that the step asks for: given, or drawn now.

        Raises:
            ValueError, TypeError: on a mask that is not asked for, or has another shape or dtype.
        """
        if not draws and not self.drawn:
            return self
        drawn = complete(draws, self.drawn, self.steps, self.batch, self.device, self.batch_first)
        return replace(self, drawn=drawn)

    def without_padding(self, outcome: Outcome) -> Outcome:
        """The same, zero at padding."""
        if self.live is None:
            return outcome
        outputs, values, finals = outcome
        return _zeroed(outputs, self.live), {name: _zeroed(v, self.live) for name, v in values.items()}, finals


def _zeroed(value: Tensor, live: Tensor) -> Tensor:
    return value.masked_fill(~live.reshape(*live.shape, *[1] * (value.dim() - 2)), 0)


def autocasting(device: torch.device) -> bool:
    """Whether autocast is on for a device; some devices (meta) have none."""
    kind = device.type
    return (kind == "cpu" or torch.amp.is_autocast_available(kind)) and torch.is_autocast_enabled(kind)


def listed(value: Tensors, name: str) -> list[Tensor]:
    """One tensor or several, as a list.

    Raises:
        TypeError: naming the argument, when it is neither.
    """
    if isinstance(value, Tensor):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a tensor or several, got a {type(value).__name__}")
    for v in value:
        if not isinstance(v, Tensor):
            raise TypeError(f"{name} must be a tensor or several, got a {type(value).__name__} with a "
                            f"{type(v).__name__} in it")
    return list(value)


def check(cell: Cell, x: Tensors, initial: Tensors | None, lengths: Lengths | None, mask: Tensor | None,
          reset: Tensor | None, constants: Tensors, batch_first: bool, dtype: torch.dtype | None = None,
          drawn: Mapping[str, Tensor] | None = None, steps: int | None = None, batch: int | None = None,
          teacher: Mapping[str, Tensor] | None = None, own: Tensor | None = None) -> Arguments:
    """Check a call and lay it out; ``dtype``, where it is known, is that of the cell.

    ``steps`` and ``batch`` are for a cell without inputs, which may have them from its teacher.

    Raises:
        ValueError, TypeError: naming the argument, what was expected and what came.
    """
    layout = "[B, T, ...]" if batch_first else "[T, B, ...]"
    xs = listed(x, "x")
    fixed = listed(constants, "constants")
    others = [*listed(() if initial is None else initial, "initial"), *fixed]
    for i, value in enumerate(xs):
        name = "x" if len(xs) == 1 else f"x[{i}]"
        if value.dim() < 2:
            raise ValueError(f"{name} must be {layout}, got the shape {list(value.shape)}")
        if value.shape[:2] != xs[0].shape[:2]:
            raise ValueError(f"all inputs must agree in batch and time: x[0] is {list(xs[0].shape)}, {name} is "
                             f"{list(value.shape)}")
    seen = xs or others
    dtype = dtype or cell_dtype(cell, seen)
    inputs = [_widened(v.transpose(0, 1) if batch_first else v, dtype, "x") for v in xs]
    if not xs and isinstance(teacher, Mapping):
        first = next((v.shape for v in teacher.values() if isinstance(v, Tensor) and v.dim() > 1), (None, None))
        steps, batch = steps or first[batch_first], batch or first[not batch_first]
    steps, batch = lead_of(cell, inputs, steps, batch, others, len(fixed))
    if steps == 0:
        raise ValueError(f"x has no time steps: {layout} is {list(xs[0].shape)}")
    if lengths is not None and mask is not None:
        raise ValueError("give lengths or a mask, not both")
    device = next((v.device for v in (*xs, *others, *cell.parameters())), torch.get_default_device())
    live = packing = None
    if lengths is not None:
        lengths = whole_lengths(lengths, steps, batch)
        can_pack = reset is None and device.type == "cpu" == lengths.device.type and readable(lengths, *seen)
        live, packing = (None, Packing(lengths)) if can_pack else (_live(lengths, steps, device), None)
    elif mask is not None:
        live = _flags(mask, "mask", steps, batch, batch_first, device)
        packing = _from_mask(live) if reset is None and device.type == "cpu" and readable(live, *seen) else None
        live = live if packing is None else None
    given = [_widened(c, dtype, "constants") for c in fixed]
    for c in given:
        if c.dim() < 1 or c.shape[0] != batch:
            raise ValueError(f"per-sequence constants must be [B, ...] with B={batch}, got {list(c.shape)}")
    starts = start_values(cell, initial, batch, dtype, device)
    flags = None if reset is None else _flags(reset, "reset", steps, batch, batch_first, device)
    if live is not None:
        flags = None if flags is None else flags & live
        inputs = [_filled(v, live) for v in inputs]
    counts = live if packing is None or teacher is None else packing.live(steps)
    taught = check_teacher(cell, teacher, own, (steps, batch), batch_first, device, counts)
    values = {name: _widened(v if v.is_floating_point() else v.to(dtype), dtype, f"teacher[{name!r}]")
              for name, v in taught.values.items()}
    return Arguments(inputs, given, starts, live, flags, dtype, packing, {} if drawn is None else drawn, batch_first,
                     (steps, batch), Teacher(values, taught.own))


def _filled(value: Tensor, live: Tensor) -> Tensor:
    """``[T, B, ...]`` with the padding replaced by an input that counts: a step may be undefined at zero (a logarithm,
    a norm), and an undefined value has an undefined gradient even where nothing is taken from it."""
    trailing = [1] * (value.dim() - 2)
    if live.shape[1] == 0:
        return value
    alive = live.any(0)
    rows = torch.arange(live.shape[1], device=live.device)
    row = torch.where(alive, rows, alive.int().argmax())
    fill = value.detach()[live.int().argmax(0)[row], row]
    fill = fill.masked_fill(~alive.any(), 0)  # no step of any sequence counts
    return torch.where(live.reshape(*live.shape, *trailing), value, fill)


def cell_dtype(cell: Cell, xs: Sequence[Tensor] = ()) -> torch.dtype:
    """The float dtype that a cell runs in: that of its parameters, or of its input where it has none."""
    tensors = chain(cell.parameters(), cell.buffers(), xs)
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())


def _widened(value: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """A float input in the cell's dtype; a narrower one is widened, a wider one refused."""
    if not value.is_floating_point() or value.dtype == dtype:
        return value
    if value.dtype.itemsize >= dtype.itemsize and not autocasting(value.device):
        raise TypeError(f"{name} is {value.dtype}, the cell's parameters are {dtype}: convert one of them "
                        f"(x.to({dtype}) or cell.to({value.dtype}))")
    return value.to(dtype)


def whole_lengths(lengths: Lengths, steps: int, batch: int) -> Tensor:
    """The lengths as a tensor ``[B]``.

    Raises:
        ValueError, TypeError: when they are not one whole number from 0 to T for each sequence.
    """
    if isinstance(lengths, str) or not hasattr(lengths, "__len__"):
        raise TypeError(f"lengths must be a tensor or a list of whole numbers, got a {type(lengths).__name__}")
    if not isinstance(lengths, Tensor):
        lengths = torch.as_tensor(lengths if len(lengths) else [0])[: len(lengths)]  # an empty list would be of floats
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise TypeError(f"lengths must be whole numbers, got {lengths.dtype}")
    if tuple(lengths.shape) != (batch,):
        raise ValueError(f"lengths must be one number a sequence, [{batch}], got the shape {list(lengths.shape)}")
    if lengths.device.type == "cpu" and readable(lengths) and batch:
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > steps:
            at = int((lengths.lt(0) | lengths.gt(steps)).nonzero()[0])
            raise ValueError(f"lengths must lie between 0 and T={steps}, sequence {at} has {int(lengths[at])}")
    return lengths


def _live(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """Bool ``[T, B]``."""
    return torch.arange(steps, device=device).unsqueeze(1) < lengths.to(device).unsqueeze(0)


def _from_mask(live: Tensor) -> Packing | None:
    """The packing of a mask ``[T, B]`` that only says where sequences end."""
    lengths = live.sum(0)
    return Packing(lengths) if torch.equal(_live(lengths, len(live), live.device), live) else None


def _flags(value: Tensor, name: str, steps: int, batch: int, batch_first: bool, device: torch.device) -> Tensor:
    wanted = [batch, steps] if batch_first else [steps, batch]
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        found = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a bool tensor {wanted}, got {found}")
    if list(value.shape) != wanted:
        raise ValueError(f"{name} must be {'[B, T]' if batch_first else '[T, B]'} = {wanted}, got {list(value.shape)}")
    return (value.transpose(0, 1) if batch_first else value).to(device)


def start_values(cell: Cell, initial: Tensors | None, batch: int, dtype: torch.dtype,
                 device: torch.device) -> list[Tensor]:
    """The states before the first step, each ``[D, B, ...]`` with its D past values, oldest first."""
    if initial is None:
        return [cell.initial_value(s, dtype, device).expand(s.depth, batch, *s.shape).contiguous()
                for s in cell.states]
    values, names = listed(initial, "initial"), [s.name for s in cell.states]
    if len(values) != len(names):
        raise ValueError(f"initial must hold {len(names)} states ({', '.join(names)}), got {len(values)}")
    out = []
    for s, value in zip(cell.states, values, strict=True):
        wanted = s.initial_shape(batch)
        if tuple(value.shape) != wanted:
            raise ValueError(f"the initial state {s.name!r} must be {list(wanted)}, got {list(value.shape)}")
        if not value.is_floating_point():
            raise TypeError(f"the initial state {s.name!r} must be {dtype}, got {value.dtype}")
        value = _widened(value, dtype, f"the initial state {s.name!r}")
        past = value.transpose(0, 1) if s.depth > 1 else value.unsqueeze(0)  # [D, B, ...]
        check_symbols(s, past, f"the initial state {s.name!r}")
        out.append(past)
    return out
