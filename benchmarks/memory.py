"""The peak memory of a training step, and what recomputing costs in time.

LSTM, a training step as in `train`. Each contestant runs alone in a process of its own: it makes its module and its
data, does a step of two time steps, so that what is loaded and built once is there, notes its resident memory, does
three steps, and reports by how much that memory rose at most (the kernel's VmHWM, so this benchmark needs Linux). What
the allocator does with freed memory is left as it is, alike for all. The times are from one race of all three.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from benchmarks import common, networks
from benchmarks.contest import Contestant, compare
from ostinato import cells

STEPS, BATCH, HIDDEN = 2000, 32, 256
MEMORY = {"ours": 0.75, "recompute": 0.3}
SLOWER = 1.4
SIDES = ("torch.nn", "ours", "recompute")
MB = 1e6


def module(name: str, cell: cells.LSTM) -> nn.Module:
    """One side's module."""
    if name == "torch.nn":
        return networks.like_torch(nn.LSTM, cell, HIDDEN, HIDDEN)
    return networks.recurrent(cell, "recompute" if name == "recompute" else None)


def step(name: str, made: nn.Module, steps: int) -> Contestant:
    """A training step over so many time steps; the data are the same for all sides."""
    torch.manual_seed(1)
    return networks.training(name, made, torch.randn(steps, BATCH, HIDDEN), torch.randn(steps, BATCH, HIDDEN))


def resident(kind: str) -> int:
    """This process's memory in bytes, now ("VmRSS") or at most ("VmHWM")."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def child(name: str, steps: int) -> None:
    """What a process of its own does: print by how many bytes its memory rose."""
    made = module(name, cells.LSTM(HIDDEN, HIDDEN))
    step(name, made, 2).run()
    work = step(name, made, steps)
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # sets the peak to what there is now
    before = resident("VmRSS")
    for _ in range(3):
        work.run()
    print(json.dumps(resident("VmHWM") - before))


def peak(name: str, steps: int, processes: int) -> float:
    """Bytes, the median over some processes."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", name, "--steps", str(steps),
               "--threads", str(torch.get_num_threads())]
    found = [subprocess.run(command, check=True, capture_output=True, cwd=common.ROOT) for _ in range(processes)]
    return statistics.median(json.loads(done.stdout) for done in found)


def run(options: argparse.Namespace, report: common.Report) -> None:
    """The peaks, then the race."""
    steps = options.steps or (200 if options.quick else STEPS)
    cell = cells.LSTM(HIDDEN, HIDDEN)
    timing = compare([step(name, module(name, cell), steps) for name in SIDES], options.seconds * 4)
    peaks = {name: peak(name, steps, 1 if options.quick else 3) for name in SIDES}
    table = report.table(f"LSTM, a training step of T = {steps}, B = {BATCH}, I = H = {HIDDEN}", "side", "peak MB",
                         "of torch.nn's", "ms", "of ours")
    for name in SIDES:
        share, time = peaks[name] / peaks["torch.nn"], timing[name] / timing["ours"]
        table.add(name, f"{peaks[name] / MB:.0f}",
                  common.at_most(share, MEMORY[name]) if name in MEMORY else f"{share:.2f}", common.ms(timing[name]),
                  common.at_most(time, SLOWER) if name == "recompute" else f"{time:.2f}")
        report.figures.append({"side": name, "peak bytes": peaks[name], "memory": share, "time": time})


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--steps", type=int, help=f"T (default {STEPS}; quick 200)")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    given, _ = parser.parse_known_args()
    if given.child:
        torch.set_num_threads(given.threads)
        child(given.child, given.steps)
    else:
        common.main(run, "memory", parser)
