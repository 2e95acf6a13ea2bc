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
    if schema.is_mutable or packet.startswith(("empty", "as_strided", "set", "resize", "from_file", "_unsafe")):
        return "changes its arguments or looks at raw memory"
    if packet in ("native_batch_norm", "batch_norm", "_native_batch_norm_legit"):
        return "mixes the sequences of a batch"
    if any("str" in str(a.type).lower() or "generator" in str(a.type).lower() for a in schema.arguments
           if a.default_value is not None or not str(a.type).startswith("Optional")):
        return "takes names or generators"
    return None


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
