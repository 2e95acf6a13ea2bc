"""The functions that a recording takes straight to ATen.

Everything else gets there through torch's own dispatch, whose first use in a process imports torch.distributed and
sympy (seconds): a cell made of these alone does not pay for that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
Call = Callable[[Any, Sequence[Any], dict[str, Any]], Any]
"""Carries out an ATen operation and writes it down: ``Recorder.call``."""


def _straight(overload: Any, arity: int, with_number: Any = None) -> Callable[..., Any]:
    def direct(call: Call, *args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != arity or not isinstance(args[0], Tensor):
            return NotImplemented
        number = with_number is not None and not isinstance(args[1], Tensor)
        return call(with_number if number else overload, args, {})

    return direct


def _rsub(call: Call, a: Tensor, b: Any) -> Any:
    return call(aten.rsub.Scalar, (a, b), {}) if isinstance(b, (int, float)) else NotImplemented


def _rdiv(call: Call, a: Tensor, b: Any) -> Any:
    return call(aten.mul.Tensor, (call(aten.reciprocal.default, (a,), {}), b), {})


def _linear(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    return call(aten.linear.default, (x, weight, bias), {})


def _chunk(call: Call, x: Tensor, chunks: int, dim: int = 0) -> Any:
    size = -(-x.shape[dim] // chunks)
    return tuple(call(aten.split.Tensor, (x, size, dim), {}))


def _split(call: Call, x: Tensor, sizes: int | Sequence[int], dim: int = 0) -> Any:
    split = aten.split.Tensor if isinstance(sizes, int) else aten.split_with_sizes.default
    return tuple(call(split, (x, sizes, dim), {}))


def _cat(call: Call, tensors: Sequence[Tensor], dim: int = 0) -> Any:
    return call(aten.cat.default, (tensors, dim), {})


def _layer_norm(call: Call, x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
                eps: float = 1e-5) -> Any:
    return call(aten.native_layer_norm.default, (x, list(shape), weight, bias, eps), {})[0]


def _softplus(call: Call, x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return call(aten.softplus.default, (x, beta, threshold), {})


def _log_sigmoid(call: Call, x: Tensor) -> Any:
    return call(aten.log_sigmoid_forward.default, (x,), {})[0]


def _getitem(call: Call, x: Tensor, index: Any) -> Any:
    """Slices along one dimension only; anything richer takes torch's way."""
    index = index if isinstance(index, tuple) else (index,)
    if not all(i is Ellipsis or isinstance(i, slice) for i in index):
        return NotImplemented
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    places = [(d, i) for d, i in enumerate(index[:at])] + [(d - len(index), i) for d, i in enumerate(index) if d > at]
    for dim, part in places:
        if part.step not in (None, 1):
            return NotImplemented
        if part != slice(None):
            stop = sys.maxsize if part.stop is None else part.stop
            x = call(aten.slice.Tensor, (x, dim, part.start or 0, stop, 1), {})
    return x


def _new_tensor(call: Call, like: Tensor, data: Any, **options: Any) -> Tensor:
    """Made without torch's own, which would call the result a traced one."""
    return torch.tensor(data, **{"dtype": like.dtype, "device": like.device, **options})


def _one_hot(call: Call, x: Tensor, num_classes: int = -1) -> Any:
    """Made without torch's own, which looks at the values to check them: rows of a table, whose look-up checks them."""
    if num_classes < 1:
        return NotImplemented
    rows = call(aten.embedding.default, (torch.eye(num_classes, device=x.device), x), {})
    return call(aten._to_copy.default, (rows,), {"dtype": torch.int64})


def _where(call: Call, condition: Tensor, a: Any = None, b: Any = None) -> Any:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return NotImplemented
    return call(aten.where.self, (condition, a, b), {})


def _direct() -> dict[Any, Callable[..., Any]]:
    table: dict[Any, Callable[..., Any]] = {}
    for name in ("tanh", "sigmoid", "relu", "exp", "log", "neg", "abs", "sqrt", "log1p", "sin", "cos", "reciprocal"):
        for owner in (torch, Tensor):
            table[getattr(owner, name)] = _straight(getattr(aten, name).default, 1)
    for name in ("maximum", "minimum"):
        for owner in (torch, Tensor):
            table[getattr(owner, name)] = _straight(getattr(aten, name).default, 2)
    for name in ("add", "sub", "mul", "div", "gt", "ge", "lt", "le", "eq", "ne"):
        overloads = getattr(aten, name)
        for owner in (torch, Tensor):
            table[getattr(owner, name)] = _straight(overloads.Tensor, 2, overloads.Scalar)
    functional = torch.nn.functional
    table |= {
        Tensor.__rsub__: _rsub, Tensor.__rdiv__: _rdiv, Tensor.__rtruediv__: _rdiv,
        functional.linear: _linear, functional.layer_norm: _layer_norm, functional.softplus: _softplus,
        functional.logsigmoid: _log_sigmoid, functional.relu: table[torch.relu],
        torch.chunk: _chunk, Tensor.chunk: _chunk, torch.cat: _cat, torch.where: _where, Tensor.__getitem__: _getitem,
        Tensor.new_tensor: _new_tensor, functional.one_hot: _one_hot,
        torch.split: _split, Tensor.split: _split, torch.t: _straight(aten.t.default, 1),
        Tensor.t: _straight(aten.t.default, 1), torch.unsqueeze: _straight(aten.unsqueeze.default, 2),
        Tensor.unsqueeze: _straight(aten.unsqueeze.default, 2),
    }
    return table


DIRECT = _direct()
