"""Dtypes: autocast, narrow inputs, narrow parameters, and a change of dtype between calls."""

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, by_eager, by_hand
from torch import nn

from ostinato import Recurrent

NAMES = ["elman", "lstm", "lstm-layernorm", "gru-before", "skip-two", "slstm"]


class Model(nn.Module):
    def __init__(self, cell):
        super().__init__()
        torch.manual_seed(1)
        self.before = nn.Linear(3, 3)
        self.rnn = Recurrent(cell)
        self.after = nn.Linear(5, 2)

    def forward(self, x, **given):
        outputs, ends = self.rnn(self.before(x), **given)
        return self.after(outputs), outputs, ends


@pytest.mark.parametrize("given", [{}, {"lengths": [5, 0, 3]}], ids=["plain", "lengths"])
@pytest.mark.parametrize("name", NAMES)
def test_autocast(name, given):
    model = Model(catalogue.build(name, torch.float32))
    x = catalogue.inputs(model.rnn.cell, 5, 3).requires_grad_()
    initial = [v.bfloat16() for v in catalogue.initial(model.rnn.cell, 3)]
    with torch.autocast("cpu", torch.bfloat16):
        middle = model.before(x)
        result, outputs, ends = model(x, initial=initial, **given)
        alone, _ = model.rnn(middle, initial=initial, **given)
    assert middle.dtype == result.dtype == torch.bfloat16
    assert outputs.dtype == torch.float32
    assert all(e.dtype == torch.float32 for e in ends)
    expected, _ = model.rnn(middle.float(), initial=[v.float() for v in initial], **given)
    assert_close(alone, expected, tolerance=0.0)
    found = torch.autograd.grad(result.float().square().sum(), [x, *model.parameters()])
    plain, _, _ = model(x, initial=[v.float() for v in initial], **given)
    wanted = torch.autograd.grad(plain.square().sum(), [x, *model.parameters()])
    for f, w in zip(found, wanted, strict=True):
        assert f.isfinite().all()
        assert (f - w).norm() <= 0.05 * w.norm() + 1e-3
    assert model.rnn.traces == 1


def test_autocast_with_a_step_that_cannot_be_traced():
    rnn = Recurrent(Stubborn())
    x = catalogue.inputs(rnn.cell, 3, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = rnn(x)
    assert_close(found, rnn(x), tolerance=0.0)


@pytest.mark.parametrize("parameters", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_inputs_are_widened(given, parameters):
    if given == parameters:
        return
    rnn = Recurrent(catalogue.build("lstm", parameters))
    x, initial = catalogue.inputs(rnn.cell, 4, 2).to(given), [v.to(given) for v in catalogue.initial(rnn.cell, 2)]
    x.requires_grad_()
    outputs, ends = rnn(x, initial)
    assert_close([outputs, *ends], [(r := rnn(x.to(parameters), [v.to(parameters) for v in initial]))[0], *r[1]])
    assert {outputs.dtype, *(e.dtype for e in ends)} == {parameters}
    assert torch.autograd.grad(outputs.sum(), x)[0].dtype == given
    stream = rnn.stream(initial)
    assert_close(torch.cat([stream(x[:, :1]), stream(x[:, 1:])], 1), outputs, tolerance=None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_narrow_parameters(name, dtype):
    rnn = Recurrent(catalogue.build(name, torch.float32)).to(dtype)
    x = catalogue.inputs(rnn.cell, 4, 2).requires_grad_()
    outputs, ends = rnn(x)
    assert {outputs.dtype, *(e.dtype for e in ends)} == {dtype}
    exact = Recurrent(catalogue.build(name)).to(dtype).double()  # the same rounded parameters
    if name != "slstm":  # its m = -1e4 is coarse in half precision
        wanted, _ = exact(x.detach().double())
        assert (outputs.double() - wanted).norm() <= 0.05 * wanted.norm()
    grads = torch.autograd.grad(outputs.sum(), [x, *rnn.parameters()])
    assert all(g.dtype == dtype for g in grads)
    # The normaliser of a zero state is 1 / sqrt(1e-5), whose derivative is beyond float16.
    assert all(g.isfinite().all() for g in grads) or (name, dtype) == ("lstm-layernorm", torch.float16)


@pytest.mark.parametrize("make", [lambda: catalogue.build("leaky-units", torch.float32), lambda: Fibre().float()])
def test_a_change_of_dtype_between_calls(make):
    rnn = Recurrent(make())
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float32):
        rnn.to(dtype)
        x = catalogue.inputs(rnn.cell, 4, 2).requires_grad_()
        outputs, ends = rnn(x)
        assert outputs.dtype == dtype
        if dtype.itemsize >= 4:
            assert_close([outputs, *ends], [(r := by_hand(rnn.cell, x, rnn.initial_states(2)))[0], *r[1]])
            outputs.sum().backward()
    rnn.double()
    x = catalogue.inputs(rnn.cell, 4, 2)
    assert_close(rnn(x)[0], by_eager(rnn.cell, x, rnn.initial_states(2))[0])


def test_a_cell_without_parameters_runs_in_the_dtype_of_its_input():
    from ostinato import Cell

    class Average(Cell):
        "h[t] = (h[t-1] + x[t]) / 2"

        def __init__(self):
            super().__init__()
            self.add_state("h", 3)

        def step(self, x, h):
            return (h + x) / 2

    rnn = Recurrent(Average())
    for dtype in (torch.float64, torch.float32):
        x = torch.randn(2, 4, 3, dtype=dtype, requires_grad=True)
        outputs, (end,) = rnn(x, lengths=[4, 2])
        assert outputs.dtype == end.dtype == dtype
        assert_close(outputs[0, 1], x[0, 0] / 4 + x[0, 1] / 2)
        stream = rnn.stream()
        assert_close(torch.cat([stream(x[:, :2]), stream(x[:, 2:])], 1), rnn(x)[0])
