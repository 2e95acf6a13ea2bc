"""The rewrites, each on a small program and on every cell: less in the loop, the same values, still a program."""

from __future__ import annotations

import catalogue
import pytest
import torch
from close import assert_close
from oracle import Written, assert_as_by_steps, drawn, program_of, written

from ostinato.engines.plan import Plan
from ostinato.program import rewrite
from ostinato.program.evaluate import Run
from ostinato.program.ir import Builder, Program, StateVar, finish
from ostinato.program.rewrite import (
    PASSES,
    hoist_parameters,
    merge_products,
    optimise,
    reassociate,
    simplify,
    split_products,
)
from ostinato.program.verify import verify

H = 4


class Maker:
    """A builder with the leaves that the tests use."""

    def __init__(self):
        self.b = Builder()
        self.h = self.b.leaf("read", (H,), state="h", delay=1)
        self.x, self.y = self.b.leaf("x", (3,), name="x"), self.b.leaf("x", (H,), name="y")
        self.W, self.U = self.b.leaf("p", (3, H), name="W"), self.b.leaf("p", (H, H), name="U")
        self.V, self.a = self.b.leaf("p", (H, H), name="V"), self.b.leaf("p", (H,), name="a")

    def program(self, new, out=None) -> Program:
        made = finish(self.b, [StateVar("h", (H,), 1)], {"h": new}, {"y": new if out is None else out})
        verify(made)
        return made


def ops(program, part=None):
    """The operations of a program (or of one part) that are not leaves, sorted."""
    return sorted(n.op for n, p in zip(program.nodes, program.parts, strict=True) if n.args and part in (None, p))


def values(program):
    named = {"x": drawn((3, 2, 3), 1), "y": drawn((3, 2, H), 2), "W": drawn((3, H), 3), "U": drawn((H, H), 4),
             "V": drawn((H, H), 5), "a": drawn((H,), 6)}
    run = Run(torch.float64, torch.device("cpu"), (3, 2))
    outs, finals = Plan(program).run(named, [drawn((1, 2, H), 7)], run, False)
    return [*outs.values(), *finals]


def applied(program, *passes):
    """The program after some passes: of the same values, and verified after each."""
    expected = values(program)
    for rule in passes:
        program = rule(program)
        verify(program)
        assert_close(values(program), expected, name=rule.__name__)
    return program


def test_a_product_of_a_concatenation_is_split():
    m = Maker()
    stacked = m.b.add("cat", m.W, m.U, dim=-2)
    program = m.program(m.b.add("cat", m.x, m.h, dim=-1).matmul(stacked).tanh())
    assert ops(program, "S") == ["cat", "matmul", "tanh"]
    after = applied(program, split_products, simplify)
    assert ops(after, "S") == ["add", "matmul", "tanh"] and ops(after, "X") == ["matmul"]
    assert ops(after, "P") == []  # the slices of what was put together are what it was made of


def test_a_concatenation_of_states_only_is_left():
    m = Maker()
    program = m.program(m.b.add("cat", m.h, m.h * 2.0, dim=-1).matmul(m.b.add("cat", m.U, m.V, dim=-2)))
    assert ops(applied(program, split_products)) == ops(program)


def test_sums_are_reassociated():
    """Bias and input leave the loop, however the sum was written."""
    m = Maker()
    for new in (((m.h.matmul(m.U) + m.x.matmul(m.W)) + m.a) + m.y, (m.a + m.h) + (m.y + m.a),
                m.a + (m.x.matmul(m.W) + (m.h + m.y))):
        after = applied(m.program(new.tanh()), reassociate)
        assert ops(after, "S").count("add") == 1


def test_a_sum_that_is_used_elsewhere_stays():
    m = Maker()
    inner = m.h + m.y
    after = applied(m.program((inner + m.a) * inner, inner), reassociate)
    assert ops(after, "S") == ["add", "add", "mul"] and ops(after, "X") == []


def test_sums_of_integers_stay():
    m = Maker()
    count = (m.h.gt(0.0).cast(to="int") + 1) + 2
    applied(m.program(m.h * count.cast(to="float")), reassociate)


def test_products_of_one_operand_are_merged():
    m = Maker()
    program = m.program(m.h.matmul(m.U).sigmoid() * m.h.matmul(m.V).tanh() + m.x.matmul(m.W) * m.x.matmul(m.W * 2.0))
    after = applied(program, hoist_parameters, merge_products)
    assert program.products == 2 and after.products == 1
    assert ops(after, "X").count("matmul") == 1


def test_a_product_that_needs_another_is_not_merged():
    m = Maker()
    gate = m.h.matmul(m.U).sigmoid()
    program = m.program((m.h * gate).matmul(m.V) + m.h.matmul(m.V) * gate)
    after = applied(program, hoist_parameters, merge_products)
    assert after.products == 2
    # one operand, one after the other: the second's parameter is known, its operand is not
    chain = m.program(m.h.matmul(m.U).matmul(m.U))
    assert applied(chain, hoist_parameters, merge_products).products == 2


def test_equal_nodes_merge_and_dead_ones_go():
    m = Maker()
    (m.h.exp() * 7.0).matmul(m.V)
    program = m.program(m.h.tanh() * m.h.tanh() + m.x.matmul(m.W) + m.x.matmul(m.W))
    assert ops(program) == ["add", "add", "matmul", "mul", "tanh"]
    assert {n["name"] for n in program.nodes if n.op == "p"} == {"W"}


def test_two_draws_do_not_merge():
    b = Builder()
    one, two = (b.leaf("noise", (H,), kind="normal", number=i) for i in (1, 2))
    assert one.id != two.id and b.leaf("noise", (H,), kind="normal", number=1).id == one.id


SIMPLER = {
    "x + 0": lambda m: m.h + 0.0,
    "0 + x": lambda m: 0.0 + m.h,
    "x + zeros": lambda m: m.h + m.b.const(0.0).expand(shape=(H,)),
    "x * 1": lambda m: m.h * 1.0,
    "ones * x": lambda m: m.b.const(1.0).expand(shape=(H,)) * m.h,
    "x - 0": lambda m: m.h - 0.0,
    "--x": lambda m: m.h.neg().neg(),
    "turned twice": lambda m: m.h.reshape(shape=(2, 2)).permute(dims=(-1, -2)).permute(dims=(-1, -2)).reshape(
        shape=(H,)),
    "reshaped twice": lambda m: m.h.reshape(shape=(2, 2)).reshape(shape=(1, 4)).reshape(shape=(H,)),
    "expanded to itself": lambda m: m.h.expand(shape=(H,)),
    "a cat of one": lambda m: m.b.add("cat", m.h, dim=-1),
    "a piece of a cat": lambda m: m.b.add("cat", m.y, m.h, m.y, dim=-1).slice(dim=-1, start=H, stop=2 * H),
}


@pytest.mark.parametrize("name", SIMPLER)
def test_simpler(name):
    m = Maker()
    program = m.program(m.h, SIMPLER[name](m))
    assert ops(applied(program, simplify)) == []


def test_not_simpler_where_it_would_change_the_value():
    m = Maker()
    for new in (m.h * 0.5, m.h + 1.0, m.h - 1.0, m.h.gt(0.0).cast(to="float") * 1.0, m.h * m.b.const(0.0)):
        assert ops(applied(m.program(m.h, new), simplify)), new.node
    part = m.b.add("cat", m.y, m.h, dim=-1).slice(dim=-1, start=H + 1, stop=H + 3)
    assert ops(applied(m.program(m.h, part), simplify)) == ["slice"]
    wide = m.program(m.h, m.b.add("cat", m.y, m.h, dim=-1).slice(dim=-1, start=1, stop=H + 1))
    assert ops(applied(wide, simplify)) == ["cat", "slice"]
    # a sum that widens its operand is not that operand
    column = m.program(m.h, m.h.slice(dim=-1, start=0, stop=1) + m.b.const(0.0).expand(shape=(H,)))
    assert "add" in ops(applied(column, simplify))


def test_padded_pieces_become_a_concatenation():
    """What backwards makes of a slice, put together again; in any order, with a gap it is left."""
    m = Maker()

    def padded(at, size):
        return m.y.slice(dim=-1, start=0, stop=size).pad(dim=-1, before=at, after=H - at - size)

    for pieces in ([(0, 1), (1, 2), (3, 1)], [(3, 1), (0, 3)], [(1, 2), (0, 1), (3, 1)]):
        total = None
        for at, size in pieces:
            total = padded(at, size) if total is None else total + padded(at, size)
        assert total is not None
        after = applied(m.program(m.h * 1.0, total), simplify)
        assert "pad" not in ops(after) and "add" not in ops(after), pieces
    assert "add" in ops(applied(m.program(m.h * 1.0, padded(0, 1) + padded(2, 2)), simplify))
    assert "add" in ops(applied(m.program(m.h * 1.0, padded(0, 2) + padded(1, 2)), simplify))


def _traced(name):
    cell = catalogue.build(name)
    return cell, program_of(cell)


PRODUCTS = {"elman": 1, "lstm": 1, "lstm-projected": 2, "lstm-peephole": 1, "gru": 1, "gru-before": 2, "mgu": 2,
            "lstm-layernorm": 1, "indrnn": 0, "slstm": 1, "leaky": 1, "skip": 2, "output": 2}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_in_a_step(name):
    """As few as can be: the GRU that resets before its product has two of its three."""
    _, program = _traced(name)
    loop = Plan(program).loop
    assert loop is not None and loop.loop.products == PRODUCTS[name]


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_every_cell_after_every_pass(name, monkeypatch):
    """Each pass leaves a program, of the same values."""
    monkeypatch.setattr(rewrite, "PASSES", ())
    cell, program = _traced(name)
    named = {k: v.detach() for k, v in (*cell.named_parameters(), *cell.named_buffers())} | dict(program.tensors)
    named["x0"] = catalogue.inputs(cell, 3, 2, time_first=True)
    starts = [v.transpose(0, 1) if s.depth > 1 else v.unsqueeze(0)
              for s, v in zip(cell.states, catalogue.initial(cell, 2), strict=True)]

    def run(p):
        outs, finals = Plan(p).run({k: named[k] for k in p.inputs}, starts, Run(torch.float64, torch.device("cpu"), (
            3, 2)), False)
        return [*outs.values(), *finals]

    expected = run(program)
    for rule in PASSES:
        program = rule(program)
        verify(program)
        assert_close(run(program), expected, name=rule.__name__)


@pytest.mark.parametrize(("name", "sums"), [("elman", 1), ("lstm", 2), ("gru-before", 4), ("lstm-peephole", 5)])
def test_input_and_bias_leave_the_loop(name, sums):
    """What is added in a step: one sum of pre-activations, and the cell's own."""
    assert ops(_traced(name)[1], "S").count("add") == sums


def test_rewriting_twice_changes_nothing():
    for name in ("lstm", "gru-before", "slstm"):
        _, program = _traced(name)
        again = optimise(program)
        assert ops(again) == ops(program)


def test_adjoints_are_programs_too():
    for name in ("lstm", "gru-before", "skip-two", "slstm", "lstm-layernorm"):
        _, program = _traced(name)
        plan = Plan(program).loop
        assert plan is not None
        states = frozenset(s.name for s in plan.loop.states)
        floats = frozenset(plan.loop.inputs)
        for derived in (plan.adjoint(frozenset(plan.loop.emit), floats, states), plan.tangent(floats)):
            verify(derived.program)
            assert derived.loop is not None
            verify(derived.loop.loop)


def test_merged_cells_keep_their_values():
    """Gates written apart, in the order that no one would choose."""

    def step(c, x, h, k):
        z = torch.sigmoid(c.a + h @ c.U + x @ c.W)
        r = torch.sigmoid(x @ c.W2 + h @ c.U2 + c.a)
        new = torch.tanh((r * h) @ c.U + torch.cat([x, h], -1) @ torch.cat([c.W, c.U2]))
        return z * h + (1 - z) * new + 0.0, k @ c.U + (k @ c.U2) * r

    shapes = {"W": (3, 4), "W2": (3, 4), "U": (4, 4), "U2": (4, 4), "a": (4,)}
    recurrent = assert_as_by_steps(Written(step, {"h": 4, "k": 4}, shapes))
    assert recurrent.explain().products == 3


def test_numbering_does_not_follow_the_lowering():
    """Two traces of one cell are equal node by node."""
    cell = written(lambda c, x, h: torch.tanh(x @ c.W + h @ c.U) * c.v)
    assert program_of(cell).nodes == program_of(cell).nodes
