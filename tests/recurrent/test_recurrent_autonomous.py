"""Unfolding: a dynamical system, with and without an external signal, is f applied again and again."""

from __future__ import annotations

import re

import pytest
import torch
from close import assert_close
from loops import compare
from torch import Tensor, nn

import ostinato
from ostinato import Cell, FallbackError, Recurrent


class System(Cell):
    """s[t] = tanh(W s[t-1]) + s[t-1] / 2: no input."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.W = nn.Linear(width, width)
        self.add_state("s", width, initial=0.25)
        self.double()

    def step(self, s: Tensor) -> Tensor:
        return torch.tanh(self.W(s)) + s / 2


class Driven(System):
    """s[t] = tanh(W x[t] + s[t-1]) + x[t] / 2."""

    def step(self, x: Tensor, s: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.tanh(self.W(x) + s) + x / 2


class Pair(Cell):
    """Two states, one with a skip, a constant, and an output of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.W = nn.Linear(2, 2)
        self.U = nn.Linear(2, 2, bias=False)
        self.add_state("h", 2, delays=(1, 3))
        self.add_state("m", 2, initial=1.5)
        self.double()

    def step(self, h: Tensor, h3: Tensor, m: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        new = torch.tanh(self.W(h) + self.U(h3) * c)
        return new, 0.9 * m + new, new - m


class Undecided(System):
    """Cannot be traced."""

    def step(self, s: Tensor) -> Tensor:
        return super().step(s) if float(s.detach().abs().sum()) < 1e6 else s


START = torch.linspace(-0.8, 0.9, 6, dtype=torch.float64).reshape(2, 3)


@pytest.fixture(params=["cpu", "reference"])
def engine(request):
    with ostinato.engine(request.param):
        yield request.param


@pytest.mark.parametrize("steps", [1, 2, 3, 17])
def test_the_last_state_is_f_composed_with_itself(steps: int, engine) -> None:
    system, start = Recurrent(System()), START.clone().requires_grad_()
    f = system.cell.step
    s, states = start, []
    for _ in range(steps):
        s = f(s)
        states.append(s)
    outputs, (end,) = system(initial=start, steps=steps)
    compare([outputs, end], [torch.stack(states, 1), s], [start, *system.parameters()])


def test_three_steps_as_the_lecture_writes_them(engine) -> None:
    system = Recurrent(System())
    f = system.cell.step
    _, (end,) = system(initial=START, steps=3)
    assert_close(end, f(f(f(START))))


@pytest.mark.parametrize("steps", [1, 4])
def test_with_an_external_signal(steps: int, engine) -> None:
    system, start = Recurrent(Driven()), START.clone().requires_grad_()
    f = system.cell.step
    x = torch.randn(2, steps, 3, dtype=torch.float64, requires_grad=True)
    s = start
    for t in range(steps):
        s = f(x[:, t], s)
    compare([system(x, start)[1][0]], [s], [x, start, *system.parameters()])


def test_g_of_the_whole_past_has_as_many_parameters_at_any_length(engine) -> None:
    system = Recurrent(System())
    for steps in (2, 5, 9):
        system(steps=steps, batch=2)
    assert system.traces == 1


def test_a_batch_starts_from_the_declared_values(engine) -> None:
    system = Recurrent(System())
    outputs, (end,) = system(steps=4, batch=5)
    expected, _ = system(initial=torch.full((5, 3), 0.25, dtype=torch.float64), steps=4)
    assert_close(outputs, expected)
    assert_close(end, outputs[:, -1])


def test_delays_constants_and_an_output_of_its_own(engine) -> None:
    rnn, c = Recurrent(Pair()), torch.tensor([[0.5, -1.0], [2.0, 0.3], [1.0, 1.0]], dtype=torch.float64)
    c.requires_grad_()
    h, m, outputs = [torch.zeros(3, 2, dtype=torch.float64)] * 3, torch.full((3, 2), 1.5, dtype=torch.float64), []
    for _ in range(5):
        new, m, out = rnn.cell.step(h[-1], h[-3], m, c)
        h.append(new)
        outputs.append(out)
    found, ends = rnn(constants=c, steps=5)
    compare([found, *ends], [torch.stack(outputs, 1), torch.stack(h[-3:], 1), m], [c, *rnn.parameters()])


@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_masks_and_resets(reverse: bool, engine) -> None:
    system = Recurrent(System(), reverse=reverse)
    whole = Recurrent(System())(initial=START, steps=5)[0]
    lengths = torch.tensor([4, 0])
    outputs, (end,) = system(initial=START, steps=5, lengths=lengths)
    assert_close(outputs[0, :4], whole[0, :4].flip(0) if reverse else whole[0, :4])
    assert_close(outputs[0, 4:], torch.zeros(1, 3, dtype=torch.float64))
    assert_close(end, torch.stack([whole[0, 3], START[1]]))
    mask = torch.arange(5) < lengths.unsqueeze(1)
    assert_close(system(initial=START, steps=5, mask=mask), (outputs, (end,)))
    reset = torch.zeros(2, 5, dtype=torch.bool)
    reset[0, 2] = True
    fresh = Recurrent(System())(steps=3, batch=1)[0][0]
    assert_close(system(initial=START, steps=5, reset=reset)[0][0, 2], fresh[0])


def test_streams_and_single_steps() -> None:
    system = Recurrent(System())
    whole = system(initial=START, steps=7)[0]
    stream = system.stream(START)
    assert_close(torch.cat([stream(steps=n) for n in (1, 3, 1, 2)], 1), whole)
    stream = system.stream()
    assert_close(torch.cat([stream(steps=2, batch=3), stream(steps=1)], 1), system(steps=3, batch=3)[0])
    output, (state,) = system.step(states=START)
    assert_close([output, state], [whole[:, 0], whole[:, 0]])
    stepper = system.stepper(initial=START)
    assert_close([stepper().clone(), stepper().clone()], [whole[:, 0], whole[:, 1]])


def test_it_is_saved_and_loaded(tmp_path) -> None:
    system = Recurrent(Pair())
    c = torch.ones(2, 2, dtype=torch.float64)
    expected = system(constants=c, steps=6)
    ostinato.save(system, tmp_path)
    assert_close(ostinato.load(tmp_path)(constants=c, steps=6), expected)


def test_in_a_compiled_graph() -> None:
    system, start = Recurrent(System()), START.clone().requires_grad_()
    graph = torch.compile(lambda s, steps: system(initial=s, steps=steps)[0], fullgraph=True, backend="aot_eager")
    compare([graph(start, 4)], [system(initial=start, steps=4)[0]], [start])


def test_what_cannot_be_traced_runs_step_by_step() -> None:
    outputs, _ = Recurrent(Undecided())(initial=START, steps=4)
    assert_close(outputs, Recurrent(System())(initial=START, steps=4)[0])
    with ostinato.strict(), pytest.raises(FallbackError):
        Recurrent(Undecided())(initial=START, steps=4)


ERRORS = [
    (lambda: Recurrent(System())(), ValueError, "System was given no input: steps= must say how many there are"),
    (lambda: Recurrent(System())(steps=3), ValueError, "batch= or initial= must say how many"),
    (lambda: Recurrent(System())(steps=0, batch=2), ValueError, "steps must be at least 1 .* got 0 and 2"),
    (lambda: Recurrent(System())(steps=2, batch=-1), ValueError, "batch at least 0, got 2 and -1"),
    (lambda: Recurrent(System())(steps=2.0, batch=1), TypeError, "steps must be a whole number, got 2.0"),
    (lambda: Recurrent(System())(initial=START, steps=2, batch=3), ValueError, r"state 's' must be \[3, 3\], got"),
    (lambda: Recurrent(Driven())(steps=2, batch=3), ValueError, "Driven.step needs at least one input, got none"),
    (
        lambda: Recurrent(Driven())(torch.zeros(2, 4, 3).double(), steps=5),
        ValueError,
        "steps=5 was given with an input that has 4; it is for a cell without inputs",
    ),
    (lambda: Recurrent(System()).stream()(steps=2), ValueError, "batch= or initial= must say"),
]


@pytest.mark.parametrize("call, kind, words", ERRORS, ids=[re.sub(r"\W+", " ", e[2])[:40] for e in ERRORS])
def test_errors(call, kind, words) -> None:
    with pytest.raises(kind, match=words):
        call()
