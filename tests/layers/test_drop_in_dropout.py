"""Dropout between the layers of the drop-ins: in training only, and not after the last layer."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from close import assert_close
from twins import compare, random_packed, twins

from ostinato import layers

NAMES = ["RNN", "LSTM", "GRU"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_same_seed_drops_the_same_as_torch(name: str, batch_first: bool) -> None:
    theirs, ours = twins(name, 3, 5, 3, batch_first=batch_first, dropout=0.4, bidirectional=True)
    x = torch.randn(7, 4, 3, dtype=torch.float64)
    torch.manual_seed(19)
    expected = theirs(x)
    torch.manual_seed(19)
    assert_close(ours(x), expected, tolerance=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_all_is_dropped(name: str) -> None:
    theirs, ours = twins(name, 3, 5, 2, dropout=1.0)
    compare(theirs, ours, torch.randn(7, 4, 3, dtype=torch.float64))
    compare(theirs, ours, random_packed([2, 5, 1], 3, torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_dropped_in_evaluation(name: str) -> None:
    theirs, ours = twins(name, 3, 5, 2, dropout=0.7)
    compare(theirs.eval(), ours.eval(), torch.randn(7, 4, 3, dtype=torch.float64))
    compare(theirs.eval(), ours.eval(), random_packed([2, 5, 1], 3, torch.float64))


def test_how_many_are_dropped_between_the_layers() -> None:
    layer: Any = layers.RNN(1, 50, 2, "relu", dropout=0.3)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.bias_ih_l0.fill_(1.0)  # the first layer gives ones,
        layer.weight_ih_l1.copy_(torch.eye(50))  # and the second repeats what is left of them
    for x in (torch.zeros(20, 30, 1), random_packed([20] * 29 + [20], 1, torch.float32)):
        output = layer(x)[0]
        output = output if isinstance(output, torch.Tensor) else output.data
        kept = output > 0
        assert 0.68 < kept.float().mean() < 0.72
        assert_close(output[kept], torch.full_like(output[kept], 1 / 0.7))


@pytest.mark.parametrize("name", NAMES)
def test_one_layer_has_nothing_between(name: str) -> None:
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        layer = getattr(layers, name)(3, 5, dropout=0.5)
    x = torch.randn(7, 4, 3)
    assert_close(layer(x), layer.eval()(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(layers, name)(3, 5, num_layers=2, dropout=0.5)
