"""Teacher forcing as a rewrite of a program: a state is given its values in the place of those that it would become.

With the teacher's values at every step no step waits for the one before: what a step reads of the state is an input
like any other, and all that hung in the loop by this state alone leaves it, by what the parts of a program are. Where
some steps keep the state's own values (scheduled sampling), the loop stays, and chooses.
"""

from __future__ import annotations

from collections.abc import Collection

from ostinato.program.ir import Builder, Program, finish
from ostinato.program.rewrite import optimise

OWN = "own"
"""The bool input, ``[T, B]``: where a state keeps its own value."""


def lesson(state: str, delay: int) -> str:
    """The name of the input ``[T, B, ...]`` that holds the teacher's values of a state, ``delay`` steps before."""
    return f"teacher.{state}.{delay}"


def with_teacher(program: Program, taught: Collection[str], own: bool) -> Program:
    """The program in which the states ``taught`` have the teacher's values: at all steps, or, with ``own``, only where
    that flag is false."""
    builder, made = Builder(), {}
    for i, node in enumerate(program.nodes):
        builder.source = node.source
        if node.op == "read" and node["state"] in taught and not own:
            made[i] = builder.leaf("x", node.shape, name=lesson(node["state"], node["delay"]))
        else:
            made[i] = builder.copy(node, [made[a] for a in node.args])
    following = {name: made[i] for name, i in program.next.items()}
    emit = {name: made[i] for name, i in program.emit.items()}
    for s in program.states:
        if s.name in taught:
            value = builder.leaf("x", s.shape, name=lesson(s.name, 0))
            if own:
                value = builder.leaf("x", (), "bool", name=OWN).where(following[s.name], value)
            following[s.name] = emit[f"state.{s.name}"] = value
    states = [s for s in program.states if own or s.name not in taught]
    return optimise(finish(builder, states, {s.name: following[s.name] for s in states}, emit, program.tensors))
