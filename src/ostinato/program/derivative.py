"""The derivative table, one entry an operation, and the two programs that follow from it.

``adjoint`` of a loop is a program of the same form, run backwards in time (reverse mode, back-propagation through
time); ``tangent`` runs forwards beside it (forward mode). Both can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import pi, prod, sqrt

from ostinato.program.ir import Builder, Node, Program, Ref, Shape, StateVar, finish
from ostinato.program.split import drop_idle_states

Partial = Callable[..., Sequence[Ref | float | None]]

PARTIALS: dict[str, Partial] = {
    # node, y, *arguments -> the derivative of y by each argument (None: there is none)
    "neg": lambda n, y, a: (-1.0,),
    "exp": lambda n, y, a: (y,),
    "log": lambda n, y, a: (1.0 / a,),
    "log1p": lambda n, y, a: (1.0 / (a + 1.0),),
    "expm1": lambda n, y, a: (y + 1.0,),
    "tanh": lambda n, y, a: (1.0 - y * y,),
    "sigmoid": lambda n, y, a: (y * (1.0 - y),),
    "relu": lambda n, y, a: (y.gt(0.0).cast(to="float"),),
    "abs": lambda n, y, a: (a.sign(),),
    "sign": lambda n, y, a: (None,),
    "floor": lambda n, y, a: (None,),
    "ceil": lambda n, y, a: (None,),
    "round": lambda n, y, a: (None,),
    "sqrt": lambda n, y, a: (0.5 / y,),
    "rsqrt": lambda n, y, a: (-0.5 * y / a,),
    "reciprocal": lambda n, y, a: (-(y * y),),
    "sin": lambda n, y, a: (a.cos(),),
    "cos": lambda n, y, a: (-a.sin(),),
    "erf": lambda n, y, a: ((2.0 / sqrt(pi)) * (-(a * a)).exp(),),
    "pow": lambda n, y, a: (n["exponent"] * a.pow(exponent=n["exponent"] - 1.0),),
    "stopgrad": lambda n, y, a: (None,),
    "cast": lambda n, y, a: (1.0,),
    "add": lambda n, y, a, b: (1.0, 1.0),
    "sub": lambda n, y, a, b: (1.0, -1.0),
    "mul": lambda n, y, a, b: (b, a),
    "div": lambda n, y, a, b: (1.0 / b, -(y / b)),
    "maximum": lambda n, y, a, b: (_share(a, b), _share(b, a)),
    "minimum": lambda n, y, a, b: (_share(b, a), _share(a, b)),
}
"""Pointwise operations by their partial derivatives; those that give booleans have none."""


def _share(winner: Ref, loser: Ref) -> Ref:
    """1 where the first is larger, 1/2 each where they are equal, as torch has it."""
    return winner.gt(loser).cast(to="float") + 0.5 * winner.eq(loser).cast(to="float")


def _unbroadcast(g: Ref, shape: Shape) -> Ref:
    """Sum the cotangent over the feature dimensions along which an operand was repeated."""
    shape = (1,) * (len(g.shape) - len(shape)) + shape
    dims = tuple(d for d in range(-len(shape), 0) if shape[d] == 1 and g.shape[d] != 1)
    return g.sum(dims=dims) if dims else g


def _pull_where(g: Ref, n: Node, y: Ref, c: Ref, a: Ref, b: Ref) -> list[Ref | None]:
    return [None, _unbroadcast(c.where(g, 0.0), a.shape), _unbroadcast(c.where(0.0, g), b.shape)]


def _pull_matmul(g: Ref, n: Node, y: Ref, a: Ref, w: Ref) -> list[Ref | None]:
    swap = (-2, -1) if len(w.shape) == 2 else (-3, -1, -2)
    back = (-1, -2) if len(w.shape) == 2 else swap
    return [g.matmul(w.permute(dims=back)), a.gemm_tb(g, grouped=len(w.shape) == 3)]


def _pull_amax(g: Ref, n: Node, y: Ref, a: Ref) -> list[Ref | None]:
    hit = a.eq(y).cast(to="float")
    return [g * hit / hit.sum(dims=n["dims"])]


def _pull_cat(g: Ref, n: Node, y: Ref, *args: Ref) -> list[Ref | None]:
    dim, start, out = n["dim"], 0, []
    for a in args:
        out.append(g.slice(dim=dim, start=start, stop=start + a.shape[dim]))
        start += a.shape[dim]
    return out


def _pull_slice(g: Ref, n: Node, y: Ref, a: Ref) -> list[Ref | None]:
    dim, start, stop = n["dim"], n["start"], n["stop"]
    return [g.pad(dim=dim, before=start, after=a.shape[dim] - stop)]


def _pull_permute(g: Ref, n: Node, y: Ref, a: Ref) -> list[Ref | None]:
    dims = n["dims"]
    rank = len(dims)
    inverse = sorted(range(rank), key=lambda i: dims[i])
    return [g.permute(dims=tuple(i - rank for i in inverse))]


def _pull_expand(g: Ref, n: Node, y: Ref, a: Ref) -> list[Ref | None]:
    return [_unbroadcast(g, a.shape)]


def _pull_pad(g: Ref, n: Node, y: Ref, a: Ref) -> list[Ref | None]:
    dim, before = n["dim"], n["before"]
    return [g.slice(dim=dim, start=before, stop=before + a.shape[dim])]


PULL: dict[str, Callable[..., list[Ref | None]]] = {
    # cotangent of y, node, y, *arguments -> the cotangents of the arguments
    "where": _pull_where,
    "matmul": _pull_matmul,
    "sum": lambda g, n, y, a: [g.expand(shape=a.shape)],
    "amax": _pull_amax,
    "cat": _pull_cat,
    "slice": _pull_slice,
    "reshape": lambda g, n, y, a: [g.reshape(shape=a.shape)],
    "permute": _pull_permute,
    "expand": _pull_expand,
    "pad": _pull_pad,
    "take": lambda g, n, y, a: [g.put(dim=n["dim"], index=n["index"], size=a.shape[n["dim"]])],
    "put": lambda g, n, y, a: [g.take(dim=n["dim"], index=n["index"])],
}


def pull(node: Node, g: Ref, y: Ref, args: Sequence[Ref]) -> list[Ref | None]:
    """One row of the table, backwards: the cotangents of the arguments from that of the result."""
    if node.op in PULL:
        return PULL[node.op](g, node, y, *args)
    partials = PARTIALS[node.op](node, y, *args)
    return [None if p is None else _unbroadcast(_times(g, p), a.shape) for p, a in zip(partials, args, strict=True)]


def push(y: Ref, args: Sequence[Ref], tangents: Sequence[Ref | None]) -> Ref | None:
    """One row of the table, forwards: the tangent of the result from those of the arguments."""
    node, builder = y.node, y.builder
    if all(t is None for t in tangents):
        return None
    zeros = [builder.const(0.0).expand(shape=a.shape) if t is None else t for a, t in zip(args, tangents, strict=True)]
    if node.op == "where":
        return args[0].where(zeros[1], zeros[2])
    if node.op == "matmul":
        return _total([t.matmul(w) if i == 0 else args[0].matmul(t)
                       for i, (t, w) in enumerate(zip(tangents, (args[1], None), strict=True)) if t is not None])
    if node.op == "amax":
        hit = args[0].eq(y).cast(to="float")
        return (zeros[0] * hit).sum(dims=node["dims"]) / hit.sum(dims=node["dims"])
    if node.op in PULL:
        return builder.copy(node, zeros)
    partials = PARTIALS[node.op](node, y, *args)
    terms = [_times(t, p) for t, p in zip(tangents, partials, strict=True) if t is not None and p is not None]
    total = _total(terms)
    return total if total is None or total.shape == y.shape else total.expand(shape=y.shape)


def _times(g: Ref, partial: Ref | float) -> Ref:
    if isinstance(partial, float):
        return g if partial == 1.0 else -g if partial == -1.0 else g * partial
    return g * partial


def _total(terms: Sequence[Ref]) -> Ref | None:
    total: Ref | None = None
    for term in terms:
        total = term if total is None else total + term
    return total


def active_nodes(loop: Program, wrt: Collection[str]) -> set[int]:
    """The float nodes that depend on a state or on an input in ``wrt``: those that have a derivative."""
    active: set[int] = set()
    for i, node in enumerate(loop.nodes):
        starts = node.op == "read" or (node.op in "pqx" and node["name"] in wrt)
        follows = node.op not in ("stopgrad",) and any(a in active for a in node.args)
        if node.dtype == "float" and (starts or follows):
            active.add(i)
    return active


class _Values:
    """The values of a loop's nodes inside another program: saved ones are given, the rest is computed again."""

    def __init__(self, loop: Program, builder: Builder, saved: Collection[int]) -> None:
        self.loop, self.builder, self.saved = loop, builder, saved
        self.made: dict[int, Ref] = {}

    def __getitem__(self, i: int) -> Ref:
        if i not in self.made:
            self.made[i] = self._make(i)
        return self.made[i]

    def _make(self, i: int) -> Ref:
        node, builder = self.loop.nodes[i], self.builder
        if i in self.saved:
            return builder.leaf("x", node.shape, node.dtype, name=f"saved.{i}")
        if node.op == "read":
            name = f"read.{node['state']}.{node['delay']}"
            return builder.leaf("x", node.shape, node.dtype, name=name)
        if node.op in "pqx":
            return builder.leaf(node.op, node.shape, node.dtype, name=f"in.{node['name']}")
        return builder.copy(node, [self[a] for a in node.args])


def adjoint(loop: Program, saved: Collection[int], cotangents: Collection[str], wrt: Collection[str],
            wrt_states: Collection[str]) -> Program:
    """The loop's reverse-mode derivative, to be run in the opposite direction of time.

    Args:
        loop: a program whose inputs are all given from outside.
        saved: nodes whose values at all steps are given as ``saved.<node>``; reads are given as
            ``read.<state>.<delay>``, the loop's own inputs as ``in.<name>``.
        cotangents: the emits that have one, given as ``g.<emit>``.
        wrt: the inputs whose cotangent is wanted; it is emitted as ``d.<name>``.
        wrt_states: the states whose initial value's cotangent is wanted.

    The adjoint's state ``<state>@<delay>`` is the cotangent of what the step read of that state at that delay.
    """
    builder = Builder()
    value, active, parts = _Values(loop, builder, saved), active_nodes(loop, wrt), loop.parts
    depth = {s.name: s.depth for s in loop.states}
    delays = _delays(loop)
    grads: dict[int, list[Ref]] = {}
    weights: dict[int, list[Ref]] = {}

    def give(i: int, g: Ref) -> None:
        grads.setdefault(i, []).append(g)

    for name, i in loop.emit.items():
        if name in cotangents and i in active:
            give(i, builder.leaf("x", loop.nodes[i].shape, name=f"g.{name}"))
    for state, i in loop.next.items():
        for d in delays[state]:
            give(i, builder.leaf("read", loop.nodes[i].shape, state=f"{state}@{d}", delay=d))
    for i in reversed(range(len(loop.nodes))):
        node = loop.nodes[i]
        if i not in active or not node.args or not (i in grads or i in weights):
            continue
        builder.source = node.source
        fixed = parts[i] == "P"  # one for all steps and sequences: from here on its cotangent is so too
        g = _input_gradient(builder, "p", node.shape, grads.get(i, []), weights.get(i, [])) if fixed else (
            _total(grads[i]))
        assert g is not None
        for a, part in zip(node.args, pull(node, g, value[i], [value[a] for a in node.args]), strict=True):
            if part is not None and a in active:
                (weights if fixed or part.node.op == "gemm_tb" else grads).setdefault(a, []).append(part)
    reads = {(n["state"], n["delay"]): i for i, n in enumerate(loop.nodes) if n.op == "read"}
    zero = lambda shape: builder.const(0.0).expand(shape=shape)  # noqa: E731
    following, states = {}, []
    for s in loop.states:
        for d in delays[s.name]:
            i = reads.get((s.name, d))
            total = _total(grads.get(i, [])) if i is not None else None
            following[f"{s.name}@{d}"] = zero(s.shape) if total is None else total.reshape(shape=s.shape)
            states.append(StateVar(f"{s.name}@{d}", s.shape, d))
    emit = {f"d.{name}": _input_gradient(builder, loop.nodes[i].op, loop.nodes[i].shape, grads.get(i, []),
                                         weights.get(i, []))
            for name, i in loop.inputs.items() if name in wrt}
    wanted = {f"{name}@{d}" for name in wrt_states for d in delays[name]}
    assert all(depth[s] in delays[s] for s in depth)
    return drop_idle_states(finish(builder, states, following, emit), wanted)


def _delays(loop: Program) -> dict[str, tuple[int, ...]]:
    """For each state the delays at which it is read, and its longest: the one that takes in the final states'
    cotangents, which lie that many steps after the end."""
    delays = {s.name: {s.depth} for s in loop.states}
    for node in loop.nodes:
        if node.op == "read":
            delays[node["state"]].add(node["delay"])
    return {name: tuple(sorted(d)) for name, d in delays.items()}


def _input_gradient(builder: Builder, kind: str, shape: Shape, grads: Sequence[Ref], weights: Sequence[Ref]) -> Ref:
    """The cotangent of an input: as it is for each step (x), summed over time (q), over time and batch (p)."""
    total = _total(grads)
    if total is not None and kind != "x":
        total = total.sum_tb() if kind == "p" else total.sum_t()
    for w in weights:
        total = w if total is None else total + w
    if total is None:
        total = builder.const(0.0).expand(shape=shape)
    return total.reshape(shape=shape) if prod(total.shape) == prod(shape) else total


def tangent(loop: Program, wrt: Collection[str], wrt_states: Collection[str]) -> Program:
    """The loop's forward-mode derivative: the loop itself with, beside each state ``s``, its tangent ``s'``.

    Tangents are given as ``t.<input>`` for the inputs in ``wrt``, and as the initial values of ``s'``; the tangents
    of the emits are emitted under their own names, and those of the final states are the final states of ``s'``.
    """
    builder = Builder()
    value = _Tangents(loop, builder, wrt)
    for i in range(len(loop.nodes)):
        value.visit(i)
    zero = lambda shape: builder.const(0.0).expand(shape=shape)  # noqa: E731
    following = {name: value.primal[i] for name, i in loop.next.items()}
    for s in loop.states:
        moved = value.moved[loop.next[s.name]]
        following[f"{s.name}'"] = zero(s.shape) if moved is None else moved
    emit = {name: value.moved[i] or zero(loop.nodes[i].shape)
            for name, i in loop.emit.items() if loop.nodes[i].dtype == "float"}
    states = [*loop.states, *(StateVar(f"{s.name}'", s.shape, s.depth) for s in loop.states)]
    return drop_idle_states(finish(builder, states, following, emit), [f"{s.name}'" for s in loop.states])


class _Tangents:
    """The loop's nodes and their tangents, in one program."""

    def __init__(self, loop: Program, builder: Builder, wrt: Collection[str]) -> None:
        self.loop, self.builder, self.wrt = loop, builder, wrt
        self.primal: list[Ref] = []
        self.moved: list[Ref | None] = []

    def visit(self, i: int) -> None:
        node, builder = self.loop.nodes[i], self.builder
        builder.source = node.source
        args = [self.primal[a] for a in node.args]
        self.primal.append(builder.copy(node, args))
        if node.op == "read":
            self.moved.append(builder.leaf("read", node.shape, state=f"{node['state']}'", delay=node["delay"]))
        elif node.op in "pqx":
            moving = node["name"] in self.wrt
            leaf = builder.leaf(node.op, node.shape, name=f"t.{node['name']}") if moving else None
            self.moved.append(leaf)
        elif not args or node.dtype != "float" or node.op == "stopgrad":
            self.moved.append(None)
        else:
            self.moved.append(push(self.primal[i], args, [self.moved[a] for a in node.args]))
