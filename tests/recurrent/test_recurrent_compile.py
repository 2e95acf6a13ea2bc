"""torch.compile: one graph without a break, the same values and gradients, one compilation for every T and B."""

import subprocess
import sys

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, Tagger, Tied, compare
from torch import nn

from ostinato import Cell, FallbackError, Recurrent, cells, strict
from ostinato.engines.plan import LoopPlan

CELLS = {
    **{name: (lambda name=name: catalogue.build(name)) for name in ("lstm", "gru-before", "skip-two", "slstm")},
    "fibre": Fibre,
}
# (T, B); the first differ from every width, for the compiler takes sizes that happen to be equal for one and the same.
SIZES = [(8, 11), (4, 2), (9, 3)]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counting:
    """A backend that counts its graphs and hands them on.

    The first call may make two: torch starts again when it finds out that a float of a module is a constant.
    """

    def __init__(self, backend="aot_eager"):
        self.graphs, self.backend = [], backend

    def __call__(self, graph, examples):
        self.graphs.append(graph)
        return torch._dynamo.lookup_backend(self.backend)(graph, examples)


class Sandwich(nn.Module):
    """Linear, Recurrent, Linear, with everything that a call can be given."""

    def __init__(self, cell, reverse=False):
        super().__init__()
        torch.manual_seed(3)
        self.before = nn.Linear(3, 3, dtype=torch.float64)
        self.rnn = Recurrent(cell, reverse=reverse)
        width = self.rnn(torch.zeros(1, 1, 3, dtype=torch.float64))[0].shape[2:].numel()
        self.rnn = Recurrent(cell, reverse=reverse)  # never called
        self.after = nn.Linear(width, 2, dtype=torch.float64)

    def forward(self, x, initial=None, lengths=None, mask=None, reset=None):
        outputs, ends = self.rnn(torch.tanh(self.before(x)), initial, lengths, mask, reset)
        return (self.after(outputs.flatten(2)), *ends)


def _given(cell, steps, batch, kind):
    generator = torch.Generator().manual_seed(steps)
    flags = torch.rand(batch, steps, generator=generator) < 0.6
    return {
        "plain": {},
        "initial": {"initial": catalogue.initial(cell, batch)},
        "lengths": {"lengths": torch.randint(0, steps + 1, (batch,), generator=generator)},
        "mask and reset": {"mask": flags, "reset": flags.flip(1), "initial": catalogue.initial(cell, batch)},
    }[kind]


CASES = [("gru-before", "plain"), ("gru-before", "lengths"), ("fibre", "initial"), ("skip-two", "mask and reset")]


@pytest.mark.parametrize(("cell", "kind"), CASES)
def test_one_graph_for_all_sizes(cell, kind):
    model, backend, first = Sandwich(CELLS[cell](), reverse=kind == "lengths"), Counting(), 0
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    for steps, batch in SIZES:
        x = catalogue.inputs(model.rnn.cell, steps, batch).requires_grad_()
        given = _given(model.rnn.cell, steps, batch, kind)
        found = compiled(x, **given)
        compare(found, model(x, **given), [x, *model.parameters()], f"T={steps} B={batch}", retain=False)
        first = first or len(backend.graphs)
    assert len(backend.graphs) == first <= 2
    names = [str(node.target) for node in backend.graphs[-1].graph.nodes]
    assert sum("ostinato.recurrent" in name for name in names) == 1
    assert model.rnn.traces == 1


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients(context):
    model, backend = Sandwich(catalogue.build("gru")).eval(), Counting()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    with context():
        for steps, batch in SIZES:
            x = catalogue.inputs(model.rnn.cell, steps, batch)
            assert_close(compiled(x), model(x))
    assert len(backend.graphs) == 1


def test_sizes_found_out_automatically():
    """Without dynamic=True torch compiles for the first sizes, and once more, for all, when one changes."""
    model, backend = Sandwich(catalogue.build("gru")), Counting()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    counts = []
    for steps, batch in [(7, 5), (7, 5), (4, 2), (9, 3), (20, 6)]:
        x = catalogue.inputs(model.rnn.cell, steps, batch)
        assert_close(compiled(x), model(x))
        counts.append(len(backend.graphs))
    assert counts == [1, 1, 2, 2, 2]


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_inductor():
    for nonlinearity in ("tanh", "relu"):  # the second finds the first one's graphs on disk
        rnn = Recurrent(cells.Elman(3, 5, nonlinearity=nonlinearity, dtype=torch.float64))
        compiled = torch.compile(rnn, fullgraph=True, dynamic=True)
        for steps, batch in SIZES[:2]:
            x = catalogue.inputs(rnn.cell, steps, batch).requires_grad_()
            compare([compiled(x)[0]], [rnn(x)[0]], [x, *rnn.parameters()], retain=False)
        torch._dynamo.reset()


def test_several_inputs_constants_and_all_states():
    rnn, first = Recurrent(Tagger()), 0
    backend = Counting()

    @torch.compile(fullgraph=True, dynamic=True, backend=backend)
    def run(words, x, c):
        outputs, ends, states = rnn((words, x), constants=c, return_all_states=True)
        return outputs, *ends, states["h"]

    for steps, batch in SIZES:
        words = torch.arange(steps * batch).reshape(batch, steps) % 6
        x = catalogue.inputs(rnn.cell, steps, batch).requires_grad_()
        c = torch.linspace(-1, 1, 2 * batch, dtype=torch.float64).reshape(batch, 2).requires_grad_()
        outputs, ends, states = rnn((words, x), constants=c, return_all_states=True)
        compare(run(words, x, c), [outputs, *ends, states["h"]], [x, c, *rnn.parameters()], retain=False)
        first = first or len(backend.graphs)
    assert len(backend.graphs) == first <= 2


def test_modules_side_by_side():
    """Two recurrences in one graph, one of them used twice, and a copy: each finds its own parameters."""
    import copy

    one = Recurrent(catalogue.build("gru", input_size=5))
    two = copy.deepcopy(one)
    with torch.no_grad():
        for p in two.parameters():
            p.mul_(0.5)

    def run(x):
        return two(one(one(x)[0])[0])[0]

    x = catalogue.inputs(one.cell, 4, 3, 5).requires_grad_()
    found = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")(x)
    compare([found], [run(x)], [x, *one.parameters(), *two.parameters()], retain=False)


def test_parameters_changed_in_place_and_modes():
    model, backend = Sandwich(catalogue.build("gru")), Counting()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for steps, batch in SIZES:
        x = catalogue.inputs(model.rnn.cell, steps, batch)
        found = compiled(x)
        assert_close(found, model(x))
        optimiser.zero_grad()
        found[0].square().sum().backward()
        optimiser.step()
    assert len(backend.graphs) == 1


def test_steps():
    rnn = Recurrent(catalogue.build("lstm"))
    step = torch.compile(rnn.step, fullgraph=True, dynamic=True, backend="aot_eager")
    states = rnn.initial_states(3)
    x = catalogue.inputs(rnn.cell, 4, 3)
    outputs = []
    for t in range(4):
        with torch.no_grad():
            out, states = step(x[:, t], states)
        outputs.append(out)
    assert_close([torch.stack(outputs, 1), *states], [(r := rnn(x))[0], *r[1]])


def test_a_step_that_cannot_be_traced():
    rnn = Recurrent(Stubborn())
    x = catalogue.inputs(rnn.cell, 3, 2)
    with strict(), pytest.raises(Exception) as caught:
        torch.compile(rnn, fullgraph=True, dynamic=True, backend="aot_eager")(x)
    chain, seen = caught.value, []
    while chain is not None:
        seen.append(chain)
        chain = chain.__cause__ or chain.__context__
    assert any(isinstance(e, FallbackError) or "would run step by step" in str(e) for e in seen)


def test_tied_weights_buffers_and_constants():
    rnn = Recurrent(Tied())  # never called: it is traced inside the compiler
    x = catalogue.inputs(rnn.cell, 4, 6).requires_grad_()
    found = torch.compile(rnn, fullgraph=True, dynamic=True, backend="aot_eager")(x)
    compare([found[0]], [Recurrent(rnn.cell)(x)[0]], [x, *rnn.parameters()], retain=False)
    rnn.cell.get_buffer("scale").mul_(0.5)
    assert_close(torch.compile(rnn, fullgraph=True, dynamic=True, backend="aot_eager")(x), Recurrent(rnn.cell)(x))


@pytest.mark.parametrize("cell", ["gru-before"])
def test_one_step_and_one_sequence(cell):
    model, backend = Sandwich(CELLS[cell]()), Counting()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    for steps, batch in [(1, 1), (8, 1)]:
        x = catalogue.inputs(model.rnn.cell, steps, batch).requires_grad_()
        given = _given(model.rnn.cell, steps, batch, "mask and reset")
        compare(compiled(x, **given), model(x, **given), [x, *model.parameters()], retain=False)


class Noisy(Cell):
    """An Elman cell with dropout on its input and a gain; its mode and its gain are what Python reads."""

    def __init__(self, p=0.5):
        super().__init__()
        torch.manual_seed(4)
        self.W = nn.Linear(3, 5, dtype=torch.float64)
        self.dropout = nn.Dropout(p)
        self.gain = 1.0
        self.add_state("h", 5)

    def step(self, x, h):
        return torch.tanh(self.W(self.dropout(x)) + self.gain * h)


def test_a_change_of_mode_or_of_a_number_compiles_again():
    cell = Noisy()
    rnn = Recurrent(cell)
    compiled = torch.compile(rnn, fullgraph=True, dynamic=True, backend="aot_eager")
    x = catalogue.inputs(rnn.cell, 6, 11)
    assert not torch.equal(compiled(x)[0], compiled(x)[0])
    rnn.eval()
    assert_close(compiled(x), rnn(x))
    cell.gain = 0.25
    assert_close(compiled(x), rnn(x))
    rnn.train()
    cell.dropout.eval()
    assert_close(compiled(x), rnn(x))
    cell.dropout.train()
    assert not torch.equal(compiled(x)[0], compiled(x)[0])


def test_the_name_of_a_loop_is_all_there_is_to_it():
    """torch keeps graphs on disk, so another process may find one that this process made."""
    rnn = Recurrent(catalogue.build("slstm"), save="recompute")
    rnn(catalogue.inputs(rnn.cell, 2, 2))
    (plan,) = rnn._programs.plans.values()
    assert plan.loop is not None
    name, loop = plan.loop.name, plan.loop.loop
    assert LoopPlan.called(name) is plan.loop
    code = "import sys; from ostinato.engines.plan import LoopPlan; print(LoopPlan.called(sys.stdin.read()).name)"
    other = subprocess.run([sys.executable, "-c", code], input=name, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == name
    made = LoopPlan(loop, None)
    assert made.name != name
    assert Recurrent(rnn.cell)._handle != rnn._handle
