"""Every cell of the catalogue: a training step, beside the simple recurrent network's.

T = 100, B = 32, I = H = 128, the cell's own defaults; ConvLSTM has as many numbers, as 2 channels of 8 by 8. Each cell
is first compared with the reference engine, over ten steps, and then takes turns with the simple network.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from benchmarks import common, networks
from benchmarks.contest import check_same, race
from ostinato import Recurrent, cells, engine

STEPS, BATCH, WIDTH = 100, 32, 128
CHECKED = 10
CHANNELS, GRID = 2, (8, 8)


class Reference(nn.Module):
    """A module of ours, on the reference engine."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        with engine("reference"):
            return self.module(x)


def problem(name: str) -> tuple[Recurrent, Tensor, Tensor]:
    """The cell, repeated; its input and the gradient of its output, for all steps."""
    torch.manual_seed(0)
    images = name in cells.names("images")
    width, shape, options = (CHANNELS, (CHANNELS, *GRID), {"grid": GRID}) if images else (WIDTH, (WIDTH,), {})
    cell = cells.create(name, width, width, **options)
    x, seed = torch.randn(STEPS, BATCH, *shape), torch.randn(STEPS, BATCH, *shape)
    return networks.recurrent(cell), x, seed[..., : cells.output_size(cell)] if not images else seed


def run(options: argparse.Namespace, report: common.Report) -> None:
    """A line for each name."""
    table = report.table(f"Training step, T = {STEPS}, B = {BATCH}, I = H = {WIDTH}", "cell", "parameters",
                         "products in the loop", "ms", "of the simple network's")
    simple = networks.training("simple", *problem("elman"))
    for name in ("elman", "lstm", "convlstm") if options.quick else cells.names():
        module, x, seed = problem(name)
        few = x[:CHECKED], seed[:CHECKED]
        check_same([networks.training("reference", Reference(module), *few), networks.training("ours", module, *few)])
        timing = race([simple, networks.training("ours", module, x, seed)], options.seconds)
        told = module.explain(x)
        if told.engine != "cpu":
            table.notes.append(f"{name} ran on the {told.engine} engine: {told.reason}")
        count = sum(p.numel() for p in module.parameters())
        cost = timing["ours"] / timing["simple"]
        table.add(name, f"{count:,}", told.products, common.ms(timing["ours"]), common.ratio(cost))
        report.figures.append({"cell": name, "parameters": count, "cost": cost, **timing.figures()})
    table.notes.append("Nothing in a reservoir trains: its step is the forward pass alone.")


if __name__ == "__main__":
    common.main(run, "cells", common.parser(__doc__))
