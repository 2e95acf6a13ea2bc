"""Operations kept as they are: torch runs them on parameters or inputs, outside of the loop (an embedding, a
convolution, a matrix exponential)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from ostinato.program.ir import Node
from ostinato.program.ops import lead_of

RAW = ("empty", "new_empty", "as_strided", "reinterpret", "set", "resize", "from_file", "unsafe", "nested")
"""How the names of operations begin that look at memory or files as they are."""


def check_allowed(name: str) -> str | None:
    """Why torch may not be asked to run ``aten.<name>``; None where it may.

    A program can come from a file, so only functional operations on tensors and numbers pass: none that writes,
    reads a name, or looks at memory.
    """
    packet, _, overload = name.partition(".")
    try:
        function = getattr(getattr(torch.ops.aten, packet), overload or "default")
        schema = function._schema
    except AttributeError:
        return "is not an operation of torch"
    if torch.Tag.nondeterministic_seeded in function.tags:
        return "draws random numbers in a way that a program does not know"
    if schema.is_mutable or packet.lstrip("_").startswith(RAW):
        return "changes its arguments or looks at raw memory"
    if not schema.returns or any(str(r.type) not in ("Tensor", "List[Tensor]") for r in schema.returns):
        return "gives something other than tensors"
    if packet in ("native_batch_norm", "batch_norm", "_native_batch_norm_legit"):
        return "mixes the sequences of a batch"
    if any("str" in str(a.type).lower() or "generator" in str(a.type).lower() for a in schema.arguments
           if a.default_value is not None or not str(a.type).startswith("Optional")):
        return "takes names or generators"
    return None


def check_call(name: str, attrs: dict[str, Any], count: int) -> str | None:
    """What is wrong with the arguments that an opaque node writes down; None where nothing is."""
    if set(attrs) != {"call", "result", "results"}:
        return f"takes call, result and results, it has {sorted(attrs)}"
    result, results = attrs["result"], attrs["results"]
    if type(result) is not int or type(results) is not int or not 0 <= result < results:
        return f"gives result {result!r} of {results!r}"
    packet, _, overload = name.partition(".")
    schema = getattr(getattr(torch.ops.aten, packet), overload or "default")._schema
    call = _thaw(attrs["call"])
    if not isinstance(call, dict) or set(call) != {"args", "kwargs"}:
        return "needs args and kwargs"
    named = {a.name for a in schema.arguments}
    if not isinstance(call["args"], list) or len(call["args"]) > len(named) or not (
            isinstance(call["kwargs"], dict) and set(call["kwargs"]) <= named):
        return f"takes {sorted(named)}"
    used: list[int] = []
    wrong = _wrong([call["args"], *call["kwargs"].values()], used)
    return wrong if wrong or sorted(set(used)) == list(range(count)) else f"uses the nodes {used} of {count}"


def _wrong(item: Any, used: list[int]) -> str | None:
    """What an argument may not be: text, or a node that is not there."""
    if isinstance(item, list):
        return next((w for v in item if (w := _wrong(v, used))), None)
    if isinstance(item, dict):
        if not {"batch"} <= set(item) <= {"arg", "batch"} or any(type(n) is not int or n < 0 for n in item.values()):
            return f"is called with {item!r}"
        used += [item["arg"]] if "arg" in item else []
        return None
    return None if item is None or type(item) in (bool, int, float) else f"is called with {item!r}"


def evaluator(node: Node, args: Sequence[Node]) -> Callable[..., Tensor]:
    """The function that runs an opaque node, its leading dimensions folded into one batch."""
    packet, _, overload = node.op.removeprefix("aten:").partition(".")
    function = getattr(getattr(torch.ops.aten, packet), overload or "default")
    template, result, results = _thaw(node["call"]), node["result"], node["results"]
    ranks, rank = [len(a.shape) for a in args], len(node.shape)

    def run(*values: Tensor) -> Tensor:
        leads = [lead_of(v, r) for v, r in zip(values, ranks, strict=True)]
        lead = max(leads, key=len, default=())
        rows = prod(lead)

        def fill(item: Any) -> Any:
            if isinstance(item, list):
                return [fill(v) for v in item]
            if not isinstance(item, dict):
                return item
            if "arg" not in item:
                return item["batch"] * rows
            value, own = values[item["arg"]], leads[item["arg"]]
            if not item["batch"]:
                return value
            fold = item["batch"]
            inner = value.shape[len(own) + (fold > 1):]
            return value.expand((*lead, *value.shape[len(own):])).reshape((rows * fold, *inner))

        out = function(*[fill(a) for a in template["args"]], **{k: fill(v) for k, v in template["kwargs"].items()
                                                                if v is not None})
        out = out[result] if results > 1 else out
        return out.reshape((*lead, *node.shape)) if lead else out.reshape(node.shape) if rank else out

    return run


def _thaw(value: Any) -> Any:
    """The template of a node's attribute, as dicts and lists again."""
    if isinstance(value, tuple):
        if value and value[0] == "{":
            return {k: _thaw(v) for k, v in zip(value[1::2], value[2::2], strict=True)}
        return [_thaw(v) for v in value]
    return value
