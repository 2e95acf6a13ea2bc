"""Any other operation on parameters or on the inputs: kept as it is, run by torch outside of the loop."""

from __future__ import annotations

from typing import Any

import torch

from ostinato.program.ir import Ref
from ostinato.program.lower import Batch, Call, Val, features, kind_of


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
