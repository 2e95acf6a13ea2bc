"""The operations of a program, one line each: shape, dtype, and how torch evaluates it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ostinato.program.ir import Node, Shape

Attrs = Mapping[str, Any]
Evaluator = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class Op:
    """One entry of the table."""

    shape: Callable[[Sequence[Shape], Attrs], Shape]
    dtype: Callable[[Sequence[str], Attrs], str]
    torch: Callable[[Node, Sequence[Node]], Evaluator]
    arity: int | None
    pointwise: bool = False
    attrs: tuple[str, ...] = ()
    loop: bool = True
    """Whether a loop may contain it."""


def broadcast(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    """The shape of a pointwise result; numbers have the shape ()."""
    rank = max(map(len, shapes))
    full = [s if len(s) == rank else (1,) * rank for s in shapes]
    out = []
    for sizes in zip(*full, strict=True):
        wide = {n for n in sizes if n != 1}
        if len(wide) > 1:
            raise ValueError(f"shapes {list(shapes)} do not broadcast")
        out.append(wide.pop() if wide else 1)
    return tuple(out)


def promote(dtypes: Sequence[str], attrs: Attrs) -> str:
    """The dtype of a result: the widest of its operands'."""
    return next(kind for kind in ("float", "int", "bool") if kind in dtypes)


def _reduced(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    out = list(shapes[0])
    for dim in attrs["dims"]:
        out[_negative(dim, len(out))] = 1
    return tuple(out)


def _negative(dim: int, rank: int) -> int:
    if not -rank <= dim < 0:
        raise ValueError(f"dimension {dim} is not one of the {rank} feature dimensions, counted from the last (-1)")
    return dim


def _matmul_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    a, w = shapes
    if len(w) == 2 and a and a[-1] == w[0]:
        return (*a[:-1], w[1])
    if len(w) == 3 and len(a) >= 2 and a[-2:] == w[:2]:
        return (*a[:-1], w[2])
    raise ValueError(f"a product of {a} by {w} is not one of [.., K] by [K, N] or [.., G, K] by [G, K, N]")


def _gemm_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    a, g = shapes
    grouped = attrs["grouped"]
    if (a[:-1] != g[:-1]) or (grouped and len(a) < 2):
        raise ValueError(f"gemm_tb of {a} and {g}")
    return (a[-2], a[-1], g[-1]) if grouped else (a[-1], g[-1])


def _slice_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    out = list(shapes[0])
    dim = _negative(attrs["dim"], len(out))
    if not 0 <= attrs["start"] < attrs["stop"] <= out[dim]:
        raise ValueError(f"slice {attrs['start']}:{attrs['stop']} of a dimension of {out[dim]}")
    out[dim] = attrs["stop"] - attrs["start"]
    return tuple(out)


def _cat_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    out = list(shapes[0])
    dim = _negative(attrs["dim"], len(out))
    for s in shapes[1:]:
        if len(s) != len(out) or any(a != b for i, (a, b) in enumerate(zip(s, out, strict=True)) if i != dim % len(s)):
            raise ValueError(f"cat of {list(shapes)} along {dim}")
    out[dim] = sum(s[dim] for s in shapes)
    return tuple(out)


def _reshape_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    if prod(shapes[0]) != prod(attrs["shape"]):
        raise ValueError(f"reshape of {shapes[0]} to {attrs['shape']}")
    return tuple(attrs["shape"])


def _permute_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    rank = len(shapes[0])
    if sorted(attrs["dims"]) != list(range(-rank, 0)):
        raise ValueError(f"permute of {shapes[0]} by {attrs['dims']}")
    return tuple(shapes[0][d] for d in attrs["dims"])


def _expand_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    shape = tuple(attrs["shape"])
    if shapes[0] != () and (len(shapes[0]) != len(shape) or broadcast([shapes[0], shape], {}) != shape):
        raise ValueError(f"expand of {shapes[0]} to {shape}")
    return shape


def _pad_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    out = list(shapes[0])
    out[_negative(attrs["dim"], len(out))] += attrs["before"] + attrs["after"]
    return tuple(out)


def _take_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    out = list(shapes[0])
    dim = _negative(attrs["dim"], len(out))
    if any(not 0 <= i < out[dim] for i in attrs["index"]):
        raise ValueError(f"take of {attrs['index']} from a dimension of {out[dim]}")
    out[dim] = len(attrs["index"])
    return tuple(out)


def _put_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    out = list(shapes[0])
    dim = _negative(attrs["dim"], len(out))
    if out[dim] != len(attrs["index"]) or any(not 0 <= i < attrs["size"] for i in attrs["index"]):
        raise ValueError(f"put of {shapes[0]} at {attrs['index']}")
    out[dim] = attrs["size"]
    return tuple(out)


def lead_of(value: Tensor, rank: int) -> tuple[int, ...]:
    """The leading dimensions of a value whose feature shape has that rank."""
    return tuple(value.shape[: value.dim() - rank])


def _eval_matmul(node: Node, args: Sequence[Node]) -> Evaluator:
    if len(args[1].shape) == 2:
        return torch.matmul
    rank = len(args[0].shape)

    def grouped(a: Tensor, w: Tensor) -> Tensor:
        lead = (*lead_of(a, rank), *a.shape[a.dim() - rank : -2])
        flat = a.reshape(-1, *a.shape[-2:]).transpose(0, 1)  # [G, rows, K]
        return torch.bmm(flat, w).transpose(0, 1).reshape(*lead, w.shape[0], w.shape[2])

    return grouped


def _eval_gemm(node: Node, args: Sequence[Node]) -> Evaluator:
    def gemm(a: Tensor, g: Tensor) -> Tensor:
        return a.reshape(-1, a.shape[-1]).t() @ g.reshape(-1, g.shape[-1])  # [K, N]

    def grouped(a: Tensor, g: Tensor) -> Tensor:
        left = a.reshape(-1, *a.shape[-2:]).permute(1, 2, 0)  # [G, K, rows]
        return torch.bmm(left, g.reshape(-1, *g.shape[-2:]).transpose(0, 1))  # [G, K, N]

    return grouped if node["grouped"] else gemm


def _eval_reshape(node: Node, args: Sequence[Node]) -> Evaluator:
    shape, rank = node.shape, len(args[0].shape)
    return lambda a: a.reshape((*lead_of(a, rank), *shape))


def _eval_expand(node: Node, args: Sequence[Node]) -> Evaluator:
    shape, rank = node.shape, len(args[0].shape)
    return lambda a: a.expand((*lead_of(a, rank), *shape))


def _eval_permute(node: Node, args: Sequence[Node]) -> Evaluator:
    dims = node["dims"]
    return lambda a: a.permute(*range(a.dim() - len(dims)), *(a.dim() + d for d in dims))


def _eval_cat(node: Node, args: Sequence[Node]) -> Evaluator:
    dim, rank = node["dim"], len(node.shape)

    def cat(*values: Tensor) -> Tensor:
        leads = [lead_of(v, rank) for v in values]
        lead = max(leads, key=len)
        return torch.cat(
            [v if at == lead else v.expand(*lead, *v.shape[v.dim() - rank :])
             for v, at in zip(values, leads, strict=True)], dim
        )

    return cat


def _eval_pad(node: Node, args: Sequence[Node]) -> Evaluator:
    padding = [0, 0] * (-node["dim"] - 1) + [node["before"], node["after"]]
    return lambda a: torch.nn.functional.pad(a, padding)


def _eval_take(node: Node, args: Sequence[Node]) -> Evaluator:
    index, dim = list(node["index"]), node["dim"]
    return lambda a: a.index_select(dim, torch.tensor(index, device=a.device))


def _eval_put(node: Node, args: Sequence[Node]) -> Evaluator:
    index, dim, size = list(node["index"]), node["dim"], node["size"]

    def put(a: Tensor) -> Tensor:
        shape = list(a.shape)
        shape[dim] = size
        return a.new_zeros(shape).index_add(dim, torch.tensor(index, device=a.device), a)

    return put


def _eval_sum_tb(node: Node, args: Sequence[Node]) -> Evaluator:
    rank = len(node.shape)
    return lambda a: a.sum(tuple(range(a.dim() - rank))) if a.dim() > rank else a


def _eval_cast(node: Node, args: Sequence[Node]) -> Evaluator:
    to = {"int": torch.int64, "bool": torch.bool}[node["to"]]  # float is the dtype of the run, which evaluates it
    return lambda v: v.to(to)


def _float(dtypes: Sequence[str], attrs: Attrs) -> str:
    return "float"


def _bool(dtypes: Sequence[str], attrs: Attrs) -> str:
    return "bool"


def _floats(dtypes: Sequence[str], attrs: Attrs) -> str:
    if set(dtypes) != {"float"}:
        raise ValueError(f"takes floats, it has {list(dtypes)}")
    return "float"


def _same(dtypes: Sequence[str], attrs: Attrs) -> str:
    return dtypes[0]


def _number(dtypes: Sequence[str], attrs: Attrs) -> str:
    if "bool" in dtypes:
        raise ValueError(f"takes numbers, it has {list(dtypes)}")
    return promote(dtypes, attrs)


def _chosen(dtypes: Sequence[str], attrs: Attrs) -> str:
    if dtypes[0] != "bool":
        raise ValueError(f"chooses by a bool, it has {dtypes[0]}")
    return promote(dtypes[1:], attrs)


def _call(function: Callable[..., Tensor]) -> Callable[[Node, Sequence[Node]], Evaluator]:
    return lambda node, args: function


def _pointwise(arity: int, function: Callable[..., Tensor], dtype: Callable = promote) -> Op:
    return Op(broadcast, dtype, _call(function), arity, pointwise=True)


def _view(shape: Callable, evaluate: Callable, *attrs: str, arity: int | None = 1) -> Op:
    return Op(shape, promote, evaluate, arity, attrs=attrs)


UNARY_FLOAT = ("exp", "log", "log1p", "expm1", "tanh", "sigmoid", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "erf")
UNARY_SAME = ("neg", "relu", "abs", "sign", "floor", "ceil", "round")
BINARY = {"add": torch.add, "mul": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum}
COMPARE = ("gt", "ge", "lt", "le", "eq", "ne")
LOGIC = {"and": torch.logical_and, "or": torch.logical_or, "xor": torch.logical_xor}

OPS: dict[str, Op] = {
    **{name: _pointwise(1, getattr(torch, name), _float) for name in UNARY_FLOAT},
    **{name: _pointwise(1, getattr(torch, name), _number) for name in UNARY_SAME},
    **{name: _pointwise(2, function) for name, function in BINARY.items()},
    "sub": _pointwise(2, torch.sub, _number),
    **{name: _pointwise(2, getattr(torch, name), _bool) for name in COMPARE},
    **{name: _pointwise(2, function, _bool) for name, function in LOGIC.items()},
    "div": _pointwise(2, torch.div, _float),
    "not": _pointwise(1, torch.logical_not, _bool),
    "where": _pointwise(3, torch.where, _chosen),
    "stopgrad": _pointwise(1, torch.Tensor.detach, _same),
    "pow": Op(broadcast, _float, lambda n, a: lambda v: torch.pow(v, n["exponent"]), 1, True, ("exponent",)),
    "cast": Op(broadcast, lambda d, attrs: attrs["to"], _eval_cast, 1, True, ("to",)),
    "matmul": Op(_matmul_shape, _floats, _eval_matmul, 2),
    "sum": Op(_reduced, _same, lambda n, a: lambda v: v.sum(n["dims"], keepdim=True), 1, attrs=("dims",)),
    "amax": Op(_reduced, _same, lambda n, a: lambda v: v.amax(n["dims"], keepdim=True), 1, attrs=("dims",)),
    "slice": _view(_slice_shape, lambda n, a: lambda v: v.narrow(n["dim"], n["start"], n["stop"] - n["start"]),
                   "dim", "start", "stop"),
    "cat": _view(_cat_shape, _eval_cat, "dim", arity=None),
    "reshape": _view(_reshape_shape, _eval_reshape, "shape"),
    "permute": _view(_permute_shape, _eval_permute, "dims"),
    "expand": _view(_expand_shape, _eval_expand, "shape"),
    "pad": _view(_pad_shape, _eval_pad, "dim", "before", "after"),
    "take": _view(_take_shape, _eval_take, "dim", "index"),
    "put": _view(_put_shape, _eval_put, "dim", "index", "size"),
    "gemm_tb": Op(_gemm_shape, _floats, _eval_gemm, 2, attrs=("grouped",), loop=False),
    "sum_tb": Op(lambda s, a: s[0], _same, _eval_sum_tb, 1, loop=False),
    "sum_t": Op(lambda s, a: s[0], _same, lambda n, a: lambda v: v.sum(0), 1, loop=False),
}
"""Every operation by its name. ``sum`` and ``amax`` keep the reduced dimensions, with size 1."""
