"""One sequence into another: languages, letters to sounds, sums to their results.

    m[s] = both directions of a recurrence over the source             the memory

from which the target is written word by word (:mod:`ostinato.tasks.common.writer`: decoder, attention, teacher
forcing). Answers are found by beam search; a word that the vocabulary lacks is copied from where it looked.
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

from ostinato.errors import InputError
from ostinato.features.text import SUBWORDS, Subwords, train_subwords
from ostinato.tasks.common.encoder import Encoder
from ostinato.tasks.common.kind import Answer, Example, Measures, TaskOptions
from ostinato.tasks.common.pairs import Pairs, pairs
from ostinato.tasks.common.store import Item
from ostinato.tasks.common.writer import (
    FIRST,
    PAD,
    UNKNOWN,
    Memory,
    Writer,
    WriterOptions,
    Writes,
    padded,
    taught,
    vocabulary,
)  # fmt: skip
from ostinato.training.goal import Goal
from ostinato.training.options import option

LEVELS = ("auto", "words", "characters", SUBWORDS)
SIDES = ("source", "target")
_PIECES = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class TranslateOptions(WriterOptions, TaskOptions):
    """What ``ostinato train translate`` can be told."""

    source: str | None = option(None, "column to read, or the ending of the file to read (DATA.de: de)")
    target: str | None = option(None, "column to write, or the ending of its file (DATA.en: en)")
    format: str | None = option(None, "of the files: csv, tsv, jsonl, parquet, first-word (by name)")
    source_level: str = option("auto", "what a step reads; characters where it is single words", choices=LEVELS)
    target_level: str = option("auto", "what a step writes; characters where it is single words", choices=LEVELS)
    source_size: int = option(10_000, "keep so many of the most frequent source words", low=1)
    target_size: int = option(10_000, "keep so many of the most frequent target words", low=1)
    longest: int = option(200, "steps that are read or written at most", low=1)
    batch: int = option(64, "examples in a batch", low=1)
    epochs: int = option(15, "how often the training data is read", low=1)


class Batch(NamedTuple):
    """Pairs as tensors."""

    source: Tensor  # [B, S]
    lengths: Tensor  # [B]
    given: Tensor  # [B, T], the start and the target
    wanted: Tensor  # [B, T], the target and the end; PAD behind


class Translator(Writer):
    """Encoder, decoder, attention."""

    def __init__(self, source: int, target: int, options: TranslateOptions) -> None:
        size, encoder = options.embedding_size, Encoder(options.embedding_size, options)
        super().__init__(target, encoder.size, options)
        self.read = nn.Embedding(source, size, padding_idx=PAD)
        nn.init.normal_(self.read.weight, std=size**-0.5)
        self.encoder = encoder

    def remember(self, batch: Batch) -> tuple[Memory, Any]:
        """Read the sources ``[B, S]``."""
        e = F.dropout(self.read(batch.source), self.p, self.training)  # [B, S, E]
        return self.remembered(self.encoder(e, batch.lengths), batch.lengths)


class Translate(Writes):
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
        sizes, total = (self.options.source_size, self.options.target_size), sum(1 for _ in examples)
        for side, level in enumerate(levels):
            if level == SUBWORDS:
                texts = (example.gold if side else example.given for example in examples)
                self.state[f"{SIDES[side]}_subwords"] = train_subwords(texts, size=sizes[side]).to_json()
        for example in examples:
            for side, text in enumerate((example.given, example.gold)):
                pieces = self.steps(SIDES[side], text)
                counts[side].update(pieces)
                lengths[side] += len(pieces)
        for name, level, count, size in zip(SIDES, levels, counts, sizes, strict=True):
            self.state[name] = vocabulary(count, size, least=2 if level == "words" and len(count) > 500 else 1)
        self.state["prose"] = levels[1] != "characters" and len(self.state["target"]) > 500 and lengths[1] > 3 * total

    def _levels(self, examples: Iterable[Example]) -> tuple[str, str]:
        some = [example for _, example in zip(range(1000), examples, strict=False)]
        auto = ["characters" if sum(" " in text for text in texts) < 0.2 * len(some) else "words"
                for texts in ([e.given for e in some], [e.gold for e in some])]  # fmt: skip
        told = (self.options.source_level, self.options.target_level)
        levels = [guess if said == "auto" else said for guess, said in zip(auto, told, strict=True)]
        return levels[0], levels[1]

    def pieces(self, text: str, level: str) -> list[str]:
        """What mistakes are counted in: words and punctuation marks, or characters."""
        if level == "characters":
            return list(text)
        words = text.split()
        plain = not any(len(word) > 1 and word[-1] in ".,;:!?" for word in words)  # segmented already
        return words if plain else _PIECES.findall(text)

    def steps(self, side: str, text: str) -> list[str]:
        """What is one step each: the same, or subwords."""
        level = self.state[f"{side}_level"]
        return self._subwords(side).pieces(text) if level == SUBWORDS else self.pieces(text, level)

    def _subwords(self, side: str) -> Subwords:
        if side not in self._learned:
            self._learned[side] = Subwords.from_json(self.state[f"{side}_subwords"])
        return self._learned[side]

    @cached_property
    def _learned(self) -> dict[str, Subwords]:
        return {}

    def _numbers(self, side: str, text: str) -> np.ndarray:
        pieces = self.steps(side, text)[: self.options.longest]
        return np.array([self._index[side].get(piece, UNKNOWN) for piece in pieces], np.int32)

    @cached_property
    def _index(self) -> dict[str, dict[str, int]]:
        return {side: {piece: i for i, piece in enumerate(self.state[side], FIRST)} for side in SIDES}

    def model(self) -> nn.Module:
        return Translator(len(self.state["source"]) + FIRST, len(self.state["target"]) + FIRST, self.options)

    def encode(self, example: Example) -> Item:
        return {"source": self._numbers("source", example.given), "target": self._numbers("target", example.gold or "")}

    def length(self, item: Item) -> int:
        return 100 * len(item["target"]) + len(item["source"])  # batches of like targets, among these of like sources

    def batch(self, items: Sequence[Item]) -> Batch:
        lengths = torch.tensor([len(item["source"]) for item in items])  # [B]
        source = padded([item["source"] for item in items])  # [B, S]
        given, wanted = taught([item["target"] for item in items])  # [B, T] each
        return Batch(source, lengths, given, wanted)

    def longest(self, batch: Batch) -> int:
        return min(self.options.longest, 2 * int(batch.lengths.max()) + 20)

    def finish(self, example: Example, found: Any) -> Answer:
        numbers, weights, log_p = found
        source = self.steps("source", example.given)[: self.options.longest]
        words = self.state["target"]
        pieces = [words[n - FIRST] if n >= FIRST else source[int(a.argmax())]
                  for n, a in zip(numbers, weights, strict=True)]  # fmt: skip
        if self.state["target_level"] == SUBWORDS:
            text = self._subwords("target").join(pieces).strip()
        else:
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

