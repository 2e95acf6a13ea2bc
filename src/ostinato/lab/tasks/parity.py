"""Parity: at every step, whether the ones so far are even or odd."""

from __future__ import annotations

import torch
from torch import Generator

from ostinato.lab.task import Batch, Goal, Settings, Task


def draw(count: int, lag: int, generator: Generator) -> Batch:
    """Bits ``[B, lag, 1]``; asked at every step: 1 where the ones so far are odd."""
    bits = torch.randint(2, (count, lag), generator=generator)
    return Batch(bits[..., None].float(), torch.ones_like(bits, dtype=torch.bool), (bits.cumsum(1) % 2).flatten())


PARITY = Task(
    name="parity",
    summary="at each of LAG steps, whether the number of ones so far is even or odd",
    source="Minsky and Papert, Perceptrons, 1969; for recurrent networks Hochreiter and Schmidhuber, 1997",
    loss="class",
    sizes=lambda lag: (1, 2),
    draw=draw,
    goal=Goal("right", 0.99, "at least"),
    lag=20,
    settings=Settings(hidden_size=16, learning_rate=0.02, sequences=64_000),
)
