"""a^n b^n and a^n b^n c^n: what must be counted, learned from short strings and asked of longer ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Generator, Tensor

from ostinato.lab.draws import between, live, one_hot, padded
from ostinato.lab.measures import right_sequences
from ostinato.lab.task import Batch, Goal, Published, Settings, Task
from ostinato.lab.tasks.adding import REPRODUCED

SETTINGS = Settings(
    hidden_size=8, batch=1, learning_rate=0.005, sequences=64_000, span=1000, held_out=100, check=20
)
LONGEST = 200
"""The longest strings that a trained model is asked about have so many of each letter."""


@cache
def string(n: int, letters: int) -> tuple[list[int], Tensor]:
    """The symbols of S a^n b^n ..., and the set of those that may follow each: 0 and 1, ``[T, letters + 2]``.

    S, the beginning, is the symbol after the letters; the end, T, is the last. While the a's last another a or the
    first b may follow; from the first b on all is determined.
    """
    begin, end = letters, letters + 1
    symbols = [begin, *(letter for letter in range(letters) for _ in range(n))]
    legal = one_hot(torch.tensor([*symbols[1:], end]), letters + 2)  # what comes in this string
    legal[1 : n + 1, :2] = 1
    return symbols, legal


def batch_of(counts: list[int], letters: int) -> Batch:
    """The strings with so many of each letter; after every symbol, all that may follow is asked for."""
    symbols, lengths = padded([string(n, letters)[0] for n in counts])
    asked = live(lengths, symbols.shape[1])
    legal = torch.cat([string(n, letters)[1] for n in counts])
    return Batch(one_hot(symbols, letters + 2) * asked[..., None], asked, legal, lengths)


def draw(count: int, lag: int, generator: Generator, letters: int = 2) -> Batch:
    """Strings with n evenly from 1 to lag."""
    return batch_of(between(1, lag + 1, count, generator).tolist(), letters)


def reach(model: Any, lag: int, letters: int = 2) -> dict[str, float]:
    """The largest n such that the strings of 1 to n are all predicted rightly, up to 200."""
    batch = batch_of(list(range(1, LONGEST + 1)), letters)
    right = right_sequences("legal", model(batch), batch)
    return {"reach": float(right.long().cumprod(0).sum())}


def task(letters: int, reached: int, published: str, settings: Settings) -> Task:
    """The task with that many letters. Training sees n up to the lag, and ends when longer strings are right too."""
    power = " ".join(f"{letter}^n" for letter in "abc"[:letters])
    return Task(
        name="".join(f"{letter}n" for letter in "abc"[:letters]),
        summary=f"what may come next in {power}, n from 1 to LAG; and how much longer ones are right",
        source="Gers and Schmidhuber, LSTM Recurrent Networks Learn Simple Context-Free and Context-Sensitive "
        "Languages, IEEE Transactions on Neural Networks 12, 2001",
        loss="legal",
        sizes=lambda lag: (letters + 2, letters + 2),
        draw=partial(draw, letters=letters),
        goal=Goal("reach", reached, "at least", perfect=reached),
        lag=10,
        settings=settings,
        published=(Published(published, "trained on n up to 10, 5 of 5 seeds, peepholes", REPRODUCED),),
        examine=partial(reach, letters=letters),
    )


AN_BN = task(2, 60, "right up to n of 65 and more", SETTINGS)
AN_BN_CN = task(3, 18, "right up to n of 18 to 29", replace(SETTINGS, sequences=128_000))
