"""How often training still tells a network the truth: the schedules of scheduled sampling.

Bengio, Vinyals, Jaitly and Shazeer, "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks", NIPS
2015, section 2.4: epsilon_i, the probability of the teacher's value in training step i (from 0), falls from 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LinearDecay:
    """``epsilon_i = max(least, first - slope i)``.

    Args:
        slope: c, what is lost in each step, above 0.
        first: k, the share in step 0, by default 1.
        least: the share that stays, by default 0.

    Raises:
        ValueError: when a share is not from 0 to 1, ``least`` is above ``first``, or the slope is not above 0.

    >>> [LinearDecay(0.25)(i) for i in (0, 1, 4, 9)]
    [1.0, 0.75, 0.0, 0.0]
    """

    slope: float
    first: float = 1.0
    least: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.first <= 1:
            raise ValueError(f"least and first must be shares with 0 <= least <= first <= 1, got {self.least} and "
                             f"{self.first}")
        if not 0 < self.slope < math.inf:
            raise ValueError(f"slope must be above 0, got {self.slope}")

    def __call__(self, i: int) -> float:
        return max(self.least, self.first - self.slope * i)


@dataclass(frozen=True)
class ExponentialDecay:
    """``epsilon_i = k ** i``.

    Args:
        k: below 1 and above 0.

    Raises:
        ValueError: when it is not.

    >>> [ExponentialDecay(0.5)(i) for i in (0, 1, 3)]
    [1.0, 0.5, 0.125]
    """

    k: float

    def __post_init__(self) -> None:
        if not 0 < self.k < 1:
            raise ValueError(f"k must be above 0 and below 1, got {self.k}")

    def __call__(self, i: int) -> float:
        return self.k**i


@dataclass(frozen=True)
class InverseSigmoidDecay:
    """``epsilon_i = k / (k + exp(i / k))``: stays near 1 for long, then falls.

    Args:
        k: at least 1; the share is a half at ``i = k log k``.

    Raises:
        ValueError: when it is below 1.

    >>> [round(InverseSigmoidDecay(10)(i), 3) for i in (0, 23, 100)]
    [0.909, 0.501, 0.0]
    """

    k: float

    def __post_init__(self) -> None:
        if not 1 <= self.k < math.inf:
            raise ValueError(f"k must be at least 1, got {self.k}")

    def __call__(self, i: int) -> float:
        return self.k / (self.k + math.exp(min(i / self.k, 700.0)))  # beyond, a float would overflow
