"""Matrix products by the native library."""

from __future__ import annotations

from array import array

import torch
from torch import Tensor

from ostinato.engines.cpu.library import library

BYTES = {torch.float32: 4, torch.float64: 8}


def multiply(a: Tensor, b: Tensor, init: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """``a [M, K] @ b [K, N]``, plus ``init`` (``[M, N]`` with neighbouring columns, or ``[N]``); plain tensors on cpu.

    ``out``, where it is given, takes the result; it may be ``init`` itself.
    """
    (m, k), n = a.shape, b.shape[1]
    if out is None:
        out = torch.empty((m, n), dtype=a.dtype)
    first, row = (0, 0) if init is None else (init.data_ptr(), init.stride(0) if init.dim() == 2 else 0)
    _call(a.dtype, m, n, k, (a.data_ptr(), *a.stride()), (b.data_ptr(), *b.stride()), (first, row),
          (out.data_ptr(), out.stride(0)), 0)
    return out


def sum_rows(value: Tensor, out: Tensor | None = None) -> Tensor:
    """``[K, N]`` to ``[N]``."""
    k, n = value.shape
    out = torch.empty(n, dtype=value.dtype) if out is None else out
    _call(value.dtype, 0, n, k, (0, 0, 0), (value.data_ptr(), *value.stride()), (0, 0), (0, 0), out.data_ptr())
    return out


def _call(dtype: torch.dtype, m: int, n: int, k: int, a: tuple[int, ...], b: tuple[int, ...],
          init: tuple[int, ...], c: tuple[int, ...], sums: int) -> None:
    native = library()
    words = array("q", (BYTES[dtype], m, n, k, *a, *b, *init, *c, sums, torch.get_num_threads(), native.parallel))
    code = native.multiply(words.buffer_info()[0])
    if code:
        native.check(code)
