"""Matrix products by the native library."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ostinato.engines.cpu.library import library
from ostinato.engines.cpu.tape import Inner, address, new, noting

BYTES = {torch.float32: 4, torch.float64: 8}
PRODUCT, RIGHTS = 11, 7
"""Words of an ``ost_product``, and which of them is the address of the right sides."""


def multiply(a: Tensor, b: Tensor, init: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """``a [M, K] @ b [K, N]``, plus ``init`` (``[M, N]`` with neighbouring columns, or ``[N]``); plain tensors on cpu.

    ``out``, where it is given, takes the result; it may be ``init`` itself.
    """
    if out is None:
        out = new((a.shape[0], b.shape[1]), a.dtype)
    first, row = (0, 0) if init is None else (address(init), init.stride(0) if init.dim() == 2 else 0)
    _call(a, 1, (b.shape[1], address(b), *b.stride(), first, row, address(out), out.stride(0)), 0)
    return out


def multiply_all(a: Tensor, rights: Sequence[Tensor], sums: bool = False) -> list[Tensor]:
    """``a [M, K] @ b [K, N]`` for each of several ``b``, for which ``a`` is read once; with ``sums``, also ``[M]``, the
    sums of its rows, in front."""
    made = [new((a.shape[0], b.shape[1]), a.dtype) for b in rights]
    total = new((a.shape[0],), a.dtype) if sums else None
    words: list[Any] = []
    for b, out in zip(rights, made, strict=True):
        words += (b.shape[1], address(b), *b.stride(), 0, 0, address(out), out.stride(0))
    _call(a, len(made), words, 0 if total is None else address(total))
    return made if total is None else [total, *made]


def add(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two vectors: a product with one, onto the other."""
    one = torch.ones((1, 1), dtype=a.dtype)
    return multiply(one if noting.tape is None else noting.tape.same(one), b.unsqueeze(0), a)[0]


def _call(a: Tensor, rights: int, words: Sequence[Any], sums: Any) -> None:
    native, (m, k), tape = library(), a.shape, noting.tape
    call = [BYTES[a.dtype], m, k, address(a), *a.stride(), rights, 0, sums, torch.get_num_threads(), native.parallel,
            *words]
    if tape is not None:
        call[RIGHTS] = Inner(PRODUCT)
        tape.call(native.multiply, None, call)
        return
    given = array("q", call)
    base = given.buffer_info()[0]
    given[RIGHTS] = base + 8 * PRODUCT
    code = native.multiply(base)
    if code:
        native.check(code)
