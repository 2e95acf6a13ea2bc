"""What is computed element by element for all steps at once, as one pass of the native library.

A layer norm before a product, or the activations after one, would be a pass through memory for each of its operations.
Between two products they are a program of their own, without states: each row is read once, and only what is used
elsewhere is written.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from operator import itemgetter

import torch
from torch import Tensor

from ostinato.engines.cpu.engine import CPU
from ostinato.engines.cpu.tape import new
from ostinato.engines.cpu.values import CannotRun
from ostinato.program.evaluate import Line
from ostinato.program.ir import Builder, Program, Ref, finish
from ostinato.program.saving import is_fixed

VIEWS = ("slice", "permute", "expand", "reshape", "stopgrad")
ROWS = 32
"""Rows that go together where the batch has fewer."""


def mapped(program: Program, lines: Sequence[Line], kept: Collection[int], left: Collection[int]) -> list[Line]:
    """The lines with as many as possible in maps, none that is ``left`` as it is; ``kept`` are wanted, whether another
    line uses them or not.

    A line's level is how many lines that are in no map it depends on, one after the other; a map is those of one level.
    """
    able = {i for i, _, args in lines if i not in left and _is_able(program, i, args)}
    level: dict[int, int] = {}
    for i, _, args in lines:
        level[i] = max((level.get(a, 0) for a in args), default=0) + (i not in able)
    order = sorted(lines, key=lambda line: (level[line[0]], line[0] in able))
    groups: dict[int, list[Line]] = {}
    for line in order:
        groups.setdefault(2 * level[line[0]] + (line[0] in able), []).append(line)
    made: list[Line] = []
    for key, group in groups.items():
        inside = {i for i, _, _ in group}
        used = {a for i, _, args in lines if i not in inside for a in args} | set(kept)
        made += _as_map(program, group, inside & used) if key % 2 else group
    return made


def _is_able(program: Program, i: int, args: Sequence[int]) -> bool:
    parts = program.parts
    return parts[i] in "XY" and not is_fixed(program, i) and all(parts[a] in "PQXSY" for a in args)


def _as_map(program: Program, group: list[Line], used: set[int]) -> list[Line]:
    """The lines of a group as one map, and the views of what it makes."""
    args_of = {i: args for i, _, args in group}
    views, ends, stack = set[int](), set[int](), sorted(used)
    while stack:
        i = stack.pop()
        if program.nodes[i].op in VIEWS:
            views.add(i)
            stack += [a for a in args_of[i] if a in args_of and a not in views]
        else:
            ends.add(i)
    if not ends:
        return group
    try:
        made = Map(program, args_of, sorted(ends))
    except CannotRun:
        return group
    whole = -1 - min(ends)
    taken: list[Line] = [(i, itemgetter(k), (whole,)) for k, i in enumerate(made.ends)]
    return [(whole, made, made.args), *taken, *[line for line in group if line[0] in views]]


class Map:
    """Some nodes as a program without states.

    Args:
        program: what they are part of.
        inside: the nodes that may be part of the map, and those that each takes.
        ends: those whose values are wanted.

    Raises:
        CannotRun: on an operation that the machine does not have.
    """

    def __init__(self, program: Program, inside: dict[int, tuple[int, ...]], ends: list[int]) -> None:
        self.ends = ends
        builder, made, args = Builder(), dict[int, Ref](), list[int]()

        def value(i: int) -> Ref:
            node = program.nodes[i]
            if i not in made:
                builder.source = node.source
                if i in inside or node.op == "const":
                    made[i] = builder.copy(node, [value(a) for a in inside.get(i, ())])
                else:
                    args.append(i)
                    op = program.parts[i].lower()
                    made[i] = builder.leaf(op if op in "pq" else "x", node.shape, node.dtype, name=f"v{i}")
            return made[i]

        loop = finish(builder, (), {}, {f"v{i}": value(i) for i in ends})
        self.args = tuple(int(name[1:]) for name in loop.inputs)
        self.engine = CPU(loop)
        leaves = [(loop.nodes[i].op, loop.nodes[i].dtype) for i in loop.inputs.values()]
        if ("x", "float") not in leaves:
            raise CannotRun("a map of no floating-point number")
        self.lead = leaves.index(("x", "float"))
        self.moving = [op == "x" for op, _ in leaves]
        self.by_sequence = "q" in [op for op, _ in leaves]
        self.wanted = [(loop.nodes[i].shape, loop.nodes[i].dtype) for i in loop.emit.values()]

    def __call__(self, *given: Tensor) -> list[Tensor]:
        """The values of ``ends``, ``[T, B, ...]`` each."""
        steps, batch = lead = tuple(given[self.lead].shape[:2])
        dtype = given[self.lead].dtype
        outs = [new((*lead, *shape), torch.bool if kind == "bool" else dtype) for shape, kind in self.wanted]
        plan, rows = self.engine.prepared(dtype), steps * batch
        in_order = all(_in_order(v) for v, moving in zip(given, self.moving, strict=True) if moving)
        if batch >= ROWS or self.by_sequence or not in_order:
            plan.run(given, [], lead, None, False, outs)
            return outs
        whole = rows - rows % ROWS
        for begin, lead in ((0, (whole // ROWS, ROWS)), (whole, (1, rows - whole))):
            part = partial(_part, begin, lead)
            plan.run([part(v) if moving else v for v, moving in zip(given, self.moving, strict=True)], [], lead, None,
                     False, [part(out) for out in outs])
        return outs


def _in_order(value: Tensor) -> bool:
    """Whether the sequences of a step are followed by those of the next."""
    return value.shape[1] == 1 or value.stride(0) == value.stride(1) * value.shape[1]


def _part(begin: int, lead: tuple[int, int], value: Tensor) -> Tensor:
    """Rows of a value ``[T, B, ...]``, as ``[*lead, ...]``."""
    return value.flatten(0, 1)[begin : begin + lead[0] * lead[1]].unflatten(0, lead)
