"""The cells that torch.nn has too: the same parameters give the same outputs, final states and gradients."""

import catalogue
import pytest
import torch
from close import assert_close
from torch import nn

from ostinato import Recurrent

STEPS, BATCH, WIDTH, HIDDEN = 9, 4, 3, 5

TWIN_OF = {
    "weight_ih_l0": "W.weight",
    "weight_hh_l0": "U.weight",
    "weight_hr_l0": "P.weight",
    "bias_ih_l0": "W.bias",
    "bias_hh_l0": "U.bias",
}


def _only(states):
    """torch's modules take and return a single state without its tuple."""
    return states[0] if len(states) == 1 else tuple(states)


def _pair(name):
    """Our cell, and torch's module with its parameters and one layer."""
    cell = catalogue.build(name, input_size=WIDTH, hidden_size=HIDDEN)
    kinds = {
        "elman": lambda bias: nn.RNN(WIDTH, HIDDEN, bias=bias, batch_first=True),
        "elman-relu": lambda bias: nn.RNN(WIDTH, HIDDEN, bias=bias, batch_first=True, nonlinearity="relu"),
        "lstm": lambda bias: nn.LSTM(WIDTH, HIDDEN, bias=bias, batch_first=True),
        "lstm-projected": lambda bias: nn.LSTM(WIDTH, HIDDEN, bias=bias, batch_first=True, proj_size=HIDDEN - 2),
        "gru": lambda bias: nn.GRU(WIDTH, HIDDEN, bias=bias, batch_first=True),
    }
    theirs = kinds[name.removesuffix("-no-bias")](not name.endswith("-no-bias")).double()
    ours = dict(cell.named_parameters())
    for key, value in TWIN_OF.items():
        if value in ours:
            theirs.get_parameter(key).data.copy_(ours[value])
    if "W.bias" in ours and "U.bias" not in ours:
        # One bias of ours is the sum of two of theirs: unequal parts show that both count.
        theirs.get_parameter("bias_ih_l0").data.copy_(0.75 * ours["W.bias"])
        theirs.get_parameter("bias_hh_l0").data.copy_(0.25 * ours["W.bias"])
    return cell, theirs


TWINS = ["elman", "elman-relu", "elman-no-bias", "lstm", "lstm-projected", "lstm-no-bias", "gru", "gru-no-bias"]


@pytest.mark.parametrize("name", TWINS)
def test_a_run_equals_torch(name):
    cell, theirs = _pair(name)
    x, states = catalogue.inputs(cell, STEPS, BATCH), catalogue.initial(cell, BATCH)
    outputs, ends = Recurrent(cell)(x, states)
    expected, last = theirs(x, _only([s[None] for s in states]))
    assert_close(outputs, expected, tolerance=1e-12)
    assert_close(_only([v[None] for v in ends]), last, tolerance=1e-12)


@pytest.mark.parametrize("name", TWINS)
def test_gradients_equal_torch(name):
    cell, theirs = _pair(name)
    weights = torch.randn(BATCH, STEPS, cell.states[0].shape[0], dtype=torch.float64)
    ours_x = catalogue.inputs(cell, STEPS, BATCH).requires_grad_()
    their_x = ours_x.detach().clone().requires_grad_()
    (Recurrent(cell)(ours_x)[0] * weights).sum().backward()
    (theirs(their_x)[0] * weights).sum().backward()
    assert_close(ours_x.grad, their_x.grad, tolerance=1e-12)
    ours = dict(cell.named_parameters())
    for key, value in TWIN_OF.items():
        if value in ours:
            assert_close(ours[value].grad, theirs.get_parameter(key).grad, tolerance=1e-12, name=value)


@pytest.mark.parametrize(
    ("name", "kind"), [("elman", nn.RNNCell), ("lstm", nn.LSTMCell), ("gru", nn.GRUCell)]
)
def test_a_step_equals_torchs_cell(name, kind):
    cell, layer = _pair(name)
    theirs = kind(WIDTH, HIDDEN).double()
    theirs.load_state_dict({key.removesuffix("_l0"): value for key, value in layer.state_dict().items()})
    x, states = catalogue.inputs(cell, 1, BATCH)[:, 0], catalogue.initial(cell, BATCH)
    assert_close(cell(x, *states), theirs(x, _only(states)), tolerance=1e-12)
