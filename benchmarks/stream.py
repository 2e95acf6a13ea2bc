"""Streaming: one time step after another, the state carried along, without gradients.

One sequence, against torch.nn's LSTMCell, GRUCell and RNNCell called in the same way and, where it is faster, against
torch.nn's module called with T = 1; then 1,000 sequences that step together. All sides run under inference mode and
carry their own state; the input is as wide as the state. Before they are timed, all take the same 20 steps and agree.
Ours runs as `Recurrent.stepper`, the prebuilt call that the ratio is of; in place, which is its `run()` on an input
that the caller has written where it is read; and as `Recurrent.stream`. Of many sequences the share is that of the
limit of a matrix product (see `train`): what a step's products need, over the stepper's time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import common, networks, product
from benchmarks.contest import Contestant, compare

WIDTHS = (64, 128, 256, 512)
MANY = 1000
TARGETS = {(1, "LSTM", 64): 10, (1, "LSTM", 512): 2, **{(MANY, "LSTM", width): 1.5 for width in WIDTHS}}
CHECKED = 20
CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}
OURS, RIVALS = ("stepper", "in place", "stream"), ("torch cell", "torch.nn")


class Stepping(Contestant):
    """Steps on, from wherever it is.

    Args:
        name: what tables call it.
        begin: gives a function from the next input ``[B, H]`` to the output ``[B, H]``, at the start of the sequence.
        x: inputs ``[T, B, H]``; the clock runs over the first, again and again.
    """

    def __init__(self, name: str, begin: Callable[[], Callable[[Tensor], Tensor]], x: Tensor) -> None:
        self.begin, self.x = begin, x
        first, step = x[0], begin()
        super().__init__(name, lambda: step(first))

    def answer(self) -> dict[str, Tensor]:
        step = self.begin()
        with torch.inference_mode():
            return {"output": torch.stack([step(x).clone() for x in self.x])}


def torch_cell(name: str, module: nn.RNNBase, width: int) -> Callable[[], Callable[[Tensor], Tensor]]:
    """torch.nn's cell, with a module's weights."""
    cell = CELLS[name](width, width)
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in module.state_dict().items()})

    def begin() -> Callable[[Tensor], Tensor]:
        state = None

        def step(x: Tensor) -> Tensor:
            nonlocal state
            state = cell(x, state)
            return state[0] if name == "LSTM" else state

        return step

    return begin


def torch_module(module: nn.RNNBase) -> Callable[[], Callable[[Tensor], Tensor]]:
    """torch.nn's module, a step at a time."""

    def begin() -> Callable[[Tensor], Tensor]:
        state = None

        def step(x: Tensor) -> Tensor:
            nonlocal state
            output, state = module(x.unsqueeze(0), state)
            return output[0]

        return step

    return begin


def our_stepper(module: networks.Recurrent, x: Tensor) -> Callable[[], Callable[[Tensor], Tensor]]:
    """Our prebuilt call: it reads the input where that is, and its result lies where the last one did."""
    return lambda: module.stepper(x)


class InPlace(Stepping):
    """The same, its input written where it is read: by whoever computes it, so that is not timed."""

    def __init__(self, module: networks.Recurrent, x: Tensor) -> None:
        super().__init__("in place", our_stepper(module, x[0]), x)
        stepper = module.stepper(x[0])
        stepper.inputs[0].copy_(x[0])
        self.run = stepper.run


def our_stream(module: networks.Recurrent) -> Callable[[], Callable[[Tensor], Tensor]]:
    """Our stream, which takes chunks of any size: here of one step."""

    def begin() -> Callable[[Tensor], Tensor]:
        stream = module.stream()
        return lambda x: stream(x.unsqueeze(0))[0]

    return begin


def contestants(name: str, batch: int, width: int) -> list[Contestant]:
    """torch's two and ours."""
    torch.manual_seed(0)
    kind = networks.KINDS[name]
    assert kind.torch
    ours = networks.recurrent(kind.make(width, width))
    theirs, x = networks.like_torch(kind.torch, ours.cell, width, width), torch.randn(CHECKED, batch, width)
    return [Stepping("torch cell", torch_cell(name, theirs, width), x),
            Stepping("torch.nn", torch_module(theirs), x), Stepping("stepper", our_stepper(ours, x[0]), x),
            InPlace(ours, x), Stepping("stream", our_stream(ours), x)]


def run(options: argparse.Namespace, report: common.Report) -> None:
    """One sequence, then many."""
    for batch in (1, MANY):
        title = "One sequence, one step" if batch == 1 else f"{batch:,} sequences, one step"
        limited = batch > 1
        table = report.table(f"{title}, microseconds", "H", "cell", *OURS, *RIVALS, "times faster",
                             "share of limit" if limited else "in place")
        for width in WIDTHS[:1] if options.quick else WIDTHS:
            for name in CELLS:
                sides = contestants(name, batch, width)
                with torch.inference_mode():
                    timing = compare(sides, options.seconds / 2, beside=product.products() if limited else [])
                theirs, work = timing[timing.best(*RIVALS)], 4 * batch * width * width * networks.KINDS[name].products
                faster, in_place = theirs / timing["stepper"], theirs / timing["in place"]
                table.add(width, name, *(f"{timing[who] * 1e6:.3g}" for who in OURS + RIVALS),
                          common.ratio(faster, TARGETS.get((batch, name, width))),
                          f"{work / timing['stepper'] / product.limit(timing):.0%}" if limited else f"{in_place:.3g}")
                report.figures.append({"B": batch, "cell": name, "H": width, "faster": faster,
                                       "in place faster": in_place, **timing.figures()})


if __name__ == "__main__":
    common.main(run, "stream", common.parser(__doc__))
