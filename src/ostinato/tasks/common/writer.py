"""What writes a sequence, word by word, while it looks at a memory: a recurrent decoder with attention.

    h[t] = f(h[t-1], E y[t-1]),  h[0] = tanh(W_0 mean of m)            the decoder
    a[t] = softmax_s(h[t] . W_a m[s])                                  where it looks
    o[t] = tanh(W_o [h[t], sum_s a[t, s] m[s]])
    p(y[t] | y[1..t-1], memory) = softmax(E o[t] + c)

The attention is that of Luong, Pham and Manning, 2015 ("global", after the recurrence): trained with teacher forcing,
nothing that it finds goes back into the recurrence, so all steps look at once. ``--attention additive`` scores as
Bahdanau, Cho and Bengio, 2015, did. ``--scheduled-sampling 0.2`` gives the decoder its own guesses at a fifth of the
steps by the end of the training (Bengio et al., 2015; drawn from a first pass, so that all steps stay parallel:
Mihaylova and Martins, 2019).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import cells
from ostinato.decoding.beam import beam_search
from ostinato.recurrent import Recurrent
from ostinato.tasks.common.encoder import RecurrentOptions, make_cell
from ostinato.tasks.common.kind import Kind
from ostinato.tasks.common.store import Item
from ostinato.training.options import option

PAD, UNKNOWN, START, END = range(4)
FIRST = 4
"""The number of the first word of a vocabulary."""


@dataclass(frozen=True)
class WriterOptions(RecurrentOptions):
    """How words are written."""

    hidden_size: int = option(256, "hidden units in each layer and direction", low=1)
    embedding_size: int = option(256, "numbers that a word or character becomes", low=1)
    dropout: float = option(0.3, "share of the numbers that training drops", low=0, high=0.95)
    attention: str = option("dot", "how places are scored", choices=("dot", "additive"))
    scheduled_sampling: float = option(0.0, "share of steps that are given guesses at the end", low=0, high=1)
    label_smoothing: float = option(0.1, "share of the target that is spread over all words", low=0, high=0.9)
    beam: int = option(5, "hypotheses in the search (1: greedy)", low=1)
    length_penalty: float = option(1.0, "how much longer answers are favoured (Wu et al., 2016)", low=0)
    coverage_penalty: float = option(0.0, "how much unread places cost (Wu et al., 2016)", low=0)


class Memory(NamedTuple):
    """What was read: outputs, their keys, and where there is padding."""

    values: Tensor  # [B, S, M]
    keys: Tensor  # [B, S, A]
    shut: Tensor  # [B, S] bool

    def repeated(self, times: int) -> Memory:
        return Memory(*(value.repeat_interleave(times, 0) for value in self))


class Writer(nn.Module):
    """Decoder and attention, over ``target`` words and a memory of ``width`` numbers a place."""

    def __init__(self, target: int, width: int, options: WriterOptions) -> None:
        super().__init__()
        size = options.embedding_size
        self.sampling, self.p = 0.0, options.dropout
        self.write = nn.Embedding(target, size)
        nn.init.normal_(self.write.weight, std=size**-0.5)
        output = cells.output_size(make_cell(options, 1))
        widths = [size] + [output] * (options.layers - 1)
        self.decoder = nn.ModuleList(Recurrent(make_cell(options, w)) for w in widths)
        self.starts = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, s.shape[0]) for s in layer.cell.states)  # type: ignore[union-attr]
            for layer in self.decoder
        )
        self.W_a = nn.Linear(width, output, bias=False)
        self.U_a = nn.Linear(output, output) if options.attention == "additive" else None
        self.v_a = nn.Linear(output, 1, bias=False) if options.attention == "additive" else None
        self.W_o = nn.Linear(output + width, size)
        self.c = nn.Parameter(torch.zeros(target))

    @abstractmethod
    def remember(self, batch: Any) -> tuple[Memory, Any]:
        """Read the inputs of a batch: the memory, and the decoder's states before its first step."""

    def remembered(self, m: Tensor, lengths: Tensor) -> tuple[Memory, Any]:
        """The same from what was read, ``[B, S, M]``, zero behind the ``lengths`` ``[B]``."""
        mean = m.sum(1) / lengths.unsqueeze(1)  # [B, M]
        states = tuple(tuple(torch.tanh(W(mean)) for W in layer) for layer in self.starts)  # type: ignore[union-attr]
        shut = torch.arange(m.shape[1]) >= lengths.unsqueeze(1)  # [B, S]
        return Memory(F.dropout(m, self.p, self.training), self.W_a(m), shut), states

    def decode(self, given: Tensor, memory: Memory, states: Any) -> tuple[Tensor, Tensor, Any]:
        """Symbols ``[B, T]``: logits of the next ``[B, T, V]``, where it looked ``[B, T, S]``, the states."""
        h = F.dropout(self.write(given), self.p, self.training)  # [B, T, E]
        finals = []
        for layer, start in zip(self.decoder, states, strict=True):
            h, final = layer(h, start)  # [B, T, H]
            h = F.dropout(h, self.p, self.training)
            finals.append(final)
        if self.v_a is None or self.U_a is None:
            scores = h @ memory.keys.transpose(1, 2) / h.shape[2] ** 0.5  # [B, T, S]
        else:
            scores = self.v_a(torch.tanh(self.U_a(h).unsqueeze(2) + memory.keys.unsqueeze(1))).squeeze(3)  # [B, T, S]
        a = scores.masked_fill(memory.shut.unsqueeze(1), -torch.inf).softmax(2)  # [B, T, S]
        o = torch.tanh(self.W_o(torch.cat([h, a @ memory.values], 2)))  # [B, T, E]
        return F.linear(F.dropout(o, self.p, self.training), self.write.weight, self.c), a, tuple(finals)

    def forward(self, batch: Any) -> Tensor:
        """The logits of all steps under teacher forcing, ``[B, T, V]``."""
        memory, states = self.remember(batch)
        given = batch.given
        if self.training and self.sampling:
            with torch.no_grad():
                guess = self.decode(given, memory, states)[0].argmax(2)  # [B, T]
            own = torch.rand(given[:, 1:].shape) < self.sampling  # [B, T - 1]
            given = torch.cat([given[:, :1], torch.where(own, guess[:, :-1], given[:, 1:])], 1)  # [B, T]
        return self.decode(given, memory, states)[0]


class Writes(Kind):
    """A task whose model is a :class:`Writer`; its batches have ``lengths``, ``given`` and ``wanted``."""

    options: Any

    def loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        logits = model(batch)  # [B, T, V]
        count = int((batch.wanted != PAD).sum())
        smoothing = self.options.label_smoothing if model.training else 0.0
        return F.cross_entropy(logits.flatten(0, 1), batch.wanted.flatten(), ignore_index=PAD,
                               label_smoothing=smoothing), count  # fmt: skip

    def progress(self, model: Any, share: float) -> None:
        model.sampling = self.options.scheduled_sampling * share

    @abstractmethod
    def longest(self, batch: Any) -> int:
        """Steps that an answer has at most."""

    def answer(self, model: Any, batch: Any, items: Sequence[Item]) -> list[Any]:
        """For each item: the words' numbers, where each looked ``[T, S]``, and how likely the whole is."""
        beam = 1 if self.validating else self.options.beam
        memory, states = model.remember(batch)
        many = memory.repeated(beam)

        def step(symbols: Tensor, states: Any) -> tuple[Tensor, Any, Tensor]:
            logits, a, states = model.decode(symbols.unsqueeze(1), many, states)
            logits[:, :, [PAD, START]] = -torch.inf
            return logits[:, 0].log_softmax(1), states, a[:, 0]

        found = beam_search(step, states, len(items), start=START, end=END, max_length=self.longest(batch), beam=beam,
                            length_penalty=self.options.length_penalty, memory_lengths=batch.lengths,
                            coverage_penalty=0.0 if self.validating else self.options.coverage_penalty)  # fmt: skip
        written = found.lists()
        given = padded([np.array([START, *some]) for some in written])  # [B, T]
        weights = model.decode(given, memory, states)[1].numpy()  # [B, T, S]
        return [(some, weights[row, : len(some), : batch.lengths[row]], float(found.log_p[row, 0]))
                for row, some in enumerate(written)]  # fmt: skip


def vocabulary(counts: Counter[str], size: int, least: int) -> list[str]:
    """The most frequent words, those of them that are there at least so often."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [piece for piece, n in ranked if n >= least][:size]


def taught(targets: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """What the decoder is given, and what it is to say, ``[B, T]`` each; PAD behind."""
    given = padded([np.concatenate([[START], target]) for target in targets])  # [B, T]
    return given, padded([np.concatenate([target, [END]]) for target in targets])


def padded(rows: Sequence[np.ndarray]) -> Tensor:
    """Rows of numbers as ``[B, T]``, PAD behind."""
    found = torch.full((len(rows), max(1, *map(len, rows))), PAD)
    for number, row in enumerate(rows):
        found[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
    return found
