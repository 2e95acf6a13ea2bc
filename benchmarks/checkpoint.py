"""Checkpointed back-propagation through time: the memory of a long training step, and its time.

LSTM, T = 10,000, a training step as in `train`. Full memory is what the step without checkpoints adds to the process
at its peak: its outputs are among it (the backward pass keeps their values), the inputs and the outputs' gradient are
not. The budget is 5% of that, for all that is held but the outputs that are handed out; where the loss is computed
segment by segment (`checkpointed_loss`), there are no outputs, and the budget is for everything. Memory is measured as
in `memory`, each side alone in a process of its own, which also takes the time: they do not fit beside each other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import common
from benchmarks.contest import Contestant, check_same
from benchmarks.memory import MB, resident
from ostinato import Recurrent, cells
from ostinato.training.bptt import checkpointed_loss

STEPS, BATCH, HIDDEN = 10_000, 16, 128
BUDGET, SLOWER = 0.05, 1.5
SEGMENT = 200
SIDES = ("full", "budget", "sqrt", "loss in segments")


def contestant(name: str, steps: int, limit: int) -> Contestant:
    """One side's training step; weights and data are the same for all."""
    torch.manual_seed(1)
    how: dict[str, Any] = {"budget": {"checkpoint_bytes": limit}, "sqrt": {"checkpoint": "sqrt"}}.get(name, {})
    rnn = Recurrent(cells.LSTM(HIDDEN, HIDDEN), batch_first=False, **how)
    x, seed = torch.randn(steps, BATCH, HIDDEN), torch.randn(steps, BATCH, HIDDEN)
    parameters = dict(rnn.cell.named_parameters())
    run: Callable[[], tuple[Tensor, ...]] = lambda: torch.autograd.grad(  # noqa: E731
        rnn(x)[0], list(parameters.values()), seed)
    if name == "loss in segments":
        def step(x: Tensor, seed: Tensor, states: Any) -> tuple[Tensor, Any]:
            outputs, states = rnn(x, states)
            return (outputs * seed).sum(), states

        run = lambda: torch.autograd.grad(  # noqa: E731
            checkpointed_loss(step, [x, seed], steps=SEGMENT, batch_first=False)[0], list(parameters.values()))
    return Contestant(name, run, lambda found: dict(zip(parameters, found, strict=True)))


def child(name: str, steps: int, limit: int, rounds: int) -> None:
    """What a process of its own does: print by how many bytes its memory rose, and the seconds of each step."""
    contestant(name, 200, limit).run()
    work, turns = contestant(name, steps, limit), []
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # sets the peak to what there is now
    before = resident("VmRSS")
    for _ in range(rounds):
        begin = time.perf_counter()
        work.run()
        turns.append(time.perf_counter() - begin)
    print(json.dumps([resident("VmHWM") - before, turns]))


def measured(name: str, steps: int, limit: int, rounds: int) -> tuple[int, list[float]]:
    """Bytes and seconds, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.checkpoint", "--child", name, "--steps", str(steps), "--limit",
               str(limit), "--rounds", str(rounds), "--threads", str(torch.get_num_threads())]
    return tuple(json.loads(subprocess.run(command, check=True, capture_output=True, cwd=common.ROOT).stdout))


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Compare the gradients, then measure in turns."""
    steps, turns, rounds = (2000, 1, 2) if options.quick else (STEPS, 3, 4)
    check_same([contestant(name, 500, 2**22) for name in SIDES])
    found: dict[str, list[tuple[int, list[float]]]] = {name: [] for name in SIDES}
    limit = 2**30
    for _ in range(turns):
        for name in SIDES:
            found[name].append(measured(name, steps, limit, rounds))
            limit = int(BUDGET * statistics.median(b for b, _ in found["full"]))
    peaks = {name: statistics.median(b for b, _ in each) for name, each in found.items()}
    times = {name: statistics.median(min(t) for _, t in each) for name, each in found.items()}
    table = report.table(f"LSTM, a training step of T = {steps}, B = {BATCH}, I = H = {HIDDEN}", "side", "peak MB",
                         "beside outputs, MB", "of full", "ms", "of full's time")
    outputs = 4 * steps * BATCH * HIDDEN
    for name in SIDES:
        own = peaks[name] - (0 if name in ("full", "loss in segments") else outputs)
        share, slower = own / peaks["full"], times[name] / times["full"]
        first = name == "full"
        table.add(name, f"{peaks[name] / MB:.0f}", "" if first else f"{own / MB:.0f}",
                  f"{share:.3f}" if name in ("full", "sqrt") else common.at_most(share, BUDGET), common.ms(times[name]),
                  "1.00" if first else common.at_most(slower, SLOWER))
        report.figures.append({"side": name, "peak bytes": peaks[name], "memory": share, "time": slower})


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    for hidden in ("--steps", "--limit", "--rounds"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    given, _ = parser.parse_known_args()
    if given.child:
        torch.set_num_threads(given.threads)
        child(given.child, given.steps, given.limit, given.rounds)
    else:
        common.main(run, "checkpoint", parser)
