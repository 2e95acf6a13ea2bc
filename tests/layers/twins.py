"""torch.nn's layer and ours with the same weights: one call runs both and compares everything there is to compare."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from close import assert_close
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from ostinato import layers

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Of outputs, states and the gradient as one vector."""

PART_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Of each parameter's gradient: torch's own float32 gradients of small parts are 3e-6 from its float64 ones."""


def twins(kind: str, *args: Any, dtype: torch.dtype = torch.float64, **kwargs: Any) -> tuple[Any, Any]:
    """(torch.nn's, ours): ours with the other's state dict."""
    torch.manual_seed(3)
    theirs = getattr(nn, kind)(*args, dtype=dtype, **kwargs)
    ours = getattr(layers, kind)(*args, dtype=dtype, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def random_hx(layer: Any, batch: int | None, dtype: torch.dtype) -> Any:
    """Initial states: ``[layers * directions, B, n]``, without B where ``batch`` is None."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size]
    made = [torch.randn(count, *([] if batch is None else [batch]), size, dtype=dtype) for size in sizes]
    return tuple(made) if layer.mode == "LSTM" else made[0]


def random_packed(lengths: list[int], size: int, dtype: torch.dtype) -> PackedSequence:
    """Sequences of these lengths, packed in the order given or, where that is not sorted, with the two orders."""
    falling = lengths == sorted(lengths, reverse=True)
    return pack_sequence([torch.randn(n, size, dtype=dtype) for n in lengths], enforce_sorted=falling)


def tensors(values: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples and packed sequences, without the indices."""
    if isinstance(values, PackedSequence):
        yield values.data
    elif isinstance(values, Tensor):
        yield values
    elif values is not None:
        for value in values:
            yield from tensors(value)


def fresh(values: Any) -> Any:
    """A copy, each floating-point tensor in it a leaf that collects its gradient."""
    if isinstance(values, PackedSequence):
        return values._replace(data=fresh(values.data))
    if isinstance(values, Tensor):
        return values.detach().clone().requires_grad_()
    return values if values is None else tuple(fresh(value) for value in values)


def run(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, dict[str, Tensor]]:
    """(results, gradients of inputs and parameters) of a sum that weighs every element of every result differently."""
    inputs = fresh(inputs)
    results = layer(*inputs)
    total = torch.zeros((), dtype=next(tensors(results)).dtype)
    for number, result in enumerate(tensors(results)):
        weigh = torch.linspace(0.3, 1.7 + number, result.numel(), dtype=result.dtype).view_as(result)
        total = total + (result * weigh).sum()
    leaves = {f"input {n}": t for n, t in enumerate(tensors(inputs))} | dict(layer.named_parameters())
    return results, dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def compare(theirs: Any, ours: Any, *inputs: Any) -> None:
    """Values, states, and the gradients of inputs, initial states and every parameter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        expected, expected_gradients = run(theirs, inputs)
    actual, gradients = run(ours, inputs)
    assert type(actual[0]) is type(expected[0]) and type(actual[1]) is type(expected[1])
    if isinstance(expected[0], PackedSequence):
        for index in (1, 2, 3):
            assert (actual[0][index] is None) == (expected[0][index] is None)
            if expected[0][index] is not None:
                assert torch.equal(actual[0][index], expected[0][index])
    outputs, *states = tensors(actual)
    expected_outputs, *expected_states = tensors(expected)
    tolerance = TOLERANCE[expected_outputs.dtype]
    assert_close(outputs, expected_outputs, tolerance=tolerance, name="outputs")
    assert_close(states, expected_states, tolerance=tolerance, name="states")
    assert_close(flat(gradients), flat(expected_gradients), tolerance=tolerance, name="gradient")
    part_tolerance = PART_TOLERANCE[expected_outputs.dtype]
    assert_close(gradients, expected_gradients, tolerance=part_tolerance, name="gradients")


def flat(gradients: dict[str, Tensor]) -> Tensor:
    """All gradients as one vector."""
    return torch.cat([gradient.flatten() for gradient in gradients.values()])
