"""What to keep for the backward pass, and what to compute for all steps at once.

Both are minimum cuts. Between what the adjoint needs and what it can recompute lies the set of values that is lightest
to save; recomputation runs for all steps at once, before the adjoint's own loop, because every state's sequence is
either saved or not needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from math import prod

from ostinato.program.derivative import adjoint
from ostinato.program.ir import Program
from ostinato.program.mincut import INFINITE, minimum_cut
from ostinato.program.split import GIVEN

WIDTH = {"float": 4, "int": 8, "bool": 1}
"""Bytes of one element, counting floats as float32."""


def size_of(program: Program, i: int) -> int:
    """Bytes of a node's value, for one step of one sequence; nothing for what the caller holds anyway."""
    node = program.nodes[i]
    held = node.op == "x" and node["name"].startswith(GIVEN)
    return 0 if held else prod(node.shape) * WIDTH[node.dtype]


def saved_nodes(loop: Program, budget: int | str | None = None) -> frozenset[int]:
    """The nodes of a loop whose values at all steps are kept for its adjoint.

    Args:
        budget: None keeps the fewest bytes that spare every matrix product; ``"recompute"`` keeps the fewest bytes at
            all; a number of bytes, per step and sequence (floats counted as float32), recomputes products only as far
            as the budget asks.

    Raises:
        ValueError: when even recomputing everything takes more than the budget.
    """
    products = [i for i, n in enumerate(loop.nodes) if n.op == "matmul"]
    if budget is None:
        return _cut(loop, products)
    if budget == "recompute":
        return _cut(loop, [])
    if isinstance(budget, str) or budget < 0:
        raise ValueError(f"save must be None, 'recompute' or a number of bytes, got {budget!r}")
    spared = sorted(products, key=lambda i: size_of(loop, i))
    while bytes_saved(loop, saved := _cut(loop, spared)) > budget:
        if not spared:
            raise ValueError(f"a budget of {budget} bytes per step and sequence is too small: this cell needs at "
                             f"least {bytes_saved(loop, saved)}")
        spared.pop()  # the largest product is recomputed first
    return saved


def bytes_saved(loop: Program, saved: Collection[int]) -> int:
    """Bytes that the adjoint keeps, per step and sequence: saved values, states, and what it reads again of that which
    was computed from the inputs."""
    nodes = set(saved)
    for name in full_adjoint(loop, saved).inputs:
        kind, _, rest = name.partition(".")
        if kind == "read":
            nodes.add(loop.next[rest.rsplit(".", 1)[0]])
        elif kind == "in" and loop.nodes[loop.inputs[rest]].op == "x":
            nodes.add(loop.inputs[rest])
    return sum(size_of(loop, i) for i in nodes)


def full_adjoint(loop: Program, saved: Collection[int]) -> Program:
    """The adjoint with every cotangent given and every gradient wanted."""
    floats = [name for name, i in loop.inputs.items() if loop.nodes[i].dtype == "float"]
    emits = [name for name, i in loop.emit.items() if loop.nodes[i].dtype == "float"]
    return adjoint(loop, saved, emits, floats, [s.name for s in loop.states])


def _cut(loop: Program, spared: Collection[int]) -> frozenset[int]:
    """The lightest cut between what exists anyway and what the adjoint asks for; ``spared`` is never recomputed.

    The next value of a state is not recomputed either (it would need the loop again), and a state that is read stands
    for its next value one or more steps earlier, so that reading costs nothing once the state is kept.
    """
    needed = {int(name.partition(".")[2]) for name in full_adjoint(loop, range(len(loop.nodes))).inputs
              if name.startswith("saved.")}
    states = set(loop.next.values())
    inner = {i for i, n in enumerate(loop.nodes) if n.op not in ("p", "q", "const")}
    edges = [(a, i) for i in inner for a in loop.nodes[i].args if a in inner]
    edges += [(loop.next[n["state"]], i) for i, n in enumerate(loop.nodes) if n.op == "read"]
    begin = {i for i in inner if loop.nodes[i].op == "x"} | (states & inner) | set(spared)
    weights = {i: INFINITE if loop.nodes[i].op == "read" else size_of(loop, i) for i in inner}
    cut = minimum_cut(weights, edges, begin, needed & inner)
    return frozenset(i for i in cut if loop.nodes[i].op != "x")


def sunk_nodes(program: Program, everything: bool = False) -> frozenset[int]:
    """The input-only nodes (part X) that are better computed inside the loop than kept for all steps.

    An outer product of two inputs is larger than the inputs; a product, an opaque operation or noise stays outside.
    With ``everything``, all but the last two go inside: what a loop can compute again it need not be given, and its
    derivative is the loop's own. Transposed weights and sums of biases go with it.
    """
    parts, nodes = program.parts, program.nodes
    inputs = {i for i, part in enumerate(parts) if part == "X"}
    users = [i for i, part in enumerate(parts) if part == "S"]
    wanted = {a for i in users for a in nodes[i].args if a in inputs}
    wanted |= {i for i in program.next.values() if i in inputs}
    kinds = ("x", "draw", "noise") if everything else ("x", "draw", "noise", "matmul")
    outside = {i for i in inputs if nodes[i].op in kinds or nodes[i].op.startswith("aten:")}
    edges = [(a, i) for i in inputs - outside for a in nodes[i].args if a in inputs]
    weights = {i: prod(nodes[i].shape) * WIDTH[nodes[i].dtype] for i in inputs}
    cut = outside if everything else minimum_cut(weights, edges, outside, wanted)
    sunk: set[int] = set()
    stack = [i for i in wanted if i not in cut]
    while stack:
        i = stack.pop()
        if i not in sunk and i not in cut and i in inputs:
            sunk.add(i)
            stack.extend(nodes[i].args)
    if everything:
        inside = sunk | {i for i, part in enumerate(parts) if part == "S"}
        sunk |= {a for i in inside for a in nodes[i].args if parts[a] == "P" and nodes[a].op in ("permute", "add")
                 and all(nodes[p].op == "p" for p in nodes[a].args)}
    return frozenset(sunk)


def fused_nodes(program: Program) -> frozenset[int]:
    """The nodes of parts X and Y that an engine with fused pointwise operations computes in its loop: all but products,
    whole numbers, opaque operations, noise, sums over time, and a bias, which goes with its product.

    An operation outside reads its operands and writes a result that is read again; the loop reads the operands alone.
    An expansion after the loop is a view: that costs nothing outside.
    """
    parts, nodes = program.parts, program.nodes
    loop = {i for i, part in enumerate(parts) if part == "S"}
    before = {i for i, part in enumerate(parts) if part == "X" and not is_fixed(program, i)}
    after: set[int] = set()
    for i, part in enumerate(parts):
        if part == "Y" and not is_fixed(program, i) and all(a in after for a in nodes[i].args if parts[a] in "YR"):
            after.add(i)
    ends = {i for i in program.emit.values() if i in after}
    ends |= {a for i, part in enumerate(parts) if part in "YR" and i not in after for a in nodes[i].args if a in after}
    drawn = _between(map(partial(_unexpanded, program), ends), after, program)
    wanted = {a for i in loop | drawn for a in nodes[i].args} | set(program.next.values())
    return frozenset(drawn | _between(wanted, before, program))


def _unexpanded(program: Program, i: int) -> int:
    """The node itself, or what it expands."""
    while program.nodes[i].op == "expand":
        i = program.nodes[i].args[0]
    return i


def is_fixed(program: Program, i: int) -> bool:
    """Whether a node is not one of those that a loop computes at no cost."""
    node = program.nodes[i]
    args = [program.nodes[a] for a in node.args]
    if node.op in ("x", "draw", "noise", "matmul") or node.op.startswith("aten:"):
        return True
    if node.op == "add" and {program.parts[a] for a in node.args} == {"P", "X"}:
        return any(a.op == "matmul" and len(a.shape) == 1 for a in args)
    return "int" in (node.dtype, *[a.dtype for a in args if a.op != "const"])


def _between(ends: Iterable[int], among: set[int], program: Program) -> set[int]:
    """All of ``among`` that ``ends`` are made of, without passing another node."""
    found: set[int] = set()
    stack = list(ends)
    while stack:
        i = stack.pop()
        if i in among and i not in found:
            found.add(i)
            stack.extend(program.nodes[i].args)
    return found
