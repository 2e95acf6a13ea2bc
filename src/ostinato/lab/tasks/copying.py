"""Copying memory: read ten digits, wait, write them down in order."""

from __future__ import annotations

import torch
from torch import Generator

from ostinato.lab.draws import one_hot
from ostinato.lab.task import Batch, Goal, Published, Settings, Task

DIGITS, BLANK, SIGNAL, SYMBOLS = 10, 0, 9, 10
"""Ten digits from 1 to 8; 0 is the blank; 9 says that writing begins."""


def draw(count: int, lag: int, generator: Generator) -> Batch:
    """Ten digits, ``lag - 1`` blanks, then the signal and ten blanks: lag + 20 steps. Asked at every step: a blank,
    and the digits at the last ten."""
    digits = torch.randint(1, SIGNAL, (count, DIGITS), generator=generator)
    symbols = torch.full((count, lag + 2 * DIGITS), BLANK)
    target = symbols.clone()
    symbols[:, :DIGITS] = digits
    symbols[:, lag + DIGITS - 1] = SIGNAL
    target[:, -DIGITS:] = digits
    return Batch(one_hot(symbols, SYMBOLS), torch.ones_like(symbols, dtype=torch.bool), target.flatten())


COPYING = Task(
    name="copying",
    summary="ten digits, read before LAG blanks, written down after them",
    source="Hochreiter and Schmidhuber, 1997; in this form Arjovsky, Shah and Bengio, ICML 2016 (arXiv 1511.06464)",
    loss="class",
    sizes=lambda lag: (SYMBOLS, SIGNAL),
    draw=draw,
    goal=Goal("right", 0.99, "at least"),
    lag=30,
    settings=Settings(hidden_size=64, learning_rate=0.005, sequences=256_000, check=100, held_out=256),
    published=(
        Published("loss 10 ln 8 / (LAG + 20) without any memory", "0.0204 at lag 1000", "by the task's definition"),
    ),
)
