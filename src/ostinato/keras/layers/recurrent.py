"""Keras's recurrent layers, each with the loop of :class:`~ostinato.keras.layers.fused.Fused`."""

from __future__ import annotations

import keras

from ostinato.keras.layers.fused import Fused

registered = keras.saving.register_keras_serializable("ostinato")


@registered
class RNN(Fused, keras.layers.RNN):
    """Repeats any cell: one of Keras, several in a list, one's own, or an ``ostinato.keras.layers.Cell``.

    Arguments, results and weights are those of ``keras.layers.RNN``.
    """


@registered
class SimpleRNN(Fused, keras.layers.SimpleRNN):
    """``h[t] = tanh(W x[t] + U h[t-1] + b)``; all as ``keras.layers.SimpleRNN``.

    >>> SimpleRNN(32, return_sequences=True)(keras.ops.ones((2, 5, 3))).shape
    torch.Size([2, 5, 32])
    """


@registered
class LSTM(Fused, keras.layers.LSTM):
    """Long short-term memory; all as ``keras.layers.LSTM``."""


@registered
class GRU(Fused, keras.layers.GRU):
    """Gated recurrent unit; all as ``keras.layers.GRU``."""
