"""The embedded Reber grammar: its last symbol but one repeats its second, whatever stands between; also in one stream.

The automaton (Reber, 1967), a symbol on every arc::

    begin -B-> 0    0 -T-> 1   0 -P-> 2    1 -S-> 1   1 -X-> 3    2 -T-> 2   2 -V-> 4
    3 -X-> 2   3 -S-> 5    4 -P-> 3   4 -V-> 5    5 -E-> end

The embedded one is ``B T (a Reber string) T E`` or ``B P (a Reber string) P E``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from ostinato.lab.draws import live, one_hot, padded
from ostinato.lab.task import Batch, Goal, Published, Settings, Task
from ostinato.lab.tasks.adding import REPRODUCED, SOURCE

LETTERS = "BTSXVPE"
ARCS = (
    (("T", 1), ("P", 2)),
    (("S", 1), ("X", 3)),
    (("T", 2), ("V", 4)),
    (("X", 2), ("S", 5)),
    (("P", 3), ("V", 5)),
    (("E", 6),),
)
"""For each node of the automaton: symbol and next node. Node 6 is the end."""
END = len(ARCS)
Steps = Iterator[tuple[str, str]]
"""For each symbol: itself, and the symbols that may follow it."""


def string(coins: Iterator[int]) -> Steps:
    """One embedded Reber string but for its last symbol's followers; a coin decides wherever there are two ways."""
    border = "TP"[next(coins)]
    yield "B", "TP"
    yield border, "B"
    yield "B", "TP"
    node = 0
    while node != END:
        symbol, node = ARCS[node][next(coins) if len(ARCS[node]) > 1 else 0]
        yield symbol, "".join(s for s, _ in ARCS[node]) if node != END else border
    yield border, "E"


def coins(generator: Generator) -> Iterator[int]:
    """0 and 1 at random, without end."""
    while True:
        yield from torch.randint(2, (256,), generator=generator).tolist()


def draw(count: int, lag: int, generator: Generator) -> Batch:
    """Strings as they come; after every symbol the next one is asked for."""
    source = coins(generator)
    rows = [[*string(source), ("E", "")] for _ in range(count)]
    symbols, lengths = padded([[LETTERS.index(s) for s, _ in row] for row in rows])  # [B, T + 1]
    asked = live(lengths - 1, symbols.shape[1] - 1)
    legal = torch.stack([_legal(after) for row in rows for _, after in row[:-1]])
    x = one_hot(symbols[:, :-1], len(LETTERS)) * asked[..., None]
    return Batch(x, asked, symbols[:, 1:][asked], lengths - 1, legal)


def stream(source: Iterator[int]) -> Steps:
    """String after string, without end and without a sign between them."""
    while True:
        yield from string(source)
        yield "E", "B"


def draw_stream(count: int, lag: int, generator: Generator) -> Batch:
    """One stream of lag steps for each sequence; after every symbol the next one is asked for."""
    rows = []
    for _ in range(count):
        steps = stream(coins(generator))
        rows.append([next(steps) for _ in range(lag + 1)])
    symbols = torch.tensor([[LETTERS.index(s) for s, _ in row] for row in rows])  # [B, lag + 1]
    legal = torch.stack([_legal(after) for row in rows for _, after in row[:-1]])
    asked = torch.ones(count, lag, dtype=torch.bool)
    return Batch(one_hot(symbols[:, :-1], len(LETTERS)), asked, symbols[:, 1:].flatten(), legal=legal)


def _legal(after: str) -> Tensor:
    return torch.tensor([letter in after for letter in LETTERS])


REBER = Task(
    name="reber",
    summary="the next symbol of an embedded Reber string, whose end repeats its beginning",
    source=SOURCE,
    loss="next",
    sizes=lambda lag: (len(LETTERS), len(LETTERS)),
    draw=draw,
    goal=Goal("right", 1.0, "at least"),
    lag=None,
    settings=Settings(hidden_size=16, learning_rate=0.02, sequences=8_440, check=20, batch=8, held_out=1000),
    published=(
        Published("148 of 150 trials, after 8,440 sequences on average", "4 blocks of 1", f"{REPRODUCED} on the paper"),
        Published("10 of 10 seeds, after 4,800 sequences on average", "8 units, Adam 0.01", REPRODUCED),
    ),
)

CONTINUAL_REBER = Task(
    name="reber-continual",
    summary="the next symbol of embedded Reber strings in one stream of LAG symbols, with no sign to forget",
    source="Gers, Schmidhuber and Cummins, Learning to Forget, Neural Computation 12, 2000",
    loss="next",
    sizes=lambda lag: (len(LETTERS), len(LETTERS)),
    draw=draw_stream,
    goal=Goal("accuracy", 0.999, "at least"),
    lag=100,
    least_lag=9,
    settings=Settings(hidden_size=24, learning_rate=0.01, sequences=32_000, check=20, batch=8, held_out=64),
    published=(Published("99.7 % with a forget gate, 55 % without (5 of 5 seeds)", "12 units", REPRODUCED),),
)
