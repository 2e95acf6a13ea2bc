"""Shapes: reshaping, slicing, joining."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ostinato.program.ir import Ref
from ostinato.program.lower import Batch, Call, Val, features
from ostinato.program.rules.common import Rule, expanded

SAME = ("clone", "alias", "lift_fresh", "lift_fresh_copy", "contiguous", "view", "_unsafe_view", "reshape", "unsqueeze",
        "squeeze", "flatten", "unflatten", "_reshape_alias")


def _glu(call: Call, a: Val, dim: int = -1) -> Ref:
    d = call.dim(a, dim)
    half = a.ref.shape[d] // 2
    return a.ref.slice(dim=d, start=0, stop=half) * a.ref.slice(dim=d, start=half, stop=2 * half).sigmoid()


def _same(call: Call, a: Val, *_: Any, **__: Any) -> Ref:
    return call.reshaped(a)


def _permute(call: Call, a: Val, dims: Sequence[int]) -> Ref:
    order: list[int] = []
    for d in dims:
        d = d % len(a.sizes)
        if d != a.at:
            order.append(call.dim(a, d))
        elif a.fold > 1:
            order.append(d - len(a.ref.shape))
    return a.ref.permute(dims=tuple(order)) if order != sorted(order) else a.ref


def _transpose(call: Call, a: Val, first: int = 0, second: int = 1) -> Ref:
    dims = list(range(len(a.sizes)))
    if len(dims) > 1:
        dims[first], dims[second] = dims[second], dims[first]
    return _permute(call, a, dims)


def expand(call: Call, a: Val, *_: Any, **__: Any) -> Ref:
    """A value repeated to the shape of the result."""
    return expanded(call.aligned(a), features(call.sizes))  # type: ignore[arg-type]


def _repeat(call: Call, a: Val, repeats: Sequence[int | Batch]) -> Ref:
    ref = call.aligned(a)
    assert isinstance(ref, Ref)
    shape = features(call.sizes)
    ref = ref.reshape(shape=(1,) * (len(shape) - len(ref.shape)) + ref.shape)
    for d in range(-len(shape), 0):
        if ref.shape[d] != shape[d]:
            ref = call.builder.add("cat", *[ref] * (shape[d] // ref.shape[d]), dim=d)
    return ref


def _bounds(call: Call, size: int | Batch, start: Any, stop: Any) -> tuple[int, int] | None:
    """The slice's bounds; None for all of the dimension."""
    whole = stop is None or stop == size or (isinstance(stop, int) and stop >= sys.maxsize // 2)
    if isinstance(size, Batch):
        if start in (None, 0) and whole:
            return None
        raise call.refuse("takes some sequences out of a batch")
    if isinstance(start, Batch) or isinstance(stop, Batch):
        raise call.refuse("uses the batch size as a number")
    bounds = slice(start, stop).indices(size)[:2]
    return None if bounds == (0, size) else bounds


def _slice(call: Call, a: Val, dim: int = 0, start: Any = None, stop: Any = None, step: int = 1) -> Ref:
    size = a.sizes[dim]
    bounds = _bounds(call, size, start, stop)
    if step != 1 and isinstance(size, int):
        return a.ref.take(dim=call.dim(a, dim), index=tuple(range(*(bounds or (0, size)), step)))
    return a.ref if bounds is None else a.ref.slice(dim=call.dim(a, dim), start=bounds[0], stop=bounds[1])


def _select(call: Call, a: Val, dim: int, index: int) -> Ref:
    if dim % len(a.sizes) == a.at:
        raise call.refuse("takes some sequences out of a batch")
    d = call.dim(a, dim)
    index %= a.ref.shape[d]
    return call.shaped(a.ref.slice(dim=d, start=index, stop=index + 1))


def _slice_scatter(call: Call, a: Val, new: Val, dim: int = 0, start: Any = None, stop: Any = None,
                   step: int = 1) -> Ref:
    bounds = _bounds(call, a.sizes[dim], start, stop)
    if bounds is None and step == 1:
        return new.ref
    d, size = call.dim(a, dim), a.sizes[dim]
    assert isinstance(size, int)
    places = tuple(range(*(bounds or (0, size)), step))
    rest = [i for i in range(size) if i not in places]
    if not rest:
        return new.ref
    return new.ref.put(dim=d, index=places, size=size) + a.ref.take(dim=d, index=tuple(rest)).put(
        dim=d, index=tuple(rest), size=size)


def _select_scatter(call: Call, a: Val, new: Val, dim: int, index: int) -> Ref:
    d = call.dim(a, dim)
    index %= a.ref.shape[d]
    shape = list(a.ref.shape)
    shape[d] = 1
    wide = Val(new.ref.reshape(shape=tuple(shape)), a.sizes)
    return _slice_scatter(call, a, wide, dim, index, index + 1)


def _split(call: Call, a: Val, size: int | Sequence[int], dim: int = 0) -> list[Ref | None]:
    d = call.dim(a, dim)
    total = a.ref.shape[d]
    parts = [min(size, total - s) for s in range(0, total, size)] if isinstance(size, int) else list(size)
    out, start = [], 0
    for n in parts:
        out.append(a.ref if n == total else a.ref.slice(dim=d, start=start, stop=start + n))
        start += n
    return out


def _unbind(call: Call, a: Val, dim: int = 0) -> list[Ref | None]:
    return [_select(call, a, dim, i) for i in range(a.ref.shape[call.dim(a, dim)])]


def _cat(call: Call, values: Sequence[Val], dim: int = 0) -> Ref:
    values = [v for v in values if v.sizes != (0,)]
    out = Val(values[0].ref, call.sizes)
    if dim % len(call.sizes) == out.at or any(v.at != out.at or v.fold != out.fold for v in values):
        raise call.refuse("mixes the sequences of a batch")
    d = call.dim(values[0], dim)
    shapes = [tuple(1 if i == d % len(v.ref.shape) else n for i, n in enumerate(v.ref.shape)) for v in values]
    assert len(set(shapes)) == 1
    return call.builder.add("cat", *[v.ref for v in values], dim=d)


def _stack(call: Call, values: Sequence[Val], dim: int = 0) -> Ref:
    dim %= len(call.sizes)
    out = Val(values[0].ref, call.sizes)
    if dim == out.at or any(v.fold != out.fold for v in values):
        raise call.refuse("mixes the sequences of a batch")
    sizes = tuple(1 if i == dim else n for i, n in enumerate(call.sizes))
    wide = [v.ref.reshape(shape=features(sizes)) for v in values]
    return call.builder.add("cat", *wide, dim=call.dim(Val(wide[0], sizes), dim))


def _pad(call: Call, a: Val, padding: Sequence[int], value: float = 0) -> Ref:
    ref = a.ref
    for i in range(0, len(padding), 2):
        before, after = padding[i : i + 2]
        if before or after:
            d = call.dim(a, len(a.sizes) - 1 - i // 2)
            start, stop = max(0, -before), ref.shape[d] + min(0, after)
            ref = ref if (start, stop) == (0, ref.shape[d]) else ref.slice(dim=d, start=start, stop=stop)
            ref = _beside(ref, d, max(0, before), max(0, after), value)
    return ref


def _beside(ref: Ref, dim: int, before: int, after: int, value: float) -> Ref:
    """With so many elements of a value before and after."""
    if not value:
        return ref.pad(dim=dim, before=before, after=after)

    def piece(size: int) -> list[Ref]:
        shape = list(ref.shape)
        shape[dim] = size
        return [ref.builder.const(float(value)).expand(shape=tuple(shape))] if size else []

    return ref.builder.add("cat", *piece(before), ref, *piece(after), dim=dim)


def _diagonal(call: Call, a: Val, offset: int = 0, first: int = 0, second: int = 1) -> Ref:
    one, two = call.dim(a, first), call.dim(a, second)
    rank, n, m = len(a.ref.shape), a.ref.shape[one], a.ref.shape[two]
    order = [d for d in range(-rank, 0) if d not in (one, two)] + [one, two]
    flat = a.ref.permute(dims=tuple(order)) if order != sorted(order) else a.ref
    flat = flat.reshape(shape=(*flat.shape[:-2], n * m))
    places = tuple(i * m + i + offset for i in range(n) if 0 <= i + offset < m)
    return call.shaped(flat.take(dim=-1, index=places))


RULES: dict[str, Rule] = {
    **dict.fromkeys(SAME, _same),
    "permute": _permute, "transpose": _transpose, "t": _transpose, "expand": expand, "expand_as": expand,
    "repeat": _repeat, "slice": _slice, "select": _select, "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter, "split": _split, "split_with_sizes": _split, "unsafe_split": _split,
    "unsafe_split_with_sizes": _split, "unbind": _unbind, "cat": _cat, "stack": _stack, "glu": _glu,
    "constant_pad_nd": _pad, "diagonal": _diagonal,
}
