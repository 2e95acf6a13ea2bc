"""The derivative table: every operation inside a loop, backwards and forwards, to third order, against torch's own
autograd through the same loop."""

from __future__ import annotations

import catalogue
import pytest
import torch
from close import assert_close
from oracle import Written, by_steps, drawn, gradients, leaves, total, written
from torch import nn
from torch.autograd import forward_ad, gradcheck

from ostinato import Recurrent, strict
from ostinato.engines.plan import Plan
from ostinato.engines.reference import Reference
from ostinato.program.evaluate import Run
from ostinato.program.ir import Builder, Program, StateVar, finish
from ostinato.program.ops import OPS
from ostinato.program.verify import verify

# Of h [4], x [4] (both around 0), the parameters w [4, 4] and v [4]: the term that an operation adds to the next h.
TERMS = {
    **{name: lambda h, x, w, v, op=name: getattr(h + x, op)() for name in (
        "neg", "exp", "expm1", "tanh", "sigmoid", "relu", "abs", "sign", "sin", "cos", "erf", "floor", "ceil",
        "round")},
    **{name: lambda h, x, w, v, op=name: getattr((h + x).tanh() * 0.7 + 1.5, op)() for name in (
        "log", "log1p", "sqrt", "rsqrt", "reciprocal")},
    "pow": lambda h, x, w, v: ((h + x).tanh() + 2.0).pow(exponent=-1.7) + (h + x).pow(exponent=3.0),
    "add": lambda h, x, w, v: h + x + v + 1.0,
    "sub": lambda h, x, w, v: (1.0 - h) - (x - v),
    "mul": lambda h, x, w, v: h * x * v * h * 2.0,
    "div": lambda h, x, w, v: h / (x + 3.0) + v / (h.tanh() + 2.0),
    "maximum": lambda h, x, w, v: h.maximum(x) + v.maximum(h * 2.0),
    "minimum": lambda h, x, w, v: h.minimum(x) + v.minimum(0.1),
    **{name: lambda h, x, w, v, op=name: getattr(h, op)(x).where(h * v, x * h) for name in (
        "gt", "ge", "lt", "le", "eq", "ne")},
    "and": lambda h, x, w, v: getattr(h.gt(x), "and")(h.gt(0.0)).where(h * h, x),
    "or": lambda h, x, w, v: getattr(h.gt(x), "or")(h.gt(0.0)).where(h * h, x),
    "xor": lambda h, x, w, v: h.gt(x).xor(h.gt(0.0)).where(h * h, x),
    "not": lambda h, x, w, v: getattr(h.gt(x), "not")().where(h * h, x),
    "where": lambda h, x, w, v: x.gt(0.0).where(h * v, 0.5) + h.gt(0.0).where(v, h) + x.lt(0.0).where(0.1, x * h),
    "stopgrad": lambda h, x, w, v: h.stopgrad() * h + (x * v).stopgrad() * 2.0,
    "cast": lambda h, x, w, v: h.gt(0.0).cast(to="float") * h + h.cast(to="int").cast(to="float"),
    "matmul": lambda h, x, w, v: (h * x).matmul(w) + h.matmul(w.permute(dims=(-1, -2))),
    "sum": lambda h, x, w, v: h.reshape(shape=(2, 2)).sum(dims=(-2,)).expand(shape=(2, 2)).reshape(shape=(4,)) * x
    + (h * v).sum(dims=(-1,)),
    "amax": lambda h, x, w, v: (h * v).amax(dims=(-1,)) + h.reshape(shape=(2, 2)).amax(dims=(-2, -1)).reshape(
        shape=(1,)),
    "slice": lambda h, x, w, v: (h * x).slice(dim=-1, start=1, stop=2) + v.slice(dim=-1, start=3, stop=4) * h,
    "cat": lambda h, x, w, v: h.builder.add("cat", (h * v).slice(dim=-1, start=1, stop=3), x.slice(
        dim=-1, start=0, stop=1), (h * h).slice(dim=-1, start=0, stop=1), dim=-1),
    "reshape": lambda h, x, w, v: (h.reshape(shape=(2, 2)) * x.reshape(shape=(2, 2))).reshape(shape=(4,)) * v,
    "permute": lambda h, x, w, v: (h * v).reshape(shape=(2, 1, 2)).permute(dims=(-1, -3, -2)).reshape(shape=(4,)) * x,
    "expand": lambda h, x, w, v: (h * x).slice(dim=-1, start=0, stop=1).expand(shape=(4,)) * v,
    "pad": lambda h, x, w, v: (h * v).slice(dim=-1, start=1, stop=3).pad(dim=-1, before=0, after=2) + (x * h).slice(
        dim=-1, start=0, stop=1).pad(dim=-1, before=2, after=1),
    "take": lambda h, x, w, v: (h * v).take(dim=-1, index=(3, 0, 0, 1)) * x,
    "put": lambda h, x, w, v: (h * v).put(dim=-1, index=(2, 0, 2, 5), size=6).slice(dim=-1, start=0, stop=4) * x
    + h.put(dim=-1, index=(3, 1, 2, 0), size=4),
}
NAMES = [*TERMS, "grouped matmul", "ties"]
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def test_every_operation_of_a_loop_is_in_the_table():
    assert set(TERMS) == {name for name, rule in OPS.items() if rule.loop}


def _program(name):
    b = Builder()
    h, x = b.leaf("read", (4,), state="h", delay=1), b.leaf("x", (4,), name="x")
    w, v = b.leaf("p", (4, 4), name="w"), b.leaf("p", (4,), name="v")
    if name == "grouped matmul":
        blocks = w.reshape(shape=(2, 2, 4)).slice(dim=-1, start=0, stop=2)
        term = (h * x).reshape(shape=(2, 2)).matmul(blocks).reshape(shape=(4,)) * v
    elif name == "ties":
        flat = h.sign() * h
        term = flat.amax(dims=(-1,)) * v + flat.maximum(h.abs() * 1.0) + flat.minimum(h.abs() + 0.0) * x
    else:
        term = TERMS[name](h, x, w, v)
    program = finish(b, [StateVar("h", (4,), 1)], {"h": h * 0.3 + term * 0.5 + x * 0.1}, {"y": term + h * 1.0})
    verify(program)
    return program


def _values(steps=3, batch=2):
    return [drawn((steps, batch, 4), 1), drawn((1, batch, 4), 2), drawn((4, 4), 3), drawn((4,), 4)]


def _through_plan(program, save=None):
    plan = Plan(program, save)

    def run(x, h, w, v):
        outs, finals = plan.run({"x": x, "w": w, "v": v}, [h], Run(x.dtype, x.device, (x.shape[0], x.shape[1])), False)
        return [*outs.values(), *finals]

    return run


def _through_torch(program):
    engine = Reference(Program(program.nodes, program.states, program.next, program.emit))

    def run(x, h, w, v):
        given = {"x": x, "w": w, "v": v}
        outs, finals = engine.run([given[name] for name in program.inputs], [h], Run(x.dtype, x.device, (
            x.shape[0], x.shape[1])), False)
        return [*outs, *finals]

    return run


def _three_orders(run, values):
    wrt = [v.clone().requires_grad_() for v in values]
    outs = [run(*wrt)]
    for _ in range(3):
        summed = total([o for o in outs[-1] if o is not None])
        if not summed.requires_grad:
            break
        outs.append(torch.autograd.grad(summed, wrt, create_graph=True, allow_unused=True, materialize_grads=True))
    return outs


@pytest.mark.parametrize("save", [None, "recompute"])
@pytest.mark.parametrize("name", NAMES)
def test_backwards_to_third_order(name, save):
    program = _program(name)
    values = _values()
    if name == "ties":
        values[1] = values[1].sign() * 0.5
    actual, expected = (_three_orders(f(program), values) for f in (lambda p: _through_plan(p, save), _through_torch))
    for order, (a, e) in enumerate(zip(actual, expected, strict=False)):
        assert_close(list(a), list(e), name=f"order {order}")
    assert len(expected) > 1


@pytest.mark.parametrize("name", NAMES)
def test_forwards(name):
    program = _program(name)
    results = []
    for run in (_through_plan(program), _through_torch(program)):
        with forward_ad.dual_level():
            given = [forward_ad.make_dual(v, drawn(v.shape, 10 + i)) for i, v in enumerate(_values())]
            results.append([forward_ad.unpack_dual(o).tangent for o in run(*given)])
    assert_close(*results)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("ties", "stopgrad")])
def test_against_finite_differences(name):
    run, values = _through_plan(_program(name)), [v.requires_grad_() for v in _values(2, 1)]
    assert gradcheck(lambda *a: tuple(run(*a)), values, fast_mode=True, check_forward_ad=True)


@pytest.mark.parametrize("moving", [(0,), (1,), (2,), (3,), (0, 2), (1, 3)])
def test_some_gradients_only(moving):
    """The adjoint for a few of the inputs leaves the rest out."""
    program, results = _program("mul"), []
    for run in (_through_plan(program), _through_torch(program)):
        values = [v.requires_grad_(i in moving) for i, v in enumerate(_values())]
        results.append(gradients(run(*values), [values[i] for i in moving]))
        with forward_ad.dual_level():
            given = [forward_ad.make_dual(v, drawn(v.shape, 10 + i)) if i in moving else v
                     for i, v in enumerate(_values())]
            results[-1] += [forward_ad.unpack_dual(o).tangent for o in run(*given)]
    assert_close(*results)


CELLS = ["elman", "gru-before", "lstm", "skip-two", "slstm", "output", "leaky-learned-units"]


@pytest.mark.parametrize("name", CELLS)
def test_cells_to_third_order(name):
    """Each order is the adjoint of an adjoint: their inputs must not meet under one name."""
    cell = catalogue.build(name, input_size=2, hidden_size=3)
    recurrent = Recurrent(cell)
    x, starts = catalogue.inputs(cell, 3, 2, 2), catalogue.initial(cell, 2)

    def orders(run):
        wrt = [v.clone().requires_grad_() for v in (x, *starts)]
        outs, found = run(wrt[0], wrt[1:]), []
        for _ in range(3):
            wrt_all = [*wrt, *cell.parameters()]
            outs = torch.autograd.grad(total(outs), wrt_all, create_graph=True, materialize_grads=True,
                                       allow_unused=True)
            outs = [o / (1 + o.detach().abs().max()) for o in outs]
            found.append(outs)
        return found

    with strict():
        actual = orders(lambda x, s: [(r := recurrent(x, s))[0], *r[1]])
    assert_close(actual, orders(lambda x, s: by_steps(cell, [x], s)))


def test_layer_norm_to_third_order():
    """torch's own third derivative of a layer norm is wrong: compared with the norm written out."""

    def normed(a, weight, bias):
        centred = a - a.mean(-1, keepdim=True)
        return centred * torch.rsqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * weight + bias

    def step(norm):
        return lambda c, x, h: torch.tanh(norm(h @ c.U + x @ c.W, c.v, c.v))

    traced = written(step(lambda a, weight, bias: nn.functional.layer_norm(a, (4,), weight, bias)))
    plain = written(step(normed))
    found = []
    for cell, run in ((traced, lambda x, s: Recurrent(traced)(x, s)), (plain, lambda x, s: by_steps(plain, [x], s))):
        xs, starts, _ = leaves(cell, 3, 2, [(3,)])
        wrt = [*xs, *starts, *cell.parameters()]
        outs = [run(xs[0], starts)[0]]
        for _ in range(3):
            outs = torch.autograd.grad(total(outs), wrt, create_graph=True)
        found.append(list(outs))
    assert_close(*found)


def test_final_states_and_delays_to_second_order():
    """The cotangents of all past values of a final state, and of the initial ones, with delays 1 and 3."""
    cell = Written(lambda c, x, h, h3, k2: (torch.tanh(x @ c.W + h * h3 + h @ c.U), h3 * k2 + h),
                   {"h": {"size": 3, "delays": (1, 3)}, "k": {"size": 3, "delays": (2,)}}, {"W": (3, 3), "U": (3, 3)})
    recurrent, found = Recurrent(cell), []
    for steps in (1, 2, 5):
        for reverse in (False, True):
            recurrent.reverse = reverse
            for run in (lambda x, s: recurrent(x, s), None):
                xs, starts, _ = leaves(cell, steps, 2, [(3,)])
                wrt = [*xs, *starts, *cell.parameters()]
                if run:
                    outs = run(xs[0], starts)[1]
                else:
                    outs = by_steps(cell, [xs[0].flip(1) if reverse else xs[0]], starts)[1:]
                first = torch.autograd.grad(total(outs), wrt, create_graph=True)
                found.append([*first, *gradients(first, wrt)])
            assert_close(found[-2], found[-1])
