"""What the values of a program are called: by the step's own variables, its states and its parameters."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from ostinato.program import Program
from ostinato.program.ir import reachable

VIEWS = ("slice", "reshape", "expand", "permute", "pad", "cat", "take", "put")
LEAVES = ("p", "q", "x", "const", "read", "draw", "noise")


def variables(program: Program) -> dict[int, str]:
    """Nodes that the step gives a name to, by assignment: of a line ``i, f = ...`` the results, in order.

    Only a line whose results are as many as its names tells which is which.
    """
    lines: dict[str, list[int]] = {}
    for i, node in enumerate(program.nodes):
        if node.source and node.op not in LEAVES and program.parts[i] not in "PQ":
            lines.setdefault(node.source, []).append(i)
    used = _users(program)
    ends = {*program.next.values(), *program.emit.values()}
    found: dict[int, str] = {}
    for source, nodes in lines.items():
        names = targets(source)
        results = [i for i in nodes if i in ends or not used[i] or not used[i] <= set(nodes)]
        if names and len(names) == len(results):
            found |= dict(zip(results, names, strict=True))
    return found


def targets(source: str) -> list[str]:
    """The names that a line of Python assigns to.

    >>> targets("lstm.py:84: i, f, o = sigmoid(a), sigmoid(b), sigmoid(c)"), targets("cell.py:3: return h")
    (['i', 'f', 'o'], [])
    """
    code = source.split(": ", 1)[-1]
    try:
        statement = ast.parse(code).body[0]
    except (SyntaxError, IndexError):
        return []
    if not isinstance(statement, (ast.Assign, ast.AugAssign)):
        return []
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return [p.id for p in parts if isinstance(p, ast.Name)] if all(isinstance(p, ast.Name) for p in parts) else []


def parameter_names(program: Program) -> dict[str, str]:
    """Short names: ``W.weight`` is W, ``W.bias`` is b (of several, those of W and V are b and c), the others as they
    are called last, where that is unique."""
    full = [n["name"] for n in program.nodes if n.op == "p"]
    biases = [name for name in full if name.endswith(".bias")]
    short = {name: _short(name, len(biases) == 1) for name in full}
    tails = {name: text.rsplit(".", 1)[-1] for name, text in short.items()}
    return {name: tails[name] if list(tails.values()).count(tails[name]) == 1 else short[name] for name in full}


def _short(name: str, only: bool) -> str:
    *path, last = name.split(".")
    if last == "bias" and path:
        if only:
            return "b"
        return {"W": "b", "V": "c"}.get(path[-1], f"b_{_indexed(path)}")
    return _indexed(path if last == "weight" and path else [*path, last])


def _indexed(path: Sequence[str]) -> str:
    """``U.0`` is U_0: the parts of a list are numbered."""
    *front, last = path
    return ".".join([*front[:-1], f"{front[-1]}_{last}"]) if front and last.isdigit() else ".".join(path)


def _users(program: Program) -> list[set[int]]:
    live = reachable(program.nodes, [*program.next.values(), *program.emit.values()])
    used: list[set[int]] = [set() for _ in program.nodes]
    for i in live:
        for a in program.nodes[i].args:
            used[a].add(i)
    return used


def piece_names(program: Program, named: Mapping[int, str]) -> dict[int, str]:
    """What each slice takes, in a word: of ``a_i, a_f = a.chunk(2, -1)`` i and f; else 1, 2, ..."""
    found = {}
    for i, node in enumerate(program.nodes):
        if node.op == "slice":
            width = node["stop"] - node["start"]
            even = node["start"] % width == 0
            place = str(node["start"] // width + 1) if even else f"{node['start']}:{node['stop']}"
            found[i] = named[i].rsplit("_", 1)[-1] if i in named else place
    return found


def unique(name: str, taken: set[str]) -> str:
    """The name, with primes until nothing else is called so."""
    while name in taken:
        name += "'"
    taken.add(name)
    return name
