"""Programs as JSON. Reading one executes nothing: it is checked by the verifier before anything uses it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ostinato.program.ir import Node, Program, StateVar
from ostinato.program.verify import ERRORS, InvalidProgram, verify

FORMAT = 1
"""Of the JSON; a reader refuses any other."""


def to_json(program: Program) -> dict[str, Any]:
    """A program as plain lists, dicts, strings and numbers; its tensors are kept apart, by name."""
    return {
        "format": FORMAT,
        "states": [[s.name, list(s.shape), s.depth, s.initial] for s in program.states],
        "nodes": [[n.op, list(n.args), dict(n.attrs), list(n.shape), n.dtype, n.source] for n in program.nodes],
        "next": dict(program.next),
        "emit": dict(program.emit),
        "tensors": sorted(program.tensors),
    }


def from_json(data: Any, tensors: dict[str, Tensor] | None = None) -> Program:
    """The program in ``data``, verified; ``tensors`` holds the constants it names.

    Raises:
        InvalidProgram: when the data is not a program of this format.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise InvalidProgram(f"expected a program of format {FORMAT}, found {found!r}")
    try:
        states = [StateVar(name, tuple(shape), depth, initial if isinstance(initial, str) else float(initial))
                  for name, shape, depth, initial in data["states"]]
        nodes = [Node(str(op), tuple(args), tuple(sorted((str(k), _tuples(v)) for k, v in attrs.items())), tuple(shape),
                      str(dtype), str(source)) for op, args, attrs, shape, dtype, source in data["nodes"]]
        named = [str(name) for name in data["tensors"]]
        program = Program(tuple(nodes), tuple(states), dict(data["next"]), dict(data["emit"]),
                          {name: (tensors or {})[name] for name in named})
    except ERRORS as error:
        raise InvalidProgram(f"the program is damaged: {type(error).__name__} {error}") from None
    verify(program)
    return program


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
