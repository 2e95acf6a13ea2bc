"""What is kept for the backward pass: bytes, budgets, the border of the loop, and the minimum cut behind them."""

from __future__ import annotations

import itertools
import math

import catalogue
import pytest
import torch
from close import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Written, assert_as_by_steps, drawn, program_of
from test_trace import PUBLISHED

from ostinato import Recurrent
from ostinato.engines.plan import Plan
from ostinato.program.mincut import minimum_cut
from ostinato.program.saving import bytes_saved, saved_nodes, sunk_nodes

WIDTH = 6
BYTES = {
    # Per step and sequence at width 6, where a vector of floats is 24 bytes: (sparing every product, recomputing all).
    # torch's autograd keeps: elman 48, lstm 156, with layer norm 274, gru 186, gru-before 114, leaky 66, slstm 354.
    "elman": (24, 24),
    "lstm": (144, 48),
    "lstm-layernorm": (240, 48),
    "lstm-peephole": (144, 48),
    "gru": (120, 24),
    "gru-before": (96, 24),
    "mgu": (72, 24),
    "leaky": (48, 24),
    "indrnn": (24, 24),
    "skip": (24, 24),
    "slstm": (192, 96),
    # The output fed back has 7 units here; only it and the hidden layer are kept.
    "output": (52, 28),
}


def _plan(name, save=None):
    cell = catalogue.build(name, input_size=WIDTH, hidden_size=WIDTH)
    plan = Plan(program_of(cell, (WIDTH,)), save).loop
    assert plan is not None
    return plan


@pytest.mark.parametrize("name", BYTES)
def test_bytes_per_step(name):
    found = [bytes_saved((plan := _plan(name, save)).loop, plan.saved) for save in (None, "recompute")]
    assert tuple(found) == BYTES[name]


@pytest.mark.parametrize("save", [None, "recompute"])
@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "gru-before", "slstm", "skip-two"])
def test_bytes_that_torch_holds(name, save):
    """The sum that is reported is what autograd holds between forward and backward, over all steps.

    True of cells that only multiply their input: what else they do to it runs before the loop, under torch's autograd,
    and is not counted.
    """
    steps, batch = 11, 3
    cell = catalogue.build(name, torch.float32, WIDTH, WIDTH)
    recurrent = Recurrent(cell, batch_first=False, save=save)
    x = catalogue.inputs(cell, steps, batch, WIDTH, time_first=True)
    recurrent.explain(x)
    held = {}

    def pack(t):
        if tuple(t.shape[:2]) == (steps, batch) and t.data_ptr() != x.data_ptr():
            held[t.data_ptr()] = max(held.get(t.data_ptr(), 0), t.numel() * t.element_size())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        outputs, _ = recurrent(x)
    assert outputs.requires_grad
    assert sum(held.values()) == (recurrent.explain().bytes_saved or 0) * steps * batch


@pytest.mark.parametrize("save", [None, "recompute", 240, 200, 160, 144])
@pytest.mark.parametrize("name", ["lstm-layernorm", "lstm"])
def test_budgets(name, save):
    cell = catalogue.build(name, input_size=WIDTH, hidden_size=WIDTH)
    recurrent = assert_as_by_steps(cell, ((WIDTH,),), save=save)
    least, most = BYTES[name][::-1]
    kept = recurrent.explain().bytes_saved
    assert kept is not None and least <= kept <= (save if isinstance(save, int) else most)


@pytest.mark.parametrize("save", [None, "recompute"])
@pytest.mark.parametrize("name", catalogue.NAMES)
def test_gradients_are_the_same(name, save):
    assert_as_by_steps(catalogue.build(name), save=save, sizes=((4, 2),))


@pytest.mark.parametrize("name", PUBLISHED)
def test_gradients_are_the_same_recomputed(name):
    assert_as_by_steps(Written(*PUBLISHED[name]), save="recompute")


def test_a_budget_recomputes_only_what_it_must():
    """Two products in a row; the second's result is small and not worth its place when the budget is."""

    def step(c, x, h):
        wide = torch.tanh(x @ c.W + h @ c.U)
        return torch.nn.functional.layer_norm(wide * wide @ c.V, (4,)) * h

    cell = Written(step, {"h": 4}, {"W": (3, 12), "U": (4, 12), "V": (12, 4)})
    kept = {}
    for save in (None, 80, 79, "recompute"):
        recurrent = assert_as_by_steps(cell, save=save, sizes=((2, 2),))
        kept[save] = recurrent.explain().bytes_saved
    assert kept == {None: 80, 80: 80, 79: 32, "recompute": 16}


@pytest.mark.parametrize(("save", "words"), [(47, "at least 48"), (0, "at least 48"), (-1, "got -1"),
                                             ("none", "got 'none'")])
def test_impossible_budgets(save, words):
    with pytest.raises(ValueError, match=words):
        recurrent = Recurrent(catalogue.build("lstm", input_size=WIDTH, hidden_size=WIDTH), save=save)
        recurrent(drawn((2, 3, WIDTH)))[0].sum().backward()


def test_an_outer_product_of_inputs_stays_in_the_loop():
    """v k' is larger than v and k: computed in each step, never kept for all of them."""
    program = program_of(Written(*PUBLISHED["mLSTM"]))
    given = Plan(program).pieces.cut.given
    shapes = [program.nodes[i].shape for _, i in given if program.parts[i] == "X"]
    assert max(map(math.prod, shapes)) <= 4
    sunk = sunk_nodes(program)
    assert any(program.nodes[i].op == "mul" and program.nodes[i].shape == (4, 4) for i in sunk)
    assert all(program.parts[i] == "X" for i in sunk)


def test_a_product_of_the_input_stays_outside():
    """Larger than the input, and yet not redone in each step."""
    program = program_of(catalogue.build("lstm", input_size=2, hidden_size=8), (2,))
    assert not any(program.nodes[i].op == "matmul" for i in sunk_nodes(program))
    loop = Plan(program).loop
    assert loop is not None and loop.loop.products == 1


def test_a_loop_without_derivatives_keeps_nothing():
    recurrent = Recurrent(Written(lambda c, x, h: h.detach() * 0.5 + x, {"h": 3}, {}))
    assert recurrent.explain(drawn((1, 1, 3))).bytes_saved == 0
    recurrent = Recurrent(Written(lambda c, x, h: h * 0.5 + x, {"h": 3}, {}))
    assert recurrent.explain(drawn((1, 1, 3))).bytes_saved == 0


@st.composite
def graphs(draw):
    """A small graph whose edges go upwards, with weights, sources and sinks."""
    n = draw(st.integers(1, 8))
    weights = dict(enumerate(draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))))
    pairs = list(itertools.combinations(range(n), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=16)) if pairs else []
    some = st.sets(st.integers(0, n - 1), max_size=3)
    return weights, edges, draw(some), draw(some)


def _separates(cut, edges, sources, sinks):
    reached, stack = set(), [s for s in sources if s not in cut]
    while stack:
        i = stack.pop()
        if i not in reached:
            reached.add(i)
            stack.extend(b for a, b in edges if a == i and b not in cut)
    return not reached & set(sinks)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(graphs())
def test_minimum_cut_against_every_cut(graph):
    weights, edges, sources, sinks = graph
    cut = minimum_cut(weights, edges, sources, sinks)
    assert _separates(cut, edges, sources, sinks)
    every = (set(c) for k in range(len(weights) + 1) for c in itertools.combinations(weights, k))
    lightest = min(sum(weights[i] for i in c) for c in every if _separates(c, edges, sources, sinks))
    assert sum(weights[i] for i in cut) == lightest


def test_minimum_cut_of_a_long_chain():
    """No recursion, and of equal cuts the one nearest the end."""
    n = 3000
    assert minimum_cut(dict.fromkeys(range(n), 5), [(i, i + 1) for i in range(n - 1)], [0], [n - 1]) == {n - 1}


def test_saved_nodes_can_be_given_back():
    """Every value that is kept is one that the loop computes, and the least that a budget allows is found again."""
    for name in ("lstm-layernorm", "gru"):
        loop = _plan(name, "recompute").loop
        for budget in range(BYTES[name][1], BYTES[name][0] + 24, 12):
            saved = saved_nodes(loop, budget)
            assert bytes_saved(loop, saved) <= budget
            assert all(loop.nodes[i].args for i in saved)
    assert_close(torch.tensor(bytes_saved(loop, saved_nodes(loop, 10**6))), torch.tensor(BYTES["gru"][0]))
