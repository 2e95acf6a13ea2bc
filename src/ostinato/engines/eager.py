"""Step by step: a plain Python loop over a cell's own ``step``, under torch's autograd.

It needs no program, so it runs what cannot be traced; and it is what every other way of running is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.noise import Draw, asked_for, drawing, paths_of


def run(
    cell: Cell,
    inputs: Sequence[Tensor],
    constants: Sequence[Tensor],
    initial: Sequence[Tensor],
    live: Tensor | None = None,
    reset: Tensor | None = None,
    reverse: bool = False,
    drawn: Callable[[Draw], Tensor] | None = None,
    steps: int | None = None,
    teacher: tuple[Mapping[str, Tensor], Tensor | None] = ({}, None),
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Repeat ``cell.step`` over time.

    Args:
        inputs: ``[T, B, ...]`` each.
        constants: ``[B, ...]`` each, the same at every step.
        initial: ``[D, B, ...]`` for each state, oldest first, D its longest delay.
        live: bool ``[T, B]``; where it is false the states stay as they are.
        reset: bool ``[T, B]``; where it is true the states start again from their declared initial value.
        reverse: run from the last step to the first.
        drawn: gives a mask when the step first asks for it, for all steps of the run.
        steps: T, where there are no inputs.
        teacher: ``[T, B, ...]`` by the names of states, the values that these are given in the place of their own;
            and, bool ``[T, B]`` or None, where they keep their own all the same.

    Returns:
        outputs ``[T, B, ...]``, for each state its values at all steps ``[T, B, ...]``, and its last D values
        ``[D, B, ...]``.
    """
    steps, states = inputs[0].shape[0] if inputs else steps or 0, cell.states
    history = list(initial)  # each [D, B, ...]
    outputs: list[Tensor] = [torch.empty(0)] * steps
    values: list[list[Tensor]] = [[torch.empty(0)] * steps for _ in states]
    masks = Masks(cell, drawn)
    for t in reversed(range(steps)) if reverse else range(steps):
        if reset is not None:
            history = [
                torch.where(_like(reset[t], h[0]), cell.initial_value(s, h.dtype, h.device), h)
                for s, h in zip(states, history, strict=True)
            ]
        reads = [h[-delay] for s, h in zip(states, history, strict=True) for delay in s.delays]
        # Copies: a step may change its arguments in place, and they are the caller's.
        arguments = [a.clone() for a in (*[x[t] for x in inputs], *reads, *constants)]
        masks.step = t
        with drawing(masks):
            new, outputs[t] = cell.split_result(cell.step(*arguments))
        new = [_taught(s.name, value, t, *teacher) for s, value in zip(states, new, strict=True)]
        pushed = [
            torch.cat([h[1:], value.expand_as(h[0]).unsqueeze(0)]) for h, value in zip(history, new, strict=True)
        ]
        if live is not None:
            pushed = [
                torch.where(_like(live[t], h[0]), after, h) for h, after in zip(history, pushed, strict=True)
            ]
        history = pushed
        for sequence, h in zip(values, history, strict=True):
            sequence[t] = h[-1]
    return torch.stack(outputs), [torch.stack(v) for v in values], history


class Masks:
    """Where the masks of a step come from when it runs as it is."""

    def __init__(self, cell: Cell, find: Callable[[Draw], Tensor] | None) -> None:
        self.paths, self.find, self.step = paths_of(cell), find, 0
        self.found: dict[str, Tensor] = {}

    def __call__(self, owner: nn.Module, name: str, like: Tensor, p: float, each: str) -> Tensor:
        asked = asked_for(self.paths, owner, name, like, p, each)
        if self.find is None:
            raise ValueError(f"the mask {asked.name!r} is asked for, and this run has none")
        if asked.name not in self.found:
            self.found[asked.name] = self.find(asked)
        value = self.found[asked.name]
        return value[self.step] if each == "step" else value


def masks_of(cell: Cell, arguments: Sequence[Tensor]) -> tuple[Draw, ...]:
    """The masks that a step asks for, in the order in which it does, found by calling it once."""
    asked: dict[str, Draw] = {}
    paths = paths_of(cell)

    def note(owner: nn.Module, name: str, like: Tensor, p: float, each: str) -> Tensor:
        found = asked_for(paths, owner, name, like, p, each)
        asked[found.name] = found
        return torch.ones(like.shape, dtype=torch.bool, device=like.device)

    with drawing(note), torch.no_grad():
        cell.step(*[a.clone() for a in arguments])
    return tuple(asked.values())


def _taught(name: str, value: Tensor, t: int, given: Mapping[str, Tensor], own: Tensor | None) -> Tensor:
    """What a state becomes at a step: its own value, or the teacher's."""
    if name not in given:
        return value
    return given[name][t] if own is None else torch.where(_like(own[t], value), value, given[name][t])


def _like(flags: Tensor, value: Tensor) -> Tensor:
    """``[B]`` as ``[B, 1, ...]``, to broadcast against ``[B, ...]``."""
    return flags.reshape(flags.shape[0], *[1] * (value.dim() - 1))
