"""Steps that a program cannot express: each refusal names the operation and the line, and the cell still runs."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from close import assert_close
from oracle import Written, by_steps, drawn, gradients, leaves, written
from torch import nn

from ostinato import FallbackError, Recurrent, strict


class Doubled(torch.autograd.Function):
    """Whose derivative no one can see."""

    @staticmethod
    def forward(ctx, a):
        return a * 2

    @staticmethod
    def backward(ctx, g):  # type: ignore[override]
        return g * 3


def _decides(c, x, h):
    if h.sum() > 0:
        return h * 0.5 + x @ c.W
    return h - x @ c.W


def _counts(c, x, h):
    c.calls += 1
    return h + x @ c.W / c.calls


def _mutates_buffer(c, x, h):
    c.seen.add_(1.0)
    return h + x @ c.W


def _mutates_parameter(c, x, h):
    with torch.no_grad():
        c.v.mul_(1.0)
    return h * c.v + x @ c.W


def _remembers(c, x, h):
    c.last = h
    return h + x @ c.W


def _half(c, x, h):
    return (h @ c.U).half().double() + x @ c.W


def _bfloat16(c, x, h):
    return h + (x.to(torch.bfloat16) @ c.W.to(torch.bfloat16)).to(x.dtype)


def _autocast(c, x, h):
    with torch.autocast("cpu", torch.bfloat16):
        return h + (x.float() @ c.W.float()).to(x.dtype)


def _rows_differ(c, x, h):
    return h + torch.arange(x.shape[0], dtype=x.dtype)[:, None] + x @ c.W


def _writes_into_new(c, x, h):
    new = torch.zeros(x.shape[0], 4, dtype=x.dtype)
    new[:, :2] = h[:, :2]
    return new + x @ c.W


REFUSED = {
    # the step, what the message names
    "mean over the batch": (lambda c, x, h: h - h.mean(0), "mean"),
    "mean over everything": (lambda c, x, h: h - h.mean(), "mean"),
    "one sequence": (lambda c, x, h: h + h[0] + x @ c.W, "select"),
    "some sequences": (lambda c, x, h: torch.cat([h[:1], h[1:]]) + x @ c.W, "slice"),
    "sequences turned round": (lambda c, x, h: h.flip(0) + x @ c.W, "flip"),
    "sequences rolled": (lambda c, x, h: h.roll(1, 0) + x @ c.W, "roll"),
    "rolled through everything": (lambda c, x, h: h.roll(1) + x @ c.W, "roll"),
    "sequences by sequences": (lambda c, x, h: h @ h.t() @ h + x @ c.W, "mm"),
    "inputs by inputs": (lambda c, x, h: h + (x @ x.t()) @ (x @ c.W), "mm"),
    "sum of everything": (lambda c, x, h: h + h.sum() + x @ c.W, "sum"),
    "sum over the inputs": (lambda c, x, h: h + x.sum(0) @ c.W, "sum"),
    "softmax over the batch": (lambda c, x, h: h.softmax(0) + x @ c.W, "softmax"),
    "cumsum over the batch": (lambda c, x, h: h.cumsum(0) + x @ c.W, "cumsum"),
    "folded into the features": (lambda c, x, h: h.reshape(-1)[: x.shape[0] * 4].view(4, -1).t() + x @ c.W, "view"),
    "a decision": (_decides, "number out of a tensor"),
    "a number": (lambda c, x, h: h * float(h.detach().max()) + x @ c.W, "number out of a tensor"),
    "item": (lambda c, x, h: h * h[0, 0].item() + x @ c.W, "select"),
    "numpy": (lambda c, x, h: h + torch.from_numpy(np.tanh(x.detach().numpy())) @ c.W, "numpy"),
    "nonzero": (lambda c, x, h: h + x[:, :1] * len(h.nonzero()) + x @ c.W, "number out of a tensor"),
    "allclose": (lambda c, x, h: h + 1.0 if torch.allclose(h, h) else h - x @ c.W, "number out of a tensor"),
    "an index of a state": (lambda c, x, h: h.gather(1, (h > 0).long()) + x @ c.W, "gather"),
    "a mask of a state": (lambda c, x, h: h + h[h > 0].sum() + x @ c.W, "index"),
    "topk": (lambda c, x, h: torch.cat([h.topk(2, -1).values] * 2, -1) + x @ c.W, "topk"),
    "argmax": (lambda c, x, h: h + h.argmax(-1, keepdim=True) * 0.1 + x @ c.W, "argmax"),
    "index of the maximum": (lambda c, x, h: h + h.max(-1, keepdim=True)[1] * 0.1 + x @ c.W, "index"),
    "sort": (lambda c, x, h: h.sort(-1).values + x @ c.W, "sort"),
    "conv of a state": (lambda c, x, h: F.conv1d(h.unsqueeze(1), c.v[None, None, :3], padding=1).squeeze(1), "conv"),
    "a custom function": (lambda c, x, h: Doubled.apply(h * 0.2) + x @ c.W, "custom autograd.Function"),
    "a custom function on the input": (lambda c, x, h: h + Doubled.apply(x) @ c.W, "custom autograd.Function"),
    "half": (_half, "casts torch.float64 to torch.float16"),
    "bfloat16": (_bfloat16, "casts torch.float64 to torch.bfloat16"),
    "float": (lambda c, x, h: (h @ c.U).float() + x @ c.W, "casts torch.float64 to torch.float32"),
    "autocast": (_autocast, "casts torch.float64 to torch.float32"),
    "the batch as a number": (lambda c, x, h: h * x.shape[0] * 0.1 + x @ c.W, "batch size as a number"),
    "the batch as a float": (lambda c, x, h: h / float(len(x)) + x @ c.W, "changes from call to call"),
    "rows that differ": (_rows_differ, "rows differ"),
    "complex": (lambda c, x, h: torch.fft.fft(h).real + x @ c.W, "complex"),
    "as_strided": (lambda c, x, h: h + x.as_strided((x.shape[0], 1), (3, 1)) + x @ c.W, "as_strided"),
    "new tensor written into": (_writes_into_new, "torch.zeros_like"),
    "out=": (lambda c, x, h: h + torch.mul(x.detach(), 2, out=torch.empty_like(x)) @ c.W, "out="),
    "batch norm of a state": (lambda c, x, h: c.N(h) + x @ c.W, "native_batch_norm"),
    "batch norm of the input": (lambda c, x, h: h + c.N(x @ c.W), "native_batch_norm"),
    "a counter": (_counts, "self.calls"),
    "a buffer changed": (_mutates_buffer, "add_ changes 'seen'"),
    "a parameter changed": (_mutates_parameter, "mul_ changes 'v'"),
    "a tensor kept": (_remembers, "self.last"),
    "another module's parameter": (lambda c, x, h: h + OTHER(x), "neither an argument nor a parameter"),
}
OTHER = nn.Linear(3, 4).double()
WITHOUT_LINE = ("a counter", "a tensor kept", "index of the maximum", "numpy")
ONLY_VALUES = ("a custom function", "a custom function on the input", "a parameter changed")


def _refused_cell(name):
    function = REFUSED[name][0]
    cell = written(function, N=nn.BatchNorm1d(4).double(), calls=0)
    cell.register_buffer("seen", torch.zeros(1, dtype=torch.float64))
    return cell


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    """The reason names the operation and the line; the values are those of the plain loop; strict() raises."""
    cell, twin = _refused_cell(name), _refused_cell(name)
    recurrent, names = Recurrent(cell), REFUSED[name][1]
    x = drawn((2, 3, 3))
    with pytest.raises(FallbackError, match=re.escape(names)) as refusal, strict():
        recurrent(x)
    function = REFUSED[name][0]
    first, code = function.__code__.co_firstlineno, Path(__file__).read_text("utf-8").splitlines()
    if name not in WITHOUT_LINE:
        found = re.search(r"test_trace_refusals\.py:(\d+): (.*)\)", str(refusal.value))
        assert found, str(refusal.value)
        line = int(found[1])
        assert first <= line <= first + 5 and code[line - 1].strip() == found[2]
    xs, starts, _ = leaves(cell, 3, 2, [(3,)])
    outputs, ends = recurrent(xs, starts)
    expected = by_steps(twin, xs, starts)
    assert_close((outputs, *ends), expected)
    if name not in ONLY_VALUES:
        assert_close(gradients((outputs, *ends), [*xs, *starts]), gradients(expected, [*xs, *starts]))
    explanation = recurrent.explain()
    assert not explanation.traced and names in str(explanation)
    assert recurrent.traces == 1


def test_random_numbers_that_are_not_drawn_for_the_batch():
    for draw in (lambda x: torch.randn(x.shape[0], 4), lambda x: torch.rand(4), lambda x: torch.rand(()),
                 lambda x: float(torch.rand(()) > 0.5), lambda x: random.random(), lambda x: random.choice([0.0, 1.0]),
                 lambda x: torch.randint(0, 2, (1,)).item(), lambda x: F.dropout(OTHER.weight.detach())[:, 0]):
        recurrent = Recurrent(written(lambda c, x, h, draw=draw: torch.tanh(h @ c.U) + x @ c.W + draw(x)))
        state, own = random.getstate(), torch.get_rng_state()
        with pytest.raises(FallbackError, match=r"random|changes from call to call"), strict():
            recurrent(drawn((2, 3, 3)))
        assert random.getstate() == state
        assert_close(torch.get_rng_state(), own)
        assert recurrent(drawn((2, 3, 3)))[0].isfinite().all()
    recurrent = Recurrent(written(lambda c, x, h: h @ F.dropout(c.U) + x @ c.W))
    with pytest.raises(FallbackError, match="without a batch"), strict():
        recurrent(drawn((2, 3, 3)))
    recurrent = Recurrent(written(lambda c, x, h: h + torch.multinomial(x.abs(), 1) + x @ c.W))
    with pytest.raises(FallbackError, match="multinomial draws random numbers"), strict():
        recurrent(drawn((2, 3, 3)))


def test_what_the_recording_cannot_see():
    """Compared with the step when the program is built: values and gradients that are not those of the operations."""

    def inner_gradient(c, x, h):
        with torch.enable_grad():
            z = h.detach().requires_grad_()
            return h - 0.1 * torch.autograd.grad((z**3).sum(), z)[0] + x @ c.W

    def hooked(c, x, h):
        h = h * 1.0
        if h.requires_grad:
            h.register_hook(lambda g: g * 2)
        return h + x @ c.W

    for step in (inner_gradient, hooked):
        cell = written(step)
        recurrent = Recurrent(cell)
        xs, starts, _ = leaves(cell, 3, 2, [(3,)])
        outputs, ends = recurrent(xs, starts)
        wrt, expected = [*xs, *starts], by_steps(cell, xs, starts)
        assert_close((outputs, *ends), expected)
        assert_close(gradients((outputs, *ends), wrt), gradients(expected, wrt))
    with pytest.raises(FallbackError, match=r"the gradients of Written\.step are not those"), strict():
        Recurrent(written(hooked))(drawn((2, 3, 3)))


def test_errors_of_the_step_are_its_own():
    """A mistake in a step is shown by the step as it runs, not by the trace of it."""
    cases = [(lambda c, x, h: h @ c.W, RuntimeError, "mat1 and mat2"),
             (lambda c, x, h: c.missing, AttributeError, "missing"),
             (lambda c, x, h: h[:, :2], ValueError, "expected"), (lambda c, x, h: None, ValueError, "NoneType"),
             (lambda c, x: x, TypeError, "argument"), (lambda c, x, h: (h, h, h), ValueError, "returned 3 values")]
    for step, error, words in cases:
        with pytest.raises(error, match=words):
            Recurrent(written(step))(drawn((2, 3, 3)))


def test_results_without_the_batch():
    for step in (lambda c, x, h: (h, c.v), lambda c, x, h: (h, h.t()), lambda c, x, h: (h, h.sum(-1).unsqueeze(0))):
        with pytest.raises(FallbackError, match="without the batch as its first dimension"), strict():
            Recurrent(written(step))(drawn((2, 3, 3)))


SCRIPT = """
import sys, torch
from ostinato import Cell, Recurrent, cells, strict

class Own(Cell):
    def __init__(self):
        super().__init__()
        self.W, self.U = torch.nn.Linear(3, 4), torch.nn.Linear(4, 4)
        self.add_state("h", 4)
    def step(self, x, h):
        {step}

for cell in [{cells}]:
    with strict():
        outputs, _ = Recurrent(cell)(torch.randn(2, 5, 3, requires_grad=True))
    outputs.sum().backward()
print(*(name for name in ("sympy", "torch._dynamo", "torch.distributed.tensor", "networkx") if name in sys.modules))
"""


def test_no_heavy_imports():
    """A run of any cell of the catalogue, forwards and backwards, pays for no import that takes seconds."""
    code = SCRIPT.format(cells="Own(), *(cells.create(name, 3, 4) for name in cells.names('vectors'))",
                         step="return torch.tanh(self.W(x) + self.U(h))")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_another_operation_runs_in_a_fresh_process():
    code = SCRIPT.format(cells="Own()", step="return torch.nn.functional.gelu(self.W(x) + torch.einsum('bi,ij->bj', h, "
                         "self.U.weight)).clamp(-1, 1)")
    subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)


def test_written_cells_are_like_others():
    assert repr(Written(lambda c, x, h: h, {"h": 2}, {})) == "Written(h[2])"
