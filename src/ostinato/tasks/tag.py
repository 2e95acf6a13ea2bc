"""A label for every word: named entities, parts of speech, anything that CoNLL files hold.

    c[t] = max over the letters of word x[t] of a time-delay network over them (or both ends of an LSTM over them)
    e[t] = [E x[t] + mean of G g, c[t]],   g the character n-grams of the word; beside them a pretrained vector
    h[t] = both directions of a recurrence over e
    s[t] = V h[t] + b
    p(y | x) = softmax over all sequences y of  start[y_1] + sum_t (s[t, y_t] + A[y_t, y_t+1]) + end[y_T]

The lecture's network with an output at every step, read both ways. The last line is a conditional random field: labels
depend on their neighbours, and what a scheme forbids (I-PER after O) has no probability, in training as in the answer.
Spans are learned as B, I, E, S whatever scheme the file has, and answered in the file's.

Source: Huang, Xu and Yu, "Bidirectional LSTM-CRF Models for Sequence Tagging", 2015 (arXiv 1508.01991); letters: Lample
et al., "Neural Architectures for Named Entity Recognition", 2016 (LSTM), Ma and Hovy, "End-to-end Sequence Labeling via
Bi-directional LSTM-CNNs-CRF", 2016 (convolution, a time-delay network).
"""

from __future__ import annotations

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

from ostinato.decoding.crf import CRF
from ostinato.decoding.spans import convert, scheme_of, spans
from ostinato.errors import InputError, unknown
from ostinato.layers import TDNN
from ostinato.tasks.common.encoder import Encoder, RecurrentOptions
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.store import Item
from ostinato.tasks.common.words import Lexicon, WordBatch, WordOptions, WordVectors, word_batch
from ostinato.tasks.tag_files import Sentences, Words, from_line
from ostinato.training.goal import Goal
from ostinato.training.options import option

BIASES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""What may be taken from the score of "outside of all spans": a network that is unsure of names it never saw says
nothing, and finds too few. The one with the best F1 on validation stays."""
LETTERS = ("tdnn", "lstm", "none")
LONGEST_WORD = 30
"""Letters that are read of a longer word."""


@dataclass(frozen=True)
class TagOptions(WordOptions, RecurrentOptions, TaskOptions):
    """What ``ostinato train tag`` can be told."""

    column: str | None = option(None, "with the tags: of CoNLL by number from 1 (the last), of CoNLL-U by name (upos)")
    hidden_size: int = option(150, "hidden units in each layer and direction", low=1)
    letters: str = option("tdnn", "what reads the letters of a word", choices=LETTERS)
    letter_size: int = option(60, "numbers that the letters of a word become", low=2)
    word_dropout: float = option(0.4, "share of the words that training hides, leaving their letters", low=0, high=0.95)
    ngrams: int = option(0, "keep so many of the words' most frequent character n-grams (0: none)", low=0)
    crf: bool = option(True, "score neighbouring tags together")


class Batch(NamedTuple):
    """Sentences as tensors. Each different word's letters are there once."""

    texts: WordBatch
    letters: Tensor  # [W, L], 0 is padding
    which: Tensor  # [B, T], the row of each word's letters
    tags: Tensor | None  # [B, T]


class LetterReader(nn.Module):
    """The letters of words ``[W, L]`` to vectors ``[W, size]``."""

    def __init__(self, letters: int, options: TagOptions) -> None:
        super().__init__()
        self.size, width = options.letter_size, 30
        self.embedding = nn.Embedding(letters, width, padding_idx=0)
        self.tdnn = TDNN(width, self.size, 3, nonlinearity="tanh") if options.letters == "tdnn" else None
        one_way = RecurrentOptions(hidden_size=self.size // 2, dropout=0.0)
        self.lstm = Encoder(width, one_way) if options.letters == "lstm" else None

    def forward(self, letters: Tensor) -> Tensor:
        e, lengths = self.embedding(letters), (letters > 0).sum(1)  # [W, L, 30], [W]
        if self.tdnn is not None:
            h = self.tdnn(e, lengths=lengths)[0]  # [W, L, size]
            live = (letters > 0).unsqueeze(2)  # [W, L, 1]
            return h.masked_fill(~live, -torch.inf).amax(1)
        assert self.lstm is not None
        h = self.lstm(e, lengths)  # [W, L, 2 N]
        forward, backward = h.chunk(2, 2)
        last = forward[torch.arange(len(h)), lengths - 1]  # [W, N]
        return F.pad(torch.cat([last, backward[:, 0]], 1), (0, self.size - h.shape[2]))


class Tagger(nn.Module):
    """Word vectors and letters, a recurrence, scores of tags, a conditional random field over them."""

    def __init__(self, lexicon: Lexicon, letters: int, tags: Sequence[str], scheme: str | None,
                 options: TagOptions) -> None:  # fmt: skip
        super().__init__()
        self.vectors = WordVectors(lexicon, options, 0.0, hidden=options.word_dropout)
        self.letters = LetterReader(letters, options) if options.letters != "none" else None
        size = self.vectors.size + (self.letters.size if self.letters is not None else 0)
        self.dropout = nn.Dropout(options.dropout)
        self.encoder = Encoder(size, options)
        self.head = nn.Linear(self.encoder.size, len(tags))
        self.crf = CRF(tags, scheme) if options.crf else None

    def forward(self, batch: Batch) -> Tensor:
        """The scores ``[B, T, K]``."""
        e = self.vectors(batch.texts)  # [B, T, E]
        if self.letters is not None:
            e = torch.cat([e, self.letters(batch.letters)[batch.which]], 2)  # [B, T, E + C]
        h = self.encoder(self.dropout(e), batch.texts.lengths)  # [B, T, H]
        return self.head(self.dropout(h))  # [B, T, K]

    def loss(self, batch: Batch) -> Tensor:
        """The sum over all words of ``-log p``."""
        assert batch.tags is not None
        scores, lengths = self(batch), batch.texts.lengths
        if self.crf is not None:
            return self.crf(scores, batch.tags, lengths).sum()
        live = torch.arange(scores.shape[1]) < lengths.unsqueeze(1)  # [B, T]
        return F.cross_entropy(scores[live], batch.tags[live], reduction="sum")

    def best(self, scores: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The tags ``[B, T]`` by scores ``[B, T, K]``, and how sure each is."""
        if self.crf is None:
            p, best = scores.softmax(2).max(2)
            return best, p
        best = self.crf.decode(scores, lengths)[0]
        p = self.crf.marginals(scores, lengths)  # [B, T, K]
        return best, p.gather(2, best.unsqueeze(2)).squeeze(2)


class Tag(Kind):
    """The task."""

    name = "tag"
    summary = "Learn to give every word its tag: names of people and places, parts of speech."
    help_examples = """
      ostinato train tag wnut17train.conll --validation emerging.dev.conll --out runs/names
      ostinato train tag en-train.conllu --out runs/pos                     (the column UPOS)
      ostinato train tag en-train.conllu --column xpos --out runs/pos
    """
    options_class = TagOptions
    needs = ("sklearn", "seqeval", "matplotlib")
    options: TagOptions

    @property
    def goal(self) -> Goal:  # type: ignore[override] # known when the data is
        return Goal("f1" if self.state.get("scheme") else "accuracy", more=True)

    def read(self, path: Path, answered: bool = True) -> Iterable[Example]:
        return Sentences(path, self.options, answered)

    def from_text(self, text: str) -> Example:
        return Example("the text", from_line(text, "the text"))

    def as_text(self, example: Example) -> str:
        return " ".join(example.given.tokens)

    def prepare(self, examples: Iterable[Example]) -> None:
        scheme = scheme_of(example.gold for example in examples)
        self.state = {"scheme": scheme}
        tags: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for example in examples:
            tags.update(self._learned(example.gold))
            letters.update(letter for token in example.given.tokens for letter in token)
        if len(tags) < 2:
            raise InputError(f"all words have the tag {next(iter(tags))!r}: at least two tags are needed")
        lexicon = Lexicon.build((example.given.tokens for example in examples), self.options)
        self.state |= {"bias": 0.0, "tags": sorted(tags), "letters": sorted(letters), **lexicon.to_json()}
        self.lexicon = lexicon

    def _learned(self, gold: Sequence[str]) -> Sequence[str]:
        """Tags as the network learns them."""
        return convert(gold, "bioes") if self.state["scheme"] else gold

    @cached_property
    def lexicon(self) -> Lexicon:
        """The numbers of words."""
        return Lexicon.from_json(self.state)

    @cached_property
    def _numbers(self) -> tuple[dict[str, int], dict[str, int]]:
        tags = {tag: i for i, tag in enumerate(self.state["tags"])}
        return tags, {letter: i for i, letter in enumerate(self.state["letters"], 2)}

    def model(self) -> nn.Module:
        scheme = "bioes" if self.state["scheme"] else None
        return Tagger(self.lexicon, len(self.state["letters"]) + 2, self.state["tags"], scheme, self.options)

    def encode(self, example: Example) -> Item:
        tokens, (tags, letters) = example.given.tokens, self._numbers
        learned = self._learned(example.gold) if example.gold is not None else ()
        for tag in learned:
            if tag not in tags:
                known = {name.partition("-")[2] or name for name in tags} if self.state["scheme"] else tags
                name = tag.partition("-")[2] or tag if self.state["scheme"] else tag
                raise unknown(f"tag at {example.place}, which training never saw,", name, known)
        spelled = [[letters.get(letter, 1) for letter in token[:LONGEST_WORD]] or [1] for token in tokens]
        return {
            **self.lexicon.item(tokens),
            "letters": np.array([letter for word in spelled for letter in word], np.int32),
            "spelled": np.array([len(word) for word in spelled], np.int32),
            "tags": np.array([tags[tag] for tag in learned], np.int32),
        }

    def length(self, item: Item) -> int:
        return len(item["words"])

    def batch(self, items: Sequence[Item]) -> Batch:
        texts = word_batch(items)
        rows: dict[bytes, int] = {}
        which = torch.zeros_like(texts.words)  # [B, T]
        tags = torch.zeros_like(texts.words)  # [B, T]
        for row, item in enumerate(items):
            words = np.split(item["letters"], np.cumsum(item["spelled"])[:-1])
            numbers = [rows.setdefault(word.tobytes(), len(rows)) for word in words]
            which[row, : len(numbers)] = torch.tensor(numbers)
            tags[row, : len(item["tags"])] = torch.from_numpy(item["tags"].astype(np.int64))
        spelled = [torch.from_numpy(np.frombuffer(word, np.int32).astype(np.int64)) for word in rows]
        letters = nn.utils.rnn.pad_sequence(spelled, batch_first=True)  # [W, L]
        return Batch(texts, letters, which, tags if len(items[0]["tags"]) else None)

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        words = int(batch.texts.lengths.sum())
        return model.loss(batch) / words, words

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        lengths = batch.texts.lengths
        scores, outside = model(batch), self._outside  # [B, T, K], [K]
        if self.validating and self.state["scheme"] and model.crf is not None:  # how sure it is does not matter
            paths = [model.crf.decode(scores - bias * outside, lengths)[0].tolist() for bias in BIASES]
            return [[path[row][:n] for path in paths] for row, n in enumerate(lengths.tolist())]
        best, sure = model.best(scores - self.state["bias"] * outside, lengths)
        return [(best[row, :n].tolist(), sure[row, :n].tolist()) for row, n in enumerate(lengths.tolist())]

    @property
    def _outside(self) -> Tensor:
        """1 for the tag that says "outside of all spans", ``[K]``."""
        return torch.tensor([float(bool(self.state["scheme"]) and tag == "O") for tag in self.state["tags"]])

    def calibrate(self, examples: Sequence[Example], found: Sequence[Any]) -> None:
        if not examples or isinstance(found[0], tuple):
            return
        from ostinato.tasks.tag_report import measures

        def f1(number: int) -> float:
            tags = [[self.state["tags"][i] for i in paths[number]] for paths in found]
            return measures(examples, tags, self.state["scheme"], ())["f1"]

        self.state["bias"] = BIASES[max(range(len(BIASES)), key=f1)]

    def finish(self, example: Example, found: Any) -> Answer:
        given: Words = example.given
        if isinstance(found, list):  # by each bias
            path = found[BIASES.index(self.state["bias"])]
            found = path, [1.0] * len(path)
        tags, scheme = [self.state["tags"][i] for i in found[0]], self.state["scheme"]
        sure = [round(p, 4) for p in found[1]]
        if not scheme:
            return Answer(tags, given.tagged(tags), {"tokens": list(given.tokens), "probabilities": sure})
        tags = convert(tags, scheme)
        marked = [{"start": given.starts[s.start], "end": given.end(s.stop - 1), "text": given.part(s), "kind": s.kind,
                   "probability": min(sure[s.start : s.stop])} for s in spans(tags)]  # fmt: skip
        return Answer(tags, given.bracketed(tags), {"tokens": list(given.tokens), "spans": marked})

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        from ostinato.tasks.tag_report import measures

        return measures(examples, [answer.value for answer in answers], self.state["scheme"], set(self.state["words"]))

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.tag_report import remembered

        return remembered(list(train), list(test), self.state["scheme"])

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.tag_report import write_report

        return write_report(examples, answers, self.state["scheme"], folder)
