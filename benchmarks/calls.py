"""What a call costs beside the work: the first one of a new program, the second, and calls that are tiny.

First calls are timed in processes of their own, and are a training step as in `train` (T = 100, B = 32, H = 64), of
which ten follow each other; then a second cell, of another kind, is called for the first time in the same process: the
program is new, but what Python and torch load once is there. The figures are medians over the processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch

from benchmarks import common, networks
from benchmarks.contest import TOLERANCE, WrongAnswer, compare, relative_error

STEPS, BATCH, HIDDEN, CALLS = 100, 32, 64, 10
FIRST, SECOND = 0.3, 1.2
SIDES = {"torch.nn.LSTM": "torch.nn.GRU", "layers.LSTM": "own", "cells.LSTM": "own", "own": "LSTM"}
"""By what is called first: the cell that comes after it in the same process."""


def module(name: str) -> torch.nn.Module:
    """A new module of that name."""
    if name == "own":
        return networks.recurrent(networks.Momentum(HIDDEN, HIDDEN))
    where, _, kind = name.rpartition(".")
    if where in ("cells", ""):
        return networks.recurrent(networks.KINDS[kind].make(HIDDEN, HIDDEN))
    made = {"torch.nn": networks.KINDS[kind].torch, "layers": networks.KINDS[kind].drop_in}[where]
    assert made
    return made(HIDDEN, HIDDEN)


def calls(name: str) -> list[float]:
    """Seconds of the first calls of a new module."""
    x, seed = torch.randn(STEPS, BATCH, HIDDEN), torch.randn(STEPS, BATCH, HIDDEN)
    taken, outputs = [], []
    begin = time.perf_counter()
    contestant = networks.training(name, module(name), x, seed)
    for _ in range(CALLS):
        outputs.append(contestant.run()[0][0])
        taken.append(time.perf_counter() - begin)
        begin = time.perf_counter()
    if relative_error(outputs[0], outputs[-1]) > TOLERANCE:
        raise WrongAnswer(f"{name}: the first call's output is not the last one's")
    return taken


def child(name: str) -> None:
    """What a process of its own does: print the seconds of both modules' calls."""
    print(json.dumps({"first": calls(name), "next": calls(SIDES[name])}))


def in_processes(name: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """The medians, over the processes, of each call."""
    command = [sys.executable, "-m", "benchmarks.calls", "--child", name, "--threads", str(torch.get_num_threads())]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=common.ROOT).stdout)
             for _ in range(2 if options.quick else 7)]
    return {key: [statistics.median(column) for column in zip(*(f[key] for f in found), strict=True)]
            for key in found[0]}


def first_calls(options: argparse.Namespace, report: common.Report) -> None:
    """The table of first calls."""
    table = report.table("First calls, milliseconds", "called", "first call in a process", "second", "tenth",
                         "second / tenth", "then, new to the process", "its first call")
    for name in SIDES:
        found = in_processes(name, options)
        first, new = found["first"], found["next"]
        ours = name != "torch.nn.LSTM"
        cost, fine = first[1] / first[-1], "" if new[0] <= FIRST else " ✗"
        table.add(name, common.ms(first[0]), common.ms(first[1]), common.ms(first[-1]),
                  common.at_most(cost, SECOND) if ours else f"{cost:.2f}", SIDES[name],
                  common.ms(new[0]) + (f" (≤ {FIRST * 1e3:.0f}){fine}" if ours else ""))
        report.figures.append({"called": name, "then": SIDES[name], "seconds": found})


def tiny_calls(options: argparse.Namespace, report: common.Report) -> None:
    """The table of calls that have next to nothing to do."""
    table = report.table("One step of one sequence, H = 8, microseconds", "cell", "work", "torch.nn", "layers",
                         "Recurrent", "times faster")
    x, seed = torch.randn(1, 1, 8), torch.randn(1, 1, 8)
    for name in ("LSTM", "GRU", "RNN"):
        kind = networks.KINDS[name]
        assert kind.torch and kind.drop_in
        cell = kind.make(8, 8)
        modules = {"torch.nn": networks.like_torch(kind.torch, cell, 8, 8),
                   "layers": networks.like_torch(kind.drop_in, cell, 8, 8), "Recurrent": networks.recurrent(cell)}
        for work in ("forward", "training step"):
            sides = [networks.inference(who, m, x) if work == "forward" else networks.training(who, m, x, seed)
                     for who, m in modules.items()]
            timing = compare(sides, options.seconds / 2)
            faster = timing["torch.nn"] / timing[timing.best("layers", "Recurrent")]
            table.add(name, work, *(f"{timing[who] * 1e6:.0f}" for who in modules), common.ratio(faster))
            report.figures.append({"cell": name, "work": work, "faster": faster, **timing.figures()})


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Both tables."""
    first_calls(options, report)
    tiny_calls(options, report)


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--child", choices=list(SIDES), help=argparse.SUPPRESS)
    given, _ = parser.parse_known_args()
    if given.child:
        torch.set_num_threads(given.threads)
        child(given.child)
    else:
        common.main(run, "calls", parser)
