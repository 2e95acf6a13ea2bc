"""Keras's layers; the recurrent ones run on Ostinato's engine, forward and backward, with masks, dropout and states."""

from __future__ import annotations

from typing import Any

import keras

from ostinato.keras.layers.catalogue import Cell
from ostinato.keras.layers.lecture import NARX, LeakyRNN, LeakyRNNCell, NARXCell, SkipRNN, SkipRNNCell
from ostinato.keras.layers.recurrent import GRU, LSTM, RNN, SimpleRNN

__all__ = ["GRU", "LSTM", "NARX", "RNN", "Cell", "LeakyRNN", "LeakyRNNCell", "NARXCell", "SimpleRNN", "SkipRNN",
           "SkipRNNCell"]


def __getattr__(name: str) -> Any:
    return getattr(keras.layers, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(keras.layers)})
