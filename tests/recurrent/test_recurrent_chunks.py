"""Long runs in pieces of time: the same values and derivatives, in less memory."""

import subprocess
import sys
from pathlib import Path

import catalogue
import pytest
import torch
from close import assert_close
from loops import gradients

from ostinato import Recurrent, engine
from ostinato.engines import chunks
from ostinato.engines.cpu import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"the CPU engine: {unavailable()}")
STEPS, BATCH = 7, 2


@pytest.fixture
def small(monkeypatch):
    """Pieces of few steps, whatever the size; returns how many pieces there were."""
    seen = []
    spans = chunks.spans

    def counted(*args):
        found = list(spans(*args))
        seen.append(len(found))
        return found

    monkeypatch.setattr(chunks, "LARGE", 0)
    monkeypatch.setattr(chunks, "PIECE", 500)
    monkeypatch.setattr(chunks, "spans", counted)
    return seen


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("save", [None, "recompute"])
@pytest.mark.parametrize("name", catalogue.NAMES)
def test_pieces_equal_the_whole(name, save, reverse, small):
    rnn = Recurrent(catalogue.build(name), save=save, reverse=reverse)
    x = catalogue.inputs(rnn.cell, STEPS, BATCH).requires_grad_()
    initial = [v.requires_grad_() for v in catalogue.initial(rnn.cell, BATCH)]
    leaves = [x, *initial, *rnn.cell.parameters()]
    found = []
    for which in ("cpu", "reference"):
        with engine(which):
            outputs, ends, states = rnn(x, initial, return_all_states=True)
            results = [outputs, *ends, *states.values()]
            found.append([*results, *gradients(results, leaves)])
            with torch.no_grad():
                found[-1] += [rnn(x, initial)[0], *rnn(x, initial)[1]]
    assert_close(found[0], found[1])
    assert small and max(small) > 1


def test_second_derivatives(small):
    rnn = Recurrent(catalogue.build("lstm"))
    x = catalogue.inputs(rnn.cell, STEPS, BATCH).requires_grad_()
    found = []
    for which in ("cpu", "reference"):
        with engine(which):
            grads = torch.autograd.grad(rnn(x)[0].square().sum(), [x, *rnn.parameters()], create_graph=True)
            total = torch.stack([g.square().sum() for g in grads]).sum()
            found.append(torch.autograd.grad(total, [x, *rnn.parameters()]))
    assert_close(found[0], found[1])
    assert max(small) > 1


CHILD = """
import sys
from pathlib import Path
import torch
from ostinato import Recurrent, cells
from ostinato.engines import chunks
torch.set_num_threads(1)
chunks.LARGE, chunks.PIECE = 2**22, 2**21
steps, batch, width = 500, 32, 128

def resident(kind):
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))

rnn = Recurrent(cells.LSTM(width, width), batch_first=False, save=sys.argv[1] if sys.argv[1] != "None" else None)
for size in (2, steps):
    x, g = torch.randn(size, batch, width), torch.randn(size, batch, width)
    if size == steps:
        Path("/proc/self/clear_refs").write_text("5", "utf-8")
        before = resident("VmRSS")
    rnn(x)[0].backward(g)
print((resident("VmHWM") - before) / (4 * steps * batch * width))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="it reads Linux' own numbers")
@pytest.mark.parametrize(("save", "most"), [("None", 10), ("recompute", 6)])
def test_memory(save, most):
    """The peak of a training step in sequences of h: six are saved, or two; the gates' four and their gradients' four
    never are all there. torch.nn takes 15."""
    done = subprocess.run([sys.executable, "-c", CHILD, save], check=True, capture_output=True, text=True)
    assert float(done.stdout) <= most
