"""The published equations in NumPy, gate by gate and one sequence at a time, written from the papers.

Each function takes a cell's parameters as ``{name: array}``, one input ``x [N]``, and the states that the cell's step
reads, each ``[H]``; it returns the next states, and where the cell has one an output of its own.
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


def original_lstm(p: Parameters, x: Array, h: Array, C: Array) -> tuple[Array, ...]:
    new = C + sigmoid(drive(p, x, h, 0, 3)) * np.tanh(drive(p, x, h, 1, 3))
    return sigmoid(drive(p, x, h, 2, 3)) * np.tanh(new), new


def lstm_cifg(p: Parameters, x: Array, h: Array, C: Array) -> tuple[Array, ...]:
    f = sigmoid(drive(p, x, h, 0, 3))
    new = f * C + (1 - f) * np.tanh(drive(p, x, h, 1, 3))
    return sigmoid(drive(p, x, h, 2, 3)) * np.tanh(new), new


def lstm_multiplicative(p: Parameters, x: Array, h: Array, C: Array) -> tuple[Array, ...]:
    return lstm(p, x, (p["M_x.weight"] @ x) * (p["M_h.weight"] @ h), C)


def lstm_mogrifier(p: Parameters, x: Array, h: Array, C: Array) -> tuple[Array, ...]:
    x = 2 * sigmoid(p["Q.0.weight"] @ h) * x
    h = 2 * sigmoid(p["R.0.weight"] @ x) * h
    x = 2 * sigmoid(p["Q.1.weight"] @ h) * x
    return lstm(p, x, h, C)


def janet(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    s = drive(p, x, h, 0, 2)
    return (sigmoid(s) * h + (1 - sigmoid(s - 1)) * np.tanh(drive(p, x, h, 1, 2)),)


def gru_layernorm(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    size = len(h)
    from_x, from_h = p["W.weight"] @ x, p["U.weight"] @ h
    a = (layer_norm(from_x[: 2 * size], p["norm_W_rz.weight"], p["b"][: 2 * size])
         + layer_norm(from_h[: 2 * size], p["norm_U_rz.weight"], 0.0))
    r, z = sigmoid(a[:size]), sigmoid(a[size:])
    inner = layer_norm(from_h[2 * size :], p["norm_U_n.weight"], 0.0)
    n = np.tanh(layer_norm(from_x[2 * size :], p["norm_W_n.weight"], p["b"][2 * size :]) + r * inner)
    return ((1 - z) * n + z * h,)


def ugrnn(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    g = sigmoid(drive(p, x, h, 1, 2))
    return (g * h + (1 - g) * np.tanh(drive(p, x, h, 0, 2)),)


def ligru(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    z = sigmoid(drive(p, x, h, 0, 2))
    return (z * h + (1 - z) * relu(drive(p, x, h, 1, 2)),)


def fastgrnn(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    z = sigmoid(p["W.weight"] @ x + p["U.weight"] @ h + p["b_z"])
    new = np.tanh(p["W.weight"] @ x + p["U.weight"] @ h + p["b_h"])
    return ((sigmoid(p["zeta"]) * (1 - z) + sigmoid(p["nu"])) * new + z * h,)


def seen(p: Parameters, x: Array, gate: int, gates: int) -> Array:
    """``W_gate x + b_gate``."""
    return rows(p["W.weight"], gate, gates) @ x + bias(p, "W.bias", gate, gates)


def mingru(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    z = sigmoid(seen(p, x, 0, 2))
    return ((1 - z) * h + z * seen(p, x, 1, 2),)


def minlstm(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    f, i = sigmoid(seen(p, x, 0, 3)), sigmoid(seen(p, x, 1, 3))
    return (f / (f + i) * h + i / (f + i) * seen(p, x, 2, 3),)


def sru(p: Parameters, x: Array, c: Array) -> tuple[Array, ...]:
    f = sigmoid(seen(p, x, 1, 3) + p["v_f"] * c + p["b_f"])
    r = sigmoid(seen(p, x, 2, 3) + p["v_r"] * c + p["b_r"])
    new = f * c + (1 - f) * seen(p, x, 0, 3)
    past = p["P.weight"] @ x if "P.weight" in p else x
    return new, r * new + (1 - r) * past


def running_average(alpha: Any) -> Step:
    return lambda p, x, mu: (np.asarray(alpha) * mu + (1 - np.asarray(alpha)) * seen(p, x, 0, 1),)


def clockwork(periods: list[int]) -> Step:
    """With an own period for each unit."""

    def step(p: Parameters, x: Array, h: Array, clock: Array) -> tuple[Array, ...]:
        new, after = h.copy(), clock.copy()
        for i, period in enumerate(periods):
            if clock[i] == 0:
                others = sum(p["U.weight"][i, j] * h[j] for j in range(len(h)) if periods[j] >= period)
                new[i] = np.tanh(p["W.weight"][i] @ x + p["W.bias"][i] + others)
            after[i] = (clock[i] + 1) % period
        return new, after

    return step


def rhn(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    for layer in ("U.0", "U.1"):
        a = p[f"{layer}.weight"] @ h
        a = a + (p["W.weight"] @ x + p["W.bias"] if layer == "U.0" else p[f"{layer}.bias"])
        z = sigmoid(rows(a, 1, 2))
        h = z * np.tanh(rows(a, 0, 2)) + (1 - z) * h
    return (h,)


def antisymmetric(p: Parameters, x: Array, h: Array) -> tuple[Array, ...]:
    turn = p["U.weight"] - p["U.weight"].T - 0.01 * np.eye(len(h))
    gated = len(p["W.weight"]) == 2 * len(h)
    gate = sigmoid(seen(p, x, 1, 2) + turn @ h) if gated else 1.0
    return (h + 0.1 * gate * np.tanh(seen(p, x, 0, 2 if gated else 1) + turn @ h),)


def cornn(p: Parameters, x: Array, y: Array, z: Array) -> tuple[Array, ...]:
    force = np.tanh(drive(p, x, y) + p["R.weight"] @ z)
    new = z + 0.042 * force - 0.042 * 2.7 * y - 0.042 * 4.7 * z
    return y + 0.042 * new, new


def lmu(order: int, window: float) -> Step:
    """A and B of one step from the series of the exponential and of its integral."""
    A, B = np.zeros((order, order)), np.zeros(order)
    for i in range(order):
        B[i] = (2 * i + 1) * (-1) ** i / window
        for j in range(order):
            A[i, j] = (2 * i + 1) / window * (-1 if i < j else (-1) ** (i - j + 1))
    kept, term, held = np.eye(order), np.eye(order), np.zeros((order, order))
    for k in range(1, 60):
        held = held + term / k  # the integral of exp(A s) over the step
        term = term @ A / k
        kept = kept + term

    def step(p: Parameters, x: Array, h: Array, m: Array) -> tuple[Array, ...]:
        u = (p["e_x.weight"] @ x + p["e_h.weight"] @ h + p["e_m.weight"] @ m)[0]
        new = kept @ m + held @ B * u
        return np.tanh(drive(p, x, h) + p["M.weight"] @ new), new

    return step


def convolution(kernel: Array, image: Array) -> Array:
    """``[O, C, k, k]`` over ``[C, rows, columns]``, place by place."""
    out = np.zeros((len(kernel), *image.shape[1:]))
    middle = kernel.shape[-1] // 2
    for o, r, c, i, j in np.ndindex(*out.shape, *kernel.shape[2:]):
        at, beside = r + i - middle, c + j - middle
        if 0 <= at < image.shape[1] and 0 <= beside < image.shape[2]:
            out[o, r, c] += kernel[o, :, i, j] @ image[:, at, beside]
    return out


def convlstm(p: Parameters, x: Array, h: Array, C: Array) -> tuple[Array, ...]:
    a = convolution(p["W.weight"], x) + convolution(p["U.weight"], h) + p["W.bias"][:, None, None]
    a_i, a_f, a_C, a_o = (rows(a, gate, 4) for gate in range(4))
    new = sigmoid(a_f + p["p_f"] * C) * C + sigmoid(a_i + p["p_i"] * C) * np.tanh(a_C)
    return sigmoid(a_o + p["p_o"] * new) * np.tanh(new), new


def steps(hidden_size: int) -> dict[str, Step]:
    """For each variant of ``catalogue.VARIANTS`` its published step."""
    spread = [1.5 + 7.5 * k / (hidden_size - 1) for k in range(hidden_size)]
    scales = [2 * 500 ** (k / (hidden_size - 1)) for k in range(hidden_size)]
    return {
        "elman": elman(np.tanh), "elman-relu": elman(relu), "elman-no-bias": elman(np.tanh),
        "lstm": lstm, "lstm-projected": lstm, "lstm-no-bias": lstm,
        "lstm-peephole": lstm_peephole, "lstm-layernorm": lstm_layernorm,
        "gru": gru_after, "gru-no-bias": gru_after, "gru-before": gru_before, "gru-before-no-bias": gru_before,
        "mgu": mgu, "gru-layernorm": gru_layernorm, "ugrnn": ugrnn, "ligru": ligru, "fastgrnn": fastgrnn,
        "lstm-1997": original_lstm, "lstm-cifg": lstm_cifg, "lstm-multiplicative": lstm_multiplicative,
        "lstm-mogrifier": lstm_mogrifier, "janet": janet,
        "mingru": mingru, "minlstm": minlstm, "sru": sru,
        "running-average": running_average(0.9), "running-average-units": running_average([1 - 1 / t for t in spread]),
        "clockwork": clockwork([1, 1, 2, 2, 3]), "rhn": rhn, "irnn": elman(relu), "leaky-spectrum": leaky(scales),
        "reservoir": leaky(1 / 0.3), "lmu": lmu(4, 6.0), "convlstm": convlstm,
        "antisymmetric": antisymmetric, "antisymmetric-gated": antisymmetric, "cornn": cornn,
        "leaky": leaky(10.0), "leaky-units": leaky(spread), "leaky-relu": leaky(4.0, relu),
        "leaky-learned": leaky_learned, "leaky-learned-units": leaky_learned,
        "skip": skip, "skip-two": skip, "output": output, "narx": narx,
        "indrnn": indrnn(relu), "indrnn-tanh": indrnn(np.tanh),
        "slstm": slstm(log_sigmoid), "slstm-exp": slstm(lambda v: v),
    }  # fmt: skip
