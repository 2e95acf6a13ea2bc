"""Native calls noted once and replayed: the same numbers, whatever else the tensors are."""

from __future__ import annotations

import threading

import pytest
import torch
from close import assert_close
from comparing import native
from torch import nn

from ostinato import Cell, Recurrent, cells, engine, layers
from ostinato.engines.cpu import tape
from ostinato.engines.cpu.products import multiply

pytestmark = native
KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


@pytest.fixture
def replayed(monkeypatch):
    """How many runs were replayed."""
    count, run = [], tape.Replay.__call__

    def counted(self, given):
        count.append(1)
        return run(self, given)

    monkeypatch.setattr(tape.Replay, "__call__", counted)
    return count


def pair(name, **options):
    """The drop-in and torch's module, of the same weights."""
    torch.manual_seed(0)
    ours, theirs = getattr(layers, name)(3, 5, **options).double(), KINDS[name](3, 5, **options).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def layouts(steps, batch):
    """The same kind of input, laid out in many ways."""
    yield torch.randn(steps, batch, 3)
    yield torch.randn(batch, steps, 3).transpose(0, 1)
    yield torch.randn(steps, batch, 9)[..., 2:5]
    yield torch.randn(steps, batch, 6)[..., ::2]
    yield torch.randn(steps, 1, 3).expand(steps, batch, 3)
    yield torch.randn(steps + 2, batch, 3)[2:]
    yield torch.complex(torch.randn(steps, batch, 3), torch.randn(steps, batch, 3)).conj().imag  # a lazy negation


def results(module, x, seeds):
    """Output, final states, and their derivatives by the input and the weights."""
    x = x.detach().requires_grad_()
    output, states = module(x)
    found = [output, *(states if isinstance(states, tuple) else [states])]
    grads = torch.autograd.grad(found, [x, *module.parameters()], seeds[: len(found)])
    with torch.no_grad():
        again = module(x)[0]
    return [again, *found, *grads]


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_the_same_as_torch_again_and_again(name, options, replayed):
    ours, theirs = pair(name, **options)
    wide = 2 if options.get("bidirectional") else 1
    for _ in range(4):
        for steps, batch in ((1, 1), (1, 4), (6, 2)):
            for x in layouts(steps, batch):
                x = x.double()
                seeds = [torch.randn(steps, batch, 5 * wide), *torch.randn(2, wide * ours.num_layers, batch, 5)]
                seeds = [s.double() for s in seeds]
                assert_close(results(ours, x, seeds), results(theirs, x, seeds))
    assert len(replayed) > 100


def test_results_are_new_memory(replayed):
    ours, _ = pair("LSTM")
    x = torch.randn(2, 1, 3).double()
    kept = [results(ours, x * k, [torch.ones(2, 1, 5).double() * k] + [torch.ones(1, 1, 5).double()] * 2)
            for k in range(1, 5)]
    copies = [[v.clone() for v in values] for values in kept]
    results(ours, x * 9, [torch.ones(2, 1, 5).double()] + [torch.ones(1, 1, 5).double()] * 2)
    assert replayed
    for values, copy in zip(kept, copies, strict=True):
        assert all(map(torch.equal, values, copy))


def test_a_backward_pass_on_the_reference_engine(replayed):
    network, x = Recurrent(cells.LSTM(3, 5)), torch.randn(2, 4, 3)
    for _ in range(3):
        outputs, _ = network(x)
        wanted = torch.autograd.grad(outputs.square().sum(), list(network.parameters()), retain_graph=True)
    replayed.clear()
    with engine("reference"):
        found = torch.autograd.grad(outputs.square().sum(), list(network.parameters()))
    assert_close(found, wanted)
    assert not replayed


def test_what_is_saved_may_be_moved():
    """Hooks that keep copies: what lies beside a sequence is not there any more."""
    network, x = Recurrent(cells.GRU(3, 5)), torch.randn(2, 4, 3)
    start = torch.randn(2, 5)
    for _ in range(3):
        outputs, _ = network(x, start)
        wanted = torch.autograd.grad(outputs.square().sum(), list(network.parameters()))
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), torch.tensor):
            outputs, _ = network(x, start)
        found = torch.autograd.grad(outputs.square().sum(), list(network.parameters()))
        assert_close(found, wanted)


def test_an_output_changed_in_place_is_noticed():
    ours, _ = pair("RNN")
    x = torch.randn(3, 2, 3).double()
    for _ in range(3):
        output, _ = ours(x)
        output.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()


def test_threads_at_once():
    ours, theirs = pair("LSTM")
    wrong = []

    def work(k):
        generator = torch.Generator().manual_seed(k)
        for _ in range(40):
            x = torch.randn(2, 1, 3, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                if not torch.allclose(ours(x)[0], theirs(x)[0]):
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_zeros_that_are_shared_stay_zero():
    ours, _ = pair("GRU")
    with torch.inference_mode():
        ours(torch.randn(2, 3, 3).double())
    output, h = ours(torch.randn(2, 3, 3).double())
    h.detach().fill_(7)
    output.sum().backward()
    x = torch.randn(2, 3, 3).double()
    assert torch.equal(ours(x)[0], ours(x, torch.zeros(1, 3, 5).double())[0])


def product(given):
    return [multiply(given[0], given[1])]


@pytest.mark.parametrize("run", [
    lambda given: [torch.tanh(given[0])],
    lambda given: [given[0]],
    lambda given: [product(given)[0][1:2]],
    lambda given: [product(given)[0].t()],
    lambda given: [multiply(given[0] * 2, given[1])],
    lambda given: [(out := product(given)[0]), out.view(out.shape)],
], ids=["computed by PyTorch", "given", "a part", "turned", "of something computed", "twice the same memory"])
def test_no_replay_of_what_the_library_does_not_do(run):
    assert tape.note(run, [torch.randn(3, 3), torch.randn(3, 3)]) is None


def test_a_product_is_replayed():
    replay = tape.note(product, [torch.randn(3, 4), torch.randn(4, 2)])
    assert replay is not None
    for _ in range(2):
        a, b = torch.randn(3, 4), torch.randn(4, 2)
        assert_close(replay([a, b]), [a @ b])
    assert tape.noting.tape is None


def test_the_first_call_draws_the_noise_of_the_later_ones():
    """What was begun to be noted and given up has drawn nothing."""
    rnn = Recurrent(Noisy())
    x = torch.randn(2, 3, 3, dtype=torch.float64)
    found = []
    with torch.no_grad():
        for _ in range(3):
            torch.manual_seed(5)
            found.append([rnn(x)[0], torch.rand(2)])
    assert_close(found[1:], found[:1] * 2, tolerance=0.0)


class Noisy(Cell):
    """h[t] = dropout(tanh(W x[t] + U h[t-1]))"""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.W, self.U = nn.Linear(3, 5), nn.Linear(5, 5, bias=False)
        self.add_state("h", 5)
        self.double()

    def step(self, x, h):
        return nn.functional.dropout(torch.tanh(self.W(x) + self.U(h)), 0.4, self.training)
