"""The verifier: what makes a list of nodes a program. Names what is not allowed.

Run on every traced program, and on every program that comes from a file before anything is evaluated.
"""

from __future__ import annotations

from typing import Any

from ostinato.program.ir import Node, Program
from ostinato.program.opaque import check_allowed
from ostinato.program.ops import OPS

LEAF_ATTRS = {"p": {"name"}, "q": {"name"}, "x": {"name"}, "const": {"value"}, "read": {"state", "delay"},
              "noise": {"kind", "number"}}


class InvalidProgram(ValueError):
    """A program that the verifier does not accept."""


def verify(program: Program) -> None:
    """Check a program's nodes, states, results and parts.

    Raises:
        InvalidProgram: naming the node, its operation and its source line.
    """
    states = {s.name: s for s in program.states}
    if len(states) != len(program.states) or set(program.next) != set(states):
        raise InvalidProgram("a program needs the next value of each of its states, and each state once")
    for i, node in enumerate(program.nodes):
        try:
            _check_node(program, i, node)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            at = f" ({node.source})" if node.source else ""
            raise InvalidProgram(f"node {i}, {node.op}: {error}{at}") from None
    for name, i in [*program.next.items(), *program.emit.items()]:
        if not isinstance(i, int) or not 0 <= i < len(program.nodes):
            raise InvalidProgram(f"{name!r} is node {i}, of {len(program.nodes)}")
    for s in program.states:
        node = program.nodes[program.next[s.name]]
        if node.shape != s.shape or node.dtype != "float":
            raise InvalidProgram(f"the next {s.name!r} is {node.dtype}{list(node.shape)}, the state is {list(s.shape)}")
    for i, part in enumerate(program.parts):
        _check_part(program, i, part)


def _check_node(program: Program, i: int, node: Node) -> None:
    if any(not isinstance(a, int) or not 0 <= a < i for a in node.args):
        raise ValueError(f"takes nodes {node.args}, which are not before it")
    if any(not isinstance(n, int) or n < 0 for n in node.shape) or node.dtype not in ("float", "int", "bool"):
        raise ValueError(f"is {node.dtype}{list(node.shape)}")
    attrs = dict(node.attrs)
    if node.op in LEAF_ATTRS:
        _check_leaf(program, node, attrs)
    elif node.op.startswith("aten:"):
        if reason := check_allowed(node.op.removeprefix("aten:")):
            raise ValueError(reason)
    elif node.op not in OPS:
        raise ValueError("is not an operation of a program")
    else:
        _check_operation(program, node, attrs)


def _check_leaf(program: Program, node: Node, attrs: dict[str, Any]) -> None:
    wanted = LEAF_ATTRS[node.op] | ({"p"} if attrs.get("kind") == "bernoulli" else set())
    if set(attrs) != wanted or node.args:
        raise ValueError(f"takes {sorted(wanted)} and no nodes, it has {sorted(attrs)} and {len(node.args)} nodes")
    if node.op == "read":
        state = next((s for s in program.states if s.name == attrs["state"]), None)
        if state is None or not 1 <= attrs["delay"] <= state.depth or node.shape != state.shape:
            raise ValueError(f"reads {attrs['state']!r} at delay {attrs['delay']} as {list(node.shape)}, "
                             f"the states are {program.states}")
    if node.op == "const" and (node.shape or not isinstance(attrs["value"], (int, float))):
        raise ValueError("a constant is one number")
    if node.op == "noise" and attrs["kind"] not in ("bernoulli", "uniform", "normal"):
        raise ValueError(f"noise of kind {attrs['kind']!r}")


def _check_operation(program: Program, node: Node, attrs: dict[str, Any]) -> None:
    rule, args = OPS[node.op], [program.nodes[a] for a in node.args]
    if (rule.arity is not None and len(args) != rule.arity) or not args:
        raise ValueError(f"takes {rule.arity} nodes, it has {len(args)}")
    if set(attrs) != set(rule.attrs):
        raise ValueError(f"takes the attributes {rule.attrs}, it has {sorted(attrs)}")
    shape, dtype = rule.shape([a.shape for a in args], attrs), rule.dtype([a.dtype for a in args], attrs)
    if tuple(shape) != node.shape or dtype != node.dtype:
        raise ValueError(f"gives {dtype}{list(shape)}, not {node.dtype}{list(node.shape)}")


def _check_part(program: Program, i: int, part: str) -> None:
    node = program.nodes[i]
    at = f" ({node.source})" if node.source else ""
    if part in "SY" and node.op.startswith("aten:"):
        raise InvalidProgram(f"{node.op} takes a state: it is not an operation that a loop can contain{at}")
    if part == "S" and node.op in OPS and not OPS[node.op].loop:
        raise InvalidProgram(f"{node.op} sums over time inside the loop{at}")
    if part in "SY" and node.op == "matmul" and program.parts[node.args[1]] != "P":
        raise InvalidProgram(f"a product in the loop must be by a parameter{at}")
