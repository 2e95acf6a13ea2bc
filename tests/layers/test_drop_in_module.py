"""The drop-ins as modules: what a user of torch.nn does with a layer besides running it."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from close import assert_close
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence
from twins import compare, random_packed, run, twins

from ostinato import layers

NAMES = ["RNN", "LSTM", "GRU"]


def pair(name: str, **kwargs: Any) -> tuple[Any, Any]:
    return twins(name, 3, 5, **({"num_layers": 2, "bidirectional": True} | kwargs))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(11)
    return torch.randn(7, 3, 3, dtype=torch.float64)  # [T, B, I]


def test_is_a_torch_layer(name: str) -> None:
    theirs, ours = getattr(nn, name), getattr(layers, name)
    assert isinstance(ours(3, 5), nn.RNNBase)
    assert list(inspect.signature(ours.forward).parameters) == list(inspect.signature(theirs.forward).parameters)
    assert repr(ours(3, 5, 2, bidirectional=True)) == repr(theirs(3, 5, 2, bidirectional=True))


def test_takes_arguments_by_position_as_torch() -> None:
    assert repr(layers.RNN(3, 5, 2, "relu", False, True)) == repr(nn.RNN(3, 5, 2, "relu", False, True))
    assert layers.RNN(3, 5, 2, "relu").nonlinearity == "relu"
    assert repr(layers.LSTM(3, 5, 2, False, True, 0.5, True, 2)) == repr(nn.LSTM(3, 5, 2, False, True, 0.5, True, 2))
    assert repr(layers.GRU(3, 5, 2, False, True, 0.5, True)) == repr(nn.GRU(3, 5, 2, False, True, 0.5, True))


def test_the_same_seed_gives_the_same_weights(name: str, x: torch.Tensor) -> None:
    torch.manual_seed(1)
    theirs = getattr(nn, name)(3, 5, 2).double()
    torch.manual_seed(1)
    ours = getattr(layers, name)(3, 5, 2).double()
    assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    torch.manual_seed(2)
    ours(x)
    after = torch.rand(())
    torch.manual_seed(2)
    assert torch.rand(()) == after, "running a layer draws no random numbers"


def test_state_dicts_load_both_ways(name: str, x: torch.Tensor) -> None:
    theirs, ours = getattr(nn, name)(3, 5, 2), getattr(layers, name)(3, 5, 2)
    ours(x.float())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_modules()] == [""]
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert_close(theirs(x.float())[0], ours(x.float())[0])


def test_all_weights(name: str) -> None:
    theirs, ours = pair(name)
    assert [[w.shape for w in ws] for ws in ours.all_weights] == [[w.shape for w in ws] for ws in theirs.all_weights]
    assert ours.all_weights[1][0] is ours.weight_ih_l0_reverse


def test_flatten_parameters_does_nothing(name: str, x: torch.Tensor) -> None:
    theirs, ours = pair(name)
    assert ours.flatten_parameters() is None
    compare(theirs, ours, x)


def test_copies_are_whole_and_apart(name: str, x: torch.Tensor) -> None:
    theirs, ours = pair(name)
    ours(x)
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(twin) is type(ours)
        with torch.no_grad():
            expected = ours(x)[0]
            ours.weight_ih_l0 += 1
            assert_close(twin(x)[0], expected)
            ours.weight_ih_l0 -= 1
        compare(theirs, twin, x)


def test_saves_and_loads_whole(name: str, x: torch.Tensor, tmp_path: Path) -> None:
    theirs, ours = pair(name)
    torch.save(ours, tmp_path / "layer.pt")
    compare(theirs, torch.load(tmp_path / "layer.pt", weights_only=False), x)


def test_conversion(name: str, x: torch.Tensor) -> None:
    theirs, ours = pair(name, dtype=torch.float32)
    compare(theirs.double(), ours.double(), x)
    assert getattr(layers, name)(3, 5, device="meta")(torch.ones(7, 3, 3, device="meta"))[0].is_meta


def test_a_replaced_parameter_is_used(name: str, x: torch.Tensor) -> None:
    theirs, ours = pair(name)
    for layer in (theirs, ours):
        layer.weight_hh_l1 = nn.Parameter(torch.full_like(layer.weight_hh_l1, 0.25))
    compare(theirs, ours, x)


def test_weight_norm(name: str, x: torch.Tensor) -> None:
    theirs, ours = pair(name)
    for layer in (theirs, ours):
        parametrizations.weight_norm(layer, "weight_hh_l0")
        parametrizations.weight_norm(layer, "weight_ih_l1_reverse")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    compare(theirs, ours, x)
    compare(theirs, copy.deepcopy(ours), x)  # torch.nn's own layer cannot be copied then


def test_functional_call(name: str, x: torch.Tensor) -> None:
    theirs, ours = pair(name)
    expected = ours(x)[0]
    other = {n: torch.randn_like(p) for n, p in ours.named_parameters()}
    assert_close(functional_call(ours, other, (x,)), functional_call(theirs, other, (x,)), tolerance=1e-12)
    assert_close(ours(x)[0], expected)


def test_per_sample_gradients(name: str, x: torch.Tensor) -> None:
    _, ours = pair(name)
    weights = dict(ours.named_parameters())

    def loss(weights: dict[str, torch.Tensor], sequence: torch.Tensor) -> torch.Tensor:
        return functional_call(ours, weights, (sequence,))[0].square().sum()  # sequence [T, I]

    each = vmap(grad(loss), (None, 1))(weights, x)
    for index in range(x.shape[1]):
        one = torch.autograd.grad(loss(weights, x[:, index]), list(weights.values()))
        assert_close([g[index] for g in each.values()], list(one))
    copy.deepcopy(ours)(x)  # nothing of the transforms stays behind


def test_gradcheck(name: str) -> None:
    torch.manual_seed(13)
    ours = getattr(layers, name)(2, 3, bidirectional=True, dtype=torch.float64)
    packed = random_packed([1, 2], 2, torch.float64)

    def outputs(data: torch.Tensor) -> torch.Tensor:
        return ours(packed._replace(data=data))[0].data

    data = packed.data.clone().requires_grad_()
    assert torch.autograd.gradcheck(outputs, data)
    assert torch.autograd.gradgradcheck(outputs, data)


def test_only_some_parameters_are_trained(name: str, x: torch.Tensor) -> None:
    _, ours = pair(name)
    ours.bias_ih_l0.requires_grad_(False)
    ours(x)[0].sum().backward()
    assert ours.bias_ih_l0.grad is None
    assert ours.bias_hh_l0.grad is not None and ours.weight_ih_l0.grad is not None


def test_layers_of_one_shape_run_in_threads(name: str, x: torch.Tensor) -> None:
    pairs = [pair(name) for _ in range(4)]
    for number, (_, ours) in enumerate(pairs):
        nn.init.constant_(ours.weight_hh_l0, 0.1 * number)
    expected = [ours(x)[0] for _, ours in pairs]
    wrong: list[int] = []

    def work(number: int) -> None:
        ours = pairs[number][1]
        if not all(torch.allclose(ours(x)[0], expected[number]) for _ in range(10)):
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(pairs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_compiles_to_one_graph(name: str) -> None:
    import torch._dynamo as dynamo

    _, ours = pair(name, dtype=torch.float32)
    dynamo.reset()
    dynamo.utils.counters.clear()
    compiled = torch.compile(ours, fullgraph=True, dynamic=True, backend="aot_eager")
    for steps in (4, 7, 5):
        x = torch.randn(steps, 2, 3)
        assert_close(run(compiled, (x,))[0], run(ours, (x,))[0])
    assert dynamo.utils.counters["stats"]["unique_graphs"] == 1
    dynamo.reset()


def test_a_layer_is_made_without_heavy_imports() -> None:
    script = "import sys, torch; from ostinato import layers; layers.GRU(3, 5)(torch.ones(2, 1, 3))"
    script += "; assert 'sympy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, stderr=subprocess.DEVNULL)


def test_a_network_of_torch_with_only_the_layer_replaced() -> None:
    class Tagger(nn.Module):
        def __init__(self, recurrent: Callable[..., nn.RNNBase]) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 4)
            self.recurrent = recurrent(4, 6, batch_first=True, bidirectional=True)
            self.out = nn.Linear(12, 3)

        def forward(self, words: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            x = nn.utils.rnn.pack_padded_sequence(self.embed(words), lengths, batch_first=True, enforce_sorted=False)
            y, _ = self.recurrent(x)
            assert isinstance(y, PackedSequence)
            return self.out(nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0])

    def losses(recurrent: Callable[..., nn.RNNBase]) -> list[float]:
        torch.manual_seed(17)
        model = Tagger(recurrent).double()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
        words, lengths, tags = torch.randint(11, (5, 8)), torch.tensor([8, 3, 5, 1, 8]), torch.randint(3, (5, 8))
        found = []
        for _ in range(8):
            loss = nn.functional.cross_entropy(model(words, lengths).flatten(0, 1), tags.flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(loss.item())
        return found

    expected = losses(nn.LSTM)
    assert expected[-1] < expected[0]
    assert_close(torch.tensor(losses(layers.LSTM), dtype=torch.float64), torch.tensor(expected, dtype=torch.float64))
