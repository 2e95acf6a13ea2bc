"""One label for a whole sequence: sentiment, topic, author, language; a spoken digit, its speaker, a gesture, an image.

    e[t] = E x[t] + mean of G g, g the character n-grams of word x[t]       (of a signal: e[t] = its frame)
    h[t] = both directions of a recurrence over e
    s    = [max_t h[t], mean_t h[t], sum_t a[t] h[t]],   a = softmax_t(u . tanh(W h[t] + b))
    p(label | x) = softmax(V s + c)

The lecture's third design, one output at the end, with a choice of what "the end" is (``--pooling last`` is the last
state). With ``--level characters`` the steps are characters; signals are sound, series, pen strokes or images. Several
labels at once: ``--several``, a logistic output for each. The probabilities are made true on the validation part by one
temperature (Guo et al., "On Calibration of Modern Neural Networks", 2017).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.errors import InputError, unknown
from ostinato.features.rows import choose_columns, open_table
from ostinato.features.text import SUBWORDS
from ostinato.tasks.common.encoder import Encoder, Pool, RecurrentOptions
from ostinato.tasks.common.inputs import GivenOf, Input, TextInput
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.signals import SignalInput, SignalOptions, Signals, kind_of
from ostinato.tasks.common.store import Item
from ostinato.tasks.common.words import WordOptions
from ostinato.training.batches import in_order
from ostinato.training.goal import Goal
from ostinato.training.options import option

LEVELS = ("auto", "words", "characters", SUBWORDS)


@dataclass(frozen=True)
class ClassifyOptions(SignalOptions, WordOptions, RecurrentOptions, TaskOptions):
    """What ``ostinato train classify`` can be told."""

    text: str | None = option(None, "column or columns (a,b) with the text; guessed where it is clear")
    label: str | None = option(None, "column with the label; guessed where it is clear")
    header: bool | None = option(None, "the first line names the columns; guessed")
    cell: str = option("gru", "the recurrent step, by name (ostinato info lists them)")
    several: bool = option(False, "a text may have several labels, in one cell with | between them or a JSON list")
    level: str = option("auto", "what a step reads; characters where the texts are single words", choices=LEVELS)
    pooling: str = option("all", "what is read from the outputs of all steps", choices=Pool.KINDS)
    longest: int = option(400, "steps that are read of a longer text", low=1)
    class_weights: bool = option(False, "count rare labels as much as frequent ones")


class Batch(NamedTuple):
    """What is given as tensors."""

    given: Any  # has lengths [B]
    labels: Tensor | None  # [B], or [B, K] of zeros and ones with --several


class Classifier(nn.Module):
    """Vectors of what is given, a recurrence, pooling, a linear map to the logits of the labels."""

    def __init__(self, vectors: Any, labels: int, options: ClassifyOptions) -> None:
        super().__init__()
        self.vectors = vectors
        self.encoder = Encoder(vectors.size, options)
        self.pool = Pool(self.encoder.size, options.pooling, options.bidirectional)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(self.pool.size, labels)

    def embed(self, given: Any) -> Tensor:
        """``s``, what is given as one vector: ``[B, S]``."""
        e = self.vectors(given)  # [B, T, E]
        h = self.encoder(e, given.lengths)  # [B, T, H]
        return self.pool(h, given.lengths)

    def forward(self, given: Any) -> Tensor:
        """The logits ``[B, K]``."""
        return self.head(self.dropout(self.embed(given)))  # [B, K]


class Classify(Kind):
    """The task."""

    name = "classify"
    summary = "Learn to give a text or a signal its label: sentiment, topic, author; digit, speaker, gesture."
    help_examples = """
      ostinato train classify reviews.tsv --out runs/reviews
      ostinato train classify news.csv --text title,body --label topic --out runs/news
      ostinato train classify names/ --out runs/names          (a file for each language, a name a line)
      ostinato train classify recordings/ --pattern '(?P<label>.)_.*' --out runs/digits       (7_theo_12.wav)
      ostinato train classify gestures.csv --out runs/gestures                (columns path and label)
    """
    options_class = ClassifyOptions
    goal = Goal("accuracy", more=True)
    needs = ("sklearn", "scipy", "matplotlib")
    options: ClassifyOptions

    def read(self, path: Path, answered: bool = True) -> Iterable[Example]:
        kind = self.state["input"]["kind"] if self.state else kind_of(path, self.options)
        if kind == "text":
            return Texts(path, self.options, answered)
        return Signals(path, kind, self.options, "label", self.options.label, answered)

    def from_text(self, text: str) -> Example:
        if not text.strip():
            raise InputError("the text is empty")
        return Example("the text", self.input.from_text(text.strip()))

    def as_text(self, example: Example) -> str:
        return self.input.shown(example.given)

    def prepare(self, examples: Iterable[Example]) -> None:
        labels: Counter[str] = Counter(label for example in examples for label in _labels(example.gold))
        if len(labels) < 2:
            raise InputError(f"all examples have the label {next(iter(labels))!r}: at least two labels are needed")
        text = isinstance(next(iter(examples)).given, str)
        self.input = TextInput(self.options) if text else SignalInput(self.options)
        self.input.prepare(GivenOf(examples))
        self.state = {"input": self.input.state, "labels": sorted(labels),
                      "counts": [labels[k] for k in sorted(labels)], "temperature": 1.0}  # fmt: skip

    @cached_property
    def input(self) -> Input:
        """How what is given becomes numbers."""
        state = self.state["input"]
        return (TextInput if state["kind"] == "text" else SignalInput)(self.options, state)

    def model(self) -> nn.Module:
        return Classifier(self.input.module(), len(self.state["labels"]), self.options)

    def encode(self, example: Example) -> Item:
        return {**self.input.item(example.given), "labels": np.array(self._numbers(example), np.int64)}

    def _numbers(self, example: Example) -> list[int]:
        known = {label: i for i, label in enumerate(self.state["labels"])}
        for label in _labels(example.gold):
            if label not in known:
                raise unknown(f"label at {example.place}, which training never saw,", label, known)
        return [known[label] for label in _labels(example.gold)]

    def length(self, item: Item) -> int:
        return self.input.length(item)

    def batch(self, items: Sequence[Item]) -> Batch:
        return Batch(self.input.batch(items), self._targets([item["labels"] for item in items]))

    def _targets(self, labels: Sequence[np.ndarray]) -> Tensor | None:
        if not self.options.several:
            return torch.tensor([int(some[0]) for some in labels]) if all(map(len, labels)) else None
        targets = torch.zeros(len(labels), len(self.state["labels"]))  # [B, K]
        for row, some in enumerate(labels):
            targets[row, some.tolist()] = 1
        return targets

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        logits = model(batch.given)  # [B, K]
        assert batch.labels is not None
        if self.options.several:
            return F.binary_cross_entropy_with_logits(logits, batch.labels), len(logits)
        return F.cross_entropy(logits, batch.labels, self._weights()), len(logits)

    def _weights(self) -> Tensor | None:
        if not self.options.class_weights:
            return None
        counts = torch.tensor(self.state["counts"], dtype=torch.float)  # [K]
        return counts.sum() / (len(counts) * counts)

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        return list(model(batch.given).double().numpy())  # [K] each

    def finish(self, example: Example, found: Any) -> Answer:
        logits, labels = found / self.state["temperature"], self.state["labels"]
        if self.options.several:
            p = 1 / (1 + np.exp(-logits))  # [K]
            chosen = [label for label, share in zip(labels, p, strict=True) if share >= 0.5]
            value: Any = tuple(chosen)
        else:
            p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()  # [K]
            value = labels[int(p.argmax())]
        scores = {label: round(float(share), 6) for label, share in zip(labels, p, strict=True)}
        return Answer(value, "|".join(value) if self.options.several else value, {"scores": scores})

    def calibrate(self, examples: Sequence[Example], found: Sequence[Any]) -> None:
        from scipy.optimize import minimize_scalar

        logits = torch.tensor(np.stack(found))  # [N, K]
        targets = self._targets([np.array(self._numbers(example)) for example in examples])
        loss = F.binary_cross_entropy_with_logits if self.options.several else F.cross_entropy
        if self.options.several and targets is not None:
            targets = targets.double()

        def at(log_temperature: float) -> float:
            return float(loss(logits / np.exp(log_temperature), targets))  # type: ignore[arg-type]

        best: Any = minimize_scalar(at, bounds=(-3, 3), method="bounded")
        self.state["temperature"] = float(np.exp(best.x))

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        from ostinato.tasks.classify_report import measures

        return measures(self.state["labels"], [example.gold for example in examples], answers, self.options.several)

    @torch.no_grad()
    def verify(self, model: Any, examples: Sequence[Example]) -> Measures:
        from ostinato.tasks.classify_report import equal_error_rate

        items = [self.input.item(example.given) for example in examples]
        vectors: list[Any] = [None] * len(items)
        for places in in_order([self.input.length(item) for item in items], 64):
            found = model.embed(self.input.batch([items[int(i)] for i in places]))  # [B, S]
            for place, vector in zip(places, F.normalize(found).numpy(), strict=True):
                vectors[int(place)] = vector
        return equal_error_rate(np.stack(vectors), [example.gold for example in examples])

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.classify_report import bags_of_ngrams, simple_classifiers

        if self.options.several:
            return {}
        if self.input.kind == "text":
            return bags_of_ngrams(list(train), list(test))
        parts = ([(self.input.item(e.given)["frames"], e.gold) for e in part] for part in (train, test))
        return simple_classifiers(*parts)

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.classify_report import write_report

        return write_report(self.state["labels"], examples, answers, folder)


class Texts:
    """The examples of a table: texts and labels."""

    def __init__(self, path: Path, options: ClassifyOptions, answered: bool) -> None:
        told = {"text": options.text, "label": options.label}
        names = [name for said in told.values() for name in (said or "").split(",") if name]
        self.table = open_table(path, options.format, encoding=options.encoding, header=options.header, names=names,
                                skip_bad=options.skip_bad_lines)  # fmt: skip
        rows = [row.values for row in self.table.sample()]
        self.columns = choose_columns(rows, told if answered else {"text": options.text}, path)
        self._several = options.several

    @property
    def bad(self) -> int:
        return self.table.bad

    def __iter__(self) -> Iterator[Example]:
        for row in self.table:
            try:
                text = self.columns.text("text", row.values, row.place)
                gold = self._gold(row.values, row.place) if "label" in self.columns.of else None
            except InputError as error:
                if not self.table.skip_bad:
                    raise
                self.table.complain(str(error))
                continue
            yield Example(row.place, text, gold)

    def _gold(self, values: Any, place: str) -> Any:
        value = self.columns.raw("label", values, place)
        if self._several:
            return tuple(map(str, value)) if isinstance(value, list) else tuple(str(value).split("|"))
        if isinstance(value, list):
            raise InputError(f"{place}: several labels ({', '.join(map(str, value))}): say --several")
        return str(value).strip()


def _labels(gold: Any) -> tuple[str, ...]:
    return () if gold is None else gold if isinstance(gold, tuple) else (gold,)
