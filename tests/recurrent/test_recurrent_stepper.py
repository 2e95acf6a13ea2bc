# pyright: reportOptionalMemberAccess=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
"""Single steps in memory that stays where it is: the same as a whole call; changes of the cell; refusals."""

import copy

import catalogue
import pytest
import torch
from close import assert_close
from loops import Stubborn, Tagger
from torch import nn

from ostinato import Cell, FallbackError, Recurrent, cells, engine
from ostinato.engines.cpu import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"the CPU engine: {unavailable()}")
STEPS = 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", catalogue.NAMES)
def test_steps_equal_a_call(name, batch, dtype):
    rnn = Recurrent(catalogue.build(name, dtype))
    x = catalogue.inputs(rnn.cell, STEPS, batch)
    initial = [v.detach() for v in catalogue.initial(rnn.cell, batch)]
    for start in (None, initial):
        outputs, ends = rnn(x, start)
        stepper = rnn.stepper(x[:, 0], start)
        found = [stepper(v).clone() for v in x.unbind(1)]
        assert_close(torch.stack(found, 1), outputs.detach())
        assert_close(list(stepper.states), [e.detach() for e in ends])
        stepper.load(start)
        for v in x.unbind(1):
            stepper.inputs[0].copy_(v)
            stepper()
        assert_close(stepper.output, outputs[:, -1].detach())


def test_the_least_of_a_step():
    rnn, x = Recurrent(cells.LSTM(3, 4)), torch.randn(2, STEPS, 3)
    stepper = rnn.stepper(x[:, 0])
    for v in x.unbind(1):
        stepper.inputs[0].copy_(v)
        stepper.run()
    assert_close(stepper.output, rnn(x)[0][:, -1].detach())
    with torch.no_grad():
        rnn.cell.W.weight.mul_(2)
    packed = stepper.packed
    stepper.run()
    assert stepper.packed == packed  # it does not look
    stepper.load()
    stepper.inputs[0].copy_(x[:, 0])
    assert_close(stepper(), rnn(x)[0][:, 0].detach())
    assert stepper.packed == packed + 1


def test_an_input_is_read_however_it_lies():
    """In place where it can be, or copied; afterwards the stepper reads its own again."""
    rnn, x = Recurrent(cells.LSTM(3, 4)), torch.randn(2, STEPS, 3)
    wanted, _ = rnn(x)
    wide = torch.complex(x, -x).conj()
    layouts = [x[:, 0].contiguous(), x[:, 1], x[:, 2].double(), wide[:, 3].imag, x[:, 4].t().contiguous().t()]
    stepper = rnn.stepper(x[:, 0])
    for t, given in enumerate(layouts):
        assert_close(stepper(given), wanted[:, t].detach(), name=str(t))
    stepper.load()
    with pytest.raises(ValueError, match=r"takes inputs of \[2, 3\], got \[1, 3\]"):
        stepper(x[:1, 0])
    stepper.inputs[0].copy_(x[:, 0])
    assert_close(stepper(), wanted[:, 0].detach())


@pytest.mark.parametrize(("batch", "units"), [(1, 5), (1, 70), (3, 33), (40, 16)])
def test_bfloat16_weights(batch, units, monkeypatch):
    """The steps of a network whose weights are those, rounded; sums and the bias are float32."""
    torch.manual_seed(0)
    monkeypatch.setattr("ostinato.recurrent.stepper.FASTER", float("inf"))
    rnn, x = Recurrent(cells.LSTM(3, units)), torch.randn(batch, STEPS, 3)
    with torch.no_grad():
        rnn.cell.W.bias.normal_()
    rounded = copy.deepcopy(rnn)
    for linear in (rounded.cell.W, rounded.cell.U):
        linear.weight.data = linear.weight.detach().bfloat16().float()
    stepper = rnn.stepper(x[:, 0], weights="bfloat16")
    wanted, _ = rounded(x)
    for t in range(STEPS):
        assert_close(stepper(x[:, t]), wanted[:, t].detach(), name=str(t))
    assert stepper.packed == 1
    assert not torch.equal(stepper.output, rnn.stepper(x[:, 0])(x[:, 0]))


def test_bfloat16_weights_are_refused_where_they_are_not_faster(monkeypatch):
    monkeypatch.setattr("ostinato.recurrent.stepper.FASTER", 0)
    with pytest.raises(FallbackError, match=r"not faster here: a step takes [\d.]+ microseconds with them, [\d.]+ "):
        Recurrent(cells.GRU(3, 4)).stepper(torch.zeros(1, 3), weights="bfloat16")
    with pytest.raises(FallbackError, match=r"stand for float32, and the parameters are of torch.float64"):
        Recurrent(cells.GRU(3, 4).double()).stepper(torch.zeros(1, 3).double(), weights="bfloat16")
    with pytest.raises(ValueError, match=r"weights must be 'bfloat16' or None, got 'int8'"):
        Recurrent(cells.GRU(3, 4)).stepper(torch.zeros(1, 3), weights="int8")


class Deaf(Cell):
    """It reads no input."""

    def __init__(self):
        super().__init__()
        self.add_state("h", 2, initial=1.0)

    def step(self, x, h):
        return h / 2


def test_an_input_that_is_not_read():
    stepper = Recurrent(Deaf()).stepper(torch.ones(1, 3))
    assert [stepper(torch.ones(1, 3)).tolist() for _ in range(2)] == [[[0.5, 0.5]], [[0.25, 0.25]]]


def test_nothing_is_allocated():
    stepper = Recurrent(cells.LSTM(3, 4)).stepper(torch.zeros(2, 3))
    first = stepper(torch.ones(2, 3))
    assert stepper(torch.ones(2, 3)) is first is stepper.output


def test_constants_and_outputs_of_their_own():
    class Gated(Cell):
        """h[t] = tanh(U h[t-1] + x) q; o = V h[t] + softplus(q); of two inputs the second is a flag."""

        def __init__(self):
            super().__init__()
            self.U, self.V = nn.Linear(3, 3), nn.Linear(3, 2)
            self.add_state("h", 3)

        def step(self, x, flag, h, q):
            h = torch.where(flag, torch.tanh(self.U(h) + x) * q, h)
            return h, self.V(h) + nn.functional.softplus(q[:, :2])

    torch.manual_seed(1)
    rnn, x, flag, q = Recurrent(Gated()), torch.randn(2, STEPS, 3), torch.rand(2, STEPS, 1) > 0.4, torch.randn(2, 3)
    stepper = rnn.stepper((x[:, 0], flag[:, 0]), constants=q)
    found = [stepper(a, b).clone() for a, b in zip(x.unbind(1), flag.unbind(1), strict=True)]
    outputs, ends = rnn((x, flag), constants=q)
    assert_close(torch.stack(found, 1), outputs.detach())
    assert_close(list(stepper.states), [e.detach() for e in ends])


@pytest.mark.parametrize("change", ["in place", "load_state_dict", "another", "data", "double"])
def test_parameters_that_change_are_packed_again(change):
    rnn, x = Recurrent(cells.GRU(3, 4)), torch.ones(1, 3)
    stepper = rnn.stepper(x)
    before = stepper(x).clone()
    assert stepper.packed == 1
    other = cells.GRU(3, 4)
    weight = rnn.cell.U.weight
    with torch.no_grad():
        if change == "in place":
            weight.mul_(2)
        elif change == "load_state_dict":
            rnn.cell.load_state_dict(other.state_dict())
        elif change == "another":
            rnn.cell.U.weight = nn.Parameter(2 * weight)
        else:
            weight.data = 2 * weight.data if change == "data" else (2 * weight.data).double().float()
    stepper.load()
    stepper(x)
    assert_close(stepper(x), rnn(torch.ones(1, 2, 3))[0][:, -1].detach())
    assert stepper.packed == 2
    assert not torch.equal(before, stepper.output)


def test_in_and_out_of_inference_mode():
    with torch.inference_mode():
        rnn, x = Recurrent(cells.GRU(3, 4)), torch.ones(1, 3)
        stepper, stream = rnn.stepper(x), rnn.stream()
        first = stepper(x).clone()
        assert_close(stream(x.unsqueeze(1))[:, 0], first)
    with torch.no_grad():
        second = stepper(torch.ones(1, 3)).clone()
        assert_close(stream(torch.ones(1, 1, 3))[:, 0], second)
        assert_close(torch.stack([first, second], 1), rnn(torch.ones(1, 2, 3))[0])


def test_refusals():
    with pytest.raises(ValueError, match="a reversed Recurrent takes no single steps"):
        Recurrent(cells.Elman(3, 4), reverse=True).stepper(torch.zeros(1, 3))
    with pytest.raises(FallbackError, match=r"Stubborn has no program to step through: .*return h / 2"):
        Recurrent(Stubborn()).stepper(torch.zeros(1, 3, dtype=torch.float64))
    with pytest.raises(FallbackError, match=r"Tagger cannot be stepped natively: .*whole numbers"):
        Recurrent(Tagger()).stepper((torch.zeros(1, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.float64)),
                                    constants=torch.zeros(1, 2, dtype=torch.float64))
    stepper = Recurrent(cells.Elman(3, 4)).stepper(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"takes inputs of \[2, 3\], got \[1, 3\]"):
        stepper(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="argument"):
        stepper(torch.zeros(2, 3), torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["lstm", "skip-two"])
def test_a_stream_steps(name):
    """Single steps and longer chunks in any order; resets; a changed cell; another engine."""
    rnn = Recurrent(catalogue.build(name))
    x = catalogue.inputs(rnn.cell, 12, 2)
    whole, ends = rnn(x)
    stream = rnn.stream()
    found = [stream(chunk) for chunk in x.split([1, 1, 3, 1, 1, 2, 1, 2], 1)]
    assert_close(torch.cat(found, 1), whole.detach())
    assert_close(list(stream.states), [e.detach() for e in ends])
    assert stream._stepper.packed == 1
    rows = torch.tensor([True, False])
    stream.reset(rows)
    assert_close(stream(x[:, :1])[0], whole[0, :1].detach())
    stream.reset()
    with torch.no_grad():
        next(rnn.parameters()).mul_(0.5)
    again, _ = rnn(x)
    assert_close(torch.cat([stream(v) for v in x[:, :2].split(1, 1)], 1), again[:, :2].detach())
    with engine("reference"):
        rest = [stream(v) for v in x[:, 2:].split(1, 1)]
    assert_close(torch.cat(rest, 1), again[:, 2:].detach())
    with pytest.raises(ValueError, match="the initial state"):
        stream(x[:1, :1])
