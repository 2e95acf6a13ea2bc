"""Lengths, masks and resets as rewrites of a program: the same for every cell, with nothing new to differentiate."""

from __future__ import annotations

from ostinato.program.ir import Builder, Program, Ref, StateVar, finish

LIVE, RESET = "live", "reset"
"""The bool inputs, ``[T, B]``, that the rewritten program takes."""


def with_features(program: Program, live: bool, reset: bool, all_states: bool) -> Program:
    """The program for a call with a mask (``live``), with resets, with every state given out.

    Where ``live`` is false a step leaves the states as they are; where ``reset`` is true the states that a step reads
    are their declared initial values. With either, a state with a longest delay D becomes D states of delay one, so
    that holding and resetting reach all of its past values.
    """
    emit = {k: v for k, v in program.emit.items() if all_states or not k.startswith("state.")}
    builder, made = Builder(), {}
    registers = live or reset
    states = [r for s in program.states for r in (_registers(s) if registers else [s])]
    held = _held(builder, states, reset) if registers else {}
    for i, node in enumerate(program.nodes):
        builder.source = node.source
        if node.op == "read" and registers:
            made[i] = held[register(node["state"], node["delay"])]
        else:
            made[i] = builder.copy(node, [made[a] for a in node.args])
    following = {name: made[i] for name, i in program.next.items()}
    if registers:
        following = _shifted(program, following, held)
    if live:
        flag = builder.leaf("x", (), "bool", name=LIVE)
        following = {name: flag.where(value, held[name]) for name, value in following.items()}
    out = {name: made[i] for name, i in emit.items()}
    for s in program.states:
        if f"state.{s.name}" in out:
            out[f"state.{s.name}"] = following[register(s.name, 1) if registers else s.name]
    return finish(builder, states, following, out, program.tensors)


def register(state: str, delay: int) -> str:
    """The name of the state that holds a state's value of ``delay`` steps ago."""
    return f"{state}-{delay}"


def _registers(s: StateVar) -> list[StateVar]:
    return [StateVar(register(s.name, d), s.shape, 1, s.initial) for d in range(1, s.depth + 1)]


def _held(builder: Builder, states: list[StateVar], reset: bool) -> dict[str, Ref]:
    """What each register holds at the beginning of a step, after a reset."""
    held = {s.name: builder.leaf("read", s.shape, state=s.name, delay=1) for s in states}
    if reset:
        flag = builder.leaf("x", (), "bool", name=RESET)
        held = {s.name: flag.where(_initial(builder, s), held[s.name]) for s in states}
    return held


def _initial(builder: Builder, s: StateVar) -> Ref | float:
    """What a state begins with: a number, or a parameter."""
    return builder.leaf("p", s.shape, name=s.initial) if isinstance(s.initial, str) else s.initial


def _shifted(program: Program, following: dict[str, Ref], held: dict[str, Ref]) -> dict[str, Ref]:
    """The next value of each register: the state's own for the first, the one before for the rest."""
    out = {}
    for s in program.states:
        out[register(s.name, 1)] = following[s.name]
        for d in range(2, s.depth + 1):
            out[register(s.name, d)] = held[register(s.name, d - 1)]
    return out
