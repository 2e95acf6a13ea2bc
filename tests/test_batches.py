"""Batches by length, and the running average of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ostinato.training.average import Average
from ostinato.training.batches import Buckets, in_order
from ostinato.training.goal import Goal

LENGTHS = np.random.default_rng(0).integers(1, 90, 1003)


@pytest.mark.parametrize("size", [1, 7, 32, 5000])
def test_every_example_comes_once_an_epoch(size: int) -> None:
    buckets = Buckets(LENGTHS, size, seed=3)
    for epoch in (0, 5):
        batches = buckets.epoch(epoch)
        assert len(batches) == len(buckets) == -(-1003 // size)
        assert sorted(np.concatenate(batches)) == list(range(1003))


def test_batches_are_of_like_length_and_longest_first() -> None:
    batches = Buckets(LENGTHS, 20, seed=3).epoch(0)
    for batch in batches:
        assert list(LENGTHS[batch]) == sorted(LENGTHS[batch], reverse=True)
    filled = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    by_chance = sum(LENGTHS[i : i + 20].max() * 20 for i in range(0, 1000, 20))
    assert filled < 1.1 * LENGTHS.sum() < 0.7 * by_chance


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    one, other = Buckets(LENGTHS, 20, seed=3), Buckets(LENGTHS, 20, seed=3)
    one.epoch(0)
    assert all((a == b).all() for a, b in zip(one.epoch(4), other.epoch(4), strict=True))
    assert any((a[:5] != b[:5]).any() for a, b in zip(one.epoch(4), one.epoch(5), strict=True))
    assert any((a[:5] != b[:5]).any() for a, b in zip(one.epoch(4), Buckets(LENGTHS, 20).epoch(4), strict=True))
    lengths = [LENGTHS[batch].max() for batch in one.epoch(4)]
    assert lengths != sorted(lengths, reverse=True)  # the batches themselves are shuffled


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no examples"):
        Buckets([], 3)
    with pytest.raises(ValueError, match="at least 1"):
        Buckets([1], 0)


def test_in_order() -> None:
    assert [list(b) for b in in_order([3, 9, 3, 8], 3)] == [[1, 3, 0], [2]]


def test_average() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average = Average(model, alpha=0.5)
    with torch.no_grad():
        for step, value in enumerate((1.0, 2.0), start=1):
            model.weight.fill_(value)
            average.update(step)
    first = 1 - 1 / 11  # alpha is min(0.5, step / (step + 10))
    expected = first + (1 - 2 / 12) * (2 - first)
    with average.in_place():
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert model.weight.item() == 2.0
    with pytest.raises(ZeroDivisionError), average.in_place():
        raise ZeroDivisionError
    assert model.weight.item() == 2.0


def test_no_average() -> None:
    model = nn.Linear(1, 1)
    average = Average(model, alpha=0)
    average.update(1)
    before = model.weight.item()
    with average.in_place():
        assert model.weight.item() == before
    assert average.values == {}


def test_goal() -> None:
    assert Goal("loss").better(1.0, None) and Goal("loss").better(1.0, 2.0) and not Goal("loss").better(2.0, 2.0)
    assert Goal("f1", more=True).better(2.0, 1.0) and not Goal("f1", more=True).better(1.0, 1.0)


def test_little_data_is_read_several_times_in_an_epoch() -> None:
    buckets = Buckets([5, 3, 4], 2, seed=1, least=5)
    assert len(buckets) == 6 and len(buckets.epoch(0)) == 6
    for epoch in (0, 1):
        read = sorted(int(i) for batch in buckets.epoch(epoch) for i in batch)
        assert read == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    plain = Buckets([5, 3, 4], 2, seed=1)
    assert [b.tolist() for b in plain.epoch(2)] == [b.tolist() for b in buckets.epoch(0)[4:]]
