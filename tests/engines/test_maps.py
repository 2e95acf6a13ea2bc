"""Pointwise parts before and after products, for all steps at once."""

from __future__ import annotations

import pytest
import torch
from close import assert_close
from comparing import native
from torch import nn

from ostinato import Cell, Recurrent, cells, engine
from ostinato.engines.cpu import maps

pytestmark = native
SHAPES = [(1, 1), (45, 1), (33, 3), (7, 31), (3, 32), (2, 70)]
"""T and B: batches that go row by row, and some for which rows of several steps are put together, with a rest."""


class Between(Cell):
    """Operations before the first product, between two, and after the last."""

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.W, self.V = nn.Linear(width, hidden_size), nn.Linear(hidden_size, width)
        self.U = nn.Linear(hidden_size, hidden_size, bias=False)
        self.add_state("h", hidden_size)

    def step(self, x, h):
        past = torch.where(x > 0, x, 0.1 * x)
        h = torch.tanh(self.W(self.norm(past)) + self.U(h))
        return h, torch.softmax(self.V(torch.relu(h)) * x, -1).reshape(-1, 1, x.shape[-1]).expand(-1, 2, -1)


@pytest.fixture
def called(monkeypatch):
    """The leading sizes of every map that was run."""
    found, run = [], maps.Map.__call__

    def noted(self, *given):
        found.append(tuple(given[self.lead].shape[:2]))
        return run(self, *given)

    monkeypatch.setattr(maps.Map, "__call__", noted)
    return found


def results(module, x):
    """Outputs, final state, and the gradients."""
    x = x.detach().requires_grad_()
    outputs, (h, *_) = module(x)
    weight = torch.linspace(-1, 1, outputs.numel(), dtype=x.dtype).view_as(outputs)
    grads = torch.autograd.grad((outputs * weight).sum() + h.square().sum(), [x, *module.parameters()])
    with torch.no_grad():
        alone, _ = module(x)
    return [outputs, h, *grads, alone]


@pytest.mark.parametrize(("steps", "batch"), SHAPES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_as_the_reference_engine(steps, batch, batch_first, called):
    torch.manual_seed(0)
    module = Recurrent(Between(6, 5), batch_first=batch_first).double()
    x = torch.randn((batch, steps, 6) if batch_first else (steps, batch, 6)).double()
    with engine("cpu"):
        found = results(module, x)
    assert (steps, batch) in called
    with engine("reference"):
        assert_close(found, results(module, x))


def test_nothing_is_left_to_torch():
    """A layer norm of the input is a map; around the loop there are maps, products and views alone."""
    module = Recurrent(cells.LayerNorm(cells.LSTM(6, 5), "input", size=6))
    x = torch.randn(4, 3, 6)
    results(module, x)
    plan, *_ = module._programs.plans.values()
    assert plan.loop is not None
    runner = plan.loop.runners(True)(x.dtype, x.device)
    assert runner.name == "cpu" and runner.replays is not None
    assert any(isinstance(function, maps.Map) for _, function, *_ in runner.pieces.before.lines)


def test_a_mask_of_a_sequence_takes_part(called):
    """Operations with a number for each sequence, such as a mask, are part of a map too."""
    torch.manual_seed(0)
    module = Recurrent(cells.RecurrentDropout(cells.create("gru-before", 3, 4), 0.3)).double()
    x = torch.randn(5, 6, 3).double()
    masks = module.draw(x)
    found = []
    for name in ("cpu", "reference"):
        with engine(name):
            outputs, _ = module(x, drawn=masks)
            found.append(torch.autograd.grad(outputs.square().sum(), list(module.parameters())))
    assert called
    assert_close(*found)
