"""The verifier: what makes a list of nodes a program. Names what is not allowed.

Run on every traced program, and on every program that comes from a file before anything is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ostinato.program.ir import DRAWN, Node, Program, reachable
from ostinato.program.opaque import check_allowed, check_call
from ostinato.program.ops import OPS

LEAF_ATTRS = {"p": {"name"}, "q": {"name"}, "x": {"name"}, "const": {"value"}, "read": {"state", "delay"},
              "noise": {"kind", "number"}, "draw": {"each", "name", "p"}}
ERRORS = (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError)
"""What reading and checking something that is not a program may raise."""


def _whole(value: Any, least: int = 0) -> bool:
    return type(value) is int and value >= least


def _number(value: Any, dtype: str) -> bool:
    fits = type(value) is not int or -(2**63) <= value < 2**63
    return fits and type(value) in CONSTANTS[dtype]


def _all(value: Any, allowed: Callable[[Any], bool]) -> bool:
    return isinstance(value, tuple) and all(map(allowed, value))


ATTRIBUTES: dict[str, Callable[[Any], bool]] = {
    "dim": lambda v: type(v) is int and v < 0,
    "dims": lambda v: _all(v, lambda d: type(d) is int and d < 0) and len(set(v)) == len(v),
    "shape": lambda v: _all(v, _whole),
    "index": lambda v: _all(v, _whole),
    "exponent": lambda v: type(v) in (int, float),
    "to": lambda v: v in ("float", "int", "bool"),
    "grouped": lambda v: type(v) is bool,
    **dict.fromkeys(("start", "stop", "before", "after", "size"), _whole),
}
"""What each attribute of an operation may be."""
CONSTANTS: dict[str, tuple[type, ...]] = {"float": (float, int), "int": (int,), "bool": (bool,)}


class InvalidProgram(ValueError):
    """A program that the verifier does not accept."""


def verify(program: Program) -> None:
    """Check a program's nodes, states, results and parts.

    Raises:
        InvalidProgram: naming the node, its operation and its source line.
    """
    for s in program.states:
        named = isinstance(s.name, str) and type(s.initial) in (float, str)
        if not (named and _all(s.shape, _whole) and _whole(s.depth, 1)):
            raise InvalidProgram(f"{s} is not a state")
    states = {s.name: s for s in program.states}
    if len(states) != len(program.states) or set(program.next) != set(states):
        raise InvalidProgram("a program needs the next value of each of its states, and each state once")
    for i, node in enumerate(program.nodes):
        try:
            _check_node(program, i, node)
        except ERRORS as error:
            at = f" ({node.source})" if node.source else ""
            raise InvalidProgram(f"node {i}, {node.op}: {error}{at}") from None
    given = [n["name"] for n in program.nodes if n.op in ("p", "q", "x", "draw")]
    if len(set(given)) != len(given):
        raise InvalidProgram("two inputs have one name")
    for name, i in [*program.next.items(), *program.emit.items()]:
        if not isinstance(name, str) or not _whole(i) or i >= len(program.nodes):
            raise InvalidProgram(f"{name!r} is node {i}, of {len(program.nodes)}")
    for s in program.states:
        node = program.nodes[program.next[s.name]]
        if node.shape != s.shape or node.dtype != "float":
            raise InvalidProgram(f"the next {s.name!r} is {node.dtype}{list(node.shape)}, the state is {list(s.shape)}")
    for i, part in enumerate(program.parts):
        _check_part(program, i, part)
    for i in reachable(program.nodes, program.next.values()):
        if program.parts[i] == "R":
            raise InvalidProgram(f"{program.nodes[i].op} sums over time inside the loop")


def _check_node(program: Program, i: int, node: Node) -> None:
    if any(not _whole(a) or a >= i for a in node.args):
        raise ValueError(f"takes nodes {node.args}, which are not before it")
    if not _all(node.shape, _whole) or node.dtype not in ("float", "int", "bool"):
        raise ValueError(f"is {node.dtype}{list(node.shape)}")
    attrs = dict(node.attrs)
    if node.op in LEAF_ATTRS:
        _check_leaf(program, node, attrs)
    elif node.op.startswith("aten:"):
        name = node.op.removeprefix("aten:")
        if reason := check_allowed(name) or check_call(name, attrs, len(node.args)):
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
        if state is None or not (_whole(attrs["delay"], 1) and attrs["delay"] <= state.depth) or (
                node.shape != state.shape or node.dtype != "float"):
            raise ValueError(f"reads {attrs['state']!r} at delay {attrs['delay']} as {list(node.shape)}, "
                             f"the states are {program.states}")
    if node.op in ("p", "q", "x", "draw") and not isinstance(attrs["name"], str):
        raise ValueError("an input's name is a string")
    if node.op == "p" and attrs["name"] in program.tensors:
        found = tuple(program.tensors[attrs["name"]].shape)
        if found != node.shape:
            raise ValueError(f"{attrs['name']} is {list(found)}, not {list(node.shape)}")
    if node.op == "const" and (node.shape or not _number(attrs["value"], node.dtype)):
        raise ValueError("a constant is one number of its dtype")
    if node.op == "noise" and (attrs["kind"] not in ("bernoulli", "uniform", "normal") or node.dtype != "float" or not (
            0 <= attrs.get("p", 0) <= 1)):
        raise ValueError(f"noise of kind {attrs['kind']!r}")
    if node.op == "draw" and (attrs["each"] not in DRAWN or node.dtype != "bool" or not 0 <= attrs["p"] <= 1):
        raise ValueError(f"a mask for each {attrs['each']!r}, true with probability {attrs['p']}")


def _check_operation(program: Program, node: Node, attrs: dict[str, Any]) -> None:
    rule, args = OPS[node.op], [program.nodes[a] for a in node.args]
    if (rule.arity is not None and len(args) != rule.arity) or not args:
        raise ValueError(f"takes {rule.arity} nodes, it has {len(args)}")
    if set(attrs) != set(rule.attrs):
        raise ValueError(f"takes the attributes {rule.attrs}, it has {sorted(attrs)}")
    for name, value in attrs.items():
        if not ATTRIBUTES[name](value):
            raise ValueError(f"cannot have {name}={value!r}")
    shape, dtype = rule.shape([a.shape for a in args], attrs), rule.dtype([a.dtype for a in args], attrs)
    if tuple(shape) != node.shape or dtype != node.dtype:
        raise ValueError(f"gives {dtype}{list(shape)}, not {node.dtype}{list(node.shape)}")


def _check_part(program: Program, i: int, part: str) -> None:
    node = program.nodes[i]
    at = f" ({node.source})" if node.source else ""
    if part in "SY" and node.op.startswith("aten:"):
        raise InvalidProgram(f"{node.op} takes a state: it is not an operation that a loop can contain{at}")
    if node.op == "matmul" and program.parts[node.args[1]] != "P":
        raise InvalidProgram(f"a product must be by a parameter{at}")
