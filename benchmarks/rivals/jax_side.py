"""The cells in JAX: ``lax.scan`` over the steps, jitted; the input product is taken out of the loop by hand."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

VERSION = f"JAX {jax.__version__} (lax.scan, jit)"
Array = Any
sigmoid, tanh = jax.nn.sigmoid, jnp.tanh


def _lstm(p: dict[str, Array], a: Array, s: tuple) -> tuple:
    """Of all steps: ``a`` is ``W x[t] + b``, ``s`` the states; returns the next states, the output first."""
    h, c = s
    i, f, g, o = jnp.split(a + h @ p["U.weight"].T, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _gru(p: dict[str, Array], a: Array, s: tuple) -> tuple:
    (h,) = s
    x_r, x_z, x_n = jnp.split(a, 3, -1)
    h_r, h_z, h_n = jnp.split(h @ p["U.weight"].T + p["U.bias"], 3, -1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,)


def _gru_before(p: dict[str, Array], a: Array, s: tuple) -> tuple:
    (h,) = s
    U_rz, U_n = jnp.split(p["U.weight"], [2 * h.shape[-1]])
    x_r, x_z, x_n = jnp.split(a, 3, -1)
    h_r, h_z = jnp.split(h @ U_rz.T, 2, -1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = tanh(x_n + (r * h) @ U_n.T)
    return ((1 - z) * n + z * h,)


def _rnn(p: dict[str, Array], a: Array, s: tuple) -> tuple:
    return (tanh(a + s[0] @ p["U.weight"].T),)


def _leaky(p: dict[str, Array], a: Array, s: tuple) -> tuple:
    return (0.9 * s[0] + 0.1 * tanh(a + s[0] @ p["U.weight"].T),)


def _own(p: dict[str, Array], a: Array, s: tuple) -> tuple:
    h, v = s
    f, u = jnp.split(a + h @ p["U.weight"].T, 2, -1)
    f, v = sigmoid(f), 0.9 * v + 0.1 * u
    return f * h + (1 - f) * tanh(v), v


CELLS: dict[str, tuple[Callable[..., tuple], int]] = {
    "LSTM": (_lstm, 2), "GRU": (_gru, 1), "RNN": (_rnn, 1), "leaky": (_leaky, 1),
    "GRU reset-before": (_gru_before, 1), "own": (_own, 2),
}
"""By name: the step, and how many states it has."""


class Made:
    """A jitted network: ``run`` does the work and waits for it, ``answer`` gives its values."""

    def __init__(self, work: str, kind: str, weights: dict[str, np.ndarray], x: np.ndarray, seed: np.ndarray | None):
        step, count = CELLS[kind]
        self.weights, self.x, self.seed = jax.tree.map(jnp.asarray, (weights, x, seed))

        def forward(p: dict[str, Array], x: Array) -> tuple[Array, tuple]:
            start = (jnp.zeros((x.shape[1], p["U.weight"].shape[1]), x.dtype),) * count

            def body(s: tuple, a: Array) -> tuple:
                s = step(p, a, s)
                return s, s[0]

            finals, output = jax.lax.scan(body, start, x @ p["W.weight"].T + p["W.bias"])
            return output, finals

        def train(p: dict[str, Array], x: Array, seed: Array) -> tuple:
            output, back, finals = jax.vjp(lambda p: forward(p, x), p, has_aux=True)
            return output, finals, back(seed)[0]

        self.work = jax.jit(train if work == "training" else lambda p, x, _: (*forward(p, x), {}))

    def run(self) -> tuple:
        return jax.block_until_ready(self.work(self.weights, self.x, self.seed))

    def answer(self) -> dict[str, np.ndarray]:
        output, finals, gradients = self.run()
        named = {"output": output, **{f"final state {n}": s for n, s in enumerate(finals)},
                 **{f"gradient of {name}": g for name, g in gradients.items()}}
        return {name: np.array(value) for name, value in named.items()}


def make(*arguments: Any, threads: int) -> Made:
    """The network that a request asks for; the number of threads is that of the cores the process may run on."""
    return Made(*arguments)
