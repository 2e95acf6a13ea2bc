"""Evaluate nodes with torch: the same closures for parameters, one step, or all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ostinato.program import opaque
from ostinato.program.ir import Node, Program
from ostinato.program.ops import OPS
from ostinato.program.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Run:
    """What a run knows and a program does not."""

    dtype: torch.dtype
    device: torch.device
    lead: tuple[int, ...]
    """(T, B), or (N, 1) with ``sizes``"""
    sizes: Sizes | None = None
    """For sequences of different lengths, without padding."""

    @property
    def batch(self) -> int:
        """How many sequences there are."""
        return self.lead[1] if self.sizes is None else self.sizes.batch


Values = dict[int, Tensor]
Line = tuple[int, Callable[..., Any], tuple[int, ...]]
"""A node, its function, the nodes that this takes."""


class Schedule:
    """Nodes in order, ready to be evaluated; a value is let go after its last use.

    Args:
        nodes: what is evaluated.
        keep: what is not let go.
        owned: what else is let go, of the values that are given.
    """

    native = False
    """Whether all of it is calls of a native library, and views."""

    def __init__(self, program: Program, nodes: Sequence[int], keep: Iterable[int], owned: Iterable[int] = ()) -> None:
        self.program = program
        self.special = [i for i in nodes if program.nodes[i].op in ("const", "noise")]
        kept = set(keep)
        lines = self.made(nodes, kept)
        inside = {*nodes, *owned, *(i for i, _, _ in lines)}
        last = {a: i for i, _, args in lines for a in args}
        self.lines = [(i, function, args, tuple(a for a in set(args) if last[a] == i and a in inside - kept))
                      for i, function, args in lines]

    def made(self, nodes: Sequence[int], kept: set[int]) -> list[Line]:
        """The nodes that are computed, in order, with their functions and arguments."""
        leaves = ("p", "q", "x", "draw", "read", "const", "noise")
        return [(i, function_of(self.program, i), self.program.nodes[i].args) for i in nodes
                if self.program.nodes[i].op not in leaves]

    def start(self, values: Values, run: Run) -> None:
        """The leaves that are not given: numbers and noise."""
        for i in self.special:
            values[i] = leaf_value(self.program.nodes[i], run)

    def __call__(self, values: Values, run: Run) -> None:
        """Evaluate into ``values``, which holds what is given."""
        for i, function, args, dead in self.lines:
            values[i] = function(*[values[a] for a in args]) if function is not _to_float else (
                values[args[0]].to(run.dtype))
            for a in dead:
                del values[a]


def _to_float(value: Tensor) -> Tensor:
    """Stands for the cast to the dtype of the run."""
    raise TypeError("a cast to float needs the run's dtype")


def function_of(program: Program, i: int) -> Callable[..., Tensor]:
    """The torch function of one node."""
    node = program.nodes[i]
    args = [program.nodes[a] for a in node.args]
    if node.op.startswith("aten:"):
        return opaque.evaluator(node, args)
    if node.op == "cast" and node["to"] == "float":
        return _to_float
    return OPS[node.op].torch(node, args)


def leaf_value(node: Node, run: Run) -> Tensor:
    """A number, or noise for all steps."""
    if node.op == "const":
        dtype = {"float": run.dtype, "int": torch.int64, "bool": torch.bool}[node.dtype]
        return torch.full((), node["value"], dtype=dtype, device=run.device)
    shape = (*run.lead, *node.shape)
    if node["kind"] == "normal":
        return torch.randn(shape, dtype=run.dtype, device=run.device)
    uniform = torch.rand(shape, dtype=run.dtype, device=run.device)
    return uniform if node["kind"] == "uniform" else uniform.lt(node["p"]).to(run.dtype)
