# pyright: reportMissingImports=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalSubscript=false
"""Wrapped cells in every kind of run: engines, gradients, lengths, resets, streams, other processes."""

import subprocess
import sys

import catalogue
import pytest
import torch
from close import assert_close
from comparing import compared, native, only
from loops import gradients
from torch.autograd import gradcheck, gradgradcheck
from wrapped import CASES, FEW, WIDTH, WRAPPERS, wrap

from ostinato import Recurrent, cells, engine, layers, load, save
from ostinato.engines import eager
from ostinato.engines.cpu import CPU
from ostinato.noise import PREFIX

BATCH, STEPS = 4, 5
LIVE = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
RESET = torch.tensor([[0, 0, 1, 0, 1], [1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]).bool()
FEATURES = {"plain": {}, "lengths": {"lengths": torch.tensor([5, 2, 0, 4])}, "mask": {"mask": LIVE},
            "resets": {"reset": RESET}, "mask and resets": {"mask": LIVE, "reset": RESET}}


def _by_step(rnn, x, initial, masks, live=None, reset=None):
    """The plain loop over the wrapped step, from the same masks."""
    cell = rnn.cell
    starts = [v.transpose(0, 1) if s.depth > 1 else v.unsqueeze(0) for s, v in zip(cell.states, initial, strict=True)]
    given = {s.name: v for s, v in zip(cell.states, starts, strict=True)}
    drawn = {PREFIX + k: m.transpose(0, 1) if m.dim() == 3 else m for k, m in masks.items()}
    live, reset = (None if v is None else v.t() for v in (live, reset))
    reset = reset if live is None or reset is None else reset & live
    outputs, _, ends = eager.run(cell, [x.transpose(0, 1)], [], list(given.values()), live, reset, rnn.reverse,
                                  lambda d: drawn[d.name])
    if live is not None:
        outputs = outputs * live.unsqueeze(-1)
    return [outputs.transpose(0, 1), *[e.transpose(0, 1) if s.depth > 1 else e[0]
                                       for s, e in zip(cell.states, ends, strict=True)]]


@native
@pytest.mark.parametrize(("wrapper", "name"), CASES)
def test_engines_and_the_plain_loop(wrapper, name):
    """Values, states, all gradients: the CPU engine, the reference engine (inside of it) and the step itself."""
    rnn = Recurrent(wrap(wrapper, name), reverse=name == "gru")
    x = catalogue.inputs(rnn.cell, STEPS, BATCH, WIDTH).requires_grad_()
    masks = rnn.draw(x)
    leaves = [x, *rnn.cell.parameters()]
    with only(compared(CPU)) as used:
        for kind, given in FEATURES.items():
            outputs, ends = rnn(x, drawn=masks, **given)
            live = given.get("mask")
            if kind == "lengths":
                live = torch.arange(STEPS) < given["lengths"].unsqueeze(1)
            wanted = _by_step(rnn, x, rnn.initial_states(BATCH), masks, live, given.get("reset"))
            assert_close([outputs, *ends], wanted, name=kind)
            assert_close(gradients([outputs, *ends], leaves), gradients(wanted, leaves), name=f"{kind}: gradients")
    assert len(used.seen) >= 10


@pytest.mark.parametrize(("wrapper", "name"), FEW)
def test_derivatives(wrapper, name):
    rnn = Recurrent(wrap(wrapper, name))
    x = catalogue.inputs(rnn.cell, 3, 2, WIDTH).requires_grad_()
    masks, keys = rnn.draw(x), [k for k, _ in rnn.named_parameters()]

    def function(x, *values):
        outputs, ends = torch.func.functional_call(rnn, dict(zip(keys, values, strict=True)), (x,), {"drawn": masks})
        return outputs, *ends

    leaves = [x, *(p.detach().clone().requires_grad_() for p in rnn.parameters())]
    assert gradcheck(function, leaves, fast_mode=True)
    torch.manual_seed(3)
    assert gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize(("wrapper", "name"), [*FEW, ("recurrent-dropout", "gru-before"), ("zoneout", "indrnn")])
def test_streams_and_steppers(wrapper, name):
    """In training, the masks of a sequence stay the same over its chunks; in evaluation there are none."""
    rnn = Recurrent(wrap(wrapper, name))
    x = catalogue.inputs(rnn.cell, 7, BATCH, WIDTH)
    for training in (True, False):
        rnn.train(training)
        masks = rnn.draw(x)
        each = [k for k, m in masks.items() if m.dim() == 3]
        stream = rnn.stream()
        if not each:
            torch.manual_seed(4)
            chunks = [stream(x[:, a:b]) for a, b in ((0, 1), (1, 2), (2, 5), (5, 6), (6, 7))]
            torch.manual_seed(4)
            wanted, ends = rnn(x)
            assert_close(torch.cat(chunks, 1), wanted.detach())
            assert_close(list(stream.states), [e.detach() for e in ends])
        if not masks:
            stepper = rnn.stepper(x[:, 0])
            assert_close(torch.stack([stepper(v).clone() for v in x.unbind(1)], 1), rnn(x)[0].detach())


def test_a_stream_draws_anew_when_all_is_reset():
    rnn = Recurrent(cells.RecurrentDropout(cells.LSTM(3, 40), 0.5))
    x, stream = torch.randn(2, 4, 3), rnn.stream()
    one, two = stream(x), stream.reset() or stream(x)
    stream.reset(torch.tensor([True, True]))
    assert_close(stream(x), two)
    assert not torch.equal(one, two)
    for _ in range(2):
        stream.reset()
        three = [stream(x[:, t : t + 1]) for t in range(4)]
        assert not torch.equal(torch.cat(three, 1), two)


@pytest.mark.parametrize(("wrapper", "name"), FEW)
def test_saved_and_loaded(wrapper, name, tmp_path):
    rnn = Recurrent(wrap(wrapper, name))
    x = catalogue.inputs(rnn.cell, STEPS, BATCH, WIDTH).requires_grad_()
    rnn(x)
    save(rnn, tmp_path)
    other = load(tmp_path)
    assert other.cell.states == rnn.cell.states
    for training in (False, True):
        for module in (rnn, other):
            module.train(training)
        for given in FEATURES.values():
            results = []
            for module in (rnn, other):
                torch.manual_seed(6)
                results.append(module(x, **given))
            (one, ends), (two, others) = results
            assert_close([two, *others], [one, *ends], tolerance=0)
            names = [n for n, _ in rnn.named_parameters()]
            assert_close(gradients([two, *others], [other.get_parameter(n) for n in names]),
                         gradients([one, *ends], [rnn.get_parameter(n) for n in names]))


FRESH = """
import torch
from ostinato import load
x, seed, wanted, grad = torch.load(FOLDER + "/expected.pt")
rnn = load(FOLDER).train()
torch.manual_seed(seed)
reset = torch.zeros(x.shape[:2], dtype=torch.bool)
reset[0, 2] = True
found = rnn(x, reset=reset)[0]
found.sum().backward()
assert torch.equal(found, wanted) and torch.equal(rnn.get_parameter("cell.initial_h_0").grad, grad)
"""


def test_a_fresh_process(tmp_path):
    """The program runs without the classes: the masks are drawn, the beginning is learned."""
    cell = cells.LearnedInitial(cells.StackedCells([cells.Zoneout(cells.LSTM(3, 4), 0.3),
                                                    cells.RecurrentDropout(cells.WeightDropout(cells.GRU(4, 4), 0.5),
                                                                           0.25)]))
    rnn, x, reset = Recurrent(cell), torch.randn(3, 6, 3), torch.zeros(3, 6, dtype=torch.bool)
    reset[0, 2] = True
    torch.manual_seed(8)
    wanted = rnn(x, reset=reset)[0]
    wanted.sum().backward()
    save(rnn, tmp_path)
    torch.save((x, 8, wanted.detach(), cell.get_parameter("initial_h_0").grad), tmp_path / "expected.pt")
    code = FRESH.replace("FOLDER", repr(str(tmp_path)))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["all-dropouts", "deep"])
def test_in_layers(name):
    """A wrapper is a cell: in a stack, in both directions."""
    deep = layers.Stack([wrap("combined", name), layers.Bidirectional(
        wrap("zoneout", "gru"), wrap("weight-dropout", "lstm")), Recurrent(cells.Elman(10, 2).double())])
    x = torch.randn(BATCH, STEPS, WIDTH, dtype=torch.float64)
    given = {"lengths": torch.tensor([5, 2, 0, 4])}
    runs = []
    for chosen in ("cpu", "reference"):
        torch.manual_seed(1)
        with engine(chosen):
            runs.append(deep(x, **given)[0])
    assert_close(runs[0], runs[1])
    assert not torch.equal(deep(x, **given)[0], runs[0])
    deep.eval()
    assert torch.equal(deep(x, **given)[0], deep(x, **given)[0])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_compiled(wrapper):
    torch.compiler.reset()
    rnn = Recurrent(wrap(wrapper, "lstm"))
    x = catalogue.inputs(rnn.cell, STEPS, BATCH, WIDTH)
    masks = rnn.draw(x)
    compiled = torch.compile(rnn, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(x, drawn=masks), rnn(x, drawn=masks)
    assert_close([found[0], *found[1]], [wanted[0], *wanted[1]])
    parameters = list(rnn.parameters())
    assert_close(gradients([found[0], *found[1]], parameters), gradients([wanted[0], *wanted[1]], parameters))
    if masks:
        assert not torch.equal(compiled(x)[0], compiled(x)[0])
    rnn.eval()
    assert_close(compiled(x)[0], rnn(x)[0])


@pytest.mark.parametrize(("wrapper", "name"), [("recurrent-dropout", "lstm"), ("combined", "all-dropouts"),
                                               ("combined", "deep")])
def test_torch_func(wrapper, name):
    rnn = Recurrent(wrap(wrapper, name))
    x = torch.randn(2, BATCH, STEPS, WIDTH, dtype=torch.float64)
    masks = rnn.draw(x[0])
    together = torch.func.vmap(lambda v: rnn(v, drawn=masks)[0])(x)
    assert_close(together, torch.stack([rnn(v, drawn=masks)[0] for v in x]))
    parameters = {k: p.detach() for k, p in rnn.named_parameters()}

    def loss(parameters, v):
        return torch.func.functional_call(rnn, parameters, (v,), {"drawn": masks})[0].sum()

    found = torch.func.grad(loss)(parameters, x[0])
    rnn(x[0], drawn=masks)[0].sum().backward()
    assert_close([found[k] for k in parameters], [p.grad for p in rnn.parameters()])
    free = torch.func.vmap(lambda v: rnn(v)[0], randomness="different")(torch.stack([x[0], x[0]]))
    assert not torch.equal(free[0], free[1])
