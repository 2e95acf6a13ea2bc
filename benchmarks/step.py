"""Time one training step of each cell against torch.nn's module of the same kind, or torch's nearest.

Both sides do the same work: the input product, the loop, and every gradient, that of the input too. The contestants
take turns, so that a busy machine slows both; a figure is a median, and a ratio above 1 says that Ostinato is faster.
For the simple network and the LSTM, outputs and input gradients are compared before anything is timed.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ostinato import Recurrent, cells

SHAPES = [(100, 32, 128), (80, 32, 32), (400, 16, 64), (100, 1, 64)]
RIVALS: dict[str, Callable[..., nn.Module]] = {
    "elman": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "gru-before": nn.GRU,
    "leaky": nn.RNN,
}
SAME = {"elman", "lstm"}  # the rival's parameters fit one to one


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def train_step(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Forward and backward; the output and every gradient."""
    inputs = x.detach().requires_grad_()
    output = module(inputs)[0]
    return [output, *torch.autograd.grad(output.square().sum(), [inputs, *module.parameters()])]


def check_same(ours: nn.Module, rival: nn.Module, x: Tensor) -> None:
    """Raise unless ours and the rival, given our parameters, agree on output and input gradient."""
    own = dict(ours.named_parameters())
    names = {"weight_ih_l0": "cell.W.weight", "weight_hh_l0": "cell.U.weight", "bias_ih_l0": "cell.W.bias"}
    given = {theirs: own[mine] for theirs, mine in names.items()}
    rival.load_state_dict(given | {"bias_hh_l0": torch.zeros_like(own["cell.W.bias"])})
    for mine, theirs in zip(train_step(ours, x)[:2], train_step(rival, x)[:2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def race(contestants: list[Callable[[], object]], rounds: int) -> list[float]:
    """The median seconds of each, taking turns after a round that warms up."""
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds + 1):
        for run, taken in zip(contestants, times, strict=True):
            begin = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begin)
    return [statistics.median(taken[1:]) for taken in times]


def compare(name: str, steps: int, batch: int, hidden: int, rounds: int) -> dict[str, object]:
    """One line of the table."""
    torch.manual_seed(0)
    ours = Recurrent(cells.create(name, hidden, hidden))
    rival = RIVALS[name](hidden, hidden, batch_first=True)
    x = torch.randn(batch, steps, hidden)
    if name in SAME:
        check_same(ours, rival, x)
    mine, theirs = race([lambda: train_step(ours, x), lambda: train_step(rival, x)], rounds)
    row = {"cell": name, "rival": f"torch.nn.{type(rival).__name__}", "T": steps, "B": batch, "H": hidden}
    return {**row, "ours_ms": mine * 1e3, "rival_ms": theirs * 1e3, "ratio": theirs / mine}


def main() -> None:
    """Time every cell at every shape, print the table, save it."""
    parser = argparse.ArgumentParser(description="Time a training step of Ostinato's cells against torch.nn.")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds per line (default 7)")
    parser.add_argument("--cells", nargs="+", default=list(RIVALS), choices=list(RIVALS), metavar="CELL")
    parser.add_argument("--out", type=Path, default=Path("build/bench/step.json"), help="where the figures go")
    options = parser.parse_args()
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(f"{'cell':12}{'against':15}{'T':>5}{'B':>4}{'H':>5}{'ours ms':>10}{'torch ms':>10}{'ratio':>8}")
    rows = []
    for name in options.cells:
        for shape in SHAPES:
            row = compare(name, *shape, options.rounds)
            print("{cell:12}{rival:15}{T:5}{B:4}{H:5}{ours_ms:10.2f}{rival_ms:10.2f}{ratio:8.2f}".format(**row))
            sys.stdout.flush()
            rows.append(row)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    print(options.out)


if __name__ == "__main__":
    main()
