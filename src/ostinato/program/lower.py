"""From a recording to a program: where the batch lies in every value, and one small rule an operation.

The step was recorded at two batch sizes. What differs between the two recordings is the batch; a torch value of shape
``[B, ...]`` (or ``[H, B]``, or ``[B * G, K]``) becomes a node whose shape has the features only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ostinato.program.ir import Builder, Ref, Shape
from ostinato.program.record import Entry, Recorder, Var
from ostinato.program.source import CannotTrace

SIZES = (3, 5)
"""The two batch sizes of the recordings."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A size of ``fold`` times the batch."""

    fold: int


Sizes = tuple[int | Batch, ...]


@dataclass(frozen=True, slots=True)
class Val:
    """A node, and the torch shape that it has in the step."""

    ref: Ref
    sizes: Sizes

    @property
    def at(self) -> int | None:
        """The position of the batch."""
        return next((i for i, n in enumerate(self.sizes) if isinstance(n, Batch)), None)

    @property
    def fold(self) -> int:
        return next((n.fold for n in self.sizes if isinstance(n, Batch)), 1)


def features(sizes: Sizes) -> Shape:
    """The feature shape of a torch shape: without the batch; of ``[B * G, K]`` it is ``[G, K]``."""
    out: list[int] = []
    for n in sizes:
        if not isinstance(n, Batch):
            out.append(n)
        elif n.fold > 1:
            out.append(n.fold)
    return tuple(out)


class Lowering:
    """Two recordings of one step, taken together, as nodes of a builder."""

    def __init__(self, first: Recorder, second: Recorder) -> None:
        self.first, self.second = first, second
        self.builder = Builder()
        self.values: dict[int, Val] = {}
        self.tensors: dict[str, Tensor] = {}
        self.source = ""
        self._param: list[bool] = []
        self._state: list[bool] = []
        for i, (kind, name) in first.leaves.items():
            self.values[i] = self._leaf(i, kind, name)

    def run(self) -> None:
        """Lower every entry of the recordings."""
        from ostinato.program.rules import RULES, opaque

        a, b = self.first.entries, self.second.entries
        if [e.op for e in a] != [e.op for e in b]:
            raise CannotTrace("the step does not perform the same operations at every call or batch size")
        for x, y in zip(a, b, strict=True):
            self.source = self.builder.source = x.source
            if all(0 in self.first.shapes[out.index] for out in x.outs):
                continue  # an empty slice, say, that nothing may read
            call = Call(self, x, [self.sizes(o) for o in x.outs])
            rule = RULES.get(x.op.removeprefix("aten.")) or RULES.get(x.op.split(".")[1], opaque)
            try:
                args = [self.argument(p, q) for p, q in zip(x.args, y.args, strict=True)]
                kwargs = {k: self.argument(v, y.kwargs[k]) for k, v in x.kwargs.items()}
                result = rule(call, *args, **kwargs)
            except CannotTrace:
                raise
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError) as error:
                raise call.refuse(f"in a form that is not known ({type(error).__name__}: {error})") from error
            for out, ref in zip(x.outs, result if isinstance(result, list) else [result], strict=False):
                if ref is not None:
                    self.values[out.index] = self._finished(x, ref, out)

    def _finished(self, entry: Entry, ref: Ref, out: Var) -> Val:
        sizes, kind = self.sizes(out), kind_of(self.first.dtypes[out.index])
        if ref.dtype != kind:
            ref = ref.cast(to=kind)  # a rule for floats, used on integers
        if entry.stopped and ref.dtype == "float":
            old = self.value(entry.old).ref if entry.old else None
            kept = old is not None and old.dtype == "float" and old.node.op != "stopgrad"
            ref = old + (ref - old).stopgrad() if kept and old is not None else ref.stopgrad()
        if ref.shape != features(sizes):
            raise CannotTrace(f"{entry.op} gave {ref.shape}, expected {features(sizes)}", self.source)
        return Val(ref, sizes)

    def sizes(self, var: Var) -> Sizes:
        """The shape of a value, with the batch marked."""
        a, b = self.first.shapes[var.index], self.second.shapes[var.index]
        if len(a) != len(b):
            raise CannotTrace("the step makes tensors whose rank depends on the batch size", self.source)
        out = tuple(self.number(m, n) for m, n in zip(a, b, strict=True))
        if sum(isinstance(n, Batch) for n in out) > 1:
            raise CannotTrace("the step mixes the sequences of a batch", self.source)
        return out

    def number(self, m: int, n: int) -> int | Batch:
        if m == n:
            return m
        if m % SIZES[0] == 0 and n == m // SIZES[0] * SIZES[1]:
            return Batch(m // SIZES[0])
        raise CannotTrace("the step uses the batch size as a number", self.source)

    def argument(self, a: Any, b: Any) -> Any:
        """One argument of both recordings: a Val, a number, a Batch, a list of these."""
        if isinstance(a, Var):
            return self.value(a)
        if isinstance(a, (list, tuple)):
            if len(a) != len(b):
                raise CannotTrace("the step does different things at different batch sizes", self.source)
            return [self.argument(p, q) for p, q in zip(a, b, strict=True)]
        if isinstance(a, int) and not isinstance(a, bool):
            return self.number(a, b)
        if a != b:
            raise CannotTrace(f"a value of the step changes from call to call or with the batch size: {a}, then {b}; "
                              "what changes over time must be a declared state", self.source)
        return a

    def value(self, var: Var) -> Val:
        if var.index not in self.values:
            if var.index not in self.first.constants:
                raise CannotTrace("the step uses a result that a program does not keep (an index, a mask or something "
                                  "empty)", self.source)
            self.values[var.index] = self._constant(var)
        return self.values[var.index]

    def _leaf(self, i: int, kind: str, name: str) -> Val:
        sizes = self.sizes(Var(i))
        dtype = kind_of(self.first.dtypes[i])
        if kind == "draw":
            asked = self.first.asked[name]
            return Val(self.builder.leaf("draw", features(sizes), dtype, each=asked.each, name=name, p=asked.p), sizes)
        if kind == "read":
            state, delay = name.split("@")
            return Val(self.builder.leaf("read", features(sizes), dtype, state=state, delay=int(delay)), sizes)
        return Val(self.builder.leaf(kind, features(sizes), dtype, name=name), sizes)

    def _constant(self, var: Var) -> Val:
        """A plain tensor that the step met; one with a batch must have equal rows, as ``torch.zeros(B, H)`` has."""
        sizes = self.sizes(var)
        a, b = self.first.constants[var.index], self.second.constants[var.index]
        if (at := Val(self.builder.const(0), sizes).at) is not None:
            rows = a.movedim(at, 0), b.movedim(at, 0)
            if not all(bool((r == rows[0][:1]).all()) for r in rows):
                raise CannotTrace("the step makes a tensor whose rows differ (random numbers? use torch.randn_like on "
                                  "an input)", self.source)
            a = rows[0][: sizes[at].fold] if sizes[at].fold > 1 else rows[0][0]  # type: ignore[union-attr]
        elif a.shape != b.shape or not torch.equal(a, b):
            raise CannotTrace("a constant of the step changes from call to call; what changes over time must be a "
                              "declared state", self.source)
        return Val(self.tensor(a), sizes)

    def tensor(self, value: Tensor) -> Ref:
        """A constant tensor, as a node; one number becomes a constant."""
        if value.numel() == 1 and value.dim() == 0:
            return self.builder.const(value.item())
        name = f"constant.{len(self.tensors)}"
        self.tensors[name] = value.detach().clone()
        return self.builder.leaf("p", tuple(value.shape), kind_of(value.dtype), name=name)

    def only_parameters(self, ref: Ref) -> bool:
        """Whether a node depends on nothing but parameters."""
        return self._depends(self._param, ref, lambda n: n.op in ("p", "const") or (
            n.op == "draw" and n["each"] == "call"), all)

    def on_state(self, ref: Ref) -> bool:
        """Whether a node depends on a state."""
        return self._depends(self._state, ref, lambda n: n.op == "read", any)

    def _depends(self, memo: list[bool], ref: Ref, leaf: Callable, join: Callable) -> bool:
        for node in self.builder.nodes[len(memo) :]:
            memo.append(join(memo[a] for a in node.args) if node.args else leaf(node))
        return memo[ref.id]


def kind_of(dtype: torch.dtype) -> str:
    """float, int or bool."""
    if dtype.is_complex:
        raise CannotTrace(f"complex numbers ({dtype}) are not supported; keep real and imaginary parts apart")
    return "float" if dtype.is_floating_point else "bool" if dtype == torch.bool else "int"


@dataclass(frozen=True, slots=True)
class Call:
    """One operation being lowered: what its rule works with."""

    low: Lowering
    entry: Entry
    outs: list[Sizes]

    @property
    def builder(self) -> Builder:
        return self.low.builder

    @property
    def sizes(self) -> Sizes:
        return self.outs[0]

    def refuse(self, why: str) -> CannotTrace:
        name = self.entry.op.removeprefix("aten.").removesuffix(".default")
        return CannotTrace(f"{name} {why}", self.low.source)

    def aligned(self, value: Any, sizes: Sizes | None = None) -> Ref | float:
        """A pointwise operand as a node whose features line up with those of the result."""
        if not isinstance(value, Val):
            if isinstance(value, Batch):
                raise self.refuse("uses the batch size as a number")
            return value
        sizes = self.sizes if sizes is None else sizes
        out = Val(value.ref, sizes)
        if out.at is None or not value.sizes:
            return value.ref
        place = out.at - len(sizes)  # counted from the last
        if value.at is not None:
            if value.at - len(value.sizes) != place or value.fold != out.fold:
                raise self.refuse("mixes the sequences of a batch")
            return value.ref
        if -place > len(value.sizes):
            return value.ref
        if value.sizes[place] != 1:
            raise self.refuse("mixes the sequences of a batch")
        if out.fold > 1:
            return value.ref
        at = place % len(value.sizes)
        shape = tuple(n for i, n in enumerate(value.sizes) if i != at)
        return value.ref.reshape(shape=shape) if shape != value.ref.shape else value.ref

    def dim(self, value: Val, dim: int) -> int:
        """A torch dimension as a negative feature dimension."""
        dim = dim % len(value.sizes)
        rank, at = len(value.ref.shape), value.at
        if dim == at:
            raise self.refuse("mixes the sequences of a batch")
        before = dim if at is None or dim < at else dim - 1 + (value.fold > 1)
        return before - rank

    def dims(self, value: Val, dims: Sequence[int] | int | None) -> tuple[int, ...]:
        if dims is None or dims == []:
            dims = range(len(value.sizes))
        return tuple(sorted(self.dim(value, d) for d in ([dims] if isinstance(dims, int) else dims)))

    def shaped(self, ref: Ref, i: int = 0) -> Ref:
        """A node reshaped to the features of the result."""
        shape = features(self.outs[i])
        return ref if ref.shape == shape else ref.reshape(shape=shape)

    def reshaped(self, value: Val) -> Ref:
        """A torch reshape: the features in the same order, with as much before the batch as there was."""
        out = Val(value.ref, self.sizes)
        if (value.at is None) != (out.at is None):
            raise self.refuse("mixes the sequences of a batch")
        if value.at is not None and out.at is not None:
            before, after = value.sizes[: value.at], self.sizes[: out.at]
            if prod(before) != prod(after):  # type: ignore[arg-type]
                raise self.refuse("mixes the sequences of a batch")
        return self.shaped(value.ref)
