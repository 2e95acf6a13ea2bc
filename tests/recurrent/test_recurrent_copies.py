"""Copies, pickles, state dicts, threads and processes; and which changes of a cell make a new program."""

import copy
import io
import multiprocessing
import pickle
import threading
import types

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, Tied, by_eager, compare
from torch import nn
from torch.nn.utils import parametrizations

from ostinato import Cell, Recurrent, cells, strict

CELLS = {
    **{name: (lambda name=name: catalogue.build(name)) for name in ("lstm", "skip-two", "leaky-units", "slstm")},
    "fibre": Fibre,
    "tied": Tied,
    "stubborn": Stubborn,
}
each_cell = pytest.mark.parametrize("cell", CELLS)
COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "torch.save": lambda m: _saved_whole(m),
}


def _saved_whole(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("called", [False, True])
@each_cell
def test_a_copy_is_its_own(cell, called, way):
    rnn = Recurrent(CELLS[cell](), batch_first=False, reverse=True, save="recompute")
    x = catalogue.inputs(rnn.cell, 4, 2, time_first=True)
    if called:
        rnn(x)
    other = COPIES[way](rnn)
    assert other.traces == 0
    assert (other.batch_first, other.reverse, other.save_policy) == (False, True, "recompute")
    assert_close(other(x), rnn(x), tolerance=0.0)
    before = rnn(x)[0].detach()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    assert_close(rnn(x)[0], before, tolerance=0.0)
    assert not torch.equal(other(x)[0], before)


def test_a_pickle_holds_no_programs():
    rnn = Recurrent(catalogue.build("lstm"))
    before = len(pickle.dumps(rnn))
    rnn(catalogue.inputs(rnn.cell, 4, 2))
    assert len(pickle.dumps(rnn)) <= before + 64


@each_cell
def test_state_dict(cell):
    rnn, other = Recurrent(CELLS[cell]()), Recurrent(CELLS[cell]())
    x = catalogue.inputs(rnn.cell, 4, 2)
    with torch.no_grad():
        for p in rnn.parameters():
            p.mul_(0.7)
    other(x)
    file = io.BytesIO()
    torch.save(rnn.state_dict(), file)
    file.seek(0)
    assert set(rnn.state_dict()) == {f"cell.{k}" for k in rnn.cell.state_dict()}
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert_close(other(x), rnn(x), tolerance=0.0)
    assert cell == "stubborn" or other.traces == 1


@each_cell
def test_threads(cell):
    rnn = Recurrent(CELLS[cell]())
    problems = [catalogue.inputs(rnn.cell, 3 + k % 3, 2 + k % 2, seed=k) for k in range(8)]
    masks = [torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(k)) < 0.7 for k, x in enumerate(problems)]
    wanted = []
    for k, x in enumerate(problems):
        given = {"mask": masks[k]} if k % 2 else {}
        outputs, ends = Recurrent(copy.deepcopy(rnn.cell))(x, **given)
        wanted.append([outputs.detach(), *(e.detach() for e in ends)])
    found: list = [None] * 8
    start = threading.Barrier(8)

    def work(k):
        start.wait()
        for _ in range(5):
            outputs, ends = rnn(problems[k], **({"mask": masks[k]} if k % 2 else {}))
            torch.autograd.grad(outputs.sum(), list(rnn.parameters()), allow_unused=True)
            found[k] = [outputs.detach(), *(e.detach() for e in ends)]

    for module in rnn, copy.deepcopy(rnn):  # traced by one of the threads, then found traced
        rnn = module
        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert_close(found, wanted, tolerance=1e-14)


def test_threads_with_different_kinds_of_input():
    """A thread that traces replaces the cell's parameters for a moment: no other thread may see that."""
    cell = Summed()
    rnn = Recurrent(cell)
    shapes = [(2, 3, *[1] * k, 4) for k in range(6)]
    wanted = [rnn.cell.initial_states(2)[0].new_tensor(0.0)] * 6
    errors = []
    start = threading.Barrier(6)

    def work(k):
        start.wait()
        try:
            wanted[k] = rnn(torch.ones(shapes[k], dtype=torch.float64))[0]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    assert all(torch.equal(w, wanted[0]) for w in wanted)
    assert all(type(p) is nn.Parameter for p in cell.parameters())
    assert rnn.traces == 6


class Summed(Cell):
    """h[t] = tanh(w x[t] + h[t-1]), whatever the rank of x."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.linspace(0.1, 0.5, 4, dtype=torch.float64))
        self.add_state("h", 4)

    def step(self, x, h):
        return torch.tanh(self.w * x.reshape(x.shape[0], 4) + h)


def _forward(rnn, x, queue):
    torch.set_num_threads(1)  # as in the workers of a DataLoader: torch's own threads are gone in a forked process
    outputs, _ = rnn(x)
    queue.put(outputs.detach().numpy().tolist())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("called", [False, True])
def test_a_forked_process(called):
    rnn = Recurrent(catalogue.build("lstm"))
    x = catalogue.inputs(rnn.cell, 4, 2)
    wanted = rnn(x)[0] if called else Recurrent(rnn.cell)(x)[0]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_forward, args=(rnn, x, queue))
    child.start()
    found = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    assert_close(torch.tensor(found, dtype=torch.float64), wanted, tolerance=0.0)


class Plain(Cell):
    """h[t] = gain * g(W x[t]) + h[t-1] U, with everything about it replaceable."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.W, self.U = nn.Linear(3, 3, dtype=torch.float64), nn.Linear(3, 3, dtype=torch.float64)
        self.act, self.function, self.gain, self.table = nn.Tanh(), torch.sin, 1.0, (1.0, 2.0)
        self.settings = types.SimpleNamespace(scale=1.0)
        self.tensor = torch.ones(3, dtype=torch.float64)
        self.add_state("h", 3)

    def step(self, x, h):
        return self.gain * self.act(self.W(x)) + self.table[0] * self.function(self.U(h)) * self.tensor


def _tie(cell):
    cell.U.weight = cell.W.weight


def _wider(cell):
    cell.act = nn.Sequential(cell.act, nn.Linear(3, 3, dtype=torch.float64))


CHANGES = {
    "a number": lambda c: setattr(c, "gain", 0.5),
    "a tuple": lambda c: setattr(c, "table", (0.5, 2.0)),
    "a function": lambda c: setattr(c, "function", torch.tanh),
    "a module": lambda c: setattr(c, "act", nn.Sigmoid()),
    "another module": _wider,
    "a tensor": lambda c: setattr(c, "tensor", torch.linspace(0, 1, 3, dtype=torch.float64)),
    "a tensor in place": lambda c: c.tensor.mul_(3.0),
    "tied": _tie,
    "a parameter replaced": lambda c: setattr(c, "U", nn.Linear(3, 3, bias=False, dtype=torch.float64)),
    "spectral norm": lambda c: parametrizations.spectral_norm(c.eval().U),
    "weight norm": lambda c: parametrizations.weight_norm(c.U),
    "parameters in place": lambda c: nn.init.normal_(c.U.weight),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_cell_makes_a_new_program(change):
    cell = Plain()
    rnn = Recurrent(cell)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    rnn(x)
    CHANGES[change](cell)
    with strict():
        outputs, ends = rnn(x)
    expected, expected_ends = by_eager(cell, x, rnn.initial_states(2))
    compare([outputs, *ends], [expected, *expected_ends], [x, *cell.parameters()])


def test_untied():
    cell = Plain()
    _tie(cell)
    rnn = Recurrent(cell)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    rnn(x)
    cell.U.weight = nn.Parameter(cell.U.weight.detach() * 0.3)
    assert_close(rnn(x)[0], by_eager(cell, x, rnn.initial_states(2))[0])


def test_a_tensor_made_in_inference_mode_cannot_be_traced_but_runs():
    cell = Plain()
    with torch.inference_mode():
        cell.tensor = torch.full((3,), 0.5, dtype=torch.float64)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        assert_close(Recurrent(cell)(x)[0], by_eager(cell, x, (torch.zeros(2, 3, dtype=torch.float64),))[0])


def test_modules_are_let_go():
    import gc
    import weakref

    rnn = Recurrent(cells.LSTM(3, 4))
    rnn(torch.randn(2, 3, 3))[0].sum().backward()
    found = [weakref.ref(rnn), weakref.ref(rnn.cell), weakref.ref(next(iter(rnn._programs.plans.values())))]
    del rnn
    gc.collect()
    assert [f() for f in found] == [None] * 3
