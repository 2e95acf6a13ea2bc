# pyright: reportMissingImports=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalSubscript=false
"""Wrappers given what they cannot go around."""

import pytest
import torch
from close import assert_close
from loops import Tagger
from torch import nn

from ostinato import Cell, Recurrent, cells


class Bare(Cell):
    """h[t] = tanh(x[t] + h[t-1]): no recurrent weights."""

    def __init__(self):
        super().__init__()
        self.add_state("h", 3)

    def step(self, x, h):
        return torch.tanh(x + h)


class Strange(Bare):
    """Its recurrent weight is in ``how``."""

    def __init__(self, how):
        super().__init__()
        self.U, self.how = nn.Parameter(torch.eye(3)), how

    def step(self, x, h):
        return torch.tanh(x + self.how(self.U, h))


LSTM = cells.LSTM(3, 3)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: cells.Zoneout(cells.LSTM, 0.5), TypeError, "Zoneout goes around an ostinato.Cell, got the class LSTM"),
    (lambda: cells.Residual(nn.LSTM(3, 3)), TypeError, "Residual goes around an ostinato.Cell, got a LSTM"),
    (lambda: cells.LearnedInitial(Cell()), ValueError, "Cell declares no state"),
    (lambda: cells.Zoneout(LSTM, 1.5), ValueError, "p of 'h' must be a probability from 0 to 1, got 1.5"),
    (lambda: cells.Zoneout(LSTM, {"c": 0.5}), ValueError, "LSTM has no state 'c'; it has h, C"),
    (lambda: cells.RecurrentDropout(LSTM, -1), ValueError, "p must be a probability from 0 to 1, got -1"),
    (lambda: cells.RecurrentDropout(LSTM, 0.5, input_p=True), ValueError, "input_p must be a probability .* got True"),
    (lambda: cells.WeightDropout(Bare(), 0.5), ValueError, "Bare has no recurrent weights: no .* of U among none"),
    (lambda: cells.LayerNorm(LSTM, "c"), ValueError, "of must be input, output, h, C, or several of these, got 'c'"),
    (lambda: cells.LayerNorm(LSTM, eps=0.0), ValueError, "eps must be positive"),
    (lambda: cells.StackedCells([]), ValueError, "a stack needs at least one cell"),
    (lambda: cells.StackedCells([LSTM, LSTM]), ValueError, "a cell occurs twice"),
    (lambda: cells.StackedCells([LSTM, Two()]), ValueError, "only the lowest cell may have more .* number 1 takes 2"),
    (lambda: cells.LearnedInitial(LSTM, ["c"]), ValueError, "LSTM has no state 'c'; it has h, C"),
])
def test_refused_when_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


class Two(Bare):
    """Two inputs."""

    inputs = 2

    def step(self, x, y, h):
        return torch.tanh(x * y + h)


@pytest.mark.parametrize(("cell", "message"), [
    (cells.Residual(cells.Elman(3, 4)), r"Residual adds the input to the output of Elman: .* \[1, 3\] and \[1, 4\]"),
    (cells.RecurrentDropout(Strange(lambda U, h: torch.einsum("bk,kn->bn", h, U)), 0.5), "does not know what einsum"),
    (cells.RecurrentDropout(Strange(lambda U, h: h), 0.5), "Strange maps nothing by its recurrent weights U"),
    (cells.RecurrentDropout(Strange(lambda U, h: torch.cat([U, U], 1)[:, :3] + h), 0.5), "does not know|nothing by"),
])
def test_refused_in_a_step(cell, message):
    for step in (lambda: cell(torch.zeros(1, 3), torch.zeros(1, *cell.states[0].shape)),):
        with pytest.raises(ValueError, match=message):
            step()


def test_a_cell_with_two_inputs_says_so():
    x = torch.randn(2, 4, 3)
    wrapped, bare = (Recurrent(c) for c in (cells.Zoneout(Two(), 0.0), Two()))
    assert_close(wrapped([x, 2 * x])[0], bare([x, 2 * x])[0], tolerance=0)
    silent = Tagger()
    words, values, c = torch.zeros(2, 4, dtype=torch.long), torch.randn(2, 4, 3).double(), torch.randn(2, 2).double()
    with pytest.raises(ValueError, match=r"takes 1 input\(s\) and then the states h \[4\]; .* inputs = 2"):
        cells.Zoneout(silent, 0.5)(words[:, 0], values[:, 0], torch.zeros(2, 4).double(), c)
    silent.inputs = 2
    wanted = Recurrent(silent)([words, values], constants=c)[0]
    for wrapped in (cells.LearnedInitial(silent), cells.Zoneout(silent, 0.0), cells.WeightDropout(silent, 0.0),
                    cells.StackedCells([silent])):
        assert_close(Recurrent(wrapped)([words, values], constants=c)[0], wanted)


@pytest.mark.parametrize("how", [
    lambda U, h: h @ U, lambda U, h: h.matmul(U.t()), lambda U, h: nn.functional.linear(h, (2 * U)[:3]),
    lambda U, h: h.mm(torch.where(U > 2, 0.0, U).T),
])
def test_products_in_many_forms(how):
    cell = cells.RecurrentDropout(Strange(how), 0.5)
    with torch.no_grad():
        cell.cell.U.copy_(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
    rnn, x = Recurrent(cell), torch.randn(2, 4, 3)
    masks = rnn.draw(x)
    h = torch.zeros(2, 3)
    for t in range(4):
        h = torch.tanh(x[:, t] + how(cell.cell.U, h * masks["state.U"] / 0.5))
    assert_close(rnn(x, drawn=masks)[0][:, -1], h)
