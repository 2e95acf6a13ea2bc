"""What gates and states do over a sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ostinato.errors import InputError
from ostinato.inspect import pictures
from ostinato.inspect.boxes import read
from ostinato.inspect.replay import replay
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import Lengths, Tensors

LOW, HIGH = 0.05, 0.95
"""Outside of these a gate counts as saturated."""


@dataclass(frozen=True)
class Traces(pictures.Shown):
    """Values at every step of a sequence, by name.

    Attributes:
        values: ``[B, T, ...]`` each, nan at padding.
        tokens: what each step reads, for pictures: those of the first sequence.
        keep: which gate says how much of the memory stays, if the cell names one.
    """

    values: Mapping[str, Tensor]
    tokens: Sequence[str] | None = None
    keep: str | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    def saturation(self) -> dict[str, tuple[float, float]]:
        """For each, the share of its values that are below 0.05 and above 0.95."""
        out = {}
        for name, value in self.values.items():
            there = value[~value.isnan()]
            out[name] = (float((there < LOW).double().mean()), float((there > HIGH).double().mean()))
        return out

    def stuck(self) -> dict[str, list[int]]:
        """For each, the units that are saturated on the same side at every step of every sequence."""
        out = {}
        for name, value in self.values.items():
            flat = value.flatten(2).flatten(0, 1)  # [B T, H]
            flat = flat[~flat.isnan().any(1)]
            out[name] = ((flat < LOW).all(0) | (flat > HIGH).all(0)).nonzero().flatten().tolist()
        return out

    def half_life(self, name: str | None = None) -> Tensor:
        """After how many steps half of the memory is left, each unit's, ``[H]``: ``-log 2 / mean(log f)``.

        Args:
            name: the gate that keeps; by default the one that the cell names.

        Raises:
            InputError: when there is no such gate.
        """
        name = self.keep if name is None else name
        if name is None or name not in self.values:
            raise InputError(f"there is no gate {name!r} that keeps; there are {', '.join(self.values)}")
        return -math.log(2) / self.values[name].log().nanmean((0, 1))

    def plot(self, path: str | Path, sequence: int = 0) -> None:
        """One sequence: units against steps, a panel for each name, with the tokens below."""
        pictures.traces(self, path, sequence)


def gates(recurrent: Recurrent, x: Tensors, initial: Tensors | None = None, lengths: Lengths | None = None,
          tokens: Sequence[str] | None = None) -> Traces:
    """Every gate at every step: whatever the step passes through a sigmoid, and exponential gates that the cell names.

    Args:
        recurrent: any cell that can be traced.
        x, initial, lengths: as for its call.
        tokens: what the steps of the first sequence read.

    Raises:
        InputError: when there is no gate, the tokens are not T, or a step has random masks.
        FallbackError: when the step cannot be traced.

    >>> from ostinato import cells
    >>> found = gates(Recurrent(cells.LSTM(3, 4)), torch.ones(2, 5, 3), tokens=list("hello"))
    >>> {name: list(value.shape) for name, value in found.values.items()}
    {'i': [2, 5, 4], 'f': [2, 5, 4], 'o': [2, 5, 4]}
    """
    seen = replay(recurrent, x, initial, lengths)
    check_tokens(tokens, seen.lead[1])
    reading = read(seen.program)
    named = getattr(recurrent.cell, "gates", ())
    nodes, states = {}, set(seen.program.next.values())
    for i, node in enumerate(seen.program.nodes):
        called = reading.name.get(i) if i not in states else None
        if i in reading.box and (node.op == "sigmoid" or (called in named and node.op == "exp")):
            nodes[called or f"σ{sum(k.startswith('σ') for k in nodes) + 1}"] = i
    if not nodes:
        raise InputError(f"{type(recurrent.cell).__name__} has no gate: nothing goes through a sigmoid")
    with torch.no_grad():
        values = dict(zip(nodes, seen.values(list(nodes.values())), strict=True))
    keep = getattr(recurrent.cell, "keep", None)
    return Traces({n: told(v.unflatten(0, seen.lead), seen.live) for n, v in values.items()}, tokens,
                  keep if keep in values else None)


def states(recurrent: Recurrent, x: Tensors, initial: Tensors | None = None, lengths: Lengths | None = None,
           tokens: Sequence[str] | None = None) -> Traces:
    """Every state after every step; the arguments are those of :func:`gates`.

    >>> from ostinato import cells
    >>> list(states(Recurrent(cells.LSTM(3, 4)), torch.ones(2, 5, 3)).values)
    ['h', 'C']
    """
    seen = replay(recurrent, x, initial, lengths)
    check_tokens(tokens, seen.lead[1])
    return Traces({name: told(value, seen.live) for name, value in seen.states.items()}, tokens)


def told(value: Tensor, live: Tensor) -> Tensor:
    """Nan at padding."""
    there = live.to(value.device).reshape(*live.shape, *[1] * (value.dim() - 2))
    return value.masked_fill(~there, float("nan"))


def check_tokens(tokens: Sequence[str] | None, steps: int) -> None:
    """Refuse tokens that are not one for each step."""
    if tokens is not None and len(tokens) != steps:
        raise InputError(f"tokens must be one for each of the {steps} steps, got {len(tokens)}")
