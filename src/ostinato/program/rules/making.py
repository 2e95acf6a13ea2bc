"""New tensors: filled, copied, cast, drawn at random."""

from __future__ import annotations

from typing import Any

import torch

from ostinato.program.ir import Ref
from ostinato.program.lower import Batch, Call, Val, features, kind_of
from ostinato.program.rules.common import Rule, expanded
from ostinato.program.rules.views import expand


def _filled(value: float | None) -> Rule:
    def rule(call: Call, *args: Any, **kwargs: Any) -> Ref:
        return call.builder.const(float(args[1] if value is None else value)).expand(shape=features(call.sizes))

    return rule


def _full(call: Call, *args: Any, **kwargs: Any) -> Ref:
    number = args[-1] if not isinstance(args[-1], Val) else args[-1].ref.node["value"]
    shape = features(call.sizes)
    dtype = kind_of(call.low.first.dtypes[call.entry.outs[0].index])
    const = call.builder.const(float(number) if dtype == "float" else number)
    return const if not shape else const.expand(shape=shape)


def _fill(call: Call, a: Val, value: Any) -> Ref:
    source = value.ref if isinstance(value, Val) else call.builder.const(
        float(value) if a.ref.dtype == "float" else value)
    return expanded(source, features(call.sizes))


def _copy(call: Call, a: Val, source: Val, non_blocking: bool = False) -> Ref:
    ref = expand(call, source)
    return ref if ref.dtype == a.ref.dtype else ref.cast(to=a.ref.dtype)


def _to_copy(call: Call, a: Val, dtype: torch.dtype | None = None, **_: Any) -> Ref:
    before = call.low.first.dtypes[call.entry.args[0].index]
    if dtype is None or dtype == before:
        return a.ref
    if a.ref.dtype == "float" and dtype.is_floating_point:
        raise call.refuse(f"casts {before} to {dtype}: precision is chosen for the whole cell, with cell.to(dtype)")
    return a.ref.cast(to=kind_of(dtype))


def _drawn(call: Call, kind: str, **extra: Any) -> Ref:
    """Random numbers of the result's shape, drawn anew for every step and sequence."""
    if not any(isinstance(n, Batch) for n in call.sizes):
        raise call.refuse("draws random numbers for something without a batch, at every step anew")
    return call.builder.leaf("noise", features(call.sizes), kind=kind, number=len(call.builder.nodes), **extra)


def _bernoulli(call: Call, a: Val, p: float | Val = 0.5, **_: Any) -> Ref:
    if isinstance(p, Val):
        return _drawn(call, "uniform").lt(call.aligned(p)).cast(to="float")
    return _drawn(call, "bernoulli", p=float(p))


def _uniform(call: Call, a: Val, low: float = 0.0, high: float = 1.0, **_: Any) -> Ref:
    return _drawn(call, "uniform") * float(high - low) + float(low)


def _normal(call: Call, a: Val, mean: float = 0.0, std: float = 1.0, **_: Any) -> Ref:
    return _drawn(call, "normal") * float(std) + float(mean)


def _normal_around(call: Call, mean: Any, std: Any = 1.0, **_: Any) -> Ref:
    return call.aligned(mean) + call.aligned(std) * _drawn(call, "normal")


def _dropout(call: Call, a: Val, p: float, train: bool = True) -> list[Ref | None]:
    if not train or p == 0:
        return [a.ref, None]
    kept = _drawn(call, "bernoulli", p=1.0 - p)
    return [a.ref * kept * (1.0 / (1.0 - p) if p < 1 else 0.0), kept]


RULES: dict[str, Rule] = {
    "zeros_like": _filled(0.0), "ones_like": _filled(1.0), "new_zeros": _filled(0.0), "new_ones": _filled(1.0),
    "empty_like": _filled(0.0), "new_empty": _filled(0.0), "zero": _filled(0.0), "full_like": _full, "new_full": _full,
    "fill": _fill, "copy": _copy, "_to_copy": _to_copy,
    "bernoulli": _bernoulli, "bernoulli.default": lambda call, a, **_: _bernoulli(call, a, a),
    "rand_like": lambda call, a, **_: _drawn(call, "uniform"),
    "randn_like": lambda call, a, **_: _drawn(call, "normal"), "uniform": _uniform, "normal": _normal,
    "normal.Tensor_float": _normal_around, "normal.float_Tensor": _normal_around,
    "normal.Tensor_Tensor": _normal_around, "native_dropout": _dropout,
}
