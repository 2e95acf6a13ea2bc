"""What is the same at all steps of a sequence, as a rewrite of a program: given anew at each step.

A batch without its padding has a row for each step of each sequence (see ``program.sizes``), and from one step to the
next another count of sequences: there is no ``[B, ...]`` that all steps could read. So constants of a sequence and
masks that are drawn for one become inputs of each step.
"""

from __future__ import annotations

from ostinato.program.ir import Builder, Node, Program, Ref, rebuild
from ostinato.program.rewrite import optimise


def reads_sequences(program: Program) -> bool:
    """Whether there is anything of a sequence's own in it."""
    return any(_own(node) for node in program.nodes)


def by_row(program: Program) -> Program:
    """The program that takes by the same names, ``[T, B, ...]``, what was ``[B, ...]``."""
    return optimise(rebuild(program, _each_step))


def _own(node: Node) -> bool:
    return node.op == "q" or (node.op == "draw" and node["each"] == "sequence")


def _each_step(builder: Builder, node: Node, args: list[Ref]) -> Ref | None:
    if not _own(node):
        return None
    attrs = dict(node.attrs) | ({"each": "step"} if node.op == "draw" else {})
    return builder.leaf("x" if node.op == "q" else "draw", node.shape, node.dtype, **attrs)
