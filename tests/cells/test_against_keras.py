"""Elman, LSTM and both GRUs against Keras's layers of the same weights (its equations are an independent witness)."""

from typing import Any

import keras
import pytest
import torch
from catalogue import build, inputs
from close import assert_close
from torch import Tensor

from ostinato import Recurrent

H = 5


def gates(weight: Tensor, order: list[int]) -> Tensor:
    """``[G H, K]`` with its blocks in another order, as Keras's ``[K, G H]``."""
    return torch.cat([weight.chunk(len(order), 0)[k] for k in order]).t()


def bias(linear: torch.nn.Linear, order: list[int]) -> Tensor:
    return torch.cat([linear.bias.chunk(len(order), 0)[k] for k in order])


def weights_of(cell: Any, order: list[int]) -> list[Tensor]:
    """Input kernel, recurrent kernel, bias; a GRU that resets after has two biases, one below the other."""
    below = [bias(cell.W, order)] if cell.U.bias is None else [
        torch.stack([bias(cell.W, order), bias(cell.U, order)])]
    return [gates(cell.W.weight, order), gates(cell.U.weight, order), *below]


ORDER = {"elman": [0], "lstm": [0, 1, 2, 3], "gru": [1, 0, 2], "gru-before": [1, 0, 2]}  # Keras's GRU: z, r, h
LAYERS = {
    "elman": lambda: keras.layers.SimpleRNN(H, return_sequences=True),
    "lstm": lambda: keras.layers.LSTM(H, return_sequences=True),
    "gru": lambda: keras.layers.GRU(H, return_sequences=True, reset_after=True),
    "gru-before": lambda: keras.layers.GRU(H, return_sequences=True, reset_after=False),
}


@pytest.mark.parametrize("name", LAYERS)
def test_equals_keras(name: str) -> None:
    cell = build(name, torch.float32)  # in float64, Keras on torch multiplies matrices in float32 all the same
    x = inputs(cell, steps=7, batch=4).requires_grad_()
    layer = LAYERS[name]()
    layer.build(tuple(x.shape))
    layer.set_weights([w.detach().numpy() for w in weights_of(cell, ORDER[name])])
    theirs, ours = layer(x), Recurrent(cell)(x)[0]
    assert_close(ours, theirs)
    seed = torch.linspace(0.5, 1.5, ours.numel(), dtype=torch.float32).reshape(ours.shape)
    ours_grad, theirs_grad = (torch.autograd.grad((o * seed).sum(), x)[0] for o in (ours, theirs))
    assert_close(ours_grad, theirs_grad)
