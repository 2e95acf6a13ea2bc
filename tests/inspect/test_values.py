"""Gates, states, time constants and saliency are those of the step."""

from __future__ import annotations

import math

import pytest
import torch
from catalogue import build
from close import assert_close
from torch import Tensor

from ostinato import Recurrent, cells
from ostinato.errors import InputError
from ostinato.inspect import gates, saliency, states, timescales


def inputs(steps: int = 7) -> Tensor:
    return torch.randn(3, steps, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def lstm_by_hand(rnn: Recurrent, x: Tensor) -> dict[str, Tensor]:
    """The three gates of an LSTM, from its published equations."""
    W, b, U = (rnn.cell.get_parameter(n).detach() for n in ("W.weight", "W.bias", "U.weight"))
    h = rnn(x)[0].detach()
    before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
    i, f, _, o = (x @ W.T + b + before @ U.T).chunk(4, -1)
    return {"i": i.sigmoid(), "f": f.sigmoid(), "o": o.sigmoid()}


def test_gates_and_states_of_an_lstm() -> None:
    rnn, x = Recurrent(build("lstm")), inputs()
    found, expected = gates(rnn, x), lstm_by_hand(rnn, x)
    assert_close(dict(found.values), expected)
    assert found.keep == "f"
    assert_close(found.half_life(), -math.log(2) / expected["f"].log().mean((0, 1)))
    outputs, _, every = rnn(x, return_all_states=True)
    assert_close(states(rnn, x)["h"], outputs.detach())
    assert_close(states(rnn, x)["C"], every["C"].detach())


def test_padding_and_reverse() -> None:
    rnn, x = Recurrent(build("gru"), reverse=True), inputs()
    both, alone = gates(rnn, x, lengths=[7, 4, 5]), gates(rnn, x[1:2, :4])
    assert_close(both["z"][1, :4], alone["z"][0])
    assert bool(both["z"][1, 4:].isnan().all()) and not bool(both["z"][0].isnan().any())
    assert bool(states(rnn, x, lengths=[7, 4, 5])["h"][2, 5:].isnan().all())


def test_initial_states_count() -> None:
    rnn, x = Recurrent(build("lstm")), inputs()
    _, first = rnn(x[:, :3])
    assert_close(gates(rnn, x[:, 3:], first)["f"], gates(rnn, x)["f"][:, 3:])


def test_every_sigmoid_is_found_in_a_cell_that_names_none() -> None:
    found = gates(Recurrent(build("rhn")), inputs())
    assert list(found.values) == ["σ1", "σ2"] and all(0 <= v.min() <= v.max() <= 1 for v in found.values.values())


def test_saturation_and_stuck_units() -> None:
    cell = cells.LSTM(3, 4).double()
    with torch.no_grad():
        cell.W.bias[4] = 40.0  # the forget gate of the first unit
        cell.W.bias[1] = -40.0  # the input gate of the second
    found = gates(Recurrent(cell), inputs())
    assert found.stuck()["f"] == [0] and found.stuck()["i"] == [1] and found.stuck()["o"] == []
    expected = lstm_by_hand(Recurrent(cell), inputs())
    for name, (low, high) in found.saturation().items():
        assert low == (expected[name] < 0.05).double().mean() and high == (expected[name] > 0.95).double().mean()
    assert found.saturation()["f"][1] >= 0.25 <= found.saturation()["i"][0]


@pytest.mark.parametrize("name", ["lstm", "lstm-layernorm", "slstm"])
def test_time_constants_are_those_of_the_forget_gate(name: str) -> None:
    rnn, x = Recurrent(build(name)), inputs()
    found = timescales(rnn, x)
    memory = "C" if "C" in found.values else "c"
    assert_close(found[memory], 1 / (1 - gates(rnn, x)["f"]))


def test_time_constants_of_leaky_units_are_what_they_were_made_with() -> None:
    cell = build("leaky-learned-units")
    found = timescales(Recurrent(cell), inputs())["h"]
    assert isinstance(cell, cells.Leaky)
    assert_close(found, cell.time_constants().detach().expand_as(found))


def test_time_constants_of_a_gru_are_those_of_its_update_gate() -> None:
    rnn, x = Recurrent(build("gru-before")), inputs()
    assert_close(timescales(rnn, x)["h"], 1 / (1 - gates(rnn, x)["z"]))


def test_a_simple_network_has_no_elementwise_memory() -> None:
    assert dict(timescales(Recurrent(build("elman")), inputs()).values) == {}


def test_time_constants_at_padding() -> None:
    found = timescales(Recurrent(build("lstm")), inputs(), lengths=[7, 2, 4])["C"]
    assert bool(found[1, 2:].isnan().all()) and bool(found[1, :2].isfinite().all())


def test_saliency_is_autograds() -> None:
    rnn, x = Recurrent(build("gru")), inputs()
    found = saliency(rnn, x, lambda result: result[0][:, -1, 2].sum(), lengths=torch.tensor([7, 7, 5]))
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(rnn(leaf, lengths=torch.tensor([7, 7, 5]))[0][:, -1, 2].sum(), leaf)
    assert_close(found.gradient, expected)
    assert_close(found.norms, expected.norm(dim=2))
    assert_close(found.contributions, (expected * x).sum(2))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: gates(Recurrent(build("elman")), inputs()), "Elman has no gate"),
    (lambda: gates(Recurrent(build("lstm")), inputs(), tokens=["a"]), "one for each of the 7 steps, got 1"),
    (lambda: gates(Recurrent(build("rhn")), inputs()).half_life(), "no gate None that keeps; there are σ1"),
    (lambda: states(Recurrent(cells.Zoneout(build("lstm"), 0.5)), inputs()), "call eval"),
    (lambda: saliency(Recurrent(build("gru")), torch.ones(2, 3), lambda r: r[0].sum()), r"float32 \[2, 3\]"),
    (lambda: saliency(Recurrent(build("gru")), inputs(), lambda r: r[0]), r"must be one number, got \[3, 7, 5\]"),
])
def test_what_cannot_be_shown_is_refused(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
