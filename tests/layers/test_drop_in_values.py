"""The drop-ins against torch.nn: values, states and all gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from close import assert_close
from twins import compare, random_hx, random_packed, twins

KINDS = {
    "RNN tanh": ("RNN", {}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
    "LSTM": ("LSTM", {}),
    "LSTM proj": ("LSTM", {"proj_size": 2}),
    "GRU": ("GRU", {}),
}
LAYOUTS = ["time first", "batch first", "unbatched", "unbatched batch first", "packed sorted", "packed unsorted"]
LENGTHS = {"packed sorted": [7, 4, 4, 1], "packed unsorted": [3, 7, 1, 7, 2]}


def inputs_for(layer: Any, layout: str, dtype: torch.dtype, steps: int = 7, batch: int = 3) -> tuple[Any, Any]:
    torch.manual_seed(5)
    if layout in LENGTHS:
        lengths = LENGTHS[layout]
        return random_packed(lengths, layer.input_size, dtype), random_hx(layer, len(lengths), dtype)
    if layout.startswith("unbatched"):
        return torch.randn(steps, layer.input_size, dtype=dtype), random_hx(layer, None, dtype)
    shape = (batch, steps) if layer.batch_first else (steps, batch)
    return torch.randn(*shape, layer.input_size, dtype=dtype), random_hx(layer, batch, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("num_layers, dtype", [(1, torch.float64), (2, torch.float64), (2, torch.float32)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_torch(
    kind: str, num_layers: int, bidirectional: bool, bias: bool, layout: str, dtype: torch.dtype
) -> None:
    name, options = KINDS[kind]
    options = options | {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    theirs, ours = twins(name, 3, 5, dtype=dtype, batch_first=layout.endswith("batch first"), **options)
    compare(theirs, ours, *inputs_for(ours, layout, dtype))


@pytest.mark.parametrize("steps, batch", [(1, 1), (1, 4), (9, 1), (13, 2), (2, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_sizes(kind: str, steps: int, batch: int) -> None:
    name, options = KINDS[kind]
    theirs, ours = twins(name, 1, 11, num_layers=2, bidirectional=True, **options)
    compare(theirs, ours, *inputs_for(ours, "time first", torch.float64, steps, batch))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_initial_states_default_to_zero(kind: str, layout: str) -> None:
    name, options = KINDS[kind]
    theirs, ours = twins(name, 3, 5, 2, batch_first=layout.endswith("batch first"), **options)
    compare(theirs, ours, inputs_for(ours, layout, torch.float64)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch(kind: str) -> None:
    name, options = KINDS[kind]
    theirs, ours = twins(name, 3, 5, 2, bidirectional=True, **options)
    compare(theirs, ours, *inputs_for(ours, "time first", torch.float64, 4, 0))


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_list_of_states_as_torch_takes_it(name: str) -> None:
    theirs, ours = twins(name, 3, 5)
    x, hx = inputs_for(ours, "time first", torch.float64)
    hx = list(hx) if name == "LSTM" else hx
    assert_close(ours(x, hx), theirs(x, hx))


def test_the_sequences_of_a_packed_batch_do_not_touch() -> None:
    theirs, ours = twins("LSTM", 3, 5, 2, bidirectional=True)
    packed, _ = inputs_for(ours, "packed unsorted", torch.float64)
    data = packed.data.clone()
    data[0] = float("nan")  # the first step of the longest sequence, the second one given
    output, (h, c) = ours(packed._replace(data=data))
    expected, (h_expected, c_expected) = theirs(packed)
    others = [0, 2, 3, 4]
    assert h[:, 1].isnan().all() and not h[:, others].isnan().any()
    assert_close(h[:, others], h_expected[:, others])
    assert_close(c[:, others], c_expected[:, others])
    (padded, lengths) = torch.nn.utils.rnn.pad_packed_sequence(output)
    assert lengths.tolist() == LENGTHS["packed unsorted"]
    assert_close(padded[:, others], torch.nn.utils.rnn.pad_packed_sequence(expected)[0][:, others])
