"""The cells by the names that commands and files use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ostinato.cell import Cell
from ostinato.cells.average import RunningAverage
from ostinato.cells.clockwork import ClockworkRNN
from ostinato.cells.continuous import Antisymmetric, CoupledOscillators
from ostinato.cells.convlstm import ConvLSTM
from ostinato.cells.elman import IRNN, Elman
from ostinato.cells.gru import GRU, MinimalGRU
from ostinato.cells.highway import RecurrentHighway
from ostinato.cells.indrnn import IndRNN
from ostinato.cells.layernorm import LayerNormGRU, LayerNormLSTM
from ostinato.cells.leaky import Leaky, Spectrum
from ostinato.cells.light import UGRNN, FastGRNN, LiGRU
from ostinato.cells.lmu import LegendreMemory
from ostinato.cells.lstm import LSTM, PeepholeLSTM, ProjectedLSTM
from ostinato.cells.lstm_gates import JANET, CoupledLSTM, OriginalLSTM
from ostinato.cells.lstm_inputs import MogrifierLSTM, MultiplicativeLSTM
from ostinato.cells.output import NARX, OutputRecurrence
from ostinato.cells.reservoir import Reservoir
from ostinato.cells.scannable import SRU, MinGRU, MinLSTM
from ostinato.cells.skip import Skip
from ostinato.cells.slstm import SLSTM


class Entry(NamedTuple):
    """One name of the table."""

    factory: Callable[..., Cell]
    settled: Mapping[str, Any]
    """The options that the name has settled."""
    purpose: str
    """What it is for, in one line."""
    reads: str = "vectors"
    """What one step reads: "vectors" ``[B, N]`` or "images" ``[B, N, rows, columns]``."""


CELLS: Mapping[str, Entry] = {
    "elman": Entry(Elman, {"nonlinearity": "tanh"}, "the simple network: short memory, few parameters, the baseline"),
    "elman-relu": Entry(Elman, {"nonlinearity": "relu"}, "the simple network of rectified units"),
    "irnn": Entry(IRNN, {}, "long memory from a simple network: it starts as the identity"),
    "output": Entry(OutputRecurrence, {}, "the past is in the output alone: teacher forcing trains all steps at once"),
    "narx": Entry(NARX, {}, "systems whose next output follows from their last ones; memory longer by D"),
    "skip": Entry(Skip, {}, "a known lag: a direct connection across it"),
    "clockwork": Entry(ClockworkRNN, {}, "several rates at once, by modules that seldom run"),
    "running-average": Entry(RunningAverage, {}, "smoothing: linear memory of a fixed span"),
    "leaky": Entry(Leaky, {"learned": False}, "slow signals, with one time constant"),
    "leaky-spectrum": Entry(Leaky, {"tau": Spectrum(), "learned": False}, "memory at every scale, from fast to slow"),
    "leaky-learned": Entry(Leaky, {"learned": True}, "slow signals, with time constants that are learned"),
    "lstm": Entry(LSTM, {}, "long memory that it learns to write, keep, clear and read: the first choice"),
    "lstm-1997": Entry(OriginalLSTM, {}, "counting and long lags in sequences with an end: it cannot forget"),
    "lstm-peephole": Entry(PeepholeLSTM, {}, "precise timing: the gates see the memory"),
    "lstm-cifg": Entry(CoupledLSTM, {}, "an LSTM with a quarter fewer parameters"),
    "lstm-projected": Entry(ProjectedLSTM, {}, "a large memory behind a small recurrence, as in speech recognition"),
    "lstm-layernorm": Entry(LayerNormLSTM, {}, "steadier training of an LSTM, at a higher learning rate"),
    "lstm-multiplicative": Entry(MultiplicativeLSTM, {}, "characters: each input has a transition of its own"),
    "lstm-mogrifier": Entry(MogrifierLSTM, {}, "language models: input and state in each other's context"),
    "slstm": Entry(SLSTM, {}, "an LSTM that can revise what it stored: exponential gates"),
    "janet": Entry(JANET, {}, "long memory with the forget gate alone: half of an LSTM"),
    "gru": Entry(GRU, {"reset": "after"}, "an LSTM's memory in three quarters of its parameters, as torch.nn has it"),
    "gru-before": Entry(GRU, {"reset": "before"}, "the GRU of the paper: it resets the state itself"),
    "gru-layernorm": Entry(LayerNormGRU, {}, "steadier training of a GRU"),
    "mgu": Entry(MinimalGRU, {}, "a GRU with one gate"),
    "ligru": Entry(LiGRU, {}, "speech: a GRU without a reset, of rectified units"),
    "ugrnn": Entry(UGRNN, {}, "easy training: a simple network with one gate"),
    "fastgrnn": Entry(FastGRNN, {}, "small devices: gated, in the parameters of a simple network"),
    "mingru": Entry(MinGRU, {}, "very long sequences: linear in its state, open to a parallel scan"),
    "minlstm": Entry(MinLSTM, {}, "very long sequences: an LSTM that is linear in its state"),
    "sru": Entry(SRU, {}, "deep stacks that run fast: no matrix product between two steps"),
    "indrnn": Entry(IndRNN, {}, "deep stacks of rectified units that each see their own past"),
    "rhn": Entry(RecurrentHighway, {}, "a deep transition from step to step"),
    "antisymmetric": Entry(Antisymmetric, {"gated": False}, "gradients that neither grow nor fade, without gates"),
    "antisymmetric-gated": Entry(Antisymmetric, {"gated": True}, "the same with a gate on every step"),
    "cornn": Entry(CoupledOscillators, {}, "very long lags, with gradients that are bounded by design"),
    "lmu": Entry(LegendreMemory, {}, "a sliding window on thousands of steps, in few numbers"),
    "reservoir": Entry(Reservoir, {}, "an echo state network: only the read-out is trained"),
    "convlstm": Entry(ConvLSTM, {}, "sequences of images: a state that is an image", "images"),
}
"""Every cell of the catalogue."""


def names(reads: str | None = None) -> tuple[str, ...]:
    """The names that :func:`create` knows.

    Args:
        reads: only the cells that read "vectors" or "images"; by default all.

    >>> names("images")
    ('convlstm',)
    """
    return tuple(name for name, entry in CELLS.items() if reads in (None, entry.reads))


def purpose(name: str) -> str:
    """What a cell is for, in one line.

    Raises:
        ValueError: on an unknown name.

    >>> purpose("lstm-peephole")
    'precise timing: the gates see the memory'
    """
    return _lookup(name).purpose


def options(name: str) -> tuple[str, ...]:
    """The options that :func:`create` takes for a name.

    Raises:
        ValueError: on an unknown name.

    >>> options("gru-before")
    ('bias', 'device', 'dtype')
    """
    factory, settled, *_ = _lookup(name)
    kinds = inspect.signature(factory).parameters.values()
    return tuple(p.name for p in kinds if p.kind is p.KEYWORD_ONLY and p.name not in settled)


def create(name: str, input_size: int, hidden_size: int, **given: Any) -> Cell:
    """The cell with that name.

    Args:
        name: one of :func:`names`.
        input_size: the width of its input.
        hidden_size: the width of its hidden units.
        **given: the class's own options, but for those that the name settles; :func:`options` lists them.

    Raises:
        ValueError: on an unknown name or option, or where the class refuses a value.

    >>> create("lstm", 3, 4, proj_size=2).states[0].shape
    (2,)
    """
    factory, settled, *_ = _lookup(name)
    known = options(name)
    for option in given:
        if option not in known:
            raise ValueError(f"cell {name!r} has no option {option!r}; it takes {', '.join(known)}")
    return factory(input_size, hidden_size, **settled, **given)


def output_size(cell: Cell) -> int:
    """The width of what a cell of the catalogue puts out, that of its first state; of images, the channels.

    >>> output_size(create("output", 3, 4, output_size=2))
    2
    """
    return cell.states[0].shape[0]


def _lookup(name: str) -> Entry:
    if name not in CELLS:
        raise ValueError(f"unknown cell {name!r}; known are {', '.join(CELLS)}")
    return CELLS[name]
