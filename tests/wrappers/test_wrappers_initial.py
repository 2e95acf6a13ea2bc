# pyright: reportMissingImports=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalSubscript=false
"""States that begin with a parameter."""

import pytest
import torch
from close import assert_close
from torch import nn

from ostinato import Cell, Recurrent, cells, engine


def _gradient(rnn, x, **given):
    """Of the learned h, by the step written by hand."""
    rnn.zero_grad()
    outputs, ends = rnn(x, **given)
    (outputs.square().sum() + ends[0].sum()).backward()
    return rnn.cell.get_parameter("initial_h").grad


@pytest.mark.parametrize("chosen", ["cpu", "reference"])
def test_every_sequence_and_reset_counts(chosen):
    torch.manual_seed(0)
    rnn = Recurrent(cells.LearnedInitial(cells.GRU(2, 3))).double()
    with torch.no_grad():
        rnn.cell.get_parameter("initial_h").uniform_(-1, 1)
    x = torch.randn(4, 6, 2).double()
    reset = torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) > 0.6
    lengths = torch.tensor([6, 0, 3, 5])
    with engine(chosen):
        found = _gradient(rnn, x, reset=reset, lengths=lengths)
    rnn.zero_grad()
    start = rnn.cell.get_parameter("initial_h")
    total = torch.zeros((), dtype=torch.float64)
    for b in range(4):
        h = start
        for t in range(int(lengths[b])):
            h = rnn.cell.cell.step(x[b : b + 1, t], (start if reset[b, t] else h).reshape(1, 3))[0]
            total = total + h.square().sum()
        total = total + h.sum()
    total.backward()
    assert_close(found, start.grad)


def test_given_states_go_before_it_and_a_reset_goes_to_it():
    rnn = Recurrent(cells.LearnedInitial(cells.Elman(2, 3)))
    with torch.no_grad():
        rnn.cell.get_parameter("initial_h").copy_(torch.tensor([0.5, -0.25, 1.0]))
    x, mine = torch.randn(2, 4, 2), torch.zeros(2, 3)
    bare = Recurrent(rnn.cell.cell)
    assert_close(rnn(x, mine)[0], bare(x, mine)[0], tolerance=0)
    assert _gradient(rnn, x, initial=mine) is None
    reset = torch.zeros(2, 4, dtype=torch.bool)
    reset[:, 2] = True
    learned = rnn.initial_states(2)
    assert_close(learned[0], torch.tensor([[0.5, -0.25, 1.0]] * 2))
    assert_close(rnn(x, mine, reset=reset)[0][:, 2:], bare(x[:, 2:], learned)[0])
    stream = rnn.stream()
    first = stream(x)
    stream.reset(torch.tensor([True, False]))
    again = stream(x)
    assert_close(again[0], first[0])
    assert not stream.states[0].requires_grad and not torch.equal(again[1], first[1])
    stepper = rnn.eval().stepper(x[:, 0])
    assert_close(stepper(x[:, 0]), rnn(x)[0][:, 0].detach())


def test_it_starts_from_what_is_declared_and_trains():
    torch.manual_seed(1)
    cell = cells.LearnedInitial(cells.SLSTM(2, 3), states=["h", "n"])
    assert [s.initial for s in cell.states] == ["initial_h", 0.0, "initial_n", -1e4]
    rnn = Recurrent(cells.LearnedInitial(cells.Elman(1, 2)))
    optimiser = torch.optim.Adam(rnn.parameters(), 0.1)
    x, target = torch.zeros(1, 1, 1), torch.tensor([[[0.7, -0.4]]])
    for _ in range(200):
        optimiser.zero_grad()
        loss = (rnn(x)[0] - target).square().sum()
        loss.backward()
        optimiser.step()
    assert loss < 1e-3 and rnn.cell.get_parameter("initial_h").abs().min() > 0.01


class Named(Cell):
    """A buffer and a nested parameter to begin with, further back than one step."""

    def __init__(self, initial="start.weight"):
        super().__init__()
        self.start = nn.Linear(3, 2, bias=False)
        self.register_buffer("k0", torch.tensor([1.0, 2.0, 3.0]))
        self.add_state("h", (2, 3), delays=(1, 3), initial=initial)
        self.add_state("k", 3, initial="k0")

    def step(self, x, h, h3, k):
        return torch.tanh(h - 0.5 * h3 + k.unsqueeze(1)) + x.unsqueeze(1), 0.9 * k


def test_any_parameter_or_buffer():
    rnn, x = Recurrent(Named()), torch.randn(2, 5, 3)
    outputs, ends = rnn(x)
    past, k = [rnn.cell.start.weight.expand(2, 2, 3)] * 3, rnn.cell.k0.expand(2, 3)
    for t in range(5):
        past.append(torch.tanh(past[-1] - 0.5 * past[-3] + k.unsqueeze(1)) + x[:, t].unsqueeze(1))
        k = 0.9 * k
    assert_close(outputs, torch.stack(past[3:], 1))
    assert_close(list(ends), [torch.stack(past[-3:], 1), k])
    reset = torch.zeros(2, 5, dtype=torch.bool)
    reset[:, 3] = True
    assert_close(rnn(x, reset=reset)[0][:, 3:], rnn(x[:, 3:])[0])


@pytest.mark.parametrize(("initial", "found"), [("nowhere", "a NoneType"), ("k0", r"\[3\]"), ("start", "a Linear")])
def test_a_name_that_is_no_such_tensor(initial, found):
    with pytest.raises(ValueError, match=rf"Named: state 'h' begins with '{initial}', which must be .* it is {found}"):
        Recurrent(Named(initial))(torch.zeros(1, 1, 3))
