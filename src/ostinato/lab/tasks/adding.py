"""Adding and multiplication: of a long row of numbers two are marked, and the end asks for their sum or product."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ostinato.lab.draws import between, last_step
from ostinato.lab.task import Batch, Goal, Published, Settings, Task

SOURCE = "Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9, 1997"
REPRODUCED = "cybertronai/schmidhuber-problems"


def marked(count: int, lag: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Inputs ``[B, T, 2]``: numbers from 0 to 1, and marks, one in each half; and the two numbers marked ``[B, 2]``."""
    numbers = torch.rand(count, lag, generator=generator)
    places = torch.stack(
        [between(0, lag // 2, count, generator), between(lag // 2, lag, count, generator)], 1
    )  # [B, 2]
    marks = torch.zeros(count, lag).scatter_(1, places, 1.0)
    return torch.stack([numbers, marks], -1), numbers.gather(1, places)


def draw_sum(count: int, lag: int, generator: Generator) -> Batch:
    """The answer at the last step is the sum of the two marked numbers."""
    x, pair = marked(count, lag, generator)
    return Batch(x, last_step(count, lag), pair.sum(1))


def draw_product(count: int, lag: int, generator: Generator) -> Batch:
    """The answer at the last step is the product of the two marked numbers."""
    x, pair = marked(count, lag, generator)
    return Batch(x, last_step(count, lag), pair.prod(1))


ADDING = Task(
    name="adding",
    summary="the sum of the two marked numbers among LAG",
    source=SOURCE,
    loss="squared",
    sizes=lambda lag: (2, 1),
    draw=draw_sum,
    goal=Goal("mse", 0.01, "at most"),
    lag=100,
    least_lag=2,
    settings=Settings(hidden_size=16, learning_rate=0.01, sequences=256_000, check=100),
    published=(
        Published("mse 0.1767 by always answering 1", "numbers from 0 to 1", "locuslab/TCN, adding problem's README"),
        Published("mse 0.0007 (LSTM; 5 seeds at most 0.0046), 0.0706 (simple RNN)",
                  "lag 100, 8 units, 256,000 sequences, Adam 0.005, clip 1; numbers from -1 to 1", REPRODUCED),
    ),
)  # fmt: skip

MULTIPLICATION = Task(
    name="multiplication",
    summary="the product of the two marked numbers among LAG",
    source=SOURCE,
    loss="squared",
    sizes=lambda lag: (2, 1),
    draw=draw_product,
    goal=Goal("mse", 0.001, "at most"),
    lag=100,
    least_lag=2,
    settings=Settings(hidden_size=16, learning_rate=0.01, sequences=256_000, check=100),
    published=(
        Published("mse 0.0223 after 482,000 sequences", "the paper's, lag 100", f"{REPRODUCED} on the paper"),
        Published("mse 0.0028 (3 of 5 seeds)", "lag 30", REPRODUCED),
    ),
)
