"""Is a state linear in its own past, without a product? Then a parallel scan could compute it.

For each state the form ``value = a * past + b`` is pushed through the step's nodes; the first operation that cannot
carry it is the reason why not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ostinato.program.ir import Node, Program


@dataclass(frozen=True, slots=True)
class Linearity:
    """Whether a state's next value is ``a * past + b`` element by element, a and b free of states not yet solved."""

    linear: bool
    reason: str = ""


def linearity(program: Program) -> dict[str, Linearity]:
    """For each state of a program: is it linear in its own past, and if not, which operation closes that door.

    States are solved in the order of their dependence: one that is linear counts as known for the others (momentum:
    first v, then h).
    """
    solved: dict[str, Linearity] = {}
    while True:
        found = {s.name: _judge(program, s.name, solved) for s in program.states if s.name not in solved}
        new = {name: verdict for name, verdict in found.items() if verdict.linear}
        if not new:
            return {s.name: solved.get(s.name) or found[s.name] for s in program.states}
        solved.update(new)


def _judge(program: Program, state: str, solved: Collection[str]) -> Linearity:
    """One state, the solved ones taken as known. None marks a node that is free of the others."""
    verdicts: list[Linearity | None] = []
    for node in program.nodes:
        if node.op == "read":
            verdicts.append(None if node["state"] in solved else _read(node, state))
            continue
        below = [verdicts[a] for a in node.args]
        moving = [v for v in below if v is not None]
        failed = next((v for v in moving if not v.linear), None)
        if failed or not moving:
            verdicts.append(failed)
        elif _carries(node, below):
            verdicts.append(Linearity(True))
        else:
            at = f" ({node.source})" if node.source else ""
            verdicts.append(Linearity(False, f"{node.op} of {state}{at}"))
    return verdicts[program.next[state]] or Linearity(True)


def _read(node: Node, state: str) -> Linearity:
    if node["state"] != state:
        return Linearity(False, f"{state} depends on {node['state']}")
    if node["delay"] != 1:
        return Linearity(False, f"{state} is read at delay {node['delay']}")
    return Linearity(True)


def _carries(node: Node, below: list[Linearity | None]) -> bool:
    """Whether ``a * past + b`` stays so: sums do; a product, a quotient or a choice when the rest is free of it."""
    if node.op in ("add", "sub", "neg"):
        return True
    if node.op == "mul":
        return None in below
    return (node.op == "div" and below[1] is None) or (node.op == "where" and below[0] is None)
