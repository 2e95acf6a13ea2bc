"""Matrix products by the native library."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from ostinato.engines.cpu.library import library
from ostinato.engines.cpu.memory import empty

BYTES = {torch.float32: 4, torch.float64: 8}
PRODUCT, RIGHTS = 11, 7
"""Words of an ``ost_product``, and which of them is the address of the right sides."""


def multiply(a: Tensor, b: Tensor, init: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """``a [M, K] @ b [K, N]``, plus ``init`` (``[M, N]`` with neighbouring columns, or ``[N]``); plain tensors on cpu.

    ``out``, where it is given, takes the result; it may be ``init`` itself.
    """
    if out is None:
        out = empty((a.shape[0], b.shape[1]), a.dtype)
    first, row = (0, 0) if init is None else (init.data_ptr(), init.stride(0) if init.dim() == 2 else 0)
    _call(a, 1, (b.shape[1], b.data_ptr(), *b.stride(), first, row, out.data_ptr(), out.stride(0)), 0)
    return out


def multiply_all(a: Tensor, rights: Sequence[Tensor], sums: bool = False) -> list[Tensor]:
    """``a [M, K] @ b [K, N]`` for each of several ``b``, for which ``a`` is read once; with ``sums``, also ``[M]``, the
    sums of its rows, in front."""
    made = [empty((a.shape[0], b.shape[1]), a.dtype) for b in rights]
    total = torch.empty(a.shape[0], dtype=a.dtype) if sums else None
    words: list[int] = []
    for b, out in zip(rights, made, strict=True):
        words += (b.shape[1], b.data_ptr(), *b.stride(), 0, 0, out.data_ptr(), out.stride(0))
    _call(a, len(made), words, 0 if total is None else total.data_ptr())
    return made if total is None else [total, *made]


def _call(a: Tensor, rights: int, words: Sequence[int], sums: int) -> None:
    native, (m, k) = library(), a.shape
    given = array("q", (BYTES[a.dtype], m, k, a.data_ptr(), *a.stride(), rights, 0, sums, torch.get_num_threads(),
                        native.parallel, *words))
    base = given.buffer_info()[0]
    given[RIGHTS] = base + 8 * PRODUCT
    code = native.multiply(base)
    if code:
        native.check(code)
