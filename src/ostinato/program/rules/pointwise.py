"""Operations of every element by itself, as formulas over aligned operands."""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt
from typing import Any

import torch

from ostinato.program.ir import Ref
from ostinato.program.lower import Batch, Call, Val, features
from ostinato.program.rules.common import Rule, expanded


def _pointwise(formula: Callable[..., Ref]) -> Rule:
    """A rule from a formula over aligned operands."""

    def rule(call: Call, *args: Any, **kwargs: Any) -> Ref:
        refs = [call.aligned(a) if isinstance(a, (Val, Batch)) else a for a in args]
        result = formula(*refs, **kwargs)
        shape = features(call.sizes)
        if not isinstance(result, Ref):
            result = call.builder.const(result)
        return result if result.shape == shape else expanded(result, shape)

    return rule


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


def safe_sqrt(a: Ref) -> Ref:
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


def _nan_to_num(call: Call, a: Val, nan: float | None = None, high: float | None = None,
                low: float | None = None) -> Ref:
    largest = torch.finfo(call.low.first.dtypes[call.entry.args[0].index]).max
    kept = a.ref.ne(a.ref).where(nan or 0.0, a.ref)
    below = kept.eq(-float("inf")).where(-largest if low is None else low, kept)
    return kept.eq(float("inf")).where(largest if high is None else high, below)


def _log_sigmoid(call: Call, a: Val) -> list[Ref | None]:
    """``min(a, 0) - log(1 + exp(-|a|))``, written so that every derivative at 0 is that of one of its branches."""
    positive = a.ref.gt(0.0)
    rest = positive.where(-a.ref, a.ref).exp().log1p()
    return [positive.where(0.0, a.ref) - rest, None]


RULES: dict[str, Rule] = {
    **{name: _pointwise(formula) for name, formula in POINTWISE.items()},
    "max.other": _pointwise(POINTWISE["maximum"]), "min.other": _pointwise(POINTWISE["minimum"]),
    "nan_to_num": _nan_to_num, "log_sigmoid_forward": _log_sigmoid,
}
