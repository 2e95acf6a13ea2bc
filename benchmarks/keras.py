"""Keras's ``fit`` with our recurrent layers against Keras's own on PyTorch, JAX and TensorFlow, each in a process.

A model of a recurrence and a dense layer, mean squared error, RMSprop, batches of 32; a call of `fit` trains on ten of
them, its time is divided by ten. All begin with the same weights, and the losses of the first three calls agree before
anything is timed. Backends compile as they do by default (JAX and TensorFlow do), before the clock runs.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks import common, rivals
from benchmarks.contest import compare

SHAPES = [(100, 32, 128), (80, 32, 32)]
KINDS = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
BATCHES = 10
BACKENDS = ("torch", "jax", "tensorflow")
TOLERANCE = 1e-3
"""Of losses after thirty steps of training: float32 sums in another order move a training a little."""


def weights(kind: str, width: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Kernel, recurrent kernel, bias, and the dense layer's two, in Keras's order."""
    gates = KINDS[kind]
    shapes = [(width, gates * width), (width, gates * width), (2, gates * width) if kind == "GRU" else (gates * width,),
              (width, 1), (1,)]
    return {str(i): rng.normal(0, width**-0.5 / 2, shape).astype("float32") for i, shape in enumerate(shapes)}


def sides(stack: contextlib.ExitStack, options: argparse.Namespace) -> dict[str, rivals.Rival]:
    """The processes, by name; a backend that cannot be had here is said and left out."""
    own, threads = Path(sys.executable), torch.get_num_threads()
    plain = {"KERAS_BACKEND": "torch"}
    wanted = {"ours": (own, {**plain, "OSTINATO_LAYERS": "1"}), "torch": (own, plain)}
    found = {}
    if not options.no_rivals:
        try:
            other = rivals.python("keras")
            wanted |= {name: (other, {"KERAS_BACKEND": name}) for name in BACKENDS[1:]}
        except rivals.Unavailable as error:
            print(f"without JAX and TensorFlow: {error}", file=sys.stderr)
    for name, (python, environment) in wanted.items():
        found[name] = rivals.Rival("keras", threads, python, environment)
        stack.callback(found[name].close)
        print(f"{name}: {found[name].version}")
    return found


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Each layer at each shape."""
    with contextlib.ExitStack() as stack:
        workers = sides(stack, options)
        table = report.table("A step of Keras's fit, milliseconds", "T, B, I = H", "layer", "ours",
                             *(f"Keras on {name}" for name in BACKENDS), "times faster than the fastest")
        ratios = []
        for steps, batch, width in SHAPES[1:] if options.quick else SHAPES:
            for kind in KINDS:
                rng = np.random.default_rng(0)
                shapes = ((steps, width), (1,))
                x, y = (rng.normal(size=(BATCHES * batch, *shape)).astype("float32") for shape in shapes)
                given = weights(kind, width, rng)
                for worker in workers.values():
                    worker.ask("make", "training", kind, given, x, y)
                timing = compare([rivals.Remote(name, w) for name, w in workers.items()], options.seconds, TOLERANCE)
                faster = timing[timing.best(*BACKENDS)] / timing["ours"]
                ratios.append(faster)
                table.add(f"{steps}, {batch}, {width}", kind, *(
                    common.ms(timing[name] / BATCHES) if name in timing else "" for name in ("ours", *BACKENDS)),
                    common.ratio(faster, 1.0))
                report.figures.append({"T": steps, "B": batch, "H": width, "layer": kind, "faster": faster,
                                       **timing.figures()})
        mean = statistics.geometric_mean(ratios)
        table.notes.append(f"In the geometric mean {common.ratio(mean, 2.0)} times faster than the fastest of them.")
        print(table.notes[-1])


if __name__ == "__main__":
    common.main(run, "keras", common.parser(__doc__))
