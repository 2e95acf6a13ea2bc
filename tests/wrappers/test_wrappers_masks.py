# pyright: reportMissingImports=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalSubscript=false
"""The masks: seen, given, reproducible, of the right statistics; and the errors about them."""

import pytest
import torch
from close import assert_close
from loops import Stubborn
from torch import nn

from ostinato import Cell, FallbackError, Recurrent, cells, strict
from ostinato.noise import bernoulli

X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


def _rnn(**given):
    torch.manual_seed(1)
    inside = cells.RecurrentDropout(cells.WeightDropout(cells.GRU(4, 6), 0.5), 0.25)
    return Recurrent(cells.Zoneout(inside, 0.3), **given)


def test_the_same_seed_gives_the_same_masks_everywhere():
    rnn = _rnn()
    torch.manual_seed(2)
    masks = rnn.draw(X)
    assert {k: list(m.shape) for k, m in masks.items()} == {
        "h": [3, 5, 6], "cell.state.cell.U.weight": [3, 6], "cell.cell.weight.U.weight": [18, 6]}
    torch.manual_seed(2)
    outputs, _ = rnn(X)
    assert torch.equal(outputs, rnn(X, drawn=masks)[0])
    again = rnn.draw(X, generator=torch.Generator().manual_seed(7))
    other = rnn.draw(X, generator=torch.Generator().manual_seed(7))
    assert all(torch.equal(again[k], other[k]) for k in masks)
    assert not any(torch.equal(again[k], masks[k]) for k in masks)
    torch.manual_seed(2)
    assert_close(rnn(X, lengths=[5, 2, 4])[0][0], outputs[0])  # whatever the way of running


def test_the_layout_is_the_callers():
    one, two = _rnn(), _rnn(batch_first=False)
    masks = one.draw(X)
    turned = masks | {"h": masks["h"].transpose(0, 1)}
    assert two.draw(X.transpose(0, 1))["h"].shape == (5, 3, 6)
    assert_close(two(X.transpose(0, 1), drawn=turned)[0].transpose(0, 1), one(X, drawn=masks)[0])


def test_some_masks_given_and_the_others_drawn():
    rnn = _rnn()
    masks = rnn.draw(X)
    h = {"h": torch.ones_like(masks["h"])}
    outputs, _ = rnn(X, drawn=h)
    assert outputs.abs().max() == 0  # every unit keeps the zeros it began with


@pytest.mark.parametrize("p", [0.0, 0.002, 0.1, 0.5, 0.9, 0.998, 1.0])
def test_statistics(p):
    torch.manual_seed(3)
    mask = bernoulli((400, 500), p, torch.device("cpu"))
    assert abs(mask.double().mean() - p) <= 4 * (p * (1 - p) / 200_000) ** 0.5 + 1e-5
    if 0 < p < 1:
        a = mask.double() - p
        for shifted in (a.roll(1, 0), a.roll(1, 1), a.roll(4, 1), a.roll((1, 3), (0, 1))):
            assert abs((a * shifted).mean() / (p * (1 - p))) < 4 / 200_000**0.5
        assert mask.double().mean(0).std() < 1.3 * (p * (1 - p) / 400) ** 0.5


def test_the_expectation_is_kept():
    torch.manual_seed(4)
    cell = cells.RecurrentDropout(cells.Leaky(1, 2000, tau=1.0), 0.3)
    with torch.no_grad():
        cell.cell.U.weight.copy_(torch.eye(2000))
    h = torch.full((1, 2000), 0.01)
    assert abs(cell(torch.zeros(1, 1), h)[0].mean() / 0.01 - 1) < 0.06


def test_zoneout_in_evaluation_is_the_mean_over_masks():
    torch.manual_seed(5)
    cell = cells.Zoneout(cells.GRU(4, 3), 0.3).double()
    x, h = torch.randn(1, 4).double(), torch.randn(1, 3).double()
    many = cell(x.expand(20000, 4), h.expand(20000, 3))[0].mean(0)
    cell.eval()
    assert (many - cell(x, h)[0][0]).abs().max() < 0.02


def test_masks_change_with_sequences_calls_and_steps():
    rnn = Recurrent(cells.RecurrentDropout(cells.Elman(4, 60), 0.5))
    masks = [rnn.draw(X)["state.U.weight"] for _ in range(2)]
    assert not torch.equal(masks[0], masks[1]) and not torch.equal(masks[0][0], masks[0][1])
    step = Recurrent(cells.Zoneout(cells.Elman(4, 60), 0.5)).draw(X)["h"]
    assert not torch.equal(step[0, 0], step[0, 1])


def test_a_change_of_the_probability_is_noticed():
    rnn = Recurrent(cells.RecurrentDropout(cells.Elman(4, 60), 0.5))
    assert not rnn.draw(X)["state.U.weight"].all()
    rnn.cell.p = 0.0
    assert rnn.draw(X) == {}


class Noisy(Stubborn):
    """A cell that cannot be traced, in which everything is asked for."""

    def step(self, x, h):
        kept = self.draw("kept", h, 0.5, "sequence") * self.draw("weight", self.W.weight[0], 0.5, "call")
        return super().step(x * self.draw("each", x, 0.5), h * kept)


def test_a_stubborn_cell_keeps_its_masks_too():
    rnn, x = Recurrent(Noisy()), torch.randn(2, 6, 3, dtype=torch.float64)
    torch.manual_seed(1)
    masks = rnn.draw(x)
    assert {k: list(m.shape) for k, m in masks.items()} == {"each": [2, 6, 3], "kept": [2, 3], "weight": [3]}
    torch.manual_seed(1)
    outputs, _ = rnn(x)
    assert_close(rnn(x, drawn=masks)[0], outputs, tolerance=0)
    h = torch.zeros(2, 3, dtype=torch.float64)
    for t in range(6):
        h = Stubborn.step(rnn.cell, x[:, t] * masks["each"][:, t], h * (masks["kept"] * masks["weight"]))
        assert_close(outputs[:, t], h)
    stream = rnn.stream()
    kept = []
    for t in range(2):
        stream(x[:, t : t + 1])
        kept.append(dict(stream._drawn))
    assert kept[0].keys() == {"kept", "weight"} and all(kept[0][k] is kept[1][k] for k in kept[0])


@pytest.mark.parametrize(("drawn", "error", "message"), [
    ({"k": torch.ones(3).bool()}, ValueError, r"no mask is called 'k' here; there are: cell\.cell\.weight\..*h"),
    ({"h": torch.ones(3, 5, 6)}, TypeError, r"the mask 'h' must be a bool tensor \[3, 5, 6\], got torch\.float32"),
    ({"h": [True]}, TypeError, "must be a bool tensor .* got a list"),
    ({"h": torch.ones(5, 3, 6).bool()}, ValueError, r"'h' must be \[3, 5, 6\], got \[5, 3, 6\]"),
    ({"cell.state.cell.U.weight": torch.ones(1, 6).bool()}, ValueError, r"must be \[3, 6\], got \[1, 6\]"),
])
def test_wrong_masks(drawn, error, message):
    with pytest.raises(error, match=message):
        _rnn()(X, drawn=drawn)


def test_no_masks_in_evaluation():
    rnn = _rnn().eval()
    assert rnn.draw(X) == {}
    with pytest.raises(ValueError, match="no mask is called 'h' here; there are: none"):
        rnn(X, drawn={"h": torch.ones(3, 5, 6).bool()})


class Odd(Cell):
    """Asks for a mask in a way of its own."""

    def __init__(self, ask):
        super().__init__()
        self.add_state("h", 3)
        self.ask = ask

    def step(self, x, h):
        return torch.tanh(h + x * self.ask(self, x, h))


@pytest.mark.parametrize(("ask", "message"), [
    (lambda c, x, h: c.draw("m", x, 1.5), "probability of 'm' must lie between 0 and 1, got 1.5"),
    (lambda c, x, h: c.draw("m", x, 0.5, "batch"), "each must be one of step, sequence, call, got 'batch'"),
    (lambda c, x, h: c.draw("m", x, 0.5) * c.draw("m", h, 0.25), "the mask 'm' is asked for as .* and as "),
    (lambda c, x, h: cells.Elman(3, 3).draw("m", x, 0.5), "by a Elman that is no part of the cell"),
])
def test_wrong_asking(ask, message):
    with pytest.raises((ValueError, FallbackError), match=message), strict():
        Recurrent(Odd(ask))(torch.zeros(1, 2, 3))


def test_a_stepper_has_no_mask_of_each_step():
    with pytest.raises(FallbackError, match="Zoneout draws a mask for every step"):
        _rnn().stepper(X[:, 0])
    rnn = Recurrent(cells.RecurrentDropout(cells.GRU(4, 6), 0.5))
    masks = rnn.draw(X)
    stepper = rnn.stepper(X[:, 0], drawn=masks)
    found = [stepper(v).clone() for v in X.unbind(1)]
    assert_close(torch.stack(found, 1), rnn(X, drawn=masks)[0].detach())
    with torch.no_grad():
        rnn.cell.get_parameter("cell.U.weight").mul_(0.5)
    stepper.load()
    found = [stepper(v).clone() for v in X.unbind(1)]  # packed again, with the masks it had
    assert_close(torch.stack(found, 1), rnn(X, drawn=masks)[0].detach())


class Own(Cell):
    """A user's cell with a mask: it need not be a wrapper."""

    def __init__(self):
        super().__init__()
        self.U = nn.Linear(3, 3)
        self.add_state("h", 3)

    def step(self, x, h):
        return torch.tanh(x + self.U(h) * self.draw("m", h, 0.5, "sequence"))


def test_a_users_cell_draws():
    rnn, x = Recurrent(Own()), torch.randn(2, 4, 3)
    masks = rnn.draw(x)
    h = torch.zeros(2, 3)
    for t in range(4):
        h = torch.tanh(x[:, t] + rnn.cell.U(h) * masks["m"])
    assert_close(rnn(x, drawn=masks)[0][:, -1], h)
