"""Sound, pen strokes or images of a line to text, without being told which step is which letter.

    e[t] = g(b + sum over c of W_c x[s t + c])         time-delay network over frames x, every s-th step kept
    h[t] = layers of recurrence over e, both ways (with ``--streaming``: forward only, and no look ahead)
    p(symbol at t | x) = softmax(V h[t] + c),           a letter, or the blank: nothing new
    p(text | x) = sum over all paths that spell the text of the product over t of p(symbol at t | x)

The loss is ``-log p(text | x)`` (connectionist temporal classification). The answer is found by a prefix search of a
given width, with an n-gram model of the training texts' letters or words where that is asked for; ``--closed`` chooses
among the training texts instead, each by its exact probability.

Source: Graves, Fernandez, Gomez and Schmidhuber, "Connectionist Temporal Classification", ICML 2006; time-delay layers
below: Waibel et al. 1989; Peddinti, Povey and Khudanpur, Interspeech 2015.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.decoding.ctc import collapse, greedy, log_probabilities, prefix_beam_search
from ostinato.decoding.ngram import LetterScorer, NGram, WordScorer
from ostinato.errors import InputError
from ostinato.features.audio import read_audio
from ostinato.layers import TDNN, Bidirectional, Stack
from ostinato.recurrent import Recurrent
from ostinato.tasks.common.encoder import RecurrentOptions, make_cell
from ostinato.tasks.common.inputs import GivenOf
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.signals import SignalBatch, SignalInput, SignalOptions, Signals, kind_of
from ostinato.tasks.common.store import Item
from ostinato.training.goal import Goal
from ostinato.training.options import option

MODELS = ("none", "letters", "words")
CLOSED = 2000
"""Different training texts that are kept for ``--closed``."""


@dataclass(frozen=True)
class TranscribeOptions(SignalOptions, RecurrentOptions, TaskOptions):
    """What ``ostinato train transcribe`` can be told."""

    epochs: int = option(30, "how often the training data is read (little data several times in each)", low=1)
    patience: int = option(0, "stop after so many epochs that are no better on validation (0: never)", low=0)
    text: str | None = option(None, "column with the text; guessed where it is clear")
    layers: int = option(2, "recurrent layers, one on the other", low=1)
    dropout: float = option(0.3, "share of the numbers that training drops before and after the recurrence", low=0,
                            high=0.95)  # fmt: skip
    context: int = option(5, "frames that a time-delay layer reads at once", low=1)
    stride: int = option(1, "keep every so many steps of the first time-delay layer", low=1)
    streaming: bool = option(False, "read forward only, so that sound is transcribed while it arrives")
    beam: int = option(16, "texts that the search follows (1: the likeliest path)", low=1)
    model: str = option("none", "n-gram model of the training texts that the search asks", choices=MODELS)
    order: int = option(5, "of the n-gram model of letters; of words 2", low=1)
    weight: float = option(0.5, "of the n-gram model", low=0)
    bonus: float = option(0.5, "for each letter, where there is an n-gram model")
    closed: bool = option(False, "answer with one of the training texts, whichever is likeliest")


class Batch(NamedTuple):
    """Signals and their texts as tensors."""

    given: SignalBatch
    targets: Tensor | None  # [sum of N], those of all texts end to end
    counts: Tensor  # [B], N


class Transcriber(nn.Module):
    """Frames to log probabilities of symbols."""

    def __init__(self, frames: Any, symbols: int, options: TranscribeOptions) -> None:
        super().__init__()
        self.frames = frames
        width, both = options.hidden_size, not options.streaming
        reach = options.context - 1
        context = tuple(range(-reach, 1)) if options.streaming else tuple(range(-(reach // 2), reach - reach // 2 + 1))
        sizes = [frames.size, width]
        parts: list[nn.Module] = [
            TDNN(size, width, context, stride=options.stride if i == 0 else 1) for i, size in enumerate(sizes)
        ]
        size = width
        for _ in range(options.layers):
            cells = [make_cell(options, size) for _ in range(1 + both)]
            parts.append(Bidirectional(*cells) if both else Recurrent(cells[0]))
            size = width * (1 + both)
        self.stack = Stack(parts, dropout=options.dropout)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(size, symbols)

    def steps(self, lengths: Tensor) -> Tensor:
        """How many steps are left of so many frames, ``[B]``."""
        for layer in self.stack.layers:
            if isinstance(layer, TDNN):
                lengths = layer.output_lengths(lengths)
        return lengths

    def forward(self, batch: SignalBatch) -> tuple[Tensor, Tensor]:
        """Log probabilities ``[B, T, K]`` and the steps of each, ``[B]``."""
        h, _ = self.stack(self.frames(batch), lengths=batch.lengths)  # [B, T, H]
        return self.head(self.dropout(h)).log_softmax(2), self.steps(batch.lengths)


class Transcribe(Kind):
    """The task."""

    name = "transcribe"
    summary = "Learn to write down what is said or written: sound, pen strokes, images of a line."
    help_examples = """
      ostinato train transcribe speech.csv --out runs/speech                  (columns path and text)
      ostinato train transcribe handwriting.json.zip --out runs/handwriting
      ostinato train transcribe lines.csv --scan columns --out runs/lines     (images of lines)
      ostinato train transcribe speech.csv --streaming --out runs/live
    """
    options_class = TranscribeOptions
    goal = Goal("character_error_rate")
    needs = ("jiwer", "sklearn")
    options: TranscribeOptions

    def read(self, path: Path, answered: bool = True) -> Iterable[Example]:
        kind = self.state["input"]["kind"] if self.state else kind_of(path, self.options)
        if kind == "text":
            raise InputError(f"{path} holds no signals: a manifest with a column path, a folder of files, idx3 images "
                             "or .json.zip of strokes is expected (--input says what they are)")  # fmt: skip
        return Signals(path, kind, self.options, "text", self.options.text, answered)

    def from_text(self, text: str) -> Example:
        return Example(text, self.input.from_text(text))

    def as_text(self, example: Example) -> str:
        return self.input.shown(example.given)

    def prepare(self, examples: Iterable[Example]) -> None:
        self.input = SignalInput(self.options)
        texts = [example.gold for example in examples]
        self.input.prepare(GivenOf(examples))
        self.state = {"input": self.input.state, "letters": sorted({letter for text in texts for letter in text})}
        if self.options.model != "none":
            self.state["texts"] = texts
        if self.options.closed:
            known = sorted(set(texts))
            if len(known) > CLOSED:
                raise InputError(f"--closed chooses among at most {CLOSED:,} texts, the data has {len(known):,}")
            self.state["known"] = known

    @cached_property
    def input(self) -> SignalInput:
        """How signals become numbers."""
        return SignalInput(self.options, self.state["input"])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {letter: i for i, letter in enumerate(self.state["letters"], start=1)}

    @cached_property
    def _scorer(self) -> LetterScorer | WordScorer:
        texts, letters = self.state["texts"], self.state["letters"]
        if self.options.model == "letters":
            return LetterScorer(NGram(texts, self.options.order), letters)
        return WordScorer(NGram([text.split() for text in texts], 2), letters)

    def model(self) -> nn.Module:
        return Transcriber(self.input.module(), len(self.state["letters"]) + 1, self.options)

    def encode(self, example: Example) -> Item:
        item = self.input.item(example.given)
        text = example.gold or ""
        numbers = [self._numbers.get(letter, 0) for letter in text]  # a letter never seen is not learned
        needed = len(text) + sum(a == b for a, b in itertools.pairwise(text))
        if math.ceil(len(item["frames"]) / self.options.stride) < needed:
            raise InputError(f"{example.place}: {len(item['frames'])} steps (stride {self.options.stride}) are too few "
                             f"for the {len(text)} letters of {text[:40]!r}")  # fmt: skip
        return {**item, "text": np.array([n for n in numbers if n], np.int32)}

    def length(self, item: Item) -> int:
        return self.input.length(item)

    def batch(self, items: Sequence[Item]) -> Batch:
        texts = [torch.from_numpy(item["text"].astype(np.int64)) for item in items]
        counts = torch.tensor([len(text) for text in texts])  # [B]
        return Batch(self.input.batch(items), torch.cat(texts) if counts.sum() else None, counts)

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        log_p, steps = model(batch.given)  # [B, T, K], [B]
        targets = batch.targets if batch.targets is not None else torch.zeros(0, dtype=torch.long)
        each = F.ctc_loss(log_p.transpose(0, 1), targets, steps, batch.counts, reduction="none")  # [B]
        letters = max(int(batch.counts.sum()), 1)
        return each.sum() / letters, letters

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        log_p, steps = model(batch.given)  # [B, T, K], [B]
        if self.options.closed:
            return [self._chosen(row[:n]) for row, n in zip(log_p, steps.tolist(), strict=True)]
        if self.validating or self.options.beam == 1:
            return [(text, None) for text in greedy(log_p, steps)]
        return [self._searched(row[:n]) for row, n in zip(log_p, steps.tolist(), strict=True)]

    def _chosen(self, log_p: Tensor) -> tuple[Sequence[int], float]:
        """The likeliest of the training texts, and its share of their probability."""
        texts = [[self._numbers[letter] for letter in text] for text in self.state["known"]]
        scores = log_probabilities(log_p, texts)  # [N]
        if bool((scores == -torch.inf).all()):
            return [], 0.0
        best = int(scores.argmax())
        return texts[best], float(scores.softmax(0)[best])

    def _searched(self, log_p: Tensor) -> tuple[Sequence[int], float]:
        told = {} if self.options.model == "none" else {
            "scorer": self._scorer, "weight": self.options.weight, "bonus": self.options.bonus}  # fmt: skip
        best = prefix_beam_search(log_p.double().numpy(), self.options.beam, **told)[0]
        return best.symbols, math.exp(best.log_p)

    def finish(self, example: Example, found: Any) -> Answer:
        text, p = self.spelled(found[0]), found[1]
        return Answer(text, text, {} if p is None else {"probability": round(p, 6)})

    def spelled(self, symbols: Sequence[int]) -> str:
        """Symbols as text."""
        return "".join(self.state["letters"][s - 1] for s in symbols)

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        from ostinato.tasks.transcribe_report import measures

        return measures([example.gold for example in examples], [answer.value for answer in answers])

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.transcribe_report import nearest

        parts = ([(self.input.item(e.given)["frames"], e.gold) for e in part] for part in (train, test))
        return nearest(*parts)

    def stream(self, model: Any, source: str) -> Iterator[str]:
        live = Live(self, model)
        before = 0
        for piece in _pieces(source, live.rate):
            text = live.push(piece)
            yield text[before:]
            before = len(text)
        yield live.finish()[before:]

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.transcribe_report import write_report

        return write_report(examples, answers, folder)


def _pieces(source: str, rate: int) -> Iterator[Tensor]:
    """Samples ``[S]``, a tenth of a second each: of a file, or raw ones from standard input (``-``), 16 bits, one
    channel, as ``arecord -t raw -f S16_LE`` gives a microphone's."""
    size = max(1, rate // 10)
    if source != "-":
        yield from read_audio(source, rate).samples.split(size)
        return
    rest = b""
    while data := os.read(sys.stdin.fileno(), 2 * size):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        if whole:
            yield torch.from_numpy(np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768)


class Live:
    """A transcription while sound arrives: what it says after all pieces is what the whole would give, by its likeliest
    path.

    Args:
        kind: a task that was trained with ``--streaming`` on sound.
        model: its model.

    Raises:
        InputError: the model reads both ways, or no sound.
    """

    def __init__(self, kind: Transcribe, model: Any) -> None:
        if not kind.options.streaming or kind.state["input"]["kind"] != "audio":
            raise InputError("only a model of sound that was trained with --streaming transcribes while it arrives")
        self.kind, self.rate = kind, int(kind.state["input"]["rate"])
        self._sound, self._stack, self._head = kind.input.sound.stream(), model.stack.stream(), model.head
        self._path: list[int] = []

    @property
    def text(self) -> str:
        """What was said until now."""
        return self.kind.spelled(collapse(self._path))

    def push(self, samples: Tensor) -> str:
        """Samples ``[S]`` at ``rate``; returns the text until now."""
        return self._read(self._sound.push(samples.unsqueeze(0)))

    def finish(self) -> str:
        """No more sound comes; returns the whole text."""
        return self._read(self._sound.finish())

    @torch.no_grad()
    def _read(self, frames: Tensor) -> str:
        if frames.shape[1]:
            h = self._stack(torch.from_numpy(self.kind.input.normalised(frames[0].numpy())).unsqueeze(0))  # [1, T, H]
            self._path += self._head(h[0]).argmax(1).tolist()
        return self.text
