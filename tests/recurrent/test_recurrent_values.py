"""Every cell of the catalogue against the plain loop over its own step: outputs, final states, every gradient."""

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, by_eager, by_hand, compare, gradients
from torch.autograd import gradcheck, gradgradcheck

from ostinato import Recurrent

SIZES = [(7, 5), (1, 1), (2, 1), (1, 3)]  # (T, B)


def _leaves(cell, steps, batch):
    x = catalogue.inputs(cell, steps, batch).requires_grad_()
    return x, [v.requires_grad_() for v in catalogue.initial(cell, batch)]


@pytest.mark.parametrize("make", [*(lambda n=n: catalogue.build(n) for n in ("lstm", "skip-two", "slstm")), Fibre])
def test_the_loop_that_others_are_compared_with(make):
    cell = make()
    x, initial = _leaves(cell, 7, 3)
    (a, a_ends), (b, b_ends) = by_eager(cell, x, initial), by_hand(cell, x, initial)
    compare([a, *a_ends], [b, *b_ends], [x, *initial, *cell.parameters()])
    (a, a_ends), (b, b_ends) = by_eager(cell, x, initial, reverse=True), by_hand(cell, x.flip(1), initial)
    compare([a, *a_ends], [b.flip(1), *b_ends], [x, *initial, *cell.parameters()])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", [*catalogue.NAMES, "fibre"])
def test_against_the_plain_loop(name, reverse):
    cell = Fibre() if name == "fibre" else catalogue.build(name)
    rnn = Recurrent(cell, reverse=reverse)
    for steps, batch in SIZES:
        x, initial = _leaves(cell, steps, batch)
        outputs, ends = rnn(x, initial)
        expected, expected_ends = by_eager(cell, x, initial, reverse)
        compare([outputs, *ends], [expected, *expected_ends], [x, *initial, *cell.parameters()], f"T={steps} B={batch}")
    assert rnn.traces == 1


@pytest.mark.parametrize("save", [None, "recompute", 10_000])
@pytest.mark.parametrize("name", ["lstm-layernorm", "gru-before", "slstm", "skip-two"])
def test_what_is_saved_changes_no_number(name, save):
    cell = catalogue.build(name)
    x, initial = _leaves(cell, 5, 2)
    outputs, ends = Recurrent(cell, save=save)(x, initial)
    expected, expected_ends = by_eager(cell, x, initial)
    compare([outputs, *ends], [expected, *expected_ends], [x, *initial, *cell.parameters()])


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_single_precision(name):
    exact, single = catalogue.build(name), catalogue.build(name, dtype=torch.float32)
    wanted, found = [], []
    for cell, results in ((exact, wanted), (single, found)):
        x = catalogue.inputs(exact, 7, 5).to(next(cell.parameters()).dtype).requires_grad_()
        outputs, ends = Recurrent(cell)(x)
        results += [outputs, *ends, *gradients([outputs, *ends], [x, *cell.parameters()])]
    assert_close(found, [v.float() for v in wanted])


FEATURES = {
    "lengths": {"lengths": [0, 3, 2]},
    "mask and reset": {
        "mask": [[True, False, True], [False] * 3, [True] * 3],
        "reset": [[False, True, True], [True] * 3, [False, False, True]],
    },
}


def _problem(cell, reverse, feature):
    """A function of everything that has a gradient, and its arguments."""
    rnn, count = Recurrent(cell, reverse=reverse), len(cell.states)
    keys = [f"cell.{key}" for key, _ in cell.named_parameters()]
    given = {k: torch.tensor(v) for k, v in FEATURES[feature].items()}
    x, initial = _leaves(cell, 3, 3)
    leaves = [x, *initial, *(p.detach().clone().requires_grad_() for p in cell.parameters())]

    def function(x, *rest):
        parameters = dict(zip(keys, rest[count:], strict=True))
        outputs, ends = torch.func.functional_call(rnn, parameters, (x, rest[:count]), given)
        return outputs, *ends

    return function, leaves


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("name", ["lstm", "lstm-layernorm", "gru-before", "skip", "output", "slstm", "fibre"])
def test_derivatives_with_padding_and_resets(name, feature):
    cell = Fibre() if name == "fibre" else catalogue.build(name, hidden_size=3)
    function, leaves = _problem(cell, feature == "lengths", feature)
    torch.manual_seed(1)
    assert gradcheck(function, leaves, fast_mode=True)
    assert gradgradcheck(function, leaves, fast_mode=True)
