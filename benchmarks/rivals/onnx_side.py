"""LSTM, GRU and RNN as models of one ONNX operator, run by ONNX Runtime on the CPU."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

VERSION = f"ONNX Runtime {onnxruntime.__version__}"
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""By operator: where each of its gates, in its order (i o f c; z r h), is in ours (i f c o; r z n)."""


def _reordered(value: np.ndarray, kind: str) -> np.ndarray:
    """``[k H, ...]`` with its gates in the operator's order."""
    parts = np.split(value, len(GATES[kind]))
    return np.concatenate([parts[n] for n in GATES[kind]])


def _model(kind: str, weights: dict[str, np.ndarray], shape: tuple[int, ...]) -> bytes:
    """The model: X ``[T, B, N]`` to Y ``[T, 1, B, H]`` and the final states ``[1, B, H]``."""
    zero = np.zeros_like(weights["W.bias"])
    both = [_reordered(weights.get(name, zero), kind) for name in ("W.bias", "U.bias")]
    given = {"W": _reordered(weights["W.weight"], kind), "R": _reordered(weights["U.weight"], kind),
             "B": np.concatenate(both)}
    hidden = weights["U.weight"].shape[1]
    finals = ["Y_h", "Y_c"] if kind == "LSTM" else ["Y_h"]
    options: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(kind, ["X", *given], ["Y", *finals], hidden_size=hidden, **options)
    steps, batch, inputs = shape
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [steps, batch, inputs])
    y = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [steps, 1, batch, hidden]),
         *(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, batch, hidden]) for name in finals)]
    constants = [numpy_helper.from_array(value[None], name) for name, value in given.items()]
    graph = helper.make_graph([node], kind, [x], y, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return model.SerializeToString()


class Made:
    """A session: ``run`` does the work, ``answer`` gives its values."""

    def __init__(self, kind: str, weights: dict[str, np.ndarray], x: np.ndarray, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.force_spinning_stop", "1")  # while the other side runs, be idle
        self.session = onnxruntime.InferenceSession(_model(kind, weights, x.shape), options, ["CPUExecutionProvider"])
        self.given = {"X": x}

    def run(self) -> list[np.ndarray]:
        return [np.asarray(found) for found in self.session.run(None, self.given)]

    def answer(self) -> dict[str, np.ndarray]:
        output, *finals = self.run()
        return {"output": output[:, 0], **{f"final state {n}": s[0] for n, s in enumerate(finals)}}


def make(work: str, kind: str, weights: dict[str, np.ndarray], x: np.ndarray, seed: None, threads: int) -> Made:
    """The session that a request asks for; there is only inference here."""
    return Made(kind, weights, x, threads)
