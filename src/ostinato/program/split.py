"""Cut a program into what torch runs (P, Q, X before; Y, R after) and the loop (S), which an engine runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ostinato.program.ir import Builder, Program, Ref, StateVar, finish

GIVEN = "x"
"""How the name of a loop's input begins that is an input of the whole program: it exists, kept or not."""


@dataclass(frozen=True, eq=False)
class Split:
    """A program in three: nodes before the loop, the loop as a program of its own, nodes after it.

    The loop's inputs and emits are called ``v<node>``, after the nodes of the whole program that they stand for;
    ``x<node>`` where that is an input.
    """

    program: Program
    before: tuple[int, ...]
    loop: Program | None
    after: tuple[int, ...]

    @cached_property
    def given(self) -> list[tuple[str, int]]:
        """The loop's inputs, in order: name and node of the whole program."""
        return [(name, int(name[1:])) for name in self.loop.inputs] if self.loop else []

    @cached_property
    def taken(self) -> list[tuple[str, int]]:
        """The loop's emits, in order: name and node of the whole program."""
        return [(name, int(name[1:])) for name in self.loop.emit] if self.loop else []


def split(program: Program, drawn: Iterable[int] = ()) -> Split:
    """Cut ``program``; the loop is part S and the nodes ``drawn`` into it: of parts P and X, which may also be needed
    outside of it, and of part Y."""
    parts, nodes = program.parts, program.nodes
    drawn = set(drawn)
    loop = {i for i, part in enumerate(parts) if part == "S" or (part == "Y" and i in drawn)}
    inside = loop | drawn
    after = tuple(i for i, part in enumerate(parts) if part in "YR" and i not in inside)
    taken = (*program.emit.values(), *(a for i in after for a in nodes[i].args))
    needed = ({a for i in inside for a in nodes[i].args} | set(program.next.values())) - inside
    needed = {i for i in needed if nodes[i].op != "const"}
    stepwise = {i for i in inside if parts[i] in "SXY"}  # what the loop can emit
    needed |= {i for i in taken if i not in stepwise and parts[i] not in "YR"}
    before = _closure(program, needed, loop)
    if not program.states:
        return Split(program, before, None, after)
    builder, made = Builder(), {}
    for i, node in enumerate(nodes):
        if i in inside:
            builder.source = node.source
            args = [made[a] if a in inside else _leaf(builder, program, a) for a in node.args]
            made[i] = builder.copy(node, args)
    value = lambda i: made[i] if i in inside else _leaf(builder, program, i)  # noqa: E731
    emitted = sorted(stepwise.intersection(taken))
    inner = finish(builder, program.states, {name: value(i) for name, i in program.next.items()},
                  {f"v{i}": made[i] for i in emitted})
    return Split(program, before, inner, after)


def _leaf(builder: Builder, program: Program, i: int) -> Ref:
    node = program.nodes[i]
    if node.op == "const":
        return builder.copy(node, [])
    prefix = GIVEN if node.op in ("x", "draw") else "v"
    return builder.leaf(program.parts[i].lower(), node.shape, node.dtype, name=f"{prefix}{i}")


def _closure(program: Program, roots: set[int], loop: set[int]) -> tuple[int, ...]:
    """What must be evaluated before the loop, in order; what the loop also computes for itself is there twice."""
    found: set[int] = set()
    stack = list(roots)
    while stack:
        i = stack.pop()
        if i not in found and i not in loop:
            found.add(i)
            stack.extend(program.nodes[i].args)
    return tuple(sorted(found))


def as_loop(program: Program) -> tuple[Program, tuple[int, ...]]:
    """All that depends on a step as one loop, which emits what the program does, and the nodes before it: parts P and
    Q, named as in :class:`Split`; inputs of part X keep their names."""
    builder, made = Builder(), {}
    parts = program.parts
    for i, node in enumerate(program.nodes):
        builder.source = node.source
        if parts[i] in "PQ" and node.op != "const":
            made[i] = _leaf(builder, program, i)
        else:
            made[i] = builder.copy(node, [made[a] for a in node.args])
    loop = finish(builder, program.states, {name: made[i] for name, i in program.next.items()},
                  {name: made[i] for name, i in program.emit.items()})
    return loop, _closure(program, {int(n[1:]) for n, i in loop.inputs.items() if loop.nodes[i].op in "pq"}, set())


def drop_idle_states(program: Program, wanted: Iterable[str] = ()) -> Program:
    """Leave out the states that nothing emitted, and no ``wanted`` state, depends on."""
    from ostinato.program.ir import reachable

    keep = set(wanted)
    while True:
        roots = [*program.emit.values(), *(program.next[name] for name in keep)]
        live = reachable(program.nodes, roots)
        more = {program.nodes[i]["state"] for i in live if program.nodes[i].op == "read"} | keep
        if more == keep:
            break
        keep = more
    states: list[StateVar] = [s for s in program.states if s.name in keep]
    from ostinato.program.ir import rebuild

    return rebuild(program, next={s.name: program.next[s.name] for s in states}, states=states)
