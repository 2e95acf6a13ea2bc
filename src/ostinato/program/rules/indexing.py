"""Choosing by constant positions."""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.program.ir import Ref
from ostinato.program.lower import Call, Val
from ostinato.program.rules.common import Rule
from ostinato.program.rules.opaque import opaque


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


RULES: dict[str, Rule] = {
    "index_select": _index_select, "index": _index, "flip": _flip, "roll": _roll,
}
