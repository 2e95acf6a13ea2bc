"""Latching: one bit, shown at the first step, is kept through noise and asked for at the end."""

from __future__ import annotations

import torch
from torch import Generator

from ostinato.lab.draws import last_step
from ostinato.lab.task import Batch, Goal, Settings, Task

NOISE = 0.2
"""The standard deviation of the noise; the bit is +1 or -1."""


def draw(count: int, lag: int, generator: Generator) -> Batch:
    """``[B, lag + 1, 1]``: the bit as +1 or -1, then noise; asked at the last step for the bit."""
    bit = torch.randint(2, (count,), generator=generator)
    x = NOISE * torch.randn(count, lag + 1, 1, generator=generator)
    x[:, 0, 0] = 2.0 * bit - 1
    return Batch(x, last_step(count, lag + 1), bit)


LATCHING = Task(
    name="latching",
    summary="the bit shown LAG steps ago, through noise",
    source="Bengio, Simard and Frasconi, Learning Long-Term Dependencies with Gradient Descent is Difficult, "
    "IEEE Transactions on Neural Networks 5, 1994",
    loss="class",
    sizes=lambda lag: (1, 2),
    draw=draw,
    goal=Goal("right", 0.99, "at least"),
    lag=50,
    settings=Settings(hidden_size=16, learning_rate=0.01, sequences=16_000, check=20),
)
