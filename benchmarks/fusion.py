"""What an equation costs: cells that a user writes, against the same cell fused by hand.

A training step as in `train`. "Written" is the cell as a user writes it: the LSTM of ten lines in `networks.py`, and
the equations of `ostinato.cells`. "By hand" is the faster of torch.nn's fused module and our drop-in.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks import common, networks
from benchmarks.contest import Contestant, compare
from benchmarks.train import SHAPES

MOST = 1.1


def contestants(name: str, steps: int, batch: int, hidden: int) -> list[Contestant]:
    """The cell by hand twice, then written; LSTM is written twice."""
    torch.manual_seed(0)
    kind = networks.KINDS[name]
    assert kind.torch and kind.drop_in
    cell = kind.make(hidden, hidden)
    x, seed = torch.randn(steps, batch, hidden), torch.randn(steps, batch, hidden)
    modules: dict[str, torch.nn.Module] = {
        "torch.nn": networks.like_torch(kind.torch, cell, hidden, hidden),
        "layers": networks.like_torch(kind.drop_in, cell, hidden, hidden),
        "cells": networks.recurrent(cell),
    }
    if name == "LSTM":
        own = networks.OwnLSTM(hidden, hidden)
        own.load_state_dict(cell.state_dict())
        modules["ten lines"] = networks.recurrent(own)
    return [networks.training(who, module, x, seed) for who, module in modules.items()]


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Every cell that is fused by hand anywhere, at the shapes of `train`."""
    names = ("torch.nn", "layers", "cells", "ten lines")
    table = report.table("Training step, milliseconds", "T, B, I = H", "cell", *names, "written / by hand")
    for shape in SHAPES[-1:] if options.quick else SHAPES:
        for name in ("LSTM", "GRU", "RNN"):
            timing = compare(contestants(name, *shape), options.seconds)
            written = max(timing[who] for who in ("cells", "ten lines") if who in timing)
            cost = written / timing[timing.best("torch.nn", "layers")]
            table.add(str(shape)[1:-1], name, *(common.ms(timing[who]) if who in timing else "" for who in names),
                      common.at_most(cost, MOST))
            report.figures.append({"cell": name, "shape": shape, "cost": cost, **timing.figures()})
    table.notes.append("The last column is the slower of the written ones over the faster of those by hand.")


if __name__ == "__main__":
    common.main(run, "fusion", common.parser(__doc__))
