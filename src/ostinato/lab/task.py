"""What a task of the laboratory is: how sequences are drawn, what is asked of them, and when it counts as solved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Generator, Tensor

from ostinato.errors import InputError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Batch:
    """Sequences, the steps at which they ask for an answer, and the answers.

    ``answer`` is true at M steps in all; targets and predictions are in the order of its true elements: sequence after
    sequence, step after step.
    """

    x: Tensor
    """``[B, T, N]``"""
    answer: Tensor
    """bool ``[B, T]``"""
    target: Tensor
    """``[M]`` numbers or classes, or ``[M, K]`` of 0 and 1 where several symbols may come"""
    lengths: Tensor | None = None
    """``[B]``; None where all are T long"""
    legal: Tensor | None = None
    """bool ``[M, K]``: the symbols that may come, where ``target`` is the one that came"""


Draw = Callable[[int, int, Generator], Batch]
"""``draw(count, lag, generator)``: so many sequences; the same state of the generator gives the same ones."""


@dataclass(frozen=True)
class Goal:
    """When a task counts as solved: what measure of the test must be at least, or at most, how much.

    >>> Goal("right", 0.99, "at least").met({"right": 0.995}), Goal("mse", 0.001, "at most").met({"mse": 0.0011})
    (True, False)
    """

    measure: str
    bound: float
    side: str
    perfect: float | None = None
    """The best that there is; None for 1 where it is at least the bound, and 0 where at most."""

    def met(self, measures: Mapping[str, float]) -> bool:
        """Whether these measures reach it; a measure that is not a number does not."""
        value = measures[self.measure]
        return value >= self.bound if self.side == "at least" else value <= self.bound

    def beyond(self) -> Goal:
        """A goal a tenth nearer to perfection, at which training ends: the test shall not miss this one by chance.

        >>> print(Goal("right", 0.9, "at least").beyond(), "and", Goal("mse", 0.01, "at most").beyond())
        right at least 0.91 and mse at most 0.009
        """
        perfect = float(self.side == "at least") if self.perfect is None else self.perfect
        return dataclasses.replace(self, bound=self.bound + (perfect - self.bound) / 10)

    def __str__(self) -> str:
        return f"{self.measure} {self.side} {self.bound:g}"


@dataclass(frozen=True)
class Published:
    """A figure that somebody published, the setting it holds for, and where it was read."""

    figure: str
    setting: str
    source: str


@dataclass(frozen=True)
class Settings:
    """What a task is trained with unless told otherwise; chosen on seeds from 100 on, which no result uses."""

    hidden_size: int = 16
    batch: int = 32
    learning_rate: float = 0.01
    clip: float = 1.0
    sequences: int = 32_000
    """The budget: training ends when so many were seen."""
    check: int = 50
    """Updates between two looks at the validation sequences."""
    schedule: str = "constant"
    held_out: int = 512
    """Sequences to validate with, and as many others to test with."""
    span: int | None = None
    """Gates begin with time constants from 2 to so many steps; None for the lag, below 3 for the cell's own start."""
    threads: int | None = 1
    """One where the tensors of a step are too small to share; None for as many as torch chooses."""


@dataclass(frozen=True)
class Task:
    """A task with known answers.

    ``loss`` names how an answer is judged (:data:`ostinato.lab.measures.LOSSES`); ``sizes(lag)`` gives the width of the
    inputs and of the answers. ``lag`` is the default, None for a task that has none; ``data(path)`` gives the splits of
    a task whose sequences are not made but read; ``examine(model, lag)`` measures something more of a trained model.
    """

    name: str
    summary: str
    source: str
    loss: str
    sizes: Callable[[int], tuple[int, int]]
    draw: Draw
    goal: Goal
    lag: int | None
    least_lag: int = 1
    settings: Settings = Settings()
    published: tuple[Published, ...] = ()
    data: Callable[[Path | None], Mapping[str, Draw]] | None = None
    examine: Callable[[Any, int], dict[str, float]] | None = None

    def check_lag(self, lag: int | None) -> int:
        """The lag asked for, or the default (0 where the task has none).

        Raises:
            InputError: too short a lag, or any for a task that has none.
        """
        if self.lag is None:
            if lag is not None:
                raise InputError(f"the task {self.name!r} has no lag: leave it out (got {lag})")
            return 0
        lag = self.lag if lag is None else lag
        if lag < self.least_lag:
            raise InputError(f"the task {self.name!r} needs a lag of at least {self.least_lag}, got {lag}")
        return lag

    def splits(self, path: Path | None) -> Mapping[str, Draw]:
        """Where the sequences of "train", "valid" and "test" come from.

        Raises:
            InputError: data for a task that makes its own, or data that cannot be read.
        """
        if self.data is not None:
            return self.data(path)
        if path is not None:
            raise InputError(f"the task {self.name!r} makes its own sequences: it reads no data (got {path})")
        return dict.fromkeys(SPLITS, self.draw)
