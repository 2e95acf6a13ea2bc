"""Contestants that do the same work are compared, then timed in turns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 2e-5
"""Two float32 results that are each within 1e-5 of the float64 one (root mean square, relative) differ by so much."""

NOISE = 1e-2
"""Values smaller than this are compared as if they were as large: a sum that cancels leaves rounding."""

TURN = 0.02
"""Seconds: a contestant that is faster than this runs several times in its turn."""


class WrongAnswer(Exception):
    """A contestant's values or gradients are not those of the others: no time is given for it."""


@dataclass
class Contestant:
    """One way to do the work.

    Attributes:
        name: what tables call it.
        run: does the work once and returns its values, each a tensor.
        keep: values by name, from what ``run`` returned; None for work that is timed but has nothing to compare.
    """

    name: str
    run: Callable[[], Any]
    keep: Callable[[Any], dict[str, Tensor]] | None = None

    def answer(self) -> dict[str, Tensor] | None:
        """The values to compare, by name."""
        return None if self.keep is None else self.keep(self.run())

    def take(self, runs: int) -> float:
        """Seconds for one run, of ``runs`` in a row; a short one is run once before the clock starts."""
        if runs > 1:
            self.run()
        begin = time.perf_counter()
        for _ in range(runs):
            self.run()
        return (time.perf_counter() - begin) / runs

    def settle(self) -> None:
        """Called before each turn, to let the machine forget the contestant before."""


@dataclass
class Timing:
    """The seconds of each turn, by contestant."""

    turns: dict[str, list[float]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        """The median."""
        return statistics.median(self.turns[name])

    def __contains__(self, name: str) -> bool:
        return name in self.turns

    def best(self, *names: str) -> str:
        """The fastest of these that took part."""
        return min((name for name in names if name in self.turns), key=lambda name: self[name])

    def spread(self, name: str, ours: str) -> tuple[float, float]:
        """The quartiles of the ratio ``name`` / ``ours``, round by round."""
        ratios = [a / b for a, b in zip(self.turns[name], self.turns[ours], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return low, high

    def figures(self) -> dict[str, float]:
        """The medians in milliseconds, for the saved file."""
        return {f"{name} ms": self[name] * 1e3 for name in self.turns}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """The root mean square of the difference, relative to that of the expected value."""
    a, e = actual.detach().double(), expected.detach().double()
    if a.shape != e.shape:
        return math.inf
    if a.numel() == 0:
        return 0.0
    return ((a - e).square().mean().sqrt() / max(e.square().mean().sqrt().item(), NOISE)).item()


def check_same(contestants: Sequence[Contestant], tolerance: float = TOLERANCE) -> None:
    """Compare every contestant's values with the first one's.

    Raises:
        WrongAnswer: naming the contestant, the value and how far off it is.
    """
    expected = contestants[0].answer()
    for contestant in contestants[1:]:
        actual = contestant.answer()
        if actual is None or expected is None:
            continue
        for name in expected.keys() | actual.keys():
            if name not in actual or name not in expected:
                raise WrongAnswer(f"{name} is not in the values of both {contestant.name} and {contestants[0].name}")
            error = relative_error(actual[name], expected[name])
            if not error <= tolerance:  # an undefined error is wrong too
                raise WrongAnswer(f"{contestant.name}: {name} is {error:.2g} off {contestants[0].name}'s, "
                                  f"at most {tolerance:.2g} is allowed")


def race(contestants: Sequence[Contestant], seconds: float, most: int = 101, least: int = 7) -> Timing:
    """Time the contestants in turns, after a turn each that warms up.

    Args:
        contestants: each takes one turn a round; the order of a round is rotated from that of the round before.
        seconds: about how long to go on.
        most, least: rounds.
    """
    runs = {}
    for c in contestants:
        c.take(1)
        runs[c.name] = max(1, min(1000, math.ceil(TURN / c.take(1))))
    timing, begin = Timing({c.name: [] for c in contestants}), time.perf_counter()
    for number in range(most):
        if number >= least and time.perf_counter() - begin > seconds:
            break
        first = number % len(contestants)
        for c in (*contestants[first:], *contestants[:first]):
            c.settle()
            timing.turns[c.name].append(c.take(runs[c.name]))
    return timing


def compare(contestants: Sequence[Contestant], seconds: float, tolerance: float = TOLERANCE,
            beside: Sequence[Contestant] = ()) -> Timing:
    """Check that all agree, then time them; ``beside`` are timed in the same rounds and have nothing to agree on.

    Raises:
        WrongAnswer: when they do not agree; nothing is timed then.
    """
    check_same(contestants, tolerance)
    return race([*contestants, *beside], seconds)


def gradients(output: Tensor, seed: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradients of ``sum(seed * output)``; of no parameters, none."""
    if not parameters:
        return ()
    return torch.autograd.grad(output, parameters, seed)
