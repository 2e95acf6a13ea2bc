"""Time one training step of each cell against a plain Python loop over its step, and against torch.nn's same cell.

All sides do the same work: the input product, the loop, and every gradient, that of the input too. The contestants
take turns, so that a busy machine slows all; a figure is a median, and a ratio above 1 says that Ostinato is faster.
Outputs and gradients are compared before anything is timed.
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
from typing import Any

import torch
from torch import Tensor, nn

from ostinato import Recurrent, cells
from ostinato.cell import Cell

SHAPES = [(100, 32, 128), (80, 32, 32), (400, 16, 64), (100, 1, 64)]
RIVALS: dict[str, Callable[..., nn.Module] | None] = {
    "elman": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "gru-before": None,  # torch has no such cell
    "leaky": None,
    "slstm": None,
}
NAMES = {"weight_ih_l0": "cell.W.weight", "weight_hh_l0": "cell.U.weight", "bias_ih_l0": "cell.W.bias"}


class Loop(nn.Module):
    """A cell's step in a plain Python loop, under torch's own autograd."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``[B, T, N]`` to outputs ``[B, T, H]``."""
        states, outputs = self.cell.initial_states(len(x)), []
        for x_t in x.unbind(1):
            states, output = self.cell.split_result(self.cell.step(x_t, *states))
            outputs.append(output)
        return (torch.stack(outputs, 1),)


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


def torch_twin(name: str, hidden: int, ours: nn.Module) -> nn.Module | None:
    """torch.nn's module with our weights; None where torch has no such cell."""
    make = RIVALS[name]
    if make is None:
        return None
    twin, own = make(hidden, hidden, batch_first=True), dict(ours.named_parameters())
    second = own.get("cell.U.bias", torch.zeros_like(own["cell.W.bias"]))
    twin.load_state_dict({theirs: own[mine] for theirs, mine in NAMES.items()} | {"bias_hh_l0": second})
    return twin


def check_same(ours: nn.Module, rival: nn.Module, x: Tensor) -> None:
    """Raise unless both agree on output and input gradient."""
    for mine, theirs in zip(train_step(ours, x)[:2], train_step(rival, x)[:2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * theirs.detach().abs().max().item())


def race(contestants: list[Callable[[], object]], rounds: int) -> list[float]:
    """The median seconds of each, taking turns after a round that warms up."""
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds + 1):
        for run, taken in zip(contestants, times, strict=True):
            begin = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begin)
    return [statistics.median(taken[1:]) for taken in times]


def compare(name: str, steps: int, batch: int, hidden: int, rounds: int) -> dict[str, Any]:
    """One line of the table."""
    torch.manual_seed(0)
    ours = Recurrent(cells.create(name, hidden, hidden))
    contestants: dict[str, nn.Module] = {"ours": ours, "loop": Loop(ours.cell)}
    if twin := torch_twin(name, hidden, ours):
        contestants["torch"] = twin
    x = torch.randn(batch, steps, hidden)
    for rival in list(contestants.values())[1:]:
        check_same(ours, rival, x)
    taken = race([lambda module=module: train_step(module, x) for module in contestants.values()], rounds)
    times = dict(zip(contestants, taken, strict=True))
    row = {"cell": name, "T": steps, "B": batch, "H": hidden, **{f"{who}_ms": t * 1e3 for who, t in times.items()}}
    return {**row, **{f"against_{who}": t / times["ours"] for who, t in times.items() if who != "ours"}}


def main() -> None:
    """Time every cell at every shape, print the table, save it."""
    parser = argparse.ArgumentParser(description="Time a training step of Ostinato's cells.")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds per line (default 7)")
    parser.add_argument("--cells", nargs="+", default=list(RIVALS), choices=list(RIVALS), metavar="CELL")
    parser.add_argument("--out", type=Path, default=Path("build/bench/step.json"), help="where the figures go")
    options = parser.parse_args()
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(f"{'cell':12}{'T':>5}{'B':>4}{'H':>5}{'ours ms':>10}{'loop ms':>10}{'ratio':>8}{'torch ms':>10}{'ratio':>8}")
    rows = []
    for name in options.cells:
        for shape in SHAPES:
            row = compare(name, *shape, options.rounds)
            line = "{cell:12}{T:5}{B:4}{H:5}{ours_ms:10.2f}{loop_ms:10.2f}{against_loop:8.2f}".format(**row)
            print(line + ("{torch_ms:10.2f}{against_torch:8.2f}".format(**row) if "torch_ms" in row else ""))
            sys.stdout.flush()
            rows.append(row)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    print(options.out)


if __name__ == "__main__":
    main()
