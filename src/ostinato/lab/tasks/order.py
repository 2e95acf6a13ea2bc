"""Temporal order: two or three markers far apart in a stream of distractors; the end asks in which order they came."""

from __future__ import annotations

from functools import partial

import torch
from torch import Generator

from ostinato.lab.draws import between, live, one_hot
from ostinato.lab.task import Batch, Goal, Published, Settings, Task
from ostinato.lab.tasks.adding import REPRODUCED, SOURCE

X, Y, DISTRACTORS, BEGIN, END, SYMBOLS = 0, 1, 2, 6, 7, 8
"""X and Y are the markers, 2 to 5 the distractors."""
PLACES = {2: ((0.1, 0.2), (0.5, 0.6)), 3: ((0.1, 0.2), (0.33, 0.43), (0.66, 0.76))}
"""Between which shares of the lag each marker stands."""


def draw(count: int, lag: int, generator: Generator, markers: int = 2) -> Batch:
    """BEGIN, distractors with the markers among them, END: between lag and 1.1 lag symbols.

    The answer at END is the markers read as a binary number, X for 0 and Y for 1.
    """
    lengths = between(lag, lag + lag // 10 + 1, count, generator)
    steps = int(lengths.max())
    symbols = torch.randint(DISTRACTORS, BEGIN, (count, steps), generator=generator)
    symbols[:, 0] = BEGIN
    rows, target = torch.arange(count), torch.zeros(count, dtype=torch.long)
    for low, high in PLACES[markers]:
        kind = torch.randint(2, (count,), generator=generator)
        first, end = max(1, int(low * lag)), int(high * lag) + 1
        symbols[rows, between(first, end, count, generator)] = kind
        target = 2 * target + kind
    symbols[rows, lengths - 1] = END
    answer = torch.arange(steps) == lengths[:, None] - 1
    x = one_hot(symbols, SYMBOLS) * live(lengths, steps)[..., None]
    return Batch(x, answer, target, lengths)


def task(markers: int, published: tuple[Published, ...], settings: Settings) -> Task:
    """The task with that many markers."""
    return Task(
        name=f"order-{markers}",
        summary=f"the order in which {markers} markers X or Y came, in LAG to 1.1 LAG symbols",
        source=SOURCE,
        loss="class",
        sizes=lambda lag: (SYMBOLS, 2**markers),
        draw=partial(draw, markers=markers),
        goal=Goal("right", 0.99, "at least"),
        lag=100,
        least_lag=10,
        settings=settings,
        published=published,
    )


ORDER_2 = task(
    2,
    (
        Published("solved after 31,390 sequences", "the paper's task 6a", f"{REPRODUCED} on the paper"),
        Published("5 of 5 seeds all right, median about 6,400 sequences", "lag 50, 4 units", REPRODUCED),
    ),
    Settings(hidden_size=16, learning_rate=0.01, sequences=31_390, check=20, batch=8, held_out=500),
)
ORDER_3 = task(
    3,
    (
        Published("solved after 571,100 sequences", "the paper's task 6b", f"{REPRODUCED} on the paper"),
        Published("5 of 5 seeds all right at best, about 8,000 sequences", "6 units", REPRODUCED),
    ),
    Settings(hidden_size=16, learning_rate=0.01, sequences=128_000, check=20, batch=8, held_out=500),
)
