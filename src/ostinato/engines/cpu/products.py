"""Matrix products by the native library."""

from __future__ import annotations

from array import array
from typing import Any

import torch
from torch import Tensor

from ostinato.engines.cpu.library import library
from ostinato.engines.cpu.tape import noting

BYTES = {torch.float32: 4, torch.float64: 8}


def multiply(a: Tensor, b: Tensor, init: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """``a [M, K] @ b [K, N]``, plus ``init`` (``[M, N]`` with neighbouring columns, or ``[N]``); plain tensors on cpu.

    ``out``, where it is given, takes the result; it may be ``init`` itself.
    """
    (m, k), n, tape = a.shape, b.shape[1], noting.tape
    at = Tensor.data_ptr if tape is None else tape.address
    if out is None:
        out = (torch.empty if tape is None else tape.empty)((m, n), dtype=a.dtype)
    first = (0, 0) if init is None else (at(init), init.stride(0) if init.dim() == 2 else 0)
    _call(a.dtype, m, n, k, (at(a), *a.stride()), (at(b), *b.stride()), first, (at(out), out.stride(0)), 0)
    return out


def add(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two vectors: a product with one, onto the other."""
    one = torch.ones((1, 1), dtype=a.dtype)
    return multiply(one if noting.tape is None else noting.tape.same(one), b.unsqueeze(0), a)[0]


def sum_rows(value: Tensor, out: Tensor | None = None) -> Tensor:
    """``[K, N]`` to ``[N]``."""
    (k, n), tape = value.shape, noting.tape
    at = Tensor.data_ptr if tape is None else tape.address
    if out is None:
        out = (torch.empty if tape is None else tape.empty)((n,), dtype=value.dtype)
    _call(value.dtype, 0, n, k, (0, 0, 0), (at(value), *value.stride()), (0, 0), (0, 0), at(out))
    return out


def _call(dtype: torch.dtype, m: int, n: int, k: int, a: tuple[Any, ...], b: tuple[Any, ...],
          init: tuple[Any, ...], c: tuple[Any, ...], sums: Any) -> None:
    native, tape = library(), noting.tape
    call = [BYTES[dtype], m, n, k, *a, *b, *init, *c, sums, torch.get_num_threads(), native.parallel]
    if tape is not None:
        tape.call(native.multiply, None, call)
        return
    words = array("q", call)
    code = native.multiply(words.buffer_info()[0])
    if code:
        native.check(code)
