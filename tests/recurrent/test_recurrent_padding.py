"""Lengths, masks and resets: the same as each sequence by itself, without its padding, cut at its resets."""

import math

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, Tagger, alone, compare, gradients

from ostinato import Cell, Recurrent, engine

STEPS = 6
CELLS = {
    **{
        name: (lambda name=name: catalogue.build(name))
        for name in ("lstm", "gru-before", "skip-two", "output", "slstm", "narx", "clockwork")
    },
    "fibre": Fibre,
    "stubborn": Stubborn,  # runs step by step
}
MASKS = {  # one row a sequence
    "lengths": ["111100", "000000", "111111", "100000", "111110"],
    "left": ["001111", "111111", "000001"],
    "holes": ["101101", "010010", "000000", "111111", "011110"],
    "empty": ["000000", "000000"],
}
RESETS = ["010010", "111111", "000000", "100001", "000100"]


@pytest.fixture(autouse=True, params=["preferred", "reference"])
def each_engine(request):
    """The CPU engine does without the padding; the reference engine holds the states where there is some."""
    if request.param == "preferred":
        yield
        return
    with engine("reference"):
        yield


def _flags(rows):
    return torch.tensor([[c == "1" for c in row] for row in rows])


def _problem(cell, batch):
    x = catalogue.inputs(cell, STEPS, batch).requires_grad_()
    return x, [v.requires_grad_() for v in catalogue.initial(cell, batch)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_padding(cell, kind, reverse):
    rnn = Recurrent(CELLS[cell](), reverse=reverse)
    live = _flags(MASKS[kind])
    x, initial = _problem(rnn.cell, len(live))
    leaves = [x, *initial, *rnn.cell.parameters()]
    outputs, ends = rnn(x, initial, mask=live)
    expected, expected_ends = alone(rnn, x, live, initial)
    compare([outputs, *ends], [expected, *expected_ends], leaves)
    assert not outputs[~live].any()
    assert not gradients([outputs, *ends], leaves)[0][~live].any()
    for b in range(len(live)):
        if not live[b].any():
            assert all(torch.equal(e[b], v[b]) for e, v in zip(ends, initial, strict=True))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["none", "lengths", "holes"])
@pytest.mark.parametrize("cell", CELLS)
def test_resets(cell, kind, reverse):
    rnn = Recurrent(CELLS[cell](), reverse=reverse)
    reset = _flags(RESETS)
    live = _flags(MASKS[kind]) if kind != "none" else torch.ones_like(reset)
    x, initial = _problem(rnn.cell, 5)
    outputs, ends = rnn(x, initial, mask=None if kind == "none" else live, reset=reset)
    expected, expected_ends = alone(rnn, x, live, initial, reset)
    compare([outputs, *ends], [expected, *expected_ends], [x, *initial, *rnn.cell.parameters()])


@pytest.mark.parametrize("cell", ["lstm", "slstm", "fibre", "stubborn"])
def test_a_reset_equals_two_calls(cell):
    rnn = Recurrent(CELLS[cell]())
    x, initial = _problem(rnn.cell, 2)
    at = torch.zeros(2, STEPS, dtype=torch.bool).index_fill(1, torch.tensor(4), True)
    outputs, ends = rnn(x, initial, reset=at)
    first, second = rnn(x[:, :4], initial), rnn(x[:, 4:])
    compare([outputs, *ends], [torch.cat([first[0], second[0]], 1), *second[1]], [x, *rnn.cell.parameters()])


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda here"))]


@pytest.mark.parametrize("device", DEVICES)
def test_lengths_in_any_form(device):
    rnn = Recurrent(catalogue.build("gru"))
    values = [3, 0, 6, 1]
    x, initial = _problem(rnn.cell, 4)
    wanted = rnn(x, initial, mask=torch.arange(STEPS) < torch.tensor(values)[:, None])
    forms = [torch.tensor(values, dtype=dtype, device=device) for dtype in (torch.int64, torch.int32, torch.uint8)]
    for lengths in (*forms, values, tuple(values)):
        assert_close(rnn(x, initial, lengths=lengths), wanted, tolerance=0.0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e300])
@pytest.mark.parametrize("cell", CELLS)
def test_what_the_padding_holds_does_not_matter(cell, junk, reverse):
    rnn = Recurrent(CELLS[cell](), reverse=reverse)
    live = _flags(MASKS["holes"])
    x, initial = _problem(rnn.cell, 5)
    dirty = x.detach().masked_fill(~live[:, :, None], junk).requires_grad_()
    results = []
    for value in (x, dirty):
        outputs, ends = rnn(value, initial, mask=live)
        results.append([outputs, *ends, *gradients([outputs, *ends], [value, *initial, *rnn.cell.parameters()])])
    assert_close(results[1], results[0], tolerance=0.0)
    assert not results[1][len(ends) + 1][~live].any()


@pytest.mark.parametrize("junk", [-100, 10**12])
def test_indices_in_the_padding_may_be_out_of_range(junk):
    rnn = Recurrent(Tagger())
    live = _flags(MASKS["holes"])
    words = torch.arange(30).reshape(5, 6) % 6
    x, constants = torch.randn(5, 6, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    wanted = rnn((words, x), mask=live, constants=constants)
    found = rnn((words.masked_fill(~live, junk), x), mask=live, constants=constants)
    assert_close(found, wanted, tolerance=0.0)
    parameters = list(rnn.cell.parameters())
    compare([found[0]], [wanted[0]], parameters)


@pytest.mark.parametrize("cell", ["lstm", "skip-two", "fibre", "stubborn"])
def test_all_states_with_padding(cell):
    rnn = Recurrent(CELLS[cell]())
    live = _flags(MASKS["lengths"])
    x, initial = _problem(rnn.cell, 5)
    _, ends, states = rnn(x, initial, mask=live, return_all_states=True)
    for s, end in zip(rnn.cell.states, ends, strict=True):
        assert not states[s.name][~live].any()
        last = states[s.name][torch.arange(5), (live.sum(1) - 1).clamp(min=0)]
        now = end[:, -1] if s.depth > 1 else end
        assert_close(last[live.any(1)], now[live.any(1)], tolerance=0.0)


class Directed(Cell):
    """h[t] = tanh(W log(x[t] / |x[t]|) + h[t-1]): undefined where x[t] is zero."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(8)
        self.W = torch.nn.Linear(3, 3, dtype=torch.float64)
        self.add_state("h", 3)

    def step(self, x, h):
        return torch.tanh(self.W(torch.log(x / x.norm(dim=-1, keepdim=True))) + h)


@pytest.mark.parametrize("kind", MASKS)
def test_a_step_that_is_undefined_at_zero(kind):
    rnn = Recurrent(Directed())
    live = _flags(MASKS[kind])
    x = catalogue.inputs(rnn.cell, STEPS, len(live)).abs().masked_fill(~live[:, :, None], 0).requires_grad_()
    initial = [torch.full((len(live), 3), 0.1, dtype=torch.float64)]
    outputs, ends = rnn(x, initial, mask=live)
    if kind == "empty":
        assert_close(ends, tuple(initial))
        return
    clean = x.detach().masked_fill(~live[:, :, None], 1).requires_grad_()
    expected, expected_ends = alone(rnn, clean, live, initial)
    assert_close([outputs, *ends], [expected, *expected_ends])
    found = gradients([outputs, *ends], [x, *rnn.parameters()])
    assert_close(found, gradients([expected, *expected_ends], [clean, *rnn.parameters()]))
