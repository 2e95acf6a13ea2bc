"""What the machine can do at most: floating-point operations a second in a matrix product of 1024 by 1024 by 1024."""

from __future__ import annotations

from array import array

import torch
from torch import Tensor

from benchmarks.contest import Contestant, Timing, check_same
from ostinato.engines.cpu import library, unavailable
from ostinato.engines.cpu.products import PRODUCT, RIGHTS

SIZE = 1024
NAMES = ("torch.mm", "our product")


def native(a: Tensor, b: Tensor, out: Tensor) -> Contestant:
    """Our own product, as the engine calls it: ``ost_multiply`` of ``native/include/ostinato.h``."""
    found = library()
    m, n, k = len(a), b.shape[1], len(b)
    words = array("q", [4, m, k, a.data_ptr(), *a.stride(), 1, 0, 0, torch.get_num_threads(), found.parallel,
                        n, b.data_ptr(), *b.stride(), 0, 0, out.data_ptr(), out.stride(0)])
    words[RIGHTS] = words.buffer_info()[0] + 8 * PRODUCT

    def run() -> Tensor:
        found.check(found.multiply(words.buffer_info()[0]))
        return out

    return Contestant("our product", run, lambda value: {"product": value})


def products() -> list[Contestant]:
    """The products to time beside a race, so that the limit is taken in the same minutes as what it limits.

    Raises:
        WrongAnswer: when they disagree.
    """
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    out, ours = torch.empty(SIZE, SIZE), torch.empty(SIZE, SIZE)
    found = [Contestant("torch.mm", lambda: torch.mm(a, b, out=out), lambda value: {"product": value})]
    if not unavailable():
        found.append(native(a, b, ours))
    check_same(found)
    return found


def limit(timing: Timing) -> float:
    """Floating-point operations a second of the faster product."""
    return 2 * SIZE**3 / timing[timing.best(*NAMES)]
