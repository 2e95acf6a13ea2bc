"""One sequence into another: languages, letters to sounds, sums to their results.

    m[s] = both directions of a recurrence over the source             the memory
    h[t] = f(h[t-1], E y[t-1]),  h[0] = tanh(W_0 mean of m)            the decoder
    a[t] = softmax_s(h[t] . W_a m[s])                                  where it looks
    o[t] = tanh(W_o [h[t], sum_s a[t, s] m[s]])
    p(y[t] | y[1..t-1], source) = softmax(E o[t] + c)

The attention is that of Luong, Pham and Manning, 2015 ("global", after the recurrence): trained with teacher forcing,
nothing that it finds goes back into the recurrence, so all steps look at once. ``--attention additive`` scores as
Bahdanau, Cho and Bengio, 2015, did. ``--scheduled-sampling 0.2`` gives the decoder its own guesses at a fifth of the
steps by the end of the training (Bengio et al., 2015; drawn from a first pass, so that all steps stay parallel:
Mihaylova and Martins, 2019). Answers are found by beam search; a word that the vocabulary lacks is copied from where it
looked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import cells
from ostinato.decoding.beam import beam_search
from ostinato.errors import InputError
from ostinato.recurrent import Recurrent
from ostinato.tasks.common.encoder import Encoder, RecurrentOptions, make_cell
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.pairs import Pairs, pairs
from ostinato.tasks.common.store import Item
from ostinato.training.goal import Goal
from ostinato.training.options import option

LEVELS = ("auto", "words", "characters")
PAD, UNKNOWN, START, END = range(4)
_PIECES = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class TranslateOptions(RecurrentOptions, TaskOptions):
    """What ``ostinato train translate`` can be told."""

    source: str | None = option(None, "column to read, or the ending of the file to read (DATA.de: de)")
    target: str | None = option(None, "column to write, or the ending of its file (DATA.en: en)")
    format: str | None = option(None, "of the files: csv, tsv, jsonl, parquet, first-word (by name)")
    source_level: str = option("auto", "what a step reads; characters where it is single words", choices=LEVELS)
    target_level: str = option("auto", "what a step writes; characters where it is single words", choices=LEVELS)
    source_size: int = option(10_000, "keep so many of the most frequent source words", low=1)
    target_size: int = option(10_000, "keep so many of the most frequent target words", low=1)
    hidden_size: int = option(256, "hidden units in each layer and direction", low=1)
    embedding_size: int = option(256, "numbers that a word or character becomes", low=1)
    dropout: float = option(0.3, "share of the numbers that training drops", low=0, high=0.95)
    attention: str = option("dot", "how places are scored", choices=("dot", "additive"))
    scheduled_sampling: float = option(0.0, "share of steps that are given guesses at the end", low=0, high=1)
    label_smoothing: float = option(0.1, "share of the target that is spread over all words", low=0, high=0.9)
    beam: int = option(5, "hypotheses in the search (1: greedy)", low=1)
    length_penalty: float = option(1.0, "how much longer answers are favoured (Wu et al., 2016)", low=0)
    coverage_penalty: float = option(0.0, "how much unread words cost (Wu et al., 2016)", low=0)
    longest: int = option(200, "steps that are read or written at most", low=1)
    batch: int = option(64, "examples in a batch", low=1)
    epochs: int = option(15, "how often the training data is read", low=1)


class Batch(NamedTuple):
    """Pairs as tensors."""

    source: Tensor  # [B, S]
    lengths: Tensor  # [B]
    given: Tensor  # [B, T], the start and the target
    wanted: Tensor  # [B, T], the target and the end; PAD behind


class Memory(NamedTuple):
    """What was read: outputs, their keys, and where there is padding."""

    values: Tensor  # [B, S, M]
    keys: Tensor  # [B, S, A]
    shut: Tensor  # [B, S] bool

    def repeated(self, times: int) -> Memory:
        return Memory(*(value.repeat_interleave(times, 0) for value in self))


class Translator(nn.Module):
    """Encoder, decoder, attention."""

    def __init__(self, source: int, target: int, options: TranslateOptions) -> None:
        super().__init__()
        size = options.embedding_size
        self.sampling, self.p = 0.0, options.dropout
        self.read = nn.Embedding(source, size, padding_idx=PAD)
        self.write = nn.Embedding(target, size)
        for table in (self.read, self.write):
            nn.init.normal_(table.weight, std=size**-0.5)
        self.encoder = Encoder(size, options)
        memory, width = self.encoder.size, cells.output_size(make_cell(options, 1))
        widths = [size] + [width] * (options.layers - 1)
        self.decoder = nn.ModuleList(Recurrent(make_cell(options, w)) for w in widths)
        self.starts = nn.ModuleList(
            nn.ModuleList(nn.Linear(memory, s.shape[0]) for s in layer.cell.states)  # type: ignore[union-attr]
            for layer in self.decoder
        )
        self.W_a = nn.Linear(memory, width, bias=False)
        self.U_a = nn.Linear(width, width) if options.attention == "additive" else None
        self.v_a = nn.Linear(width, 1, bias=False) if options.attention == "additive" else None
        self.W_o = nn.Linear(width + memory, size)
        self.c = nn.Parameter(torch.zeros(target))

    def remember(self, source: Tensor, lengths: Tensor) -> tuple[Memory, Any]:
        """Read ``[B, S]``: the memory, and the decoder's states before its first step."""
        e = F.dropout(self.read(source), self.p, self.training)  # [B, S, E]
        m = self.encoder(e, lengths)  # [B, S, M], zero in the padding
        mean = m.sum(1) / lengths.unsqueeze(1)  # [B, M]
        states = tuple(tuple(torch.tanh(W(mean)) for W in layer) for layer in self.starts)  # type: ignore[union-attr]
        shut = torch.arange(source.shape[1]) >= lengths.unsqueeze(1)  # [B, S]
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

    def forward(self, batch: Batch) -> Tensor:
        """The logits of all steps under teacher forcing, ``[B, T, V]``."""
        memory, states = self.remember(batch.source, batch.lengths)
        given = batch.given
        if self.training and self.sampling:
            with torch.no_grad():
                guess = self.decode(given, memory, states)[0].argmax(2)  # [B, T]
            own = torch.rand(given[:, 1:].shape) < self.sampling  # [B, T - 1]
            given = torch.cat([given[:, :1], torch.where(own, guess[:, :-1], given[:, 1:])], 1)  # [B, T]
        return self.decode(given, memory, states)[0]


class Translate(Kind):
    """The task."""

    name = "translate"
    summary = "Learn to turn one sequence into another: languages, letters to sounds."
    help_examples = """
      ostinato train translate data/train --source de --target en --out runs/de-en    (train.de and train.en)
      ostinato train translate pairs.tsv --out runs/pairs
      ostinato train translate cmudict.dict --format first-word --out runs/sounds
    """
    options_class = TranslateOptions
    needs = ("sklearn", "rapidfuzz", "sacrebleu", "matplotlib")
    options: TranslateOptions
    validating = False

    @property
    def goal(self) -> Goal:  # type: ignore[override] # known when the data is
        return Goal("bleu", more=True) if self.state.get("prose") else Goal("token_error_rate")

    def read(self, path: Path, answered: bool = True) -> Pairs:
        return pairs(path, self.options, answered)

    def from_text(self, text: str) -> Example:
        if not text.strip():
            raise InputError("there is nothing to translate")
        return Example("the text", text.strip())

    def prepare(self, examples: Iterable[Example]) -> None:
        levels, counts, lengths = self._levels(examples), (Counter(), Counter()), [0, 0]
        self.state = {"source_level": levels[0], "target_level": levels[1]}
        for example in examples:
            for side, text in enumerate((example.given, example.gold)):
                pieces = self.pieces(text, levels[side])
                counts[side].update(pieces)
                lengths[side] += len(pieces)
        sizes, total = (self.options.source_size, self.options.target_size), sum(1 for _ in examples)
        for name, level, count, size in zip(("source", "target"), levels, counts, sizes, strict=True):
            self.state[name] = _vocabulary(count, size, least=2 if level == "words" and len(count) > 500 else 1)
        self.state["prose"] = levels[1] == "words" and len(self.state["target"]) > 500 and lengths[1] > 3 * total

    def _levels(self, examples: Iterable[Example]) -> tuple[str, str]:
        some = [example for _, example in zip(range(1000), examples, strict=False)]
        auto = ["characters" if sum(" " in text for text in texts) < 0.2 * len(some) else "words"
                for texts in ([e.given for e in some], [e.gold for e in some])]  # fmt: skip
        told = (self.options.source_level, self.options.target_level)
        levels = [guess if said == "auto" else said for guess, said in zip(auto, told, strict=True)]
        return levels[0], levels[1]

    def pieces(self, text: str, level: str) -> list[str]:
        """What is one step each: words and punctuation marks, or characters."""
        if level == "characters":
            return list(text)
        words = text.split()
        plain = not any(len(word) > 1 and word[-1] in ".,;:!?" for word in words)  # segmented already
        return words if plain else _PIECES.findall(text)

    def _numbers(self, side: str, text: str) -> np.ndarray:
        pieces = self.pieces(text, self.state[f"{side}_level"])[: self.options.longest]
        return np.array([self._index[side].get(piece, UNKNOWN) for piece in pieces], np.int32)

    @cached_property
    def _index(self) -> dict[str, dict[str, int]]:
        return {side: {piece: i for i, piece in enumerate(self.state[side], 4)} for side in ("source", "target")}

    def model(self) -> nn.Module:
        return Translator(len(self.state["source"]) + 4, len(self.state["target"]) + 4, self.options)

    def encode(self, example: Example) -> Item:
        return {"source": self._numbers("source", example.given), "target": self._numbers("target", example.gold or "")}

    def length(self, item: Item) -> int:
        return 100 * len(item["target"]) + len(item["source"])  # batches of like targets, among these of like sources

    def batch(self, items: Sequence[Item]) -> Batch:
        lengths = torch.tensor([len(item["source"]) for item in items])  # [B]
        source = _padded([item["source"] for item in items])  # [B, S]
        targets = [item["target"] for item in items]
        given = _padded([np.concatenate([[START], target]) for target in targets])  # [B, T]
        wanted = _padded([np.concatenate([target, [END]]) for target in targets])  # [B, T]
        return Batch(source, lengths, given, wanted)

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        logits = model(batch)  # [B, T, V]
        count = int((batch.wanted != PAD).sum())
        smoothing = self.options.label_smoothing if model.training else 0.0
        return F.cross_entropy(logits.flatten(0, 1), batch.wanted.flatten(), ignore_index=PAD,
                               label_smoothing=smoothing), count  # fmt: skip

    def progress(self, model: Any, share: float) -> None:
        model.sampling = self.options.scheduled_sampling * share

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        beam = 1 if self.validating else self.options.beam
        memory, states = model.remember(batch.source, batch.lengths)
        many = memory.repeated(beam)

        def step(symbols: Tensor, states: Any) -> tuple[Tensor, Any, Tensor]:
            logits, a, states = model.decode(symbols.unsqueeze(1), many, states)
            logits[:, :, [PAD, START]] = -torch.inf
            return logits[:, 0].log_softmax(1), states, a[:, 0]

        longest = min(self.options.longest, 2 * int(batch.lengths.max()) + 20)
        found = beam_search(step, states, len(items), start=START, end=END, max_length=longest, beam=beam,
                            length_penalty=self.options.length_penalty, memory_lengths=batch.lengths,
                            coverage_penalty=0.0 if self.validating else self.options.coverage_penalty)  # fmt: skip
        written = found.lists()
        given = _padded([np.array([START, *some]) for some in written])  # [B, T]
        weights = model.decode(given, memory, states)[1].numpy()  # [B, T, S]
        return [(some, weights[row, : len(some), : batch.lengths[row]], float(found.log_p[row, 0]))
                for row, some in enumerate(written)]  # fmt: skip

    def finish(self, example: Example, found: Any) -> Answer:
        numbers, weights, log_p = found
        source = self.pieces(example.given, self.state["source_level"])[: self.options.longest]
        words = self.state["target"]
        pieces = [words[n - 4] if n >= 4 else source[int(a.argmax())] for n, a in zip(numbers, weights, strict=True)]
        text = ("" if self.state["target_level"] == "characters" else " ").join(pieces)
        details = {"log_p": round(log_p, 5), "source": source, "target": pieces,
                   "attention": [[round(float(x), 3) for x in row] for row in weights]}  # fmt: skip
        return Answer(text, text, details)

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        from ostinato.tasks.translate_report import measures

        return measures(self, examples, [answer.text for answer in answers])

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.translate_report import nearest

        return nearest(self, list(train), list(test))

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.translate_report import write_report

        return write_report(self, examples, answers, folder)


def _vocabulary(counts: Counter[str], size: int, least: int) -> list[str]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [piece for piece, n in ranked if n >= least][:size]


def _padded(rows: Sequence[np.ndarray]) -> Tensor:
    """Rows of numbers as ``[B, T]``, PAD behind."""
    padded = torch.full((len(rows), max(1, *map(len, rows))), PAD)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
    return padded
