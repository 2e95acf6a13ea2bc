"""Output recurrence under teacher forcing: all steps at once, against the loop and against running free.

A training step as in `train` (forward, and the gradients of all parameters) of `cells.OutputRecurrence`, as many
outputs as hidden units, and of `cells.NARX` with four delays. `all at once` is `Recurrent(cell)(x, teacher={...})`,
from which the loop is gone. `in the loop` is the same computation with the state left in the loop, which every step
leaves to the teacher (`own` false everywhere): what a program that does not know its parts would do; scheduled sampling
costs as much. `Python loop` is the cell's own step under autograd, with the targets in the place of the outputs; all
three agree. `free` runs on the model's own outputs, which is other work: the recurrence that teacher forcing saves.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import common, networks
from benchmarks.contest import Contestant, compare, gradients
from ostinato import Cell, Recurrent, cells

SHAPES = [(100, 32, 128), (100, 32, 256), (400, 16, 64), (1000, 1, 64)]
CELLS: dict[str, Callable[[int], Cell]] = {
    "output recurrence": lambda n: cells.OutputRecurrence(n, n),
    "NARX, D = 4": lambda n: cells.NARX(n, n, delays=4),
}


def side(name: str, cell: Cell, run: Callable[[], Tensor], seed: Tensor) -> Contestant:
    """A training step: the outputs, and the gradients of all parameters."""
    named = dict(cell.named_parameters())

    def step() -> tuple[Tensor, tuple[Tensor, ...]]:
        outputs = run()
        return outputs, gradients(outputs, seed, list(named.values()))

    def keep(found: tuple[Tensor, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        return {"output": found[0]} | {f"gradient of {n}": g for n, g in zip(named, found[1], strict=True)}

    return Contestant(name, step, keep)


def python_loop(cell: Cell, x: Tensor, targets: Tensor) -> Tensor:
    """The cell's step, one after another, with the targets before it: ``[T, B, H]``."""
    delays = cell.states[0].delays
    past = [torch.zeros_like(targets[0])] * max(delays) + list(targets.unbind(0))
    return torch.stack([cell.step(x[t], *(past[t + max(delays) - d] for d in delays)) for t in range(len(x))])


def contestants(make: Callable[[int], Cell], steps: int, batch: int, hidden: int) -> list[Contestant]:
    """The three that agree, then the one that runs free; from the same weights."""
    torch.manual_seed(0)
    cell = make(hidden)
    x, y, seed = (torch.randn(steps, batch, hidden) for _ in range(3))
    rnn, teacher = networks.recurrent(cell), {cell.states[0].name: y}
    nowhere = torch.zeros(steps, batch, dtype=torch.bool)
    assert isinstance(rnn, Recurrent)
    return [
        side("Python loop", cell, lambda: python_loop(cell, x, y), seed),
        side("in the loop", cell, lambda: rnn(x, teacher=teacher, own=nowhere)[0], seed),
        side("all at once", cell, lambda: rnn(x, teacher=teacher)[0], seed),
        side("free", cell, lambda: rnn(x)[0], seed),
    ]


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Both cells at each shape."""
    names = ("all at once", "in the loop", "Python loop", "free")
    table = report.table("Teacher forcing, training step, milliseconds", "T, B, I = H", "cell", *names,
                         "times faster than the loop", "than the Python loop", "than free")
    for steps, batch, hidden in [(20, 8, 16)] if options.quick else SHAPES:
        for kind, make in CELLS.items():
            *same, free = contestants(make, steps, batch, hidden)
            timing = compare(same, options.seconds, beside=[free])
            times = {who: timing[who] / timing["all at once"] for who in names[1:]}
            table.add(f"{steps}, {batch}, {hidden}", kind, *(common.ms(timing[who]) for who in names),
                      *(common.ratio(value) for value in times.values()))
            report.figures.append({"T": steps, "B": batch, "H": hidden, "cell": kind, **timing.figures(),
                                   **{f"faster than {who}": value for who, value in times.items()}})


if __name__ == "__main__":
    common.main(run, "teacher", common.parser(__doc__))
