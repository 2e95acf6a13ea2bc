"""What the cells around cells share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.cell import Cell, State

Past = list[list[Tensor]]
"""For each state its past values ``[B, *shape]``, one for every delay."""


class Wrapper(Cell):
    """A cell around a cell: it has the states of the one inside and, by itself, does the same step.

    A subclass changes what goes in or comes out, with :meth:`split` and :meth:`inside`. The one inside may be any cell,
    also a wrapper.

    Args:
        cell: the cell inside.

    Raises:
        TypeError: when ``cell`` is not a :class:`ostinato.Cell`.
        ValueError: when it declares no state.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = checked(cell, type(self).__name__)
        self.inputs = cell.inputs
        self.recurrent = tuple(f"cell.{name}" for name in cell.recurrent)
        self.declare(cell.states)

    def declare(self, states: Sequence[State]) -> None:
        """Have these states of the cell inside."""
        for s in states:
            self.add_state(s.name, s.shape, s.delays, within("cell", s.initial), s.symbols)

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        states, output = self.inside(*self.split(args))
        return (*states, output)

    def split(self, args: Sequence[Tensor]) -> tuple[list[Tensor], Past, list[Tensor]]:
        """What a step is given, as inputs, past values and per-sequence constants."""
        inputs, rest, past = list(args[: self.inputs]), list(args[self.inputs :]), []
        for s in self.states:
            past.append(rest[: len(s.delays)])
            del rest[: len(s.delays)]
        if any(v.dim() != 1 + len(s.shape) or tuple(v.shape[1:]) != s.shape
               for s, values in zip(self.states, past, strict=True) for v in values) or not past[-1]:
            names = ", ".join(f"{s.name} {list(s.shape)}" for s in self.states)
            raise ValueError(
                f"{type(self).__name__} takes {self.inputs} input(s) and then the states {names}; it was given "
                f"{', '.join(str(list(a.shape)) for a in args)}. A cell with more inputs than one says so: inputs = 2"
            )
        return inputs, past, rest

    def inside(self, inputs: Sequence[Tensor], past: Past, constants: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """The step of the cell inside: its next states and its output."""
        result = self.cell.step(*inputs, *[v for values in past for v in values], *constants)
        states, output = self.cell.split_result(result)
        return list(states), output


def checked(cell: Any, name: str) -> Cell:
    """``cell``, if it is one that has states."""
    if not isinstance(cell, Cell):
        found = f"the class {cell.__name__}" if isinstance(cell, type) else f"a {type(cell).__name__}"
        raise TypeError(f"{name} goes around an ostinato.Cell, got {found}")
    if not cell.states:
        raise ValueError(f"{type(cell).__name__} declares no state: call add_state() in its __init__")
    return cell


def within(path: str, initial: float | str) -> float | str:
    """What a state begins with, seen from outside of the cell at ``path``."""
    return f"{path}.{initial}" if isinstance(initial, str) else initial


def like_parameters(cell: Cell) -> dict[str, Any]:
    """The dtype and device of a cell's parameters, as keywords."""
    first = next((p for p in cell.parameters() if p.is_floating_point()), torch.empty(0))
    return {"dtype": first.dtype, "device": first.device}


def check_probability(name: str, p: float) -> float:
    """``p``, or a ValueError.

    >>> check_probability("p", 1.5)
    Traceback (most recent call last):
    ValueError: p must be a probability from 0 to 1, got 1.5
    """
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise ValueError(f"{name} must be a probability from 0 to 1, got {p!r}")
    return float(p)


def recurrent_weights(cell: Cell) -> dict[str, Tensor]:
    """The parameters by which a cell maps its states: those that ``cell.recurrent`` names, without biases.

    Raises:
        ValueError: when there are none.
    """
    named = dict(cell.named_parameters())
    found: dict[str, Tensor] = {name: p for name, p in named.items() if name.rpartition(".")[2] != "bias" and any(
        name == part or name.startswith(f"{part}.") for part in cell.recurrent)}
    if not found:
        raise ValueError(f"{type(cell).__name__} has no recurrent weights: no parameter of {', '.join(cell.recurrent)} "
                         f"among {', '.join(named) or 'none'}. A cell says what maps its states: recurrent = ('U',)")
    return found


@contextmanager
def replaced(cell: Cell, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, parameters of a cell are other tensors."""
    places: list[tuple[nn.Module, str, Any]] = []
    try:
        for path, value in values.items():
            module, _, key = path.rpartition(".")
            table: Any = cell.get_submodule(module)._parameters
            places.append((table, key, table[key]))
            table[key] = value
        yield
    finally:
        for table, key, before in places:
            table[key] = before


def dropped(value: Tensor, kept: Tensor, p: float) -> Tensor:
    """``value / (1 - p)`` where it is kept, 0 elsewhere."""
    scale = 1 / (1 - p) if p < 1 else 0.0
    return value * (kept.to(value.dtype) * scale)  # the factor is computed once for a mask
