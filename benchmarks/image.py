"""Two-dimensional recurrence over images: a training step of one direction, from the top left corner.

`Recurrent2d` runs each row as one call, of which the row above is an input. Against it, under torch's autograd: a
Python loop over the pixels, which is how the recurrence is written; and a loop over the diagonals, whose pixels do not
depend on each other, all rows of a diagonal at once, which is how one would speed it up in PyTorch. `ReNet` (rows in
both directions, then columns in both, of the same cell and width) is another network and stands beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import common
from benchmarks.contest import Contestant, compare, gradients
from ostinato import cells
from ostinato.cells import Cell2d
from ostinato.layers import Bidirectional, Recurrent2d, ReNet

SHAPES = [(64, 8, 8, 1, 32), (32, 28, 28, 1, 32), (8, 28, 28, 1, 64), (16, 32, 64, 8, 64)]
KINDS: dict[str, Callable[[int, int], Cell2d]] = {
    "LSTM2d": lambda n, h: cells.LSTM2d(n, h, forget_bias=-2),
    "RNN": lambda n, h: cells.RowAbove(cells.Elman(n + h, h)),
}
ALONG = {"LSTM2d": cells.LSTM, "RNN": cells.Elman}


def by_pixel(cell: Cell2d, x: Tensor) -> Tensor:
    """A Python loop over the pixels of ``[B, H, W, N]``: ``[B, H, W, K]``."""
    start = cell.initial_states(len(x))
    row, outputs = [start] * x.shape[2], []
    for i in range(x.shape[1]):
        left = start
        for j in range(x.shape[2]):
            above = row[j][: len(cell.above)]
            left, output = cell.split_result(cell.step(x[:, i, j], *above, *left))
            row[j] = left
            outputs.append(output)
    return torch.stack(outputs, 1).unflatten(1, x.shape[1:3])


def by_diagonal(cell: Cell2d, x: Tensor) -> Tensor:
    """The same, by a loop over the diagonals ``i + j``: the rows of each are one batch."""
    batch, high, wide, _ = x.shape
    count = high + wide - 1
    skewed = F.pad(x, (0, 0, 0, high)).flatten(1, 2)[:, : high * count].unflatten(1, (high, count))  # [B, H, D, N]
    states = tuple(s.view(batch, high, -1) for s in cell.initial_states(batch * high))
    rows, outputs = torch.arange(high), []
    for d in range(count):
        above = [F.pad(s, (0, 0, 1, 0))[:, :high] for s in states[: len(cell.above)]]  # of the row before: from d - 1
        values = [v.flatten(0, 1) for v in (skewed[:, :, d], *above, *states)]
        live = ((rows <= d) & (rows > d - wide)).view(1, high, 1)  # the others are outside of the image: zero
        found, _ = cell.split_result(cell.step(*values))
        states = tuple(s.view(batch, high, -1) * live for s in found)
        outputs.append(states[0])
    found = F.pad(torch.stack(outputs, 2).flatten(1, 2), (0, 0, 0, high))  # [B, H * D + H, K]
    return found.unflatten(1, (high, count + 1))[:, :, :wide]


def training(name: str, run: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor, seed: Tensor,
             answers: bool = True) -> Contestant:
    """Forward, and backward of all parameters."""
    named = {key.removeprefix("parts.0.cell."): p for key, p in module.named_parameters()}

    def step() -> tuple[Tensor, tuple[Tensor, ...]]:
        output = run(x)
        return output, gradients(output, seed, list(named.values()))

    def keep(found: Any) -> dict[str, Tensor]:
        return {"output": found[0]} | {f"gradient of {k}": g for k, g in zip(named, found[1], strict=True)}

    return Contestant(name, step, keep if answers else None)


def contestants(kind: str, shape: tuple[int, ...]) -> tuple[list[Contestant], Contestant]:
    """Those that do the same, and ReNet."""
    batch, high, wide, inputs, hidden = shape
    torch.manual_seed(0)
    cell, x, seed = KINDS[kind](inputs, hidden), torch.randn(shape[:4]), torch.randn(batch, high, wide, hidden)
    with torch.no_grad():  # what two neighbours add up to must not grow along the image: float32 errors would as well
        for parameter in cell.parameters():
            parameter.mul_(0.5)
    ours = Recurrent2d([cell])
    make, half = ALONG[kind], hidden // 2
    across = Bidirectional(make(inputs, half), make(inputs, half))
    renet = ReNet(across, Bidirectional(make(2 * half, half), make(2 * half, half)))
    same = [training("pixels", lambda x: by_pixel(cell, x), cell, x, seed),
            training("diagonals", lambda x: by_diagonal(cell, x), cell, x, seed),
            training("Recurrent2d", lambda x: ours(x)[0], ours, x, seed)]
    return same, training("ReNet", lambda x: renet(x)[0], renet, x, seed, answers=False)


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Each cell at each shape."""
    sides = ("Recurrent2d", "pixels", "diagonals", "ReNet")
    table = report.table("Images, training step, milliseconds", "B, H, W, N, hidden", "cell", *sides,
                         "times faster than pixels", "than diagonals")
    for shape in [(8, 5, 7, 2, 16)] if options.quick else SHAPES:
        for kind in KINDS:
            same, renet = contestants(kind, shape)
            timing = compare(same, options.seconds / 4, beside=[renet])
            faster = {who: timing[who] / timing["Recurrent2d"] for who in ("pixels", "diagonals")}
            table.add(str(shape)[1:-1], kind, *(common.ms(timing[who]) for who in sides),
                      *(common.ratio(ratio) for ratio in faster.values()))
            report.figures.append({"shape": shape, "cell": kind, **timing.figures(),
                                   **{f"faster than {who}": ratio for who, ratio in faster.items()}})


if __name__ == "__main__":
    common.main(run, "image", common.parser(__doc__))
