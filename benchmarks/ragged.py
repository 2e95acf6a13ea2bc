"""Batches of sequences of different lengths: is the time that of the steps there are, not of the longest sequence?

LSTM, a training step as in `train`. Lengths are drawn uniformly from 1 to T, or, as those of sentences are,
log-normally (median T / 6, a long tail cut at T). `Recurrent` gets the padded batch and the lengths; the drop-in and
torch.nn.LSTM get the same PackedSequence, packed beforehand: neither packing nor padding is timed.

The cost of being ragged is the time per step that counts, over the same module's time per step on a dense batch of as
many sequences, all of the mean length.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from benchmarks import common, networks
from benchmarks.contest import Contestant, compare, gradients
from ostinato import layers

SHAPES = [(400, 64, 128), (200, 32, 256), (1000, 16, 64)]
COST, FASTER = 1.15, 3


def drawn(kind: str, steps: int, batch: int) -> Tensor:
    """Lengths ``[B]``, the first one T."""
    torch.manual_seed(0)
    if kind == "uniform":
        lengths = torch.randint(1, steps + 1, (batch,))
    else:
        lengths = (steps / 6 * torch.exp(0.8 * torch.randn(batch))).long().clamp(1, steps)
    lengths[0] = steps
    return lengths


def packed(name: str, module: nn.Module, x: PackedSequence, seed: Tensor) -> Contestant:
    """A training step of torch.nn's module, or of ours in its place, on a PackedSequence."""
    named = dict(module.named_parameters())

    def run() -> tuple:
        output, states = module(x)
        return output, states, gradients(output.data, seed, list(named.values()))

    def keep(found: tuple) -> dict[str, Tensor]:
        output, states, grads = found
        grads = {f"gradient of {networks.BIASES[n]}": g for n, g in zip(named, grads, strict=True) if n != "bias_hh_l0"}
        return networks.states_of((pad_packed_sequence(output)[0], states)) | grads

    return Contestant(name, run, keep)


def contestants(lengths: Tensor, steps: int, hidden: int) -> tuple[list[Contestant], list[Contestant], float]:
    """Those on the ragged batch, those on a dense one, and how many times more steps the ragged one has."""
    batch, mean = len(lengths), round(lengths.double().mean().item())
    cell = networks.KINDS["LSTM"].make(hidden, hidden)
    ours = networks.recurrent(cell)
    theirs, drop_in = (networks.like_torch(make, cell, hidden, hidden) for make in (nn.LSTM, layers.LSTM))
    x, seed = torch.randn(steps, batch, hidden), torch.randn(steps, batch, hidden)
    x_packed, seed_packed = (pack_padded_sequence(v, lengths, enforce_sorted=False) for v in (x, seed))
    padded = networks.training("Recurrent", ours, x, seed, lengths=lengths)
    ragged = [packed("torch.nn", theirs, x_packed, seed_packed.data), padded,
              packed("layers", drop_in, x_packed, seed_packed.data)]
    dense = [networks.training("dense Recurrent", ours, x[:mean], seed[:mean]),
             networks.training("dense layers", drop_in, x[:mean], seed[:mean])]
    return ragged, dense, lengths.sum().item() / (mean * batch)


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Both ways to draw lengths, at each shape."""
    names = ("Recurrent", "dense Recurrent", "layers", "dense layers", "torch.nn")
    table = report.table("LSTM, ragged batches, training step, milliseconds", "T, B, I = H", "lengths", "mean", *names,
                         "cost, Recurrent", "cost, layers", "times faster than torch.nn")
    for steps, batch, hidden in [(100, 16, 32)] if options.quick else SHAPES:
        for kind in ("uniform", "sentences"):
            lengths = drawn(kind, steps, batch)
            ragged, dense, more = contestants(lengths, steps, hidden)
            timing = compare(ragged, options.seconds, beside=dense)
            costs = {who: timing[who] / timing[f"dense {who}"] / more for who in ("Recurrent", "layers")}
            faster = timing["torch.nn"] / timing[timing.best("Recurrent", "layers")]
            table.add(f"{steps}, {batch}, {hidden}", kind, f"{lengths.double().mean():.0f}",
                      *(common.ms(timing[who]) for who in names),
                      *(common.at_most(cost, COST) for cost in costs.values()), common.ratio(faster, FASTER))
            report.figures.append({"T": steps, "B": batch, "H": hidden, "lengths": kind, "faster": faster,
                                   **{f"cost {who}": cost for who, cost in costs.items()}, **timing.figures()})


if __name__ == "__main__":
    common.main(run, "ragged", common.parser(__doc__))
