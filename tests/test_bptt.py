"""Truncated back-propagation, losses in segments, the gradients of states, and the regulariser made of them."""

import catalogue
import pytest
import torch
import torch.utils.checkpoint
from close import assert_close
from torch import nn

from ostinato import Cell, Recurrent, cells, engine, layers
from ostinato.recurrent.adjoints import observe
from ostinato.training.bptt import Truncated, checkpointed_loss, detached
from ostinato.training.vanishing import vanishing_gradient_penalty

STEPS, BATCH = 11, 3
DOUBLE = torch.float64


def sum_of_gradients(model, x, weight, **how):
    """The walk's outputs, its last states, and the gradients of its pieces, added up."""
    leaves = [p for p in model.parameters() if p.requires_grad]
    walk, total, outputs = Truncated(model, x, **how), [torch.zeros_like(p) for p in leaves], []
    for out, steps in walk:
        loss = (out.sin() * weight[:, steps]).sum()
        total = [t + g for t, g in zip(total, torch.autograd.grad(loss, leaves), strict=True)]
        outputs.append(out.detach())
    return [torch.cat(outputs, 1), walk.states, total]


def by_detaching(cell, x, weight, k1, k2):
    """The same from a loop over steps: for each piece all again, cut k2 steps before its end."""
    leaves = list(cell.parameters())
    total = [torch.zeros_like(p) for p in leaves]
    for done in range(0, x.shape[1], k1):
        end = min(done + k1, x.shape[1])
        states, loss = cell.initial_states(x.shape[0]), torch.zeros((), dtype=x.dtype)
        for t in range(end):
            if t == max(0, end - k2):
                states = tuple(s.detach() for s in states)
            states, out = cell.split_result(cell.step(x[:, t], *states))
            loss = loss + ((out.sin() * weight[:, t]).sum() if t >= done else 0)
        total = [t + g for t, g in zip(total, torch.autograd.grad(loss, leaves), strict=True)]
    return total


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (1, 4), (3, 3), (3, 4), (3, 5), (3, 8), (4, 11), (2, 20), (11, 11),
                                        (20, 20)])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_truncated_equals_a_loop_that_detaches(name, k1, k2):
    cell = catalogue.build(name)
    x, weight = catalogue.inputs(cell, STEPS, BATCH), torch.randn(BATCH, STEPS, 5, dtype=DOUBLE)
    rnn = Recurrent(cell)
    outputs, ends = rnn(x)
    found = sum_of_gradients(rnn, x, weight, k1=k1, k2=k2)
    assert_close(found, [outputs.detach(), tuple(e.detach() for e in ends), by_detaching(cell, x, weight, k1, k2)])
    if k2 >= STEPS:
        whole = torch.autograd.grad((outputs.sin() * weight).sum(), list(cell.parameters()))
        assert_close(found[2], list(whole))


def test_a_loss_within_reach_has_the_whole_gradient():
    rnn = Recurrent(catalogue.build("gru"))
    x = catalogue.inputs(rnn.cell, STEPS, BATCH)
    leaves = list(rnn.cell.parameters())
    begin = rnn(x[:, :4])[1][0].detach()
    *_, (last, steps) = Truncated(rnn, x[:, 4:], k1=2, k2=7, initial=[begin])
    assert steps == slice(6, 7)
    expected = torch.autograd.grad(rnn(x[:, 4:], [begin])[0][:, -1].sum(), leaves)
    assert_close(torch.autograd.grad(last[:, -1].sum(), leaves), expected)


@pytest.mark.parametrize("make", [
    lambda: layers.Stack([cells.GRU(3, 4), cells.LSTM(4, 5)]).double(),
    lambda: layers.LSTM(3, 5, num_layers=2, batch_first=True).double(),
    lambda: nn.GRU(3, 5, batch_first=True).double(),
], ids=["stack", "drop-in", "torch.nn"])
def test_any_model_with_states(make):
    torch.manual_seed(0)
    model = make()
    x, weight = torch.randn(BATCH, STEPS, 3, dtype=DOUBLE), torch.randn(BATCH, STEPS, 5, dtype=DOUBLE)
    outputs, ends = model(x)
    whole = torch.autograd.grad((outputs.sin() * weight).sum(), list(model.parameters()))
    assert_close(sum_of_gradients(model, x, weight, k1=3, k2=40), [outputs.detach(), detached(ends), list(whole)])


def test_lengths_masks_resets_and_time_first():
    cell = catalogue.build("lstm")
    x = catalogue.inputs(cell, STEPS, BATCH)
    weight = torch.randn(BATCH, STEPS, 5, dtype=DOUBLE)
    flags = torch.rand(BATCH, STEPS, generator=torch.Generator().manual_seed(1)) < 0.4
    rnn = Recurrent(cell)
    for given in ({"lengths": [11, 0, 5]}, {"mask": flags}, {"reset": flags}):
        outputs, ends = rnn(x, **given)
        whole = torch.autograd.grad((outputs.sin() * weight).sum(), list(cell.parameters()))
        found = sum_of_gradients(rnn, x, weight, k1=4, k2=13, **given)
        assert_close(found, [outputs.detach(), detached(ends), list(whole)])
    walk = Truncated(Recurrent(cell, batch_first=False), [x.transpose(0, 1)], 4)
    assert_close(torch.cat([out for out, _ in walk]), rnn(x)[0].transpose(0, 1))


def test_parameters_may_change_between_pieces():
    rnn = Recurrent(catalogue.build("gru"))
    optimizer = torch.optim.SGD(rnn.parameters(), lr=0.1)
    for out, _ in Truncated(rnn, catalogue.inputs(rnn.cell, STEPS, BATCH), 3, 6):
        optimizer.zero_grad()
        out.square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(("model", "k1", "k2", "message"), [
    (Recurrent(cells.GRU(3, 4)), 0, None, "k1 must be at least 1"),
    (Recurrent(cells.GRU(3, 4)), 4, 3, "k2 at least k1, got k1=4 and k2=3"),
    (Recurrent(cells.GRU(3, 4), reverse=True), 4, 4, "a part of this model runs backwards"),
    (layers.Bidirectional(cells.GRU(3, 4), cells.GRU(3, 4)), 4, 4, "runs backwards"),
    (nn.LSTM(3, 4, bidirectional=True), 4, 4, "runs backwards"),
])
def test_truncated_errors(model, k1, k2, message):
    with pytest.raises(ValueError, match=message):
        Truncated(model, torch.zeros(2, 5, 3), k1, k2)


@pytest.mark.parametrize("steps", [1, 4, "sqrt", 30])
def test_a_loss_in_segments(steps):
    torch.manual_seed(0)
    model, head = layers.Stack([cells.GRU(3, 4), cells.LSTM(4, 5)]).double(), nn.Linear(5, 2).double()
    x, y = torch.randn(BATCH, STEPS, 3, dtype=DOUBLE, requires_grad=True), torch.randn(BATCH, STEPS, 2, dtype=DOUBLE)
    leaves = [x, *model.parameters(), *head.parameters()]

    def step(x, y, states):
        outputs, states = model(x, states)
        return (head(outputs) - y).square().sum(), states

    expected = step(x, y, None)
    found = checkpointed_loss(step, [x, y], steps=steps)
    assert_close(found, expected)
    assert_close(torch.autograd.grad(found[0], leaves), torch.autograd.grad(expected[0], leaves))
    with pytest.raises(ValueError, match="the sequences must have one length"):
        checkpointed_loss(step, [x, y[:, 1:]])


def test_a_first_call_inside_of_a_checkpoint():
    """What is traced then is not there the second time."""
    rnn, x = Recurrent(catalogue.build("gru")), torch.randn(BATCH, STEPS, 3, dtype=DOUBLE)
    out = torch.utils.checkpoint.checkpoint(lambda x: rnn(x)[0].sum(), x, use_reentrant=False)
    assert isinstance(out, torch.Tensor)
    assert_close(torch.autograd.grad(out, list(rnn.parameters())),
                 torch.autograd.grad(rnn(x)[0].sum(), list(rnn.parameters())))


class ReadOut(Cell):
    """f[t] = tanh(W x[t] + U s[t-1]), s[t] = 0.9 s[t-1] + 0.1 f[t], o[t] = V (f[t] + s[t]) - f[t-2]"""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.W, self.U, self.V = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.add_state("f", 4, delays=(1, 2))
        self.add_state("s", 4)
        self.double()

    def step(self, x, f, f2, s):
        f = torch.tanh(self.W(x) + self.U(s))
        s = 0.9 * s + 0.1 * f
        return f, s, self.V(f + s) - f2


def gradients_by_hand(cell, x, reverse=False):
    """dL/dh[t] from a loop over steps, where each state is a variable of its own."""
    past = {s.name: [v] if s.depth == 1 else list(v.unbind(1))
            for s, v in zip(cell.states, cell.initial_states(x.shape[0]), strict=True)}
    made, loss = [], torch.zeros((), dtype=DOUBLE)
    order = list(range(x.shape[1]))
    for t in reversed(order) if reverse else order:
        reads = [past[s.name][-d] for s in cell.states for d in s.delays]
        states, output = cell.split_result(cell.step(x[:, t], *reads))
        loss = loss + ((t + 2) * output.cos()).sum()
        made.append((t, dict(zip(past, states, strict=True))))
        for name, value in made[-1][1].items():
            past[name].append(value)
    for t, states in made:
        loss = loss + sum(((t + 1) * v.sin()).sum() for v in states.values())
    return loss, made


@pytest.mark.parametrize("which", ["cpu", "reference"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["elman", "lstm", "gru-before", "slstm", "leaky", "output", "read-out"])
def test_the_gradient_of_every_state(name, reverse, which):
    """Also by the output of the same step, by states of the same step, by delays."""
    cell = ReadOut() if name == "read-out" else catalogue.build(name)
    x = catalogue.inputs(cell, 6, 2)
    loss, made = gradients_by_hand(cell, x, reverse)
    expected = {s.name: torch.stack([torch.autograd.grad(loss, states[s.name], retain_graph=True)[0]
                                     for _, states in sorted(made, key=lambda pair: pair[0])], 1) for s in cell.states}
    with engine(which):
        seen = observe(Recurrent(cell, reverse=reverse), x)
        at = torch.arange(1, 7, dtype=DOUBLE)[:, None]
        loss = ((at + 1) * seen.outputs.cos()).sum() + sum((at * v.sin()).sum() for v in seen.states.values())
        found = seen.gradients(loss)
        assert_close(seen.outputs, Recurrent(cell, reverse=reverse)(x)[0])
    assert_close(found, expected)


def penalty_by_hand(cell, x, exact, lengths, reverse):
    """Equation 9 of Pascanu et al. (2013), written out for h[t] = tanh(W x[t] + U h[t-1] + b)."""
    total = torch.zeros((), dtype=DOUBLE)
    errors = torch.zeros((), dtype=DOUBLE)
    for b, length in enumerate(lengths):
        own = x[b, :length].flip(0) if reverse else x[b, :length]
        hs = [torch.zeros(4, dtype=DOUBLE)]
        for t in range(length):
            hs.append(torch.tanh(cell.W(own[t]) + cell.U(hs[-1])))
        error = hs[-1].sin().sum() + (0.5 * torch.stack(hs[1:])).square().sum()
        errors = errors + error
        grads = torch.autograd.grad(error, hs[1:], create_graph=exact, retain_graph=True)
        for k in range(1, length):
            h, g = (hs[k], grads[k]) if exact else (hs[k].detach(), grads[k].detach())
            after = torch.tanh(cell.W(own[k]) + cell.U(h))
            back = (g * (1 - after * after)) @ cell.U.weight
            total = total + (back.norm() / g.norm() - 1) ** 2
    return errors, total / len(lengths)


@pytest.mark.parametrize("which", ["cpu", "reference"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("lengths", [None, [6, 4, 1]])
def test_the_penalty(lengths, exact, reverse, which):
    cell = catalogue.build("elman", hidden_size=4)
    x = catalogue.inputs(cell, 6, 3)
    leaves = list(cell.parameters())
    errors, total = penalty_by_hand(cell, x, exact, lengths or [6] * 3, reverse)
    expected = [errors, total, *torch.autograd.grad(total, leaves, allow_unused=True)]
    with engine(which):
        loss = lambda outputs, ends: ends[0].sin().sum() + (outputs / 2).square().sum()  # noqa: E731
        error, omega = vanishing_gradient_penalty(Recurrent(cell, reverse=reverse), x, loss, lengths=lengths,
                                                  exact=exact)
        found = [error, omega, *torch.autograd.grad(omega, leaves, allow_unused=True)]
    assert_close(found, expected)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_the_penalty_of_any_cell(name):
    rnn = Recurrent(catalogue.build(name))
    x = catalogue.inputs(rnn.cell, 5, 2)
    initial = catalogue.initial(rnn.cell, 2)
    _, omega = vanishing_gradient_penalty(rnn, x, lambda outputs, ends: outputs[:, -1].sum(), initial)
    assert omega.isfinite() and omega > 0
    if name.startswith("running-average"):  # from step to step it has no parameters
        assert not omega.requires_grad
        return
    grads = torch.autograd.grad(omega, list(rnn.cell.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in grads)
    assert all(g is None or g.isfinite().all() for g in grads)


def test_steps_that_no_gradient_reaches_do_not_count():
    rnn = Recurrent(catalogue.build("elman"))
    x = catalogue.inputs(rnn.cell, 8, 2)
    short = vanishing_gradient_penalty(rnn, x[:, :4], lambda outputs, ends: outputs[:, 3].sum())
    long = vanishing_gradient_penalty(rnn, x, lambda outputs, ends: outputs[:, 3].sum())
    assert_close(long, short)
    assert vanishing_gradient_penalty(rnn, x, lambda outputs, ends: ends[0].sum(), cutoff=1e9)[1] == 0
