"""Memory for large results, which is used again once nobody has it any longer.

The system clears memory that it hands out, page by page when a page is first touched; for the arrays of a training
step, which come and go with each call, that is a part of the time that shows.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.storage import UntypedStorage

from ostinato.engines.cpu.layout import dense

CPU = torch.device("cpu")
LEAST = 2**16
"""Bytes from which on memory is kept; smaller pieces come and go within PyTorch's own."""
MOST = 2**27
"""Bytes that may be kept while nobody uses them."""
POISON = 255
"""With OSTINATO_POISON set, what memory begins with: every number is NaN."""


class Pool:
    """Blocks of memory that storages of tensors are made of, and that come back when a storage is let go."""

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}
        self._lent: dict[int, tuple[weakref.ref[memoryview], mmap.mmap]] = {}
        self.idle = 0
        """Bytes that nobody uses."""

    def storage(self, size: int) -> UntypedStorage:
        """At least so many bytes; what they hold is undefined."""
        size = _rounded(size)
        blocks = self._free.get(size)
        try:
            block = blocks.pop() if blocks else None
        except IndexError:  # another thread took it
            block = None
        if block is None:
            block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            self.idle -= size
        view = memoryview(block)
        lease = weakref.ref(view, self._back)
        self._lent[id(lease)] = lease, block
        found = torch.frombuffer(view, dtype=torch.uint8)
        if "OSTINATO_POISON" in os.environ:
            found.fill_(POISON)
        return found.untyped_storage()

    def _back(self, lease: weakref.ref[memoryview]) -> None:
        _, block = self._lent.pop(id(lease))
        size = len(block)
        if self.idle + size <= MOST:
            self._free.setdefault(size, []).append(block)
            self.idle += size
        elif size <= MOST:  # what was kept before is of sizes that may not come again
            self._free, self.idle = {size: [block]}, size


def _rounded(size: int) -> int:
    """Sizes that are nearly the same share blocks: of a power of two, or an eighth of it more."""
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 4))
    return (size + step - 1) // step * step


pool = Pool()


def empty(shape: Sequence[int], dtype: torch.dtype, before: int = 0, after: int = 0,
          strides: Sequence[int] = ()) -> Tensor:
    """A tensor without gaps, undefined, with room for so many elements before and after it in the same storage; it is
    no view for autograd. ``strides`` are given where its elements are in another order."""
    count = prod(shape)
    size = (before + count + after) * dtype.itemsize
    if size < LEAST or os.name != "posix":
        if not before and not after and not strides:
            return torch.empty(shape, dtype=dtype, device=CPU)
        storage = torch.empty(before + count + after, dtype=dtype, device=CPU).untyped_storage()
    else:
        storage = pool.storage(size)
    return torch.empty(0, dtype=dtype, device=CPU).set_(storage, before, tuple(shape), strides or dense(tuple(shape)))
