"""Cells around cells: what does each cost beside the bare cell?

A training step as in `train`, of the cell alone and of the cell in each wrapper, all in the same rounds. Before
anything is timed, every wrapper's outputs, final states and gradients are compared with those of a plain Python loop
over its step, given the same random masks. What is drawn at random is drawn in every step that is timed. Two cells as
one are measured beside the same two in a `layers.Stack`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import common, networks
from benchmarks.contest import Contestant, check_same, gradients, race
from ostinato import Cell, Recurrent, cells, layers
from ostinato.engines import eager
from ostinato.noise import PREFIX

SHAPE = (100, 32, 128)
COST = 1.15
KINDS = ("LSTM", "GRU", "leaky")
WRAPPERS: dict[str, Callable[[Cell], Cell]] = {
    "recurrent dropout": lambda cell: cells.RecurrentDropout(cell, 0.25),
    "with the input's": lambda cell: cells.RecurrentDropout(cell, 0.25, input_p=0.25),
    "zoneout": lambda cell: cells.Zoneout(cell, 0.1),
    "weight dropout": lambda cell: cells.WeightDropout(cell, 0.5),
    "layer norm, output": lambda cell: cells.LayerNorm(cell),
    "layer norm, input": lambda cell: cells.LayerNorm(cell, "input"),
    "layer norm, state": lambda cell: cells.LayerNorm(cell, cell.states[0].name),
    "residual": cells.Residual,
    "highway": cells.Highway,
    "learned initial": cells.LearnedInitial,
}


def by_steps(module: Recurrent, x: Tensor, seed: Tensor, drawn: dict[str, Tensor]) -> Contestant:
    """The step in a plain loop, with given masks."""
    named = dict(module.cell.named_parameters())

    def run() -> tuple:
        starts = [v.unsqueeze(0) for v in module.initial_states(x.shape[1])]
        masks = {PREFIX + name: mask for name, mask in drawn.items()}
        output, _, finals = eager.run(module.cell, [x], [], starts, drawn=lambda d: masks[d.name])
        return (output, tuple(f[0] for f in finals)), gradients(output, seed, list(named.values()))

    def keep(found: tuple) -> dict[str, Tensor]:
        return networks.states_of(found[0]) | {f"gradient of {n}": g for n, g in zip(named, found[1], strict=True)}

    return Contestant("loop", run, keep)


def check(module: Recurrent, x: Tensor, seed: Tensor) -> None:
    """Compare a wrapped cell with its own step in a loop, over the first time steps."""
    x, seed = x[:7], seed[:7]
    drawn = module.draw(x)
    check_same([by_steps(module, x, seed, drawn), networks.training("ours", module, x, seed, drawn=drawn)])


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Each kind of cell, in each wrapper."""
    steps, batch, hidden = (20, 4, 16) if options.quick else SHAPE
    table = report.table(f"A training step in a wrapper over one of the bare cell, T = {steps}, B = {batch}, I = H = "
                         f"{hidden}", "wrapper", *KINDS)
    costs: dict[str, list[float]] = {}
    for kind in KINDS:
        make = networks.KINDS[kind].make
        x, seed = torch.randn(steps, batch, hidden), torch.randn(steps, batch, hidden)
        modules = {name: networks.recurrent(wrap(make(hidden, hidden))) for name, wrap in WRAPPERS.items()}
        for module in modules.values():
            check(module, x, seed)
        bare = networks.training("bare", networks.recurrent(make(hidden, hidden)), x, seed)
        wrapped = [networks.training(name, module, x, seed) for name, module in modules.items()]
        pair = [make(hidden, hidden), make(hidden, hidden)]
        both = [training(name, module, x, seed) for name, module in (
            ("layers.Stack", layers.Stack([networks.recurrent(c) for c in pair])),
            ("stacked cells", networks.recurrent(cells.StackedCells(pair))))]
        timing = race([bare, *wrapped, *both], options.seconds * 3)
        report.figures.append({"cell": kind, **timing.figures()})
        for name in WRAPPERS:
            costs.setdefault(name, []).append(timing[name] / timing["bare"])
        costs.setdefault("stacked cells", []).append(timing["stacked cells"] / timing["layers.Stack"])
        costs.setdefault("bare, ms", []).append(timing["bare"])
    for name, values in costs.items():
        table.add(name, *([common.ms(v) for v in values] if name == "bare, ms" else
                          [common.at_most(v, COST) for v in values]))
    table.notes.append("Two stacked cells are measured against the same two in a `layers.Stack`.")


def training(name: str, module: torch.nn.Module, x: Tensor, seed: Tensor) -> Contestant:
    """A training step of a module with several layers; nothing to compare."""
    parameters = list(module.parameters())
    return Contestant(name, lambda: gradients(module(x)[0], seed, parameters))


if __name__ == "__main__":
    common.main(run, "wrappers", common.parser(__doc__))
