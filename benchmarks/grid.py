"""Sixty random shapes: is any of them slower than torch.nn?

T from 1 to 2000, B from 1 to 256, H from 8 to 1024, drawn on a logarithmic scale by a fixed seed; every other width is
rounded up to a multiple of 8, the rest are as drawn; the input is as wide as the state. A shape whose training step
would be over 40 GFLOP for LSTM is drawn again. At each shape LSTM, GRU and RNN do a training step as in `train`, as the
drop-in modules. What comes out below 1.1 is measured again, eight times as long, and that figure counts.
"""

from __future__ import annotations

import argparse
import random
import statistics

import torch

from benchmarks import common, networks
from benchmarks.contest import Contestant, check_same, race

COUNT, SEED, MOST_FLOPS = 60, 7, 40e9
LIMITS = (1, 2000), (1, 256), (8, 1024)
NAMES = ("LSTM", "GRU", "RNN")
CLOSE = 1.1


def shapes() -> list[tuple[int, int, int]]:
    """T, B, H of the sixty."""
    draw, found = random.Random(SEED), []
    while len(found) < COUNT:
        steps, batch, hidden = (round(least * (most / least) ** draw.random()) for least, most in LIMITS)
        if len(found) % 2:
            hidden += -hidden % 8
        if networks.useful_flops(steps, batch, hidden, hidden, 4) <= MOST_FLOPS:
            found.append((steps, batch, hidden))
    return found


def contestants(name: str, steps: int, batch: int, hidden: int) -> list[Contestant]:
    """torch.nn's module and ours."""
    torch.manual_seed(0)
    kind = networks.KINDS[name]
    assert kind.torch and kind.drop_in
    cell = kind.make(hidden, hidden)
    x, seed = torch.randn(steps, batch, hidden), torch.randn(steps, batch, hidden)
    return [networks.training(who, networks.like_torch(make, cell, hidden, hidden), x, seed)
            for who, make in (("torch.nn", kind.torch), ("layers", kind.drop_in))]


def measured(name: str, shape: tuple[int, int, int], seconds: float) -> dict:
    """The figures of one cell at one shape."""
    sides = contestants(name, *shape)
    check_same(sides)
    timing = race(sides, seconds / 4)
    if timing["torch.nn"] / timing["layers"] < CLOSE:
        timing = race(sides, seconds * 2)
    steps, batch, hidden = shape
    return {"cell": name, "T": steps, "B": batch, "H": hidden, "ratio": timing["torch.nn"] / timing["layers"],
            **timing.figures()}


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Every shape, then what is to be known of each cell."""
    table = report.table("Times faster than torch.nn, training step", "T, B, I = H", *NAMES)
    for shape in shapes()[:: 6 if options.quick else 1]:
        found = [measured(name, shape, options.seconds) for name in NAMES]
        report.figures += found
        table.add(str(shape)[1:-1], *(f"{f['ratio']:.2f}" for f in found))
    summary = report.table("In short", "cell", "least", "median", "most", "shapes", "below 1.0")
    for name in NAMES:
        ratios = [f["ratio"] for f in report.figures if f["cell"] == name]
        slower = [f"{f['T']}, {f['B']}, {f['H']}: {f['ratio']:.2f}" for f in report.figures
                  if f["cell"] == name and f["ratio"] < 1]
        summary.add(name, f"{min(ratios):.2f}", f"{statistics.median(ratios):.2f}", f"{max(ratios):.1f}", len(ratios),
                    "; ".join(slower) or "none")


if __name__ == "__main__":
    common.main(run, "grid", common.parser(__doc__))
