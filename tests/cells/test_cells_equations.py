"""Every cell's step against the published equations, in NumPy."""

import catalogue
import numpy as np
import published
import pytest
import torch
from close import assert_close

from ostinato import Recurrent, cells

BATCH, WIDTH, HIDDEN = 4, 3, 5


def _reads(cell, states):
    """What a step reads of ``initial``: each state once for every delay."""
    return [
        value if state.depth == 1 else value[:, -delay]
        for state, value in zip(cell.states, states, strict=True)
        for delay in state.delays
    ]


def _arrays(cell):
    return {key: value.detach().numpy() for key, value in cell.named_parameters()}


def _published(name, cell, x, reads):
    step, parameters = published.steps(HIDDEN)[name], _arrays(cell)
    each = [step(parameters, x[b].numpy(), *(v[b].numpy() for v in reads)) for b in range(len(x))]
    return [np.stack(values) for values in zip(*each, strict=True)]


def _split(cell, values):
    """The states, and the output: one of its own, or the first state."""
    count = len(cell.states)
    return values[:count], values[-1] if len(values) > count else values[0]


def test_every_variant_has_its_published_step():
    assert set(published.steps(HIDDEN)) == set(catalogue.NAMES)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_step_is_the_published_equation(name):
    cell = catalogue.build(name, hidden_size=HIDDEN)
    x = catalogue.inputs(cell, 1, BATCH)[:, 0]
    reads = _reads(cell, catalogue.initial(cell, BATCH))
    new, output = cell.split_result(cell.step(x, *reads))
    states, expected = _split(cell, _published(name, cell, x, reads))
    assert_close(list(new), states)
    assert_close(output, expected)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_run_is_the_published_equation_repeated(name):
    cell, steps = catalogue.build(name, hidden_size=HIDDEN), 7
    x, states = catalogue.inputs(cell, steps, BATCH), catalogue.initial(cell, BATCH)
    outputs, ends = Recurrent(cell)(x, states)
    histories = [list(v.unbind(1)) if s.depth > 1 else [v] for s, v in zip(cell.states, states, strict=True)]
    expected = []
    for t in range(steps):
        reads = [h[-d] for s, h in zip(cell.states, histories, strict=True) for d in s.delays]
        new, output = _split(cell, [torch.from_numpy(v) for v in _published(name, cell, x[:, t], reads)])
        for history, value in zip(histories, new, strict=True):
            history.append(value)
        expected.append(output)
    assert_close(outputs, torch.stack(expected, 1))
    last = zip(cell.states, histories, strict=True)
    assert_close(list(ends), [torch.stack(h[-s.depth :], 1) if s.depth > 1 else h[-1] for s, h in last])


@pytest.mark.parametrize("name", ["slstm", "slstm-exp"])
def test_slstm_is_its_unstabilised_form(name):
    """Equations 8 to 14 of the paper, which have no m: gates as they are, both exponentials unbounded."""
    cell, steps = catalogue.build(name), 6
    x, p = catalogue.inputs(cell, steps, 1)[0].numpy(), _arrays(cell)
    forget = published.sigmoid if name == "slstm" else np.exp
    h, c, n = np.zeros(HIDDEN), np.zeros(HIDDEN), np.zeros(HIDDEN)
    expected = []
    for t in range(steps):
        a_i, a_f, a_z, a_o = (published.drive(p, x[t], h, gate, 4) for gate in range(4))
        c, n = forget(a_f) * c + np.exp(a_i) * np.tanh(a_z), forget(a_f) * n + np.exp(a_i)
        h = published.sigmoid(a_o) * c / n
        expected.append(h)
    assert_close(Recurrent(cell)(torch.from_numpy(x)[None])[0][0], np.stack(expected))


@pytest.mark.parametrize("scale", [-500.0, 500.0])
def test_slstm_stays_finite_for_extreme_gates(scale):
    cell = catalogue.build("slstm", torch.float32)
    with torch.no_grad():
        cell.get_parameter("W.bias").chunk(4)[0].fill_(scale)
    x = catalogue.inputs(cell, 9, 2).requires_grad_()
    outputs, states = Recurrent(cell)(x)
    outputs.sum().backward()
    for value in (outputs, *states, x.grad, *(p.grad for p in cell.parameters())):
        assert value is not None
        assert bool(value.isfinite().all())


def test_leaky_with_tau_one_is_elman():
    leaky, elman = cells.Leaky(3, 4, tau=1.0), cells.Elman(3, 4)
    elman.load_state_dict(leaky.state_dict())
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    assert_close(leaky(x, h), elman(x, h), tolerance=0)
