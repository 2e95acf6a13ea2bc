"""The layouts of a call: inputs, constants, states in and out, one step at a time, and streams."""

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, Tagger, by_hand, compare
from torch import nn

from ostinato import Cell, Recurrent, cells

CELLS = {
    **{
        name: (lambda name=name: catalogue.build(name))
        for name in ("lstm", "skip-two", "output", "slstm", "lstm-projected")
    },
    "fibre": Fibre,
    "stubborn": Stubborn,
}


def _problem(cell, steps, batch):
    return catalogue.inputs(cell, steps, batch).requires_grad_(), catalogue.initial(cell, batch)


@pytest.mark.parametrize("cell", CELLS)
def test_time_first(cell):
    cell = CELLS[cell]()
    x, initial = _problem(cell, 4, 3)
    flags = {"mask": torch.rand(3, 4) < 0.7, "reset": torch.rand(3, 4) < 0.3}
    outputs, ends, states = Recurrent(cell)(x, initial, **flags, return_all_states=True)
    turned = {k: v.transpose(0, 1) for k, v in flags.items()}
    other, other_ends, other_states = Recurrent(cell, batch_first=False)(
        x.transpose(0, 1), initial, **turned, return_all_states=True
    )
    compare([other.transpose(0, 1), *other_ends], [outputs, *ends], [x, *cell.parameters()])
    assert_close({k: v.transpose(0, 1) for k, v in other_states.items()}, states, tolerance=0.0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_all_states(cell, reverse):
    cell = CELLS[cell]()
    x, initial = _problem(cell, 5, 2)
    outputs, ends, states = Recurrent(cell, reverse=reverse)(x, initial, return_all_states=True)
    assert list(states) == [s.name for s in cell.states]
    plain, plain_ends = Recurrent(cell, reverse=reverse)(x, initial)
    assert_close([outputs, *ends], [plain, *plain_ends])
    sequence = x.flip(1) if reverse else x
    for t in range(1, 6):
        _, at = by_hand(cell, sequence[:, :t], initial)
        for s, end in zip(cell.states, at, strict=True):
            value = states[s.name][:, 5 - t if reverse else t - 1]
            assert_close(value, end[:, -1] if s.depth > 1 else end)


@pytest.mark.parametrize("cell", CELLS)
def test_final_states_are_initial_states(cell):
    rnn = Recurrent(CELLS[cell]())
    x, initial = _problem(rnn.cell, 9, 2)
    whole, ends = rnn(x, initial)
    pieces, states = [], initial
    for chunk in x.split([1, 4, 2, 2], 1):
        out, states = rnn(chunk, states)
        pieces.append(out)
    compare([torch.cat(pieces, 1), *states], [whole, *ends], [x, *rnn.cell.parameters()])


def test_the_past_values_of_a_delayed_state_are_oldest_first():
    class Older(Cell):
        "h[t] = x[t]; output h[t-3]"

        def __init__(self):
            super().__init__()
            self.add_state("h", 1, delays=(3,))

        def step(self, x, h3):
            return x, h3

    x = torch.arange(1.0, 6.0).reshape(1, 5, 1)
    past = torch.tensor([-3.0, -2.0, -1.0]).reshape(1, 3, 1)
    outputs, (end,) = Recurrent(Older())(x, past)
    assert outputs.flatten().tolist() == [-3.0, -2.0, -1.0, 1.0, 2.0]
    assert end.shape == (1, 3, 1)
    assert end.flatten().tolist() == [3.0, 4.0, 5.0]


def test_initial_is_a_tensor_or_several():
    for name, forms in (("gru", (lambda v: v[0], tuple, list)), ("lstm", (tuple, list))):
        rnn = Recurrent(catalogue.build(name))
        x, initial = _problem(rnn.cell, 3, 2)
        wanted, _ = by_hand(rnn.cell, x, initial)
        for form in forms:
            assert_close(rnn(x, form(initial))[0], wanted)


@pytest.mark.parametrize("cell", CELLS)
def test_the_declared_initial_states(cell):
    rnn = Recurrent(CELLS[cell]())
    x, _ = _problem(rnn.cell, 3, 2)
    for states in (rnn.initial_states(2), rnn.cell.initial_states(2)):
        assert [tuple(v.shape) for v in states] == [s.initial_shape(2) for s in rnn.cell.states]
        assert all((v == float(s.initial)).all() for v, s in zip(states, rnn.cell.states, strict=True))
        assert_close(rnn(x), rnn(x, states))


def _tagged(batch, steps):
    generator = torch.Generator().manual_seed(batch)
    words = torch.randint(6, (batch, steps), generator=generator)
    x, c = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((batch, steps, 3), (batch, 2)))
    return words, x.requires_grad_(), c.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("reverse", [False, True])
def test_several_inputs_and_constants(reverse, dtype):
    cell = Tagger()
    rnn = Recurrent(cell, reverse=reverse)
    for batch, steps in ((3, 5), (1, 1)):
        words, x, c = _tagged(batch, steps)
        h, outputs = torch.zeros(batch, 4, dtype=torch.float64), [torch.empty(0)] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            h, outputs[t] = cell.step(words[:, t], x[:, t], h, c)
        found, (end,) = rnn((words.to(dtype), x), constants=c)
        compare([found, end], [torch.stack(outputs, 1), h], [x, c, *cell.parameters()])
        again, _ = rnn([words.to(dtype), x], constants=[c])
        assert_close(again, found, tolerance=0.0)


def test_features_of_any_rank():
    class Board(Cell):
        "h[t] = tanh(x[t] W + h[t-1]): x [B, 2, 3], a scalar s, h [B, 2, 4]"

        def __init__(self):
            super().__init__()
            self.W = torch.nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4))
            self.add_state("h", (2, 4))

        def step(self, x, s, h):
            return torch.tanh(x @ self.W + h) * s[:, None, None]

    cell = Board()
    x = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    s = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    h, outputs = torch.zeros(2, 2, 4, dtype=torch.float64), []
    for t in range(3):
        h = cell.step(x[:, t], s[:, t], h)
        outputs.append(h)
    found, (end,) = Recurrent(cell)((x, s))
    compare([found, end], [torch.stack(outputs, 1), h], [x, s, cell.W])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step(cell, batch_first):
    rnn = Recurrent(CELLS[cell](), batch_first=batch_first)
    x, initial = _problem(rnn.cell, 4, 3)
    wanted, ends = by_hand(rnn.cell, x, initial)
    outputs, states = [], initial
    for t in range(4):
        out, states = rnn.step(x[:, t], states)
        outputs.append(out)
    compare([torch.stack(outputs, 1), *states], [wanted, *ends], [x, *rnn.cell.parameters()])
    assert_close(rnn.step(x[:, 0])[0], by_hand(rnn.cell, x[:, :1], rnn.initial_states(3))[0][:, 0])


def test_a_step_of_several_inputs_with_constants():
    cell = Tagger()
    words, x, c = _tagged(2, 1)
    out, (h,) = Recurrent(cell).step((words[:, 0], x[:, 0]), constants=c)
    assert_close([h, out], cell.step(words[:, 0], x[:, 0], torch.zeros(2, 4, dtype=torch.float64), c))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("sizes", [[1] * 9, [0, 3, 0, 5, 1, 0]], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_of_chunks_equals_one_call(cell, sizes, batch_first):
    rnn = Recurrent(CELLS[cell](), batch_first=batch_first)
    x, initial = _problem(rnn.cell, 9, 2)
    time = 1 if batch_first else 0
    x = x if batch_first else x.transpose(0, 1)
    for start in (None, initial):
        stream = rnn.stream(start)
        outputs = [stream(chunk) for chunk in x.split(sizes, time)]
        assert [o.shape[time] for o in outputs] == sizes
        assert not any(o.requires_grad for o in outputs)
        whole, ends = rnn(x, start)
        assert_close(torch.cat(outputs, time), whole, tolerance=1e-14)
        assert_close(list(stream.states or ()), list(ends), tolerance=1e-14)


def test_a_stream_carries_constants_and_several_inputs():
    rnn = Recurrent(Tagger())
    words, x, c = _tagged(2, 5)
    stream = rnn.stream(constants=c)
    outputs = [stream((words[:, a:b], x[:, a:b])) for a, b in ((0, 2), (2, 2), (2, 5))]
    assert_close(torch.cat(outputs, 1), rnn((words, x), constants=c)[0], tolerance=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_is_reset(cell):
    rnn = Recurrent(CELLS[cell]())
    x, initial = _problem(rnn.cell, 6, 3)
    rows = torch.tensor([True, False, True])
    stream = rnn.stream(initial)
    stream(x[:, :3])
    stream.reset(rows)
    reset = torch.zeros(3, 6, dtype=torch.bool)
    reset[:, 3] = rows
    assert_close(stream(x[:, 3:]), rnn(x, initial, reset=reset)[0][:, 3:], tolerance=1e-14)
    stream.reset()
    assert_close(stream(x), rnn(x)[0], tolerance=1e-14)
    stream = rnn.stream(initial)
    stream.reset(rows)
    assert_close(
        stream(x), rnn(x, initial, reset=torch.eye(1, 6, dtype=torch.bool) & rows[:, None])[0], tolerance=1e-14
    )
    within = rnn.stream(initial)
    assert_close(
        torch.cat([within(x[:, :2], reset[:, :2]), within(x[:, 2:], reset[:, 2:])], 1),
        rnn(x, initial, reset=reset)[0],
        tolerance=1e-14,
    )


def test_a_reversed_recurrence_does_not_stream():
    with pytest.raises(ValueError, match="reversed Recurrent cannot stream"):
        Recurrent(cells.Elman(2, 3), reverse=True).stream()


@pytest.mark.parametrize("cell", CELLS)
def test_no_sequences(cell):
    rnn = Recurrent(CELLS[cell]())
    x, initial = _problem(rnn.cell, 4, 0)
    for given in (
        {},
        {"lengths": torch.zeros(0, dtype=torch.int64)},
        {"lengths": []},
        {"mask": torch.ones(0, 4, dtype=torch.bool), "reset": torch.ones(0, 4, dtype=torch.bool)},
    ):
        outputs, ends, states = rnn(x, initial, **given, return_all_states=True)
        width = rnn(catalogue.inputs(rnn.cell, 1, 1))[0].shape[2:]
        assert outputs.shape == (0, 4, *width)
        assert [e.shape for e in ends] == [s.initial_shape(0) for s in rnn.cell.states]
        assert [v.shape for v in states.values()] == [(0, 4, *s.shape) for s in rnn.cell.states]
        grads = torch.autograd.grad(
            outputs.sum() + sum(e.sum() for e in ends),
            [x, *rnn.cell.parameters()],
            allow_unused=True,
            materialize_grads=True,
        )
        assert not any(g.any() for g in grads)


def test_no_change_of_size_traces_again():
    rnn = Recurrent(catalogue.build("lstm"))
    for steps, batch in ((1, 1), (2, 1), (1, 4), (9, 3), (30, 2)):
        x, initial = _problem(rnn.cell, steps, batch)
        rnn(x, initial)[0].sum().backward()
        rnn(x, lengths=[1] * batch)
        rnn(x, reset=torch.zeros(batch, steps, dtype=torch.bool), return_all_states=True)
    assert rnn.traces == 1


class Parametric(Cell):
    """Its output is a parameter, the same at every step."""

    def __init__(self):
        super().__init__()
        self.W = nn.Linear(3, 5)
        self.out = nn.Parameter(torch.randn(2, 3))
        self.add_state("h", 5)

    def step(self, x, h):
        return torch.tanh(self.W(x) + h), self.out.expand(x.shape[0], 2, 3)


def test_an_output_that_depends_on_no_input():
    cell = Parametric().double()
    outputs, _ = Recurrent(cell)(torch.randn(3, 2, 3, dtype=torch.float64))
    assert_close(outputs, cell.out.expand(3, 2, 2, 3))


class Changing(Cell):
    """A step that changes its arguments in place, and decides on a value, so that it runs step by step."""

    def __init__(self):
        super().__init__()
        self.add_state("h", 3)

    def step(self, x, h):
        h += x.mul_(2)
        return h if h.sum() != 0 else -h


def test_a_stubborn_step_that_changes_its_arguments_leaves_the_callers_alone():
    x, h = torch.ones(2, 4, 3), torch.ones(2, 3)
    outputs, _ = Recurrent(Changing())(x, h)
    assert_close(outputs[:, -1], torch.full((2, 3), 9.0))
    assert_close(x, torch.ones(2, 4, 3))
    assert_close(h, torch.ones(2, 3))
