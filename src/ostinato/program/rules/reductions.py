"""Sums, maxima and moments along the features, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostinato.program.ir import Ref
from ostinato.program.lower import Call, Val
from ostinato.program.rules.common import Rule
from ostinato.program.rules.pointwise import safe_sqrt


def _reduce(op: str) -> Rule:
    def rule(call: Call, a: Val, dims: Any = None, keepdim: bool = False, dtype: Any = None, **_: Any) -> Ref:
        ref = a.ref.cast(to="float") if op == "sum" and a.ref.dtype == "bool" else a.ref
        over = call.dims(a, dims)
        ref = -(-ref).amax(dims=over) if op == "amin" else getattr(ref, op)(dims=over)
        return call.shaped(ref)

    return rule


def _mean(call: Call, a: Val, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> Ref:
    over = call.dims(a, dims)
    return call.shaped(a.ref.sum(dims=over) * (1.0 / _count(a.ref, over)))


def _count(ref: Ref, dims: Sequence[int]) -> int:
    out = 1
    for d in dims:
        out *= ref.shape[d]
    return out


def _variance(call: Call, a: Val, dims: Any, correction: float) -> tuple[Ref, Ref]:
    over = call.dims(a, dims)
    n = _count(a.ref, over)
    mean = a.ref.sum(dims=over) * (1.0 / n)
    centred = a.ref - mean
    return (centred * centred).sum(dims=over) / float(n - correction), mean


def _var(call: Call, a: Val, dims: Any = None, correction: Any = None, keepdim: bool = False) -> Ref:
    return call.shaped(_variance(call, a, dims, 1 if correction is None else correction)[0])


def _std(call: Call, a: Val, dims: Any = None, correction: Any = None, keepdim: bool = False) -> Ref:
    return call.shaped(safe_sqrt(_variance(call, a, dims, 1 if correction is None else correction)[0]))


def _var_mean(call: Call, a: Val, dims: Any = None, correction: Any = None, keepdim: bool = False) -> list[Ref | None]:
    var, mean = _variance(call, a, dims, 1 if correction is None else correction)
    return [call.shaped(var, 0), call.shaped(mean, 1)]


def _std_mean(call: Call, a: Val, dims: Any = None, correction: Any = None, keepdim: bool = False) -> list[Ref | None]:
    var, mean = _variance(call, a, dims, 1 if correction is None else correction)
    return [call.shaped(safe_sqrt(var), 0), call.shaped(mean, 1)]


def _max_dim(sign: float) -> Rule:
    def rule(call: Call, a: Val, dim: int, keepdim: bool = False) -> list[Ref | None]:
        over = call.dims(a, dim)
        top = a.ref.amax(dims=over) if sign > 0 else -(-a.ref).amax(dims=over)
        return [call.shaped(top), None]

    return rule


def _norm(call: Call, a: Val, order: float = 2, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> Ref:
    over = call.dims(a, dims)
    if order == 2:
        return call.shaped(safe_sqrt((a.ref * a.ref).sum(dims=over)))
    if order == 1:
        return call.shaped(a.ref.abs().sum(dims=over))
    if order == float("inf"):
        return call.shaped(a.ref.abs().amax(dims=over))
    raise call.refuse(f"of order {order} is not among 1, 2 and inf")


def _softmax(call: Call, a: Val, dim: int, _half: bool = False) -> Ref:
    over = call.dims(a, dim)
    e = (a.ref - a.ref.amax(dims=over).stopgrad()).exp()
    return e / e.sum(dims=over)


def _log_softmax(call: Call, a: Val, dim: int, _half: bool = False) -> Ref:
    over = call.dims(a, dim)
    z = a.ref - a.ref.amax(dims=over).stopgrad()
    return z - z.exp().sum(dims=over).log()


def _logsumexp(call: Call, a: Val, dims: Any, keepdim: bool = False) -> Ref:
    over = call.dims(a, dims)
    top = a.ref.amax(dims=over).stopgrad()
    return call.shaped((a.ref - top).exp().sum(dims=over).log() + top)


def _layer_norm(call: Call, a: Val, shape: list[int], weight: Val | None, bias: Val | None,
                eps: float) -> list[Ref | None]:
    dims = list(range(len(a.sizes) - len(shape), len(a.sizes)))
    over = call.dims(a, dims)
    n = _count(a.ref, over)
    centred = a.ref - a.ref.sum(dims=over) * (1.0 / n)
    out = centred * ((centred * centred).sum(dims=over) * (1.0 / n) + eps).rsqrt()
    out = out if weight is None else out * weight.ref
    return [out if bias is None else out + bias.ref, None, None]


def _group_norm(call: Call, a: Val, weight: Val | None, bias: Val | None, _n: Any, channels: int, inner: int,
                groups: int, eps: float) -> list[Ref | None]:
    if a.at != 0 or a.fold != 1:
        raise call.refuse("mixes the sequences of a batch")
    flat = a.ref.reshape(shape=(groups, channels * inner // groups))
    count = flat.shape[-1]
    centred = flat - flat.sum(dims=(-1,)) * (1.0 / count)
    out = centred * ((centred * centred).sum(dims=(-1,)) * (1.0 / count) + eps).rsqrt()
    out = out.reshape(shape=(channels, inner))
    out = out if weight is None else out * weight.ref.reshape(shape=(channels, 1))
    out = out if bias is None else out + bias.ref.reshape(shape=(channels, 1))
    return [call.shaped(out), None, None]


RULES: dict[str, Rule] = {
    "sum": _reduce("sum"), "amax": _reduce("amax"), "amin": _reduce("amin"), "mean": _mean,
    "max": _max_dim(1), "min": _max_dim(-1), "max.default": _reduce("amax"), "min.default": _reduce("amin"),
    "var": _var, "std": _std, "var_mean": _var_mean, "std_mean": _std_mean,
    "linalg_vector_norm": _norm, "norm": _norm, "_softmax": _softmax, "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp, "native_layer_norm": _layer_norm, "native_group_norm": _group_norm,
}
