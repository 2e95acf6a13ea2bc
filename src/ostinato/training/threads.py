"""How many threads compute."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch compute with ``count`` threads inside; None changes nothing.

    Sums can be split otherwise with another count, so that a training repeats bit for bit only with the same one.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
