"""What the machine can do at most: floating-point operations a second in a matrix product of 1024 by 1024 by 1024."""

from __future__ import annotations

import torch

from benchmarks.contest import Contestant, Timing

SIZE = 1024
NAMES = ("torch.mm",)


def products() -> list[Contestant]:
    """The products to time beside a race, so that the limit is taken in the same minutes as what it limits."""
    a, b, out = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE), torch.empty(SIZE, SIZE)
    return [Contestant("torch.mm", lambda: torch.mm(a, b, out=out))]


def limit(timing: Timing) -> float:
    """Floating-point operations a second of the faster product."""
    return 2 * SIZE**3 / timing[timing.best(*NAMES)]
