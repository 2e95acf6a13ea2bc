"""Clearing: a running sum that must start again wherever a sub-sequence ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator

from ostinato.inspect import timescales
from ostinato.lab.task import Batch, Goal, Settings, Task

PARTS = 5
"""Sub-sequences in a sequence, on average."""
MEMORY = "C"
"""The state that only its own unit's gate keeps: C[t] = f[t] C[t-1] + ..."""


def draw(count: int, lag: int, generator: Generator) -> Batch:
    """Numbers and marks ``[B, 5 lag, 2]``, a mark in lag steps on average; asked at every step for the mean of the
    numbers since the latest mark, that step included, as a share of lag: their sum / lag."""
    steps = PARTS * lag
    numbers = torch.rand(count, steps, generator=generator)
    marks = torch.rand(count, steps, generator=generator) < 1 / lag
    total = numbers.cumsum(1)
    before = torch.where(marks, total - numbers, 0).cummax(1).values  # what was summed before the latest mark
    answer = torch.ones_like(marks)
    return Batch(torch.stack([numbers, marks.float()], -1), answer, ((total - before) / lag).flatten())


def examine(model: Any, lag: int) -> dict[str, float]:
    """For a cell with a memory of its own: the time constants, at marks and between them (medians), of the unit in
    which they differ most."""
    batch = draw(64, lag, Generator().manual_seed(0))
    found = timescales(model.recurrent, batch.x).values
    if MEMORY not in found:
        return {}
    constants = found[MEMORY]  # [B, T, H]
    marked = batch.x[..., 1] == 1
    at, between = constants[marked].median(0).values, constants[~marked].median(0).values  # each [H]
    unit = (between / at).argmax()
    return {"tau at marks": at[unit].item(), "tau between marks": between[unit].item()}


CLEARING = Task(
    name="clearing",
    summary="the sum since the latest mark, which comes every LAG steps on average",
    source="the lecture, 'Accumulating Information over Longer Duration'",
    loss="squared",
    sizes=lambda lag: (2, 1),
    draw=draw,
    goal=Goal("mse", 0.001, "at most"),
    lag=10,
    least_lag=2,
    settings=Settings(hidden_size=16, learning_rate=0.01, sequences=64_000),
    examine=examine,
)
