"""Matrix products: by a parameter, or as multiplications and a sum."""

from __future__ import annotations

from typing import Any

import torch

from ostinato.program.ir import Ref
from ostinato.program.lower import Batch, Call, Val, features
from ostinato.program.rules.common import Rule, expanded


def _matmul(call: Call, a: Val, b: Val) -> Ref:
    """[M, K] by [K, N], where either side may carry the batch."""
    low, x, w = call.low, a.ref, b.ref
    if a.at is not None and b.at is not None and not (low.only_parameters(x) or low.only_parameters(w)):
        raise call.refuse("mixes the sequences of a batch")
    if b.at is None:
        if a.at == len(a.sizes) - 1:
            raise call.refuse("mixes the sequences of a batch")
        return _product(call, x, w)
    if b.at != len(b.sizes) - 1 or a.at is not None:
        raise call.refuse("mixes the sequences of a batch")
    turned = w if b.fold == 1 else w.permute(dims=(-1, -2))  # [K, B] is [K]; [K, B * G] is [K, G]
    out = _product(call, turned, x.permute(dims=(-1, -2)))
    return out if b.fold == 1 else out.permute(dims=(-1, -2))


def _product(call: Call, x: Ref, w: Ref) -> Ref:
    """A product by a parameter, or, by anything else, as multiplications and a sum."""
    if call.low.only_parameters(w):
        return x.matmul(w)
    return _contract(x, w)


def _contract(x: Ref, w: Ref) -> Ref:
    """[.., M, K] by [.., K, N] (or [.., K] by [K, N]) without a matrix product."""
    if len(x.shape) == 1:
        return (x.reshape(shape=(*x.shape, 1)) * w).sum(dims=(-2,)).reshape(shape=w.shape[1:])
    product = x.reshape(shape=(*x.shape, 1)) * w.reshape(shape=(*w.shape[:-2], 1, *w.shape[-2:]))
    return product.sum(dims=(-2,)).reshape(shape=(*product.shape[:-2], product.shape[-1]))


def _mm(call: Call, a: Val, b: Val) -> Ref:
    return call.shaped(_matmul(call, a, b))


def _addmm(call: Call, bias: Val, a: Val, b: Val, beta: float = 1, alpha: float = 1) -> Ref:
    out = call.shaped(_matmul(call, a, b))
    out = out if alpha == 1 else out * float(alpha)
    offset = call.aligned(bias)
    return out + (offset if beta == 1 else offset * float(beta))


def _mv(call: Call, a: Val, v: Val) -> Ref:
    """[B, K] by [K]; a product by a parameter as one column."""
    if v.at is not None or a.at == len(a.sizes) - 1:
        raise call.refuse("mixes the sequences of a batch")
    if a.at is None:
        return call.shaped((a.ref * v.ref).sum(dims=(-1,)))
    return call.shaped(_product(call, a.ref, v.ref.reshape(shape=(*v.ref.shape, 1))))


def _dot(call: Call, a: Val, b: Val) -> Ref:
    if a.at is not None or b.at is not None:
        raise call.refuse("mixes the sequences of a batch")
    return call.shaped((a.ref * b.ref).sum(dims=(-1,)))


def _linear(call: Call, x: Val, weight: Val, bias: Val | None = None) -> Ref:
    if x.at == len(x.sizes) - 1:
        raise call.refuse("mixes the sequences of a batch")
    out = _product(call, x.ref, weight.ref.permute(dims=(-1, -2)))
    return out if bias is None else expanded(out + bias.ref, features(call.sizes))


def _bmm(call: Call, a: Val, b: Val) -> Ref:
    """[N, M, K] by [N, K, P]; N may be the batch, groups, or both."""
    low, x, y = call.low, a.ref, b.ref
    if a.at in (None, 0) and b.at in (None, 0):
        if a.at is None and b.at is None and low.only_parameters(y):
            return x.matmul(y) if low.only_parameters(x) else _contract(x, y)
        if call.sizes[0] == Batch(1) and low.only_parameters(y):
            return x.matmul(y)  # [B, M, K] by [K, P]
        if call.sizes[0] == Batch(1) and low.only_parameters(x):
            return y.permute(dims=(-1, -2)).matmul(x.permute(dims=(-1, -2))).permute(dims=(-1, -2))
        return _contract(x, y)
    if a.at == 1 and b.at is None and low.only_parameters(y):  # [G, B, K] by [G, K, P]
        return call.shaped(_grouped(x, a.fold, y))
    if b.at == 2 and a.at is None and low.only_parameters(x):  # [G, M, K] by [G, K, B]
        if b.fold == 1:
            return call.shaped(_grouped(y, 1, x.permute(dims=(-3, -1, -2))))
        out = _grouped(y.permute(dims=(-3, -1, -2)), b.fold, x.permute(dims=(-3, -1, -2)))
        return call.shaped(out.permute(dims=(-3, -1, -2)))
    if a.at == 1 and a.fold == 1 and b.at is None:
        rows = x.reshape(shape=(x.shape[0], 1, x.shape[1]))
        return call.shaped(_contract(rows, y))
    raise call.refuse("mixes the sequences of a batch")


def _grouped(x: Ref, fold: int, w: Ref) -> Ref:
    """[G, K] (or [G, F, K]) by a parameter [G, K, P], group by group."""
    if fold == 1:
        return x.matmul(w)
    return x.permute(dims=(-2, -3, -1)).matmul(w).permute(dims=(-2, -3, -1))


def _baddbmm(call: Call, c: Val, a: Val, b: Val, beta: float = 1, alpha: float = 1) -> Ref:
    return call.aligned(c) * float(beta) + _bmm(call, a, b) * float(alpha)


def _cumsum(call: Call, a: Val, dim: int, dtype: Any = None) -> Ref:
    d, rank = call.dim(a, dim), len(a.ref.shape)
    last = [i for i in range(-rank, 0) if i != d] + [d]
    triangle = call.low.tensor(torch.ones(a.ref.shape[d], a.ref.shape[d]).triu())
    out = a.ref.permute(dims=tuple(last)).matmul(triangle)
    back = sorted(range(rank), key=last.__getitem__)
    return out.permute(dims=tuple(i - rank for i in back))


RULES: dict[str, Rule] = {
    "mm": _mm, "addmm": _addmm, "linear": _linear, "bmm": _bmm, "baddbmm": _baddbmm, "mv": _mv, "dot": _dot,
    "cumsum": _cumsum,
}
