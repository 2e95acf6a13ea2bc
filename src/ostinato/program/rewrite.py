"""Rewrites: the same values with less work in the loop.

Each takes a program and returns one. Equal nodes merge and dead ones go in all of them (see ``ir.rebuild``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ostinato.program.ir import Builder, Node, Program, Ref, finish, reachable, rebuild

ORDER = {"P": 0, "Q": 1, "X": 2, "S": 3, "Y": 4, "R": 5}


def simplify(program: Program) -> Program:
    """Arithmetic with 0 and 1, views of views, and a sum of pieces put side by side."""
    return rebuild(program, _simpler)


def _simpler(b: Builder, node: Node, args: list[Ref]) -> Ref | None:
    rule = SIMPLER.get(node.op)
    return rule(node, *args) if rule else None


def _is(ref: Ref, value: float) -> bool:
    while ref.node.op in ("expand", "reshape"):
        ref = Ref(ref.builder, ref.node.args[0])
    return ref.node.op == "const" and ref.node["value"] == value and ref.dtype == "float"


def _keep(ref: Ref, node: Node) -> Ref | None:
    return ref if ref.shape == node.shape and ref.dtype == node.dtype else None


def _add(node: Node, a: Ref, b: Ref) -> Ref | None:
    if _is(a, 0.0) and (kept := _keep(b, node)):
        return kept
    if _is(b, 0.0) and (kept := _keep(a, node)):
        return kept
    return _beside(a, b) if a.node.op == "pad" and b.node.op == "pad" else None


def _beside(a: Ref, b: Ref) -> Ref | None:
    """pad(a) + pad(b) is cat(a, b) where the one begins as the other ends."""
    dim = a.node["dim"]
    if b.node["dim"] != dim:
        return None
    if a.node["before"] > b.node["before"]:
        a, b = b, a
    one, two = (Ref(r.builder, r.node.args[0]) for r in (a, b))
    if a.node["before"] + one.shape[dim] != b.node["before"]:
        return None
    left = _pieces(one, dim) + _pieces(two, dim)
    whole = a.builder.add("cat", *left, dim=dim)
    before, after = a.node["before"], b.node["after"]
    return whole if before == after == 0 else whole.pad(dim=dim, before=before, after=after)


def _pieces(ref: Ref, dim: int) -> list[Ref]:
    if ref.node.op == "cat" and ref.node["dim"] == dim:
        return [Ref(ref.builder, a) for a in ref.node.args]
    return [ref]


def _mul(node: Node, a: Ref, b: Ref) -> Ref | None:
    return _keep(b, node) if _is(a, 1.0) else _keep(a, node) if _is(b, 1.0) else None


def _sub(node: Node, a: Ref, b: Ref) -> Ref | None:
    return _keep(a, node) if _is(b, 0.0) else None


def _permute(node: Node, a: Ref) -> Ref | None:
    dims = node["dims"]
    if list(dims) == sorted(dims):
        return a
    if a.node.op == "permute":
        inner, base = a.node["dims"], Ref(a.builder, a.node.args[0])
        both = tuple(inner[d] for d in dims)
        return base if list(both) == sorted(both) else base.permute(dims=both)
    if a.node.op == "gemm_tb" and len(dims) == 2:
        one, two = (Ref(a.builder, i) for i in a.node.args)
        return two.gemm_tb(one, grouped=False)
    return None


def _reshape(node: Node, a: Ref) -> Ref | None:
    if a.shape == node.shape:
        return a
    if a.node.op != "reshape":
        return None
    base = Ref(a.builder, a.node.args[0])
    return base if base.shape == node.shape else base.reshape(shape=node.shape)


def _slice(node: Node, a: Ref) -> Ref | None:
    """A slice of a cat that lies within one of its pieces is a slice of that piece."""
    dim, start, stop = node["dim"], node["start"], node["stop"]
    if a.node.op != "cat" or a.node["dim"] != dim:
        return None
    at = 0
    for piece in _pieces(a, dim):
        n = piece.shape[dim]
        if at <= start and stop <= at + n:
            return piece if n == stop - start else piece.slice(dim=dim, start=start - at, stop=stop - at)
        at += n
    return None


SIMPLER: dict[str, Callable[..., Ref | None]] = {
    "add": _add, "mul": _mul, "sub": _sub, "permute": _permute, "reshape": _reshape, "slice": _slice,
    "expand": lambda node, a: _keep(a, node),
    "cat": lambda node, *args: args[0] if len(args) == 1 else None,
    "neg": lambda node, a: Ref(a.builder, a.node.args[0]) if a.node.op == "neg" else None,
}


def split_products(program: Program) -> Program:
    """``[x, h] W`` becomes ``x W1 + h W2``: the input's share leaves the loop."""
    parts = program.parts

    def change(b: Builder, node: Node, args: list[Ref]) -> Ref | None:
        if node.op != "matmul" or args[0].node.op != "cat" or args[0].node["dim"] != -1 or len(args[1].shape) != 2:
            return None
        cat = program.nodes[node.args[0]]
        if len({parts[a] == "S" for a in cat.args}) == 1:
            return None
        total, start = None, 0
        for piece in _pieces(args[0], -1):
            rows = args[1].slice(dim=-2, start=start, stop=start + piece.shape[-1])
            start += piece.shape[-1]
            total = piece.matmul(rows) if total is None else total + piece.matmul(rows)
        return total

    return rebuild(program, change)


def reassociate(program: Program) -> Program:
    """In a sum of several terms, add those that do not depend on a state first, so that they leave the loop."""
    parts, nodes = program.parts, program.nodes
    uses = Counter(a for n in nodes for a in n.args)
    uses.update([*program.next.values(), *program.emit.values()])
    made: dict[int, Ref] = {}

    def terms(i: int, top: bool) -> list[int]:
        node = nodes[i]
        if node.op == "add" and node.dtype == "float" and (top or uses[i] == 1):
            return [t for a in node.args for t in terms(a, False)]
        return [i]

    def change(b: Builder, node: Node, args: list[Ref], i: int) -> Ref | None:
        if node.op != "add" or parts[i] not in "SY" or node.dtype != "float":
            return None
        flat = terms(i, True)
        kinds = [ORDER[parts[t]] for t in flat]
        if len(flat) < 3 or len(set(kinds)) == 1:
            return None
        total: Ref | None = None
        for kind in sorted(set(kinds)):
            for t, own in zip(flat, kinds, strict=True):
                if own == kind:
                    total = made[t] if total is None else total + made[t]
        return total

    return _rebuild_numbered(program, change, made)


def _rebuild_numbered(program: Program, change: Callable[[Builder, Node, list[Ref], int], Ref | None],
                      made: dict[int, Ref]) -> Program:
    """``rebuild`` for a change that looks at nodes by their old numbers."""
    live = reachable(program.nodes, [*program.next.values(), *program.emit.values()])
    builder = Builder()
    for i, node in enumerate(program.nodes):
        if i in live:
            args = [made[a] for a in node.args]
            builder.source = node.source
            made[i] = change(builder, node, args, i) or builder.copy(node, args)
    return finish(builder, program.states, {k: made[v] for k, v in program.next.items()},
                  {k: made[v] for k, v in program.emit.items()}, program.tensors)


def merge_products(program: Program) -> Program:
    """Products of the same operand, in the same part, become one product by the parameters side by side; part P must
    stand in front (``hoist_parameters``)."""
    parts, nodes = program.parts, program.nodes
    groups: dict[tuple[int, str, int], list[int]] = {}
    for i, n in enumerate(nodes):
        if n.op == "matmul" and parts[i] in "XSY" and parts[n.args[1]] == "P" and len(nodes[n.args[1]].shape) == 2:
            groups.setdefault((n.args[0], parts[i], len(n.shape)), []).append(i)
    merged = {i: group for group in groups.values() if len(group) > 1 for i in group}
    made: dict[int, Ref] = {}
    wide: dict[int, Ref] = {}

    def change(b: Builder, node: Node, args: list[Ref], i: int) -> Ref | None:
        group = merged.get(i)
        if group is None or any(nodes[j].args[1] not in made for j in group):
            return None
        if group[0] not in wide:
            weights = b.add("cat", *[made[nodes[j].args[1]] for j in group], dim=-1)
            wide[group[0]] = args[0].matmul(weights)
        start = sum(nodes[j].shape[-1] for j in group[: group.index(i)])
        return wide[group[0]].slice(dim=-1, start=start, stop=start + node.shape[-1])

    return _rebuild_numbered(program, change, made) if merged else program


def hoist_parameters(program: Program) -> Program:
    """The same program with the nodes of part P in front."""
    order = sorted(range(len(program.nodes)), key=lambda i: (program.parts[i] != "P", i))
    place = {old: new for new, old in enumerate(order)}
    nodes = []
    for i in order:
        n = program.nodes[i]
        nodes.append(Node(n.op, tuple(place[a] for a in n.args), n.attrs, n.shape, n.dtype, n.source))
    return Program(tuple(nodes), program.states, {k: place[v] for k, v in program.next.items()},
                   {k: place[v] for k, v in program.emit.items()}, program.tensors)


PASSES = (simplify, split_products, reassociate, hoist_parameters, merge_products, simplify)
"""What is done to every program, in order."""


def optimise(program: Program) -> Program:
    """All rewrites."""
    for rewrite in PASSES:
        program = rewrite(program)
    return program
