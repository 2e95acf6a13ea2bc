"""The samples with which torch tests its own RNN, LSTM and GRU, with our class in the place of torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from twins import compare, twins


def samples(name: str, dtype: torch.dtype, training: bool) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:  # torch's test module forbids all other tests to set backend flags
        patch.setattr(torch.backends, "__allow_nonbracketed_mutation_flag", True)
        from torch.testing._internal.common_modules import module_db
    info = next(info for info in module_db if info.module_cls is getattr(nn, name))
    options: dict[str, Any] = {"device": "cpu", "dtype": dtype, "requires_grad": True, "training": training}
    torch.manual_seed(7)
    return list(info.module_inputs_func(info, with_packed_sequence=True, **options))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_the_samples_of_torch(name: str, dtype: torch.dtype, training: bool) -> None:
    checked = 0
    for sample in samples(name, dtype, training):
        made, given = sample.constructor_input, sample.forward_input
        theirs, ours = twins(name, *made.args, dtype=dtype, **made.kwargs)
        assert not given.kwargs
        compare(theirs.train(training), ours.train(training), *given.args)
        checked += 1
    assert checked >= 16


def test_there_are_packed_samples() -> None:
    given = [s.forward_input.args[0] for name in ("RNN", "GRU") for s in samples(name, torch.float64, True)]
    assert any(isinstance(x, nn.utils.rnn.PackedSequence) for x in given)
