"""The published equations in NumPy, gate by gate and one sequence at a time, written from the papers.

Each function takes a cell's parameters as ``{name: array}``, one input ``x [N]``, and the states that the cell's step
reads, each ``[H]``; it returns the next states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Parameters = Mapping[str, Array]
Step = Callable[..., tuple[Array, ...]]


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def relu(v: Array) -> Array:
    return np.where(v > 0, v, 0.0)


def rows(array: Array, gate: int, gates: int) -> Array:
    size = array.shape[0] // gates
    return array[gate * size : (gate + 1) * size]


def bias(p: Parameters, name: str, gate: int = 0, gates: int = 1) -> Array | float:
    return rows(p[name], gate, gates) if name in p else 0.0


def drive(p: Parameters, x: Array, h: Array, gate: int = 0, gates: int = 1) -> Array:
    """``W_gate x + U_gate h + b_gate``."""
    W, U = rows(p["W.weight"], gate, gates), rows(p["U.weight"], gate, gates)
    return W @ x + U @ h + bias(p, "W.bias", gate, gates)


def elman(g: Callable[[Array], Array]) -> Step:
    return lambda p, x, h: (g(drive(p, x, h)),)


def lstm(p: Parameters, x: Array, h: Array, C: Array) -> tuple[Array, ...]:
    i = sigmoid(drive(p, x, h, 0, 4))
    f = sigmoid(drive(p, x, h, 1, 4))
    candidate = np.tanh(drive(p, x, h, 2, 4))
    o = sigmoid(drive(p, x, h, 3, 4))
    new = f * C + i * candidate
    out = o * np.tanh(new)
    return (p["P.weight"] @ out if "P.weight" in p else out), new


def lstm_peephole(p: Parameters, x: Array, h: Array, C: Array) -> tuple[Array, ...]:
    i = sigmoid(drive(p, x, h, 0, 4) + p["p_i"] * C)
    f = sigmoid(drive(p, x, h, 1, 4) + p["p_f"] * C)
    new = f * C + i * np.tanh(drive(p, x, h, 2, 4))
    o = sigmoid(drive(p, x, h, 3, 4) + p["p_o"] * new)
    return o * np.tanh(new), new


def layer_norm(v: Array, gain: Array, shift: Array | float) -> Array:
    mean = sum(v) / len(v)
    variance = sum((v - mean) ** 2) / len(v)
    return gain * (v - mean) / np.sqrt(variance + 1e-5) + shift


def lstm_layernorm(p: Parameters, x: Array, h: Array, C: Array) -> tuple[Array, ...]:
    normed_x = layer_norm(p["W.weight"] @ x, p["norm_W.weight"], 0.0)
    normed_h = layer_norm(p["U.weight"] @ h, p["norm_U.weight"], 0.0)
    a = normed_h + normed_x + bias(p, "norm_W.bias")
    i, f, candidate, o = (rows(a, gate, 4) for gate in range(4))
    new = sigmoid(f) * C + sigmoid(i) * np.tanh(candidate)
    return sigmoid(o) * np.tanh(layer_norm(new, p["norm_C.weight"], bias(p, "norm_C.bias"))), new


def gru_after(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    r = sigmoid(drive(p, x, h, 0, 3) + bias(p, "U.bias", 0, 3))
    z = sigmoid(drive(p, x, h, 1, 3) + bias(p, "U.bias", 1, 3))
    inner = rows(p["U.weight"], 2, 3) @ h + bias(p, "U.bias", 2, 3)
    n = np.tanh(rows(p["W.weight"], 2, 3) @ x + bias(p, "W.bias", 2, 3) + r * inner)
    return ((1 - z) * n + z * h,)


def gru_before(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    r = sigmoid(drive(p, x, h, 0, 3))
    z = sigmoid(drive(p, x, h, 1, 3))
    n = np.tanh(drive(p, x, r * h, 2, 3))
    return (z * h + (1 - z) * n,)


def mgu(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    f = sigmoid(drive(p, x, h, 0, 2))
    candidate = np.tanh(drive(p, x, f * h, 1, 2))
    return ((1 - f) * h + f * candidate,)


def leaky(tau: Any, g: Callable[[Array], Array] = np.tanh) -> Step:
    return lambda p, x, h: ((1 - 1 / np.asarray(tau)) * h + 1 / np.asarray(tau) * g(drive(p, x, h)),)


def leaky_learned(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    return leaky(1 + np.exp(-p["rho"]))(p, x, h)


def skip(p: Parameters, x: Array, h: Array, *past: Array) -> tuple[Array, ...]:
    return (np.tanh(drive(p, x, h) + sum(p[f"S.{k}.weight"] @ v for k, v in enumerate(past))),)


def output(p: Parameters, x: Array, o: Array) -> tuple[Array, ...]:
    return (p["V.weight"] @ np.tanh(drive(p, x, o)) + p["V.bias"],)


def narx(p: Parameters, x: Array, *past: Array) -> tuple[Array, ...]:
    fed_back = sum(p[f"U.{k}.weight"] @ v for k, v in enumerate(past))
    return (p["V.weight"] @ np.tanh(p["W.weight"] @ x + p["W.bias"] + fed_back) + p["V.bias"],)


def indrnn(g: Callable[[Array], Array]) -> Step:
    return lambda p, x, h: (g(p["W.weight"] @ x + p["u"] * h + p["W.bias"]),)


def slstm(log_forget: Callable[[Array], Array]) -> Step:
    """With the stabiliser; ``test_slstm_is_its_unstabilised_form`` holds it against the form without."""

    def step(p: Parameters, x: Array, h: Array, c: Array, n: Array, m: Array) -> tuple[Array, ...]:
        log_i, a_f, a_z, a_o = (drive(p, x, h, gate, 4) for gate in range(4))
        new_m = np.maximum(log_forget(a_f) + m, log_i)
        i, f = np.exp(log_i - new_m), np.exp(log_forget(a_f) + m - new_m)
        new_c, new_n = f * c + i * np.tanh(a_z), f * n + i
        return sigmoid(a_o) * new_c / new_n, new_c, new_n, new_m

    return step


def log_sigmoid(v: Array) -> Array:
    return np.log(sigmoid(v))


def steps(hidden_size: int) -> dict[str, Step]:
    """For each variant of ``catalogue.VARIANTS`` its published step."""
    spread = [1.5 + 7.5 * k / (hidden_size - 1) for k in range(hidden_size)]
    return {
        "elman": elman(np.tanh), "elman-relu": elman(relu), "elman-no-bias": elman(np.tanh),
        "lstm": lstm, "lstm-proj": lstm, "lstm-no-bias": lstm,
        "lstm-peephole": lstm_peephole, "lstm-layernorm": lstm_layernorm,
        "gru": gru_after, "gru-no-bias": gru_after, "gru-before": gru_before, "gru-before-no-bias": gru_before,
        "mgu": mgu,
        "leaky": leaky(10.0), "leaky-units": leaky(spread), "leaky-relu": leaky(4.0, relu),
        "leaky-learned": leaky_learned, "leaky-learned-units": leaky_learned,
        "skip": skip, "skip-two": skip, "output": output, "narx": narx,
        "indrnn": indrnn(relu), "indrnn-tanh": indrnn(np.tanh),
        "slstm": slstm(log_sigmoid), "slstm-exp": slstm(lambda v: v),
    }  # fmt: skip
