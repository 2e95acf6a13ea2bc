"""Which states to keep, and when to run a stretch of time again: the schedules of checkpointed back-propagation.

A sequence is cut into n segments. Its backward pass needs the segments' inner values from the last to the first; they
are made again from the state at a segment's beginning. With room for all n states, each segment is run twice. With
less, the schedule of Gruslys et al. (2016), "Memory-Efficient Backpropagation Through Time", section 3.1 (states alone
are stored, BPTT-HSM), keeps some, and makes the others again from them:

    C(n, s) = min over y of  y + C(n - y, s - 1) + C(y, s),    C(n, 1) = n (n + 1) / 2,    C(1, s) = 1

segments are run for n segments and s stored states, the first one among them: run y segments ahead, store the state
there, do what lies behind it, then what lies before it. Its solution is that of Griewank and Walther (2000),
"Algorithm 799: revolve", in binomial coefficients, so no table has to be made:

    C(n, s) = (r + 1) n - binomial(s + r, r - 1),    with r the least for which binomial(s + r, r) >= n

Where there is room for all states, what is left holds inner values, as in section 3.3 (BPTT-MSM): every segment that
keeps its own is spared its second run. The best mixture, found by a table, would spare at most one more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb, isqrt

OVERHEAD = 10
"""What a call for one segment costs beside its steps, in steps."""
HOLES = 4
"""How much memory a segment on its way takes for what it holds: what was freed is not always found again."""


def runs(segments: int, states: int) -> int:
    """How many segments are run, forwards, for the backward pass of ``segments`` of them: C(n, s) above.

    >>> runs(10, 1), runs(10, 3), runs(10, 10)
    (55, 25, 19)
    """
    if segments <= 1:
        return segments
    times = _repeats(segments, states)
    return (times + 1) * segments - comb(states + times, times - 1)


def ahead(segments: int, states: int) -> int:
    """How many segments to run before the next state is stored: the largest y for which C(n, s) is least.

    >>> ahead(10, 1), ahead(10, 3), ahead(10, 10)
    (9, 4, 1)
    """
    if segments == 1:
        return 1
    times = _repeats(segments, states)
    return min(comb(states + times - 1, times - 1), segments - comb(states + times - 2, times - 1))


def _repeats(segments: int, states: int) -> int:
    """r: how often a segment is run again at most."""
    times = 1
    while comb(states + times, times) < segments:
        times += 1
    return times


@dataclass(frozen=True)
class Costs:
    """What a run of T steps takes, in bytes."""

    state: int
    """All states at one step."""
    step: int
    """What one step keeps for its backward pass."""
    passing: int
    """What one step adds to that while it is run forwards or backwards."""
    piece: int
    """The most that ``passing`` comes to for many steps, since long runs are cut in pieces of time."""

    def working(self, steps: int) -> int:
        """A segment on its way forwards and backwards."""
        return HOLES * (steps * self.step + min(steps * self.passing, max(self.piece, self.passing)))


@dataclass(frozen=True)
class Schedule:
    """How a run is cut: ``steps`` in a segment, ``states`` stored, the inner values of ``kept`` segments too."""

    steps: int
    states: int
    kept: int = 0


def by_steps(total: int, steps: int) -> Schedule:
    """Segments of so many steps; the state before each is stored."""
    return Schedule(min(steps, total), -(-total // steps))


def by_root(total: int) -> Schedule:
    """Segments of sqrt(T) steps (Chen et al., 2016, "Training deep nets with sublinear memory cost")."""
    return by_steps(total, isqrt(total - 1) + 1)


@lru_cache(maxsize=1024)
def by_bytes(total: int, costs: Costs, limit: int) -> Schedule:
    """The fastest schedule that keeps to ``limit`` bytes.

    Raises:
        ValueError: when there is none.
    """
    found = [(time, s) for steps in _lengths(total) for time, s in [_within(total, steps, costs, limit)] if s]
    if not found:
        raise ValueError(f"checkpoint_bytes={limit} is too small: this call takes at least "
                         f"{costs.working(1) + costs.state} bytes")
    return min(found, key=lambda pair: pair[0])[1]


def _lengths(total: int) -> list[int]:
    """All lengths of segments that give another number of them."""
    return sorted({-(-total // n) for n in range(1, total + 1)}) if total < 64 else sorted(
        {-(-total // n) for n in range(1, isqrt(total) + 2)} | set(range(1, isqrt(total) + 2)))


def _within(total: int, steps: int, costs: Costs, limit: int) -> tuple[int, Schedule | None]:
    """About the time, in steps, and the schedule for segments of so many steps, or None where it does not fit."""
    segments, left = -(-total // steps), limit - costs.working(steps)
    states = min(segments, left // costs.state)
    if left < 0 or (states < 1 and segments > 1):
        return 0, None
    if states < segments - 1:
        return runs(segments, states) * (steps + OVERHEAD), Schedule(steps, states, 1)
    kept = 1 + min(segments - 1, (left - (segments - 1) * costs.state) // (steps * costs.step))  # the last needs none
    return (2 * segments - kept) * (steps + OVERHEAD), Schedule(steps, segments - 1, kept)
