"""Long time lags without noise: two sequences that differ only in their first symbol, which is also their last."""

from __future__ import annotations

import torch
from torch import Generator

from ostinato.lab.draws import one_hot
from ostinato.lab.task import Batch, Goal, Published, Settings, Task
from ostinato.lab.tasks.adding import REPRODUCED, SOURCE


def draw(count: int, lag: int, generator: Generator) -> Batch:
    """Symbols 0 or 1, then 2, 3, ..., lag, then the first again: after each the next one is asked for.

    ``[B, lag, lag + 1]``: the first symbol must be kept for ``lag - 1`` steps.
    """
    first = torch.randint(2, (count, 1), generator=generator)
    row = torch.cat([first, torch.arange(2, lag + 1).expand(count, -1), first], 1)  # [B, lag + 1]
    x, target = one_hot(row[:, :-1], lag + 1), row[:, 1:]
    return Batch(x, torch.ones_like(target, dtype=torch.bool), target.flatten())


LONG_LAG = Task(
    name="long-lag",
    summary="after LAG symbols that are always the same, the first one again",
    source=SOURCE,
    loss="class",
    sizes=lambda lag: (lag + 1, lag + 1),
    draw=draw,
    goal=Goal("right", 1.0, "at least"),
    lag=100,
    least_lag=2,
    settings=Settings(hidden_size=32, learning_rate=0.003, sequences=32_000, check=20, batch=8, held_out=64),
    published=(
        Published("all solved, about 5,040 sequences", "lag 100", f"{REPRODUCED} on the paper"),
        Published("6 of 10 seeds", "lag 50", REPRODUCED),
    ),
)
