# pyright: reportMissingImports=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalSubscript=false
"""Every wrapper around many cells, against the equations written by hand in NumPy, the masks given."""

import catalogue
import numpy as np
import pytest
import torch
from close import assert_close
from comparing import native
from torch import nn
from wrapped import CASES, WIDTH, WRAPPERS, ByHand, wrap

from ostinato import Cell, Recurrent, cells, engine

BATCH, STEPS = 3, 6
HAND = [case for case in CASES if case[0] != "combined"]


def _starts(cell, b):
    """Each state's last D values before the first step, as NumPy: declared or learned."""
    return [v[b].detach().reshape(s.depth, *s.shape).numpy()
            for s, v in zip(cell.states, cell.initial_states(BATCH), strict=True)]


@pytest.mark.parametrize(("wrapper", "name"), HAND)
@pytest.mark.parametrize("training", [True, False])
def test_equations(wrapper, name, training):
    rnn = Recurrent(wrap(wrapper, name)).train(training)
    x = catalogue.inputs(rnn.cell, STEPS, BATCH, WIDTH)
    masks = rnn.draw(x)
    if wrapper == "learned":
        assert all(float(getattr(rnn.cell, f"initial_{s.name}").detach().abs().min()) > 0 for s in rnn.cell.states)
    hand = ByHand(wrapper, name, rnn.cell, masks, training)
    for chosen in ("cpu", "reference"):
        with engine(chosen):
            outputs, ends = rnn(x, drawn=masks)
        for b in range(BATCH):
            wanted, past = hand.run(x[b].numpy(), _starts(rnn.cell, b), b)
            assert_close(outputs[b], wanted, name=f"outputs of {b}")
            for s, end, values in zip(hand.states, ends, past, strict=False):
                last = np.stack(values[-s.depth :]) if s.depth > 1 else values[-1]
                assert_close(end[b], last, name=f"{s.name} of {b}")


@pytest.mark.parametrize("wrapper", [w for w in WRAPPERS if "dropout" in w])
@pytest.mark.parametrize("name", ["lstm", "gru-before", "indrnn"])
def test_dropout_is_nothing_in_evaluation(wrapper, name):
    rnn = Recurrent(wrap(wrapper, name)).eval()
    x = catalogue.inputs(rnn.cell, STEPS, BATCH, WIDTH)
    bare, wrapped = Recurrent(rnn.cell.get_submodule("cell")), rnn(x)
    assert rnn.draw(x) == {}
    assert_close(list(wrapped), list(bare(x)), tolerance=0)


def test_delays_without_one():
    """Zoneout needs the value of the step before, also where the cell reads only older ones."""

    class Older(Cell):
        def __init__(self):
            super().__init__()
            self.W, self.U = nn.Linear(2, 3), nn.Linear(3, 3)
            self.add_state("h", 3, delays=(2,), initial=0.5)
            self.double()

        def step(self, x, h2):
            return torch.tanh(self.W(x) + self.U(h2))

    torch.manual_seed(0)
    rnn = Recurrent(cells.Zoneout(Older(), 0.5))
    x = torch.randn(2, 7, 2, dtype=torch.float64)
    masks = rnn.draw(x)
    past = [torch.full((2, 3), 0.5, dtype=torch.float64)] * 2
    for t in range(7):
        new = torch.tanh(rnn.cell.cell.W(x[:, t]) + rnn.cell.cell.U(past[-2]))
        past.append(torch.where(masks["h"][:, t], past[-1], new))
    outputs, (end,) = rnn(x, drawn=masks)
    assert_close(outputs, torch.stack(past[2:], 1))
    assert_close(end, torch.stack(past[-2:], 1))


def test_an_output_of_its_own_stays_itself():
    class Own(Cell):
        def __init__(self):
            super().__init__()
            self.U = nn.Linear(3, 3)
            self.add_state("h", 3)
            self.double()

        def step(self, x, h):
            h = torch.tanh(x + self.U(h))
            return h, 2 * h

    x = torch.ones(1, 4, 3, dtype=torch.float64)
    cell = Own()
    y, (h,) = Recurrent(cell)(x)
    for wrapped in (cells.Zoneout(cell, 0.0), cells.LearnedInitial(cell), cells.WeightDropout(cell, 0.0)):
        found, (end,) = Recurrent(wrapped)(x)
        assert_close((found, end), (y, h), tolerance=0)
    found, (end,) = Recurrent(cells.LayerNorm(cell))(x)
    assert_close(end, h)
    assert_close(found, torch.layer_norm(y, (3,)))


@native
def test_one_mask_for_all_gates_and_no_more_products():
    wrapped = Recurrent(cells.RecurrentDropout(cells.GRU(2, 4, reset="before"), 0.5))
    x = torch.zeros(3, 9, 2)
    assert {name: list(m.shape) for name, m in wrapped.draw(x).items()} == {"state.U.weight": [3, 4]}
    bare = Recurrent(wrapped.cell.get_submodule("cell"))
    assert wrapped.explain(x).products == bare.explain(x).products == 2
    assert wrapped.explain(x).engine == "cpu"
