"""A training step of each cell, against torch.nn's same cell or, where torch has none, a Python loop and JAX.

A training step is the forward pass and the backward pass of all parameters, not of the input, from the same weights, on
all sides; torch.nn and ours take time-major input, which spares torch.nn a copy. Ours runs twice: as
`Recurrent(cell)` and, where there is one, as the drop-in `ostinato.layers` module. The Python loop is the cell's own
step under torch's autograd; JAX is `lax.scan` under `jit`, with the input product taken out of the loop by hand.

The share is that of the matrix-product limit: T B H k (4 (I + H) + 2 H) floating-point operations (k products of a
step: LSTM 4, GRU 3, RNN and leaky 1, own 2) in the time of our faster side, over what the faster of torch.mm and our
own product does at 1024^3 in the same rounds.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks import common, networks, product
from benchmarks.contest import Contestant, Timing, compare
from benchmarks.networks import KINDS
from benchmarks.rivals import Rival, worker

Shape = tuple[int, int, int]  # T, B, H
SHAPES = [(100, 32, 128), (100, 32, 256), (400, 16, 64), (50, 64, 512), (1000, 1, 64), (80, 32, 32)]
TARGETS = {
    "LSTM": (1.4, 1.5, 1.8, 1.35, 2.5, 2.2),
    "GRU": (3, 2, 9, 1.4, 40, 10),
    "RNN": (3, 2, 9, 1.4, 40, 8),
    "others": (2, 2, 2.5, 2, 2, 2),
}
SHARES = {512: 0.85, 256: 0.80, 128: 0.75, 64: 0.65, 32: 0.45}


def contestants(name: str, steps: int, batch: int, hidden: int, jax: Rival | None) -> list[Contestant]:
    """Everyone who does this work, with the same weights; torch's own way first, for the others to agree with."""
    torch.manual_seed(0)
    kind = KINDS[name]
    cell = kind.make(hidden, hidden)
    x, seed = torch.randn(steps, batch, hidden), torch.randn(steps, batch, hidden)
    found = []
    if kind.torch:
        theirs = networks.like_torch(kind.torch, cell, hidden, hidden)
        found.append(networks.training("torch.nn", theirs, x, seed))
    else:
        found.append(networks.training("loop", networks.Loop(cell), x, seed))
    found.append(networks.training("Recurrent", networks.recurrent(cell), x, seed))
    if kind.drop_in:
        ours = networks.like_torch(kind.drop_in, cell, hidden, hidden)
        found.append(networks.training("layers", ours, x, seed))
    if jax:
        found.append(jax.contestant("JAX", "training", name, cell, x, seed))
    return found


def measured(timing: Timing, name: str, shape: Shape) -> tuple[list[str], dict]:
    """A line of the table, and its figures."""
    steps, batch, hidden = shape
    ours = timing.best("Recurrent", "layers")
    rival = timing.best("torch.nn") if "torch.nn" in timing else timing.best("loop", "JAX")
    target = TARGETS.get(name, TARGETS["others"])[SHAPES.index(shape)] if shape in SHAPES else None
    times = timing[rival] / timing[ours]
    limit = product.limit(timing)
    share = networks.useful_flops(steps, batch, hidden, hidden, KINDS[name].products) / timing[ours] / limit
    wanted = SHARES.get(hidden) if batch > 1 else None  # one sequence is no matrix product
    low, high = timing.spread(rival, ours)
    line = [str(shape)[1:-1], name, *(common.ms(timing[who]) if who in timing else "" for who in COLUMNS),
            common.ratio(times, target), f"{low:.2f} – {high:.2f}",
            f"{share:.0%}" + ("" if wanted is None else f" (≥ {wanted:.0%})" + ("" if share >= wanted else " ✗")),
            f"{limit / 1e9:.0f}"]
    figures = {"cell": name, "T": steps, "B": batch, "H": hidden, "against": rival, "ratio": times, "target": target,
               "share": share, "share target": wanted, "limit GFLOP/s": limit / 1e9, **timing.figures()}
    return line, figures


COLUMNS = ("Recurrent", "layers", "torch.nn", "loop", "JAX")


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Every cell at every shape."""
    table = report.table("Training step, milliseconds", "T, B, I = H", "cell", *COLUMNS, "times faster", "quartiles",
                         "share of limit", "limit GFLOP/s")
    shapes: list[Shape] = options.shapes or (SHAPES[-1:] if options.quick else SHAPES)
    with worker("jax", options) as jax:
        for shape in shapes:
            for name in options.cells or KINDS:
                sides = contestants(name, *shape, jax)
                timing = compare(sides, options.seconds, beside=product.products())
                line, figures = measured(timing, name, shape)
                table.add(*line)
                report.figures.append(figures)
    table.notes.append("“Times faster” is against torch.nn or, where torch has no such cell, against the faster of "
                       "loop and JAX; its quartiles are over the rounds. ✗ marks what misses its target (in brackets).")


def shape_of(text: str) -> Shape:
    """``"100,32,128"`` as T, B, H."""
    steps, batch, hidden = map(int, text.split(","))
    return steps, batch, hidden


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--cells", nargs="+", choices=list(KINDS), metavar="CELL", help=", ".join(KINDS))
    parser.add_argument("--shapes", nargs="+", type=shape_of, metavar="T,B,H")
    common.main(run, "train", parser)
