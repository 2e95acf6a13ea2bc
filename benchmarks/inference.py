"""The forward pass alone, without gradients: against torch.nn, JAX and ONNX Runtime.

LSTM, GRU and RNN at the shapes of `train`, from the same weights, all sides time-major, on the same number of threads.
JAX is `lax.scan` under `jit`; ONNX Runtime runs its own LSTM, GRU and RNN operators.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks import common, networks
from benchmarks.contest import Contestant, compare
from benchmarks.rivals import Rival, worker
from benchmarks.train import SHAPES

OURS, RIVALS = ("Recurrent", "layers"), ("torch.nn", "JAX", "ONNX Runtime")


def contestants(name: str, steps: int, batch: int, hidden: int, rivals: dict[str, Rival | None]) -> list[Contestant]:
    """Everyone who does this work."""
    torch.manual_seed(0)
    kind = networks.KINDS[name]
    assert kind.torch and kind.drop_in
    cell, x = kind.make(hidden, hidden), torch.randn(steps, batch, hidden)
    found = [networks.inference("torch.nn", networks.like_torch(kind.torch, cell, hidden, hidden), x),
             networks.inference("Recurrent", networks.recurrent(cell), x),
             networks.inference("layers", networks.like_torch(kind.drop_in, cell, hidden, hidden), x)]
    return found + [rival.contestant(who, "inference", name, cell, x) for who, rival in rivals.items() if rival]


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Every cell at every shape."""
    table = report.table("Forward, milliseconds", "T, B, I = H", "cell", *OURS, *RIVALS, "times faster than torch.nn",
                         "than the fastest other")
    with worker("jax", options) as jax, worker("onnx", options) as onnx:
        for shape in SHAPES[-1:] if options.quick else SHAPES:
            for name in ("LSTM", "GRU", "RNN"):
                timing = compare(contestants(name, *shape, {"JAX": jax, "ONNX Runtime": onnx}), options.seconds)
                ours = timing[timing.best(*OURS)]
                faster = {who: timing[who] / ours for who in RIVALS if who in timing}
                table.add(str(shape)[1:-1], name, *(common.ms(timing[who]) if who in timing else ""
                                                    for who in OURS + RIVALS),
                          common.ratio(faster["torch.nn"]), common.ratio(min(faster.values())))
                report.figures.append({"cell": name, "shape": shape, "faster": faster, **timing.figures()})


if __name__ == "__main__":
    common.main(run, "inference", common.parser(__doc__))
