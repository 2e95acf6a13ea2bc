"""Mistakes: the same type of exception as torch.nn, and a message that says what was expected and what came."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn, randn
from torch.nn.utils.rnn import pack_sequence

from ostinato import layers

NAMES = ["RNN", "LSTM", "GRU"]


def states(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Any:
    return (randn(*shape, dtype=dtype), randn(*shape, dtype=dtype)) if name == "LSTM" else randn(*shape, dtype=dtype)


def packed(size: int, ordered: bool = True, dtype: torch.dtype = torch.float32) -> Any:
    lengths = (5, 3) if ordered else (3, 5)
    return pack_sequence([randn(n, size, dtype=dtype) for n in lengths], enforce_sorted=ordered)


# what is wrong: (options, the input, the shape of the states or None, words of the message)
INPUTS: dict[str, tuple[dict[str, Any], Any, tuple[int, ...] | None, str]] = {
    "one dimension": ({}, randn(3), None, "Expected input to be 2D or 3D, got 1D"),
    "four dimensions": ({}, randn(1, 2, 3, 3), None, "Expected input to be 2D or 3D, got 4D"),
    "input size": ({}, randn(2, 2, 4), None, "Expected 3, got 4"),
    "input size, batch first": ({"batch_first": True}, randn(2, 2, 4), None, "Expected 3, got 4"),
    "input size, unbatched": ({}, randn(2, 4), None, "Expected 3, got 4"),
    "input size, packed RNN": ({}, packed(4), None, "Expected 3, got 4"),
    "double": ({}, randn(2, 2, 3).double(), None, r"float64\) does not match weight dtype \(torch.float32"),
    "whole numbers": ({}, torch.ones(2, 2, 3, dtype=torch.long), None, r"int64\) does not match"),
    "no time step": ({}, randn(0, 2, 3), None, "larger than 0, got input of 0 time steps"),
    "no input": ({}, None, None, "Expected input to be a tensor or a PackedSequence, got NoneType"),
    "a list": ({}, [[1.0, 2.0, 3.0]], None, "Expected input to be a tensor or a PackedSequence, got list"),
    "an array": ({}, randn(2, 2, 3).numpy(), None, "Expected input to be a tensor or a PackedSequence, got ndarray"),
    "states without batch": ({}, randn(4, 2, 3), (1, 5), "batched 3-D input, hx.* 3-D but got 2-D"),
    "states with batch": ({}, randn(4, 3), (1, 2, 5), "unbatched 2-D input, hx.* 2-D but got 3-D"),
    "states of more layers": ({}, randn(4, 2, 3), (2, 2, 5), r"\(1, 2, 5\), got \[2, 2, 5\]"),
    "states of more sequences": ({}, randn(4, 2, 3), (1, 3, 5), r"\(1, 2, 5\), got \[1, 3, 5\]"),
    "states of more units": ({}, randn(4, 2, 3), (1, 2, 6), r"\(1, 2, 5\), got \[1, 2, 6\]"),
    "steps taken for batch": ({"batch_first": True}, randn(2, 4, 3), (1, 4, 5), r"\(1, 2, 5\), got \[1, 4, 5\]"),
    "states of fewer sequences, packed": ({}, packed(3, False), (1, 1, 5), r"\(1, 2, 5\), got \[1, 1, 5\]"),
    "states of more units, packed": ({}, packed(3), (1, 2, 6), r"\(1, 2, 5\), got \[1, 2, 6\]"),
}


def check(name: str, options: dict[str, Any], inputs: tuple[Any, ...], words: str) -> None:
    with pytest.raises(Exception) as expected:  # torch decides which
        getattr(nn, name)(3, 5, **options)(*inputs)
    with pytest.raises(expected.type, match=words) as found:
        getattr(layers, name)(3, 5, **options)(*inputs)
    assert found.type is expected.type


@pytest.mark.parametrize("mistake", INPUTS)
@pytest.mark.parametrize("name", NAMES)
def test_wrong_inputs(name: str, mistake: str) -> None:
    options, x, shape, words = INPUTS[mistake]
    check(name, options, (x,) if shape is None else (x, states(name, *shape)), words)


@pytest.mark.parametrize("x", [randn(4, 2, 3), packed(3), packed(3, False)], ids=["batch", "packed", "unsorted"])
@pytest.mark.parametrize("name", NAMES)
def test_states_of_another_dtype(name: str, x: Any) -> None:
    words = "Expected hx to have input's dtype torch.float32, got torch.float64"
    check(name, {}, (x, states(name, 1, 2, 5, dtype=torch.float64)), words)


@pytest.mark.parametrize("name", ["RNN", "GRU"])
def test_not_one_state(name: str) -> None:
    x, h = randn(4, 2, 3), randn(1, 2, 5)
    check(name, {}, (x, (h, h)), "Expected hx to be one tensor, got a tuple")
    check(name, {}, (x, [h]), "Expected hx to be one tensor, got a list")


def test_not_two_states() -> None:
    x, h = randn(4, 2, 3), randn(1, 2, 5)
    wanted = r"Expected hx to be two tensors \(h, c\), got "
    check("LSTM", {}, (x, h), wanted + r"one tensor \[1, 2, 5\]")
    check("LSTM", {"num_layers": 3}, (x, randn(3, 2, 5)), wanted + r"one tensor \[3, 2, 5\]")
    check("LSTM", {}, (x, (h,)), wanted + "1 values")
    check("LSTM", {}, (x, (h, h, h)), wanted + "3 values")
    check("LSTM", {}, (x, (h, None)), wanted + "a NoneType")
    check("LSTM", {}, (x, 3), wanted + "a int")
    check("LSTM", {}, (x, (h, randn(1, 2, 6))), r"hidden\[1\] size \(1, 2, 5\), got \[1, 2, 6\]")
    check("LSTM", {"proj_size": 2}, (x, (h, h)), r"hidden\[0\] size \(1, 2, 2\), got \[1, 2, 5\]")


def test_stricter_than_torch() -> None:
    """torch.nn takes the first sequences' states of too many, and does not check an LSTM's packed input."""
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 5\), got \[1, 3, 5\]"):
        layers.GRU(3, 5)(packed(3, ordered=False), randn(1, 3, 5))
    with pytest.raises(ValueError, match=r"float64.* does not match weight dtype"):
        layers.LSTM(3, 5)(packed(3, dtype=torch.float64))
    with pytest.raises(RuntimeError, match=r"hidden\[0\] size \(1, 2, 5\), got \[1, 5\]"):
        layers.LSTM(3, 5)(packed(3), states("LSTM", 1, 5))


CONSTRUCTIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "input size zero": ((0, 5), {}),
    "input size a fraction": ((1.5, 5), {}),
    "hidden size zero": ((3, 0), {}),
    "hidden size missing": ((3,), {}),
    "no layers": ((3, 5, 0), {}),
    "bias a number": ((3, 5), {"bias": 1}),
    "batch_first a word": ((3, 5), {"batch_first": "yes"}),
    "dropout above one": ((3, 5), {"num_layers": 2, "dropout": 1.5}),
    "unknown option": ((3, 5), {"peephole": True}),
}


@pytest.mark.parametrize("mistake", CONSTRUCTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments(name: str, mistake: str) -> None:
    args, options = CONSTRUCTIONS[mistake]
    with pytest.raises((TypeError, ValueError)) as expected:
        getattr(nn, name)(*args, **options)
    with pytest.raises(expected.type) as found:
        getattr(layers, name)(*args, **options)
    assert str(found.value) == str(expected.value).replace("RNNBase", name)


@pytest.mark.parametrize("name", ["RNN", "GRU"])
def test_only_an_lstm_projects(name: str) -> None:
    with pytest.raises(TypeError, match="proj_size"):
        getattr(layers, name)(3, 5, proj_size=2)


def test_unknown_nonlinearity() -> None:
    with pytest.raises(ValueError, match="Select from 'tanh' or 'relu'"):
        layers.RNN(3, 5, nonlinearity="sigmoid")
