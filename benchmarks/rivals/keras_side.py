"""A recurrent layer trained by Keras's ``fit``, on the backend that KERAS_BACKEND names; Keras's own or ours.

Two layers, the recurrence and a dense one, mean squared error, RMSprop: what a call of ``fit`` does with ten batches.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

VERSION = f"Keras {keras.version()} on {keras.config.backend()}"
BATCH = 32


def layers() -> Any:
    """Ours where OSTINATO_LAYERS is set, else Keras's."""
    if os.environ.get("OSTINATO_LAYERS"):
        from ostinato.keras import layers as ours

        return ours
    return keras.layers


class Made:
    """A compiled model: ``run`` trains on all batches, ``answer`` gives the losses of the first three epochs."""

    def __init__(self, kind: str, weights: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> None:
        shape, units = x.shape[1:], weights["1"].shape[0]
        self.model: Any = keras.Sequential([keras.Input(shape), getattr(layers(), kind)(units), keras.layers.Dense(1)])
        self.model.set_weights([weights[str(i)] for i in range(len(weights))])
        self.model.compile(optimizer="rmsprop", loss="mse")
        self.x, self.y = x, y
        self.losses = np.array([self.run() for _ in range(3)])

    def run(self) -> float:
        history = self.model.fit(self.x, self.y, batch_size=BATCH, shuffle=False, verbose=0)
        return history.history["loss"][0]

    def answer(self) -> dict[str, np.ndarray]:
        return {"loss": self.losses}


def make(work: str, kind: str, weights: dict[str, np.ndarray], x: np.ndarray, seed: np.ndarray, threads: int) -> Made:
    """``seed`` are the targets; the threads are set by the worker and the environment."""
    if keras.config.backend() == "torch":
        import torch

        torch.set_num_threads(threads)
    return Made(kind, weights, x, seed)
