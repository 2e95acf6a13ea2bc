"""Each initialiser against what it promises; and its refusals."""

import pytest
import torch
from close import assert_close
from torch import nn

from ostinato import cells
from ostinato.cells import initialise


def test_identity():
    cell = cells.GRU(2, 3)
    initialise.identity(cell.U, 0.5, gates=3)
    assert_close(cell.U.weight, 0.5 * torch.eye(3).repeat(3, 1), tolerance=0)
    assert_close(cell.U.bias, torch.zeros(9), tolerance=0)
    irnn = cells.create("irnn", 20, 40)
    assert_close(irnn.get_parameter("U.weight"), torch.eye(40), tolerance=0)
    assert 5e-4 < float(irnn.get_parameter("W.weight").detach().std()) < 2e-3
    assert_close(irnn.get_parameter("W.bias"), torch.zeros(40), tolerance=0)


def test_orthogonal_keeps_lengths():
    cell = cells.LSTM(2, 5, dtype=torch.float64)
    nn.init.normal_(cell.U.weight)
    initialise.orthogonal(cell.U, gates=4)
    h = torch.randn(7, 5, dtype=torch.float64)
    for block in cell.U.weight.detach().chunk(4):
        assert_close((h @ block.T).norm(dim=1), h.norm(dim=1))


def test_glorot_fans_are_those_of_each_gate():
    linear = nn.Linear(30, 4 * 20)
    initialise.glorot(linear, gates=4)
    limit = (6 / (30 + 20)) ** 0.5
    weight = linear.weight.detach()
    assert 0.97 * limit < float(weight.abs().max()) <= limit
    assert float(weight.std()) == pytest.approx(limit / 3**0.5, rel=0.05)
    assert_close(linear.bias, torch.zeros(80), tolerance=0)


def test_spectral_radius():
    cell = cells.GRU(2, 6, reset="before")
    initialise.spectral_radius(cell.U, 1.25, gates=3)
    for block in cell.U.weight.detach().chunk(3):
        assert float(torch.linalg.eigvals(block).abs().max()) == pytest.approx(1.25, rel=1e-5)


KEPT = {"lstm": (1, 4), "lstm-peephole": (1, 4), "lstm-layernorm": (1, 4), "lstm-cifg": (0, 3), "janet": (0, 2),
        "slstm": (1, 4), "gru": (1, 3), "gru-layernorm": (1, 3), "ugrnn": (1, 2), "ligru": (0, 2), "minlstm": (0, 3),
        "fastgrnn": (0, 1), "convlstm": (1, 4), "lstm-mogrifier": (1, 4)}
WRITTEN = {"lstm": (0, 4), "lstm-1997": (0, 3), "mgu": (0, 2), "mingru": (0, 2), "minlstm": (1, 3)}
BIAS = {"lstm-layernorm": "norm_W.bias", "gru-layernorm": "b", "fastgrnn": "b_z"}


def _gate(cell, name, place):
    at, gates = place
    return cell.get_parameter(BIAS.get(name, "W.bias")).detach().chunk(gates)[at]


@pytest.mark.parametrize("name", sorted({*KEPT, *WRITTEN}))
def test_chrono(name):
    torch.manual_seed(5)
    cell = cells.create(name, 2, 400, **({"grid": (1, 1)} if name == "convlstm" else {}))
    initialise.chrono(cell, t_max=101)
    if name in KEPT:
        bias = _gate(cell, name, KEPT[name])
        taus = 1 + bias.exp()  # sigmoid(b) keeps for 1 / (1 - sigmoid(b)) steps
        assert 2 <= taus.min() < 4 and 98 < taus.max() <= 101.001
        assert float(taus.mean()) == pytest.approx(51.5, rel=0.1)  # uniform, not its logarithm
    if name in WRITTEN:
        bias = _gate(cell, name, WRITTEN[name])
        assert 98 < 1 + (-bias).exp().max() <= 101.001
        if name in KEPT:
            assert_close(bias, -_gate(cell, name, KEPT[name]), tolerance=0)


@pytest.mark.parametrize("name", sorted({*KEPT, *WRITTEN}))
def test_forget_bias(name):
    cell = cells.create(name, 2, 5)
    before = {key: value.clone() for key, value in cell.named_parameters()}
    initialise.forget_bias(cell, 1.5)
    kept = name in KEPT
    place = KEPT[name] if kept else WRITTEN[name]
    assert_close(_gate(cell, name, place), torch.full((5,), 1.5 if kept else -1.5), tolerance=0)
    changed = {key for key, value in cell.named_parameters() if not torch.equal(value, before[key])}
    assert changed == {BIAS.get(name, "W.bias")}
    at, gates = place
    others = [k for k in range(gates) if k != at]
    parts = before[BIAS.get(name, "W.bias")].chunk(gates)
    for k in others:
        assert_close(_gate(cell, name, (k, gates)), parts[k], tolerance=0)


@pytest.mark.parametrize(("draw", "message"), [
    (lambda: initialise.chrono(cells.LSTM(2, 3), 2), "t_max must be finite and above 2, got 2"),
    (lambda: initialise.chrono(cells.LSTM(2, 3), float("nan")), "t_max must be"),
    (lambda: initialise.chrono(cells.Elman(2, 3), 9), "needs a cell with a gate that keeps or writes; Elman has none"),
    (lambda: initialise.chrono(cells.GRU(2, 3, bias=False), 9), "chrono needs a cell with a bias; GRU has none"),
    (lambda: initialise.forget_bias(cells.IndRNN(2, 3)), "forget_bias needs a cell with a gate"),
    (lambda: initialise.identity(cells.GRU(2, 3).U), r"needs square maps, got 1 of \[9, 3\]; gates= says"),
    (lambda: initialise.spectral_radius(cells.Elman(2, 3).W, 1.0), "spectral_radius needs square maps"),
])
def test_refusals(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_nothing_is_drawn_on_the_meta_device():
    cell = cells.Elman(2, 3, device="meta")
    initialise.spectral_radius(cell.U, 1.0)
    initialise.orthogonal(cell.U)
    assert cell.U.weight.is_meta
