"""One rule for every ATen operation that a step may use: what it becomes in a program.

A rule takes the call and its arguments (a :class:`Val`, numbers, lists) and returns a node, or a list of nodes for an
operation with several results (None for one that a program does not keep).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from math import log, sqrt
from typing import Any

import torch

from ostinato.program.ir import Ref
from ostinato.program.lower import Batch, Call, Val, features, kind_of

Rule = Callable[..., "Ref | list[Ref | None]"]


def _pointwise(formula: Callable[..., Ref]) -> Rule:
    """A rule from a formula over aligned operands."""

    def rule(call: Call, *args: Any, **kwargs: Any) -> Ref:
        refs = [call.aligned(a) if isinstance(a, (Val, Batch)) else a for a in args]
        result = formula(*refs, **kwargs)
        shape = features(call.sizes)
        if not isinstance(result, Ref):
            result = call.builder.const(result)
        return result if result.shape == shape else _expanded(result, shape)

    return rule


def _expanded(ref: Ref, shape: tuple[int, ...]) -> Ref:
    if ref.node.op != "const" and len(ref.shape) < len(shape):
        ref = ref.reshape(shape=(1,) * (len(shape) - len(ref.shape)) + ref.shape)
    return ref if ref.shape == shape else ref.expand(shape=shape)


def _scaled(op: str) -> Callable[..., Ref]:
    def formula(a: Ref, b: Any, alpha: float = 1) -> Ref:
        other = b if alpha == 1 else b * alpha
        return getattr(a, op)(other) if isinstance(a, Ref) else getattr(other, "__r" + op + "__")(a)

    return formula


def _div(a: Ref, b: Any, rounding_mode: str | None = None) -> Ref:
    quotient = a / b
    if rounding_mode == "floor":
        return quotient.floor()
    return quotient if rounding_mode is None else quotient.sign() * quotient.abs().floor()


def _trunc(a: Ref) -> Ref:
    return a.sign() * a.abs().floor()


def _clamp(a: Ref, low: Any = None, high: Any = None) -> Ref:
    """On a bound the derivative is that of inside (``maximum`` would halve it)."""
    a = a if low is None else a.lt(low).where(low, a)
    return a if high is None else a.gt(high).where(high, a)


def _hardtanh(a: Ref, low: float = -1.0, high: float = 1.0) -> Ref:
    """On a bound the derivative is that of outside."""
    return a.le(float(low)).where(float(low), a.ge(float(high)).where(float(high), a))


def _safe_sqrt(a: Ref) -> Ref:
    """With the derivative 0 at 0, which torch's norms and standard deviations have."""
    positive = a.gt(0.0)
    return positive.where(positive.where(a, 1.0).sqrt(), 0.0)


def _softplus(a: Ref, beta: float = 1.0, threshold: float = 20.0) -> Ref:
    z = a * float(beta)
    return z.gt(float(threshold)).where(a, _clamp(z, high=float(threshold)).exp().log1p() / float(beta))


def _gelu(a: Ref, approximate: str = "none") -> Ref:
    if approximate == "tanh":
        return 0.5 * a * (1.0 + (sqrt(2 / torch.pi) * (a + 0.044715 * (a * a * a))).tanh())
    return 0.5 * a * (1.0 + (a * sqrt(0.5)).erf())


def _elu(a: Ref, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Ref:
    return a.gt(0.0).where(a * float(scale), (_clamp(a, high=0.0) * float(input_scale)).expm1() * float(alpha * scale))


def _pow(a: Any, b: Any) -> Ref:
    if isinstance(b, Ref):
        if not isinstance(a, Ref):
            return (b * log(a)).exp() if a > 0 else b.builder.const(float(a)).pow(exponent=b)
        zero = a.eq(0.0)  # its logarithm must not reach the derivative
        power = (b * zero.where(1.0, a).log()).exp()
        return zero.where(b.eq(0.0).where(1.0, b.gt(0.0).where(0.0, float("inf"))), power)
    if b in (1, 2, 3):
        return a if b == 1 else a * a if b == 2 else a * a * a
    return a.sqrt() if b == 0.5 else a.pow(exponent=float(b))


def _logaddexp(a: Ref, b: Ref) -> Ref:
    return a.maximum(b) + (-(a - b).abs()).exp().log1p()


POINTWISE: dict[str, Callable[..., Ref]] = {
    **{name: lambda a, op=name: getattr(a, op)() for name in (
        "neg", "exp", "log", "log1p", "expm1", "tanh", "sigmoid", "relu", "abs", "sign", "sqrt", "rsqrt", "reciprocal",
        "sin", "cos", "erf", "floor", "ceil", "round")},
    **{name: lambda a, b, op=name: getattr(a, op)(b) if isinstance(a, Ref) else b.builder.add(op, a, b) for name in (
        "mul", "maximum", "minimum", "gt", "ge", "lt", "le", "eq", "ne")},
    "add": _scaled("add"),
    "sub": _scaled("sub"),
    "rsub": lambda a, b, alpha=1: b - (a if alpha == 1 else a * alpha),
    "div": _div,
    "multiply": lambda a, b: a * b,
    "sgn": lambda a: a.sign(),
    "trunc": _trunc,
    "frac": lambda a: a - _trunc(a),
    "fmod": lambda a, b: a - b * _trunc(a / b),
    "remainder": lambda a, b: a - b * (a / b).floor(),
    "floor_divide": lambda a, b: (a / b).floor(),
    "square": lambda a: a * a,
    "exp2": lambda a: (a * 0.6931471805599453).exp(),
    "log2": lambda a: a.log() / 0.6931471805599453,
    "log10": lambda a: a.log() / 2.302585092994046,
    "tan": lambda a: a.sin() / a.cos(),
    "sinh": lambda a: 0.5 * (a.exp() - (-a).exp()),
    "cosh": lambda a: 0.5 * (a.exp() + (-a).exp()),
    "erfc": lambda a: 1.0 - a.erf(),
    "logical_not": lambda a: getattr(a, "not")(),
    "bitwise_not": lambda a: getattr(a, "not")(),
    **{f"{kind}_{name}": lambda a, b, op=name: getattr(a, op)(b) for name in ("and", "or", "xor")
       for kind in ("logical", "bitwise")},
    "where": lambda c, a, b: c.where(a, b),
    "masked_fill": lambda a, mask, value: mask.where(value, a),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": lambda a, high: _clamp(a, None, high),
    "hardtanh": _hardtanh,
    "relu6": lambda a: _hardtanh(a, 0.0, 6.0),
    "hardsigmoid": lambda a: _hardtanh(a + 3.0, 0.0, 6.0) / 6.0,
    "hardswish": lambda a: a * _clamp(a + 3.0, 0.0, 6.0) / 6.0,
    "leaky_relu": lambda a, slope=0.01: a.gt(0.0).where(a, a * float(slope)),
    "_prelu_kernel": lambda a, slope: a.gt(0.0).where(a, a * slope),
    "threshold": lambda a, threshold, value: a.gt(threshold).where(a, value),
    "hardshrink": lambda a, bound=0.5: a.abs().le(float(bound)).where(0.0, a),
    "softshrink": lambda a, bound=0.5: a.gt(bound).where(a - float(bound), a.lt(-bound).where(a + float(bound), 0.0)),
    "elu": _elu,
    "celu": lambda a, alpha=1.0: _elu(a, alpha, 1.0, 1.0 / alpha),
    "silu": lambda a: a * a.sigmoid(),
    "mish": lambda a: a * _softplus(a).tanh(),
    "gelu": _gelu,
    "softplus": _softplus,
    "logaddexp": _logaddexp,
    "lerp": lambda a, b, weight: a + weight * (b - a),
    "addcmul": lambda a, b, c, value=1: a + (b * c if value == 1 else b * c * value),
    "addcdiv": lambda a, b, c, value=1: a + (b / c if value == 1 else b / c * value),
    "pow": _pow,
    "hypot": lambda a, b: (a * a + b * b).sqrt(),
    "detach": lambda a: a.stopgrad() if a.dtype == "float" else a,
}
"""Operations of every element by itself, as formulas."""

SAME = ("clone", "alias", "lift_fresh", "lift_fresh_copy", "contiguous", "view", "_unsafe_view", "reshape", "unsqueeze",
        "squeeze", "flatten", "unflatten", "_reshape_alias")


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
    return out if bias is None else _expanded(out + bias.ref, features(call.sizes))


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
    return call.shaped(_safe_sqrt(_variance(call, a, dims, 1 if correction is None else correction)[0]))


def _var_mean(call: Call, a: Val, dims: Any = None, correction: Any = None, keepdim: bool = False) -> list[Ref | None]:
    var, mean = _variance(call, a, dims, 1 if correction is None else correction)
    return [call.shaped(var, 0), call.shaped(mean, 1)]


def _std_mean(call: Call, a: Val, dims: Any = None, correction: Any = None, keepdim: bool = False) -> list[Ref | None]:
    var, mean = _variance(call, a, dims, 1 if correction is None else correction)
    return [call.shaped(_safe_sqrt(var), 0), call.shaped(mean, 1)]


def _max_dim(sign: float) -> Rule:
    def rule(call: Call, a: Val, dim: int, keepdim: bool = False) -> list[Ref | None]:
        over = call.dims(a, dim)
        top = a.ref.amax(dims=over) if sign > 0 else -(-a.ref).amax(dims=over)
        return [call.shaped(top), None]

    return rule


def _norm(call: Call, a: Val, order: float = 2, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> Ref:
    over = call.dims(a, dims)
    if order == 2:
        return call.shaped(_safe_sqrt((a.ref * a.ref).sum(dims=over)))
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


def _nan_to_num(call: Call, a: Val, nan: float | None = None, high: float | None = None,
                low: float | None = None) -> Ref:
    largest = torch.finfo(call.low.first.dtypes[call.entry.args[0].index]).max
    kept = a.ref.ne(a.ref).where(nan or 0.0, a.ref)
    below = kept.eq(-float("inf")).where(-largest if low is None else low, kept)
    return kept.eq(float("inf")).where(largest if high is None else high, below)


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


def _log_sigmoid(call: Call, a: Val) -> list[Ref | None]:
    """``min(a, 0) - log(1 + exp(-|a|))``, written so that every derivative at 0 is that of one of its branches."""
    positive = a.ref.gt(0.0)
    rest = positive.where(-a.ref, a.ref).exp().log1p()
    return [positive.where(0.0, a.ref) - rest, None]


def _glu(call: Call, a: Val, dim: int = -1) -> Ref:
    d = call.dim(a, dim)
    half = a.ref.shape[d] // 2
    return a.ref.slice(dim=d, start=0, stop=half) * a.ref.slice(dim=d, start=half, stop=2 * half).sigmoid()


def _cumsum(call: Call, a: Val, dim: int, dtype: Any = None) -> Ref:
    d, rank = call.dim(a, dim), len(a.ref.shape)
    last = [i for i in range(-rank, 0) if i != d] + [d]
    triangle = call.low.tensor(torch.ones(a.ref.shape[d], a.ref.shape[d]).triu())
    out = a.ref.permute(dims=tuple(last)).matmul(triangle)
    back = sorted(range(rank), key=last.__getitem__)
    return out.permute(dims=tuple(i - rank for i in back))


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


def _expand(call: Call, a: Val, *_: Any, **__: Any) -> Ref:
    return _expanded(call.aligned(a), features(call.sizes))  # type: ignore[arg-type]


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


def _constant_index(call: Call, index: Val) -> tuple[int, ...]:
    node = index.ref.node
    if node.op != "p" or node["name"] not in call.low.tensors or len(node.shape) != 1 or node.dtype != "int":
        raise call.refuse("needs an index that is a constant list of positions")
    return tuple(int(i) for i in call.low.tensors[node["name"]])


def _index_select(call: Call, a: Val, dim: int, index: Val) -> Ref:
    d = call.dim(a, dim)
    return a.ref.take(dim=d, index=tuple(i % a.ref.shape[d] for i in _constant_index(call, index)))


def _index(call: Call, a: Val, index: Sequence[Val | None]) -> Ref | list[Ref | None]:
    places = [i for i, v in enumerate(index) if v is not None]
    given = index[places[0]] if len(places) == 1 else None
    if given is not None and given.ref.node.op == "p" and given.ref.node["name"] in call.low.tensors:
        return _index_select(call, a, places[0], given)
    return opaque(call, a, list(index))


def _flip(call: Call, a: Val, dims: Sequence[int]) -> Ref:
    ref = a.ref
    for d in call.dims(a, dims):
        ref = ref.take(dim=d, index=tuple(reversed(range(ref.shape[d]))))
    return ref


def _roll(call: Call, a: Val, shifts: Sequence[int], dims: Sequence[int] = ()) -> Ref:
    ref = a.ref
    for shift, dim in zip(shifts, dims, strict=True):
        d = call.dim(a, dim)
        n = ref.shape[d]
        ref = ref.take(dim=d, index=tuple((i - shift) % n for i in range(n)))
    return ref


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
    return _expanded(source, features(call.sizes))


def _copy(call: Call, a: Val, source: Val, non_blocking: bool = False) -> Ref:
    ref = _expand(call, source)
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
    **{name: _pointwise(formula) for name, formula in POINTWISE.items()},
    **dict.fromkeys(SAME, _same),
    "mm": _mm, "addmm": _addmm, "linear": _linear, "bmm": _bmm, "baddbmm": _baddbmm,
    "sum": _reduce("sum"), "amax": _reduce("amax"), "amin": _reduce("amin"), "mean": _mean,
    "max": _max_dim(1), "min": _max_dim(-1), "max.default": _reduce("amax"), "min.default": _reduce("amin"),
    "max.other": _pointwise(POINTWISE["maximum"]), "min.other": _pointwise(POINTWISE["minimum"]),
    "var": _var, "std": _std, "var_mean": _var_mean,
    "std_mean": _std_mean, "native_group_norm": _group_norm, "diagonal": _diagonal, "mv": _mv, "dot": _dot,
    "nan_to_num": _nan_to_num,
    "linalg_vector_norm": _norm, "norm": _norm, "_softmax": _softmax, "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp, "native_layer_norm": _layer_norm, "log_sigmoid_forward": _log_sigmoid, "glu": _glu,
    "cumsum": _cumsum, "permute": _permute, "transpose": _transpose, "t": _transpose,
    "expand": _expand, "expand_as": _expand, "repeat": _repeat, "slice": _slice, "select": _select,
    "slice_scatter": _slice_scatter, "select_scatter": _select_scatter, "split": _split, "split_with_sizes": _split,
    "unsafe_split": _split, "unsafe_split_with_sizes": _split,
    "unbind": _unbind, "cat": _cat, "stack": _stack, "index_select": _index_select, "index": _index, "flip": _flip,
    "roll": _roll, "constant_pad_nd": _pad, "zeros_like": _filled(0.0), "ones_like": _filled(1.0),
    "new_zeros": _filled(0.0), "new_ones": _filled(1.0), "empty_like": _filled(0.0), "new_empty": _filled(0.0),
    "zero": _filled(0.0), "full_like": _full, "new_full": _full, "fill": _fill, "copy": _copy, "_to_copy": _to_copy,
    "bernoulli": _bernoulli, "bernoulli.default": lambda call, a, **_: _bernoulli(call, a, a),
    "rand_like": lambda call, a, **_: _drawn(call, "uniform"),
    "randn_like": lambda call, a, **_: _drawn(call, "normal"), "uniform": _uniform, "normal": _normal,
    "normal.Tensor_float": _normal_around, "normal.float_Tensor": _normal_around,
    "normal.Tensor_Tensor": _normal_around, "native_dropout": _dropout,
}


def opaque(call: Call, *args: Any, **kwargs: Any) -> Ref | list[Ref | None]:
    """Any other operation on parameters or on the inputs: kept as it is, run by torch outside of the loop."""
    from ostinato.program.opaque import check_allowed

    operands: list[Val] = []

    def template(value: Any) -> Any:
        if isinstance(value, Val):
            if value.at not in (None, 0):
                raise call.refuse("needs the batch to be the first dimension")
            operands.append(value)
            return {"arg": len(operands) - 1, "batch": value.fold if value.at == 0 else 0}
        if isinstance(value, Batch):
            return {"batch": value.fold}
        if isinstance(value, list):
            return [template(v) for v in value]
        if isinstance(value, (torch.dtype, torch.layout, torch.device, torch.memory_format)):
            return None
        return value

    shape = {"args": [template(a) for a in args], "kwargs": {k: template(v) for k, v in kwargs.items()}}
    name = call.entry.op.removeprefix("aten.")
    if any(call.low.on_state(v.ref) for v in operands):
        raise call.refuse("is not an operation that a loop can contain: use it on inputs or parameters only")
    if reason := check_allowed(name):
        raise call.refuse(reason)
    outs: list[Ref | None] = []
    for i, sizes in enumerate(call.outs):
        if Val(call.builder.const(0), sizes).at not in (None, 0):
            raise call.refuse("needs the batch to be the first dimension")
        dtype = kind_of(call.low.first.dtypes[call.entry.outs[i].index])
        outs.append(call.builder.opaque(f"aten:{name}", [v.ref for v in operands], features(sizes), dtype,
                                        call=_freeze(shape), result=i, results=len(call.outs)))
    return outs


def _freeze(value: Any) -> Any:
    """A template as nested tuples, so that a node stays hashable: dicts as ('{', key, value, ...)."""
    if isinstance(value, dict):
        return ("{", *(x for k, v in value.items() for x in (k, _freeze(v))))
    return tuple(_freeze(v) for v in value) if isinstance(value, list) else value
