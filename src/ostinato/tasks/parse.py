"""What each word of a sentence depends on, and how: a tree of heads and relations, in Universal Dependencies' format.

    e[0]    = r, the root;  e[i] = E x[i] + mean of G g + S s[i],  g the character n-grams of word x[i], s[i] its shape
    h1      = both directions of a recurrence over e
    p(tag of i) = softmax(A tanh(B h1[i]))[t]
    h       = more layers over [h1[i], sum_t p(t) T[t]]
    d, a    = lrelu(D h), lrelu(H h)                               each as a dependent, and as a head
    s(i, j) = d[i] . U a[j] + u . a[j],                            p(head of i is j) = softmax_j(s(i, j))
    p(label of i <- j) = softmax_l([d'[i], 1] . V[l] [a'[j], 1])   d' and a' as d and a, narrower

The tree is the one of all trees with a single root whose sum of ``s`` is greatest. Tags are the parser's own: none is
read. In training words are dropped, so that the n-grams must speak for unknown ones.

Source: Dozat and Manning, "Deep Biaffine Attention for Neural Dependency Parsing", 2017 (arXiv 1611.01734). The tags
sit on the lowest layer and are read by the next, as in Søgaard and Goldberg, "Deep multi-task learning with low level
tasks supervised at lower layers", 2016, and Zhang and Weiss, "Stack-propagation", 2016.
"""

from __future__ import annotations

import dataclasses
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
from ostinato.tasks.common.encoder import Encoder, RecurrentOptions
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.store import Item
from ostinato.tasks.common.words import Lexicon, WordBatch, WordOptions, WordVectors, word_batch
from ostinato.tasks.parse_files import Sentences, Tree, forms, from_line, universal, with_tree
from ostinato.tasks.parse_tree import best_tree, draw
from ostinato.training.goal import Goal
from ostinato.training.options import option

UNSEEN = -100
"""The number of a label that training never saw: no loss, and always a mistake."""
SHAPES = 10


@dataclass(frozen=True)
class ParseOptions(WordOptions, RecurrentOptions, TaskOptions):
    """What ``ostinato train parse`` can be told."""

    epochs: int = option(20, "how often the training data is read", low=1)
    layers: int = option(3, "recurrent layers, one on the other: the tags sit on the lowest", low=2)
    hidden_size: int = option(200, "hidden units in each layer and direction", low=1)
    dropout: float = option(0.33, "share of the numbers that training drops before, between and after the layers",
                            low=0, high=0.95)  # fmt: skip
    word_dropout: float = option(0.2, "share of the words that training hides, leaving their n-grams", low=0, high=0.95)
    arc_size: int = option(256, "numbers that a word becomes as a head and as a dependent", low=1)
    label_size: int = option(64, "the same for the choice of the relation", low=1)
    tag_size: int = option(64, "numbers that a part of speech becomes", low=1)


class Batch(NamedTuple):
    """Sentences as tensors; in the last three the padding and what training never saw is ``UNSEEN``."""

    texts: WordBatch
    shapes: Tensor  # [B, T]
    heads: Tensor | None  # [B, T], 0 is the root; None where there are no trees
    labels: Tensor | None  # [B, T]
    tags: Tensor | None  # [B, T]


class Scores(NamedTuple):
    """What the parser says of a batch."""

    arcs: Tensor  # [B, T, 1 + T]: of each word, each head; -inf where there is none
    dependents: Tensor  # [B, T, L + 1], for the labels
    heads: Tensor  # [B, 1 + T, L + 1], for the labels
    tags: Tensor  # [B, T, K]


class SharedDropout(nn.Module):
    """Dropout that drops the same numbers at all steps (Gal and Ghahramani 2016, arXiv 1512.05287)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, H]`` to the same."""
        return x * F.dropout(torch.ones_like(x[:, :1]), self.p, self.training)


class Parser(nn.Module):
    """The scores of all arcs, of the labels of some, and of the tags."""

    def __init__(self, lexicon: Lexicon, labels: int, tags: int, options: ParseOptions) -> None:
        super().__init__()
        self.vectors = WordVectors(lexicon, options, 0.0, hidden=options.word_dropout)
        self.shape = nn.Embedding(SHAPES, self.vectors.size)
        self.root = nn.Parameter(torch.randn(self.vectors.size) * 0.1)
        nn.init.normal_(self.shape.weight, std=0.1)
        self.drop, self.drop_inputs = SharedDropout(options.dropout), nn.Dropout(options.dropout)
        self.lower = Encoder(self.vectors.size, dataclasses.replace(options, layers=1))
        size = self.lower.size
        tagger = [nn.Linear(size, 128), nn.Tanh(), SharedDropout(options.dropout), nn.Linear(128, tags)]
        self.tagger = nn.Sequential(*tagger)
        self.tag = nn.Linear(tags, options.tag_size, bias=False)
        widths = [size + options.tag_size] + [size] * (options.layers - 2)
        self.upper = nn.ModuleList(Encoder(width, dataclasses.replace(options, layers=1)) for width in widths)
        self.sizes = [options.arc_size, options.arc_size, options.label_size, options.label_size]
        self.roles = nn.Linear(size, sum(self.sizes))
        self.U = nn.Parameter(torch.zeros(options.arc_size + 1, options.arc_size))
        self.V = nn.Parameter(torch.zeros(options.label_size + 1, labels, options.label_size + 1))

    def forward(self, texts: WordBatch, shapes: Tensor) -> Scores:
        """Words and their shapes ``[B, T]`` to scores."""
        e = self.drop_inputs(self.vectors(texts) + self.shape(shapes))  # [B, T, E]
        e = torch.cat([self.root.expand(len(e), 1, -1), e], 1)  # [B, 1 + T, E]
        lengths = texts.lengths + 1
        h = self.drop(self.lower(e, lengths))  # [B, 1 + T, H]
        tags = self.tagger(h)  # [B, 1 + T, K]
        h = torch.cat([h, self.tag(tags.softmax(2))], 2)  # [B, 1 + T, H + G]
        for layer in self.upper:
            h = self.drop(layer(h, lengths))  # [B, 1 + T, H]
        parts = [self.drop(part) for part in F.leaky_relu(self.roles(h), 0.1).split(self.sizes, 2)]
        arcs = self._arcs(parts[0][:, 1:], parts[1], lengths)
        return Scores(arcs, _with_one(parts[2][:, 1:]), _with_one(parts[3]), tags[:, 1:])

    def _arcs(self, dependents: Tensor, heads: Tensor, lengths: Tensor) -> Tensor:
        s = _with_one(dependents) @ self.U @ heads.transpose(1, 2)  # [B, T, 1 + T]
        places = torch.arange(s.shape[2])
        outside = (places >= lengths.unsqueeze(1)).unsqueeze(1)  # [B, 1, 1 + T]
        itself = places == places[1:].unsqueeze(1)  # [T, 1 + T]
        return s.masked_fill(outside | itself, -torch.inf)

    def labels(self, scores: Scores, heads: Tensor) -> Tensor:
        """The logits ``[B, T, L]`` of the labels between all words and these heads ``[B, T]``."""
        chosen = heads.unsqueeze(2).expand(-1, -1, scores.heads.shape[2])  # [B, T, N + 1]
        a = scores.heads.gather(1, chosen)  # [B, T, N + 1]
        left = scores.dependents @ self.V.flatten(1)  # [B, T, L (N + 1)]
        return (left.unflatten(2, self.V.shape[1:]) * a.unsqueeze(2)).sum(3)  # [B, T, L]


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)


class Parse(Kind):
    """The task."""

    name = "parse"
    summary = "Learn what each word of a sentence depends on: dependency trees."
    help_examples = """
      ostinato train parse en-train.conllu --validation en-dev.conllu --out runs/english
    """
    options_class = ParseOptions
    goal = Goal("las", more=True)
    options: ParseOptions

    def read(self, path: Path, answered: bool = True) -> Iterable[Example]:
        return Sentences(path, self.options, answered)

    def from_text(self, text: str) -> Example:
        return Example("the text", from_line(text, "the text"))

    def as_text(self, example: Example) -> str:
        return " ".join(forms(example.given))

    def prepare(self, examples: Iterable[Example]) -> None:
        labels: Counter[str] = Counter()
        tags: Counter[str] = Counter()
        for example in examples:
            labels.update(example.gold.relations)
            tags.update(tag for tag in example.gold.tags if tag != "_")
        if not tags:
            raise InputError("no word has a part of speech (UPOS), which the parser learns too")
        lexicon = Lexicon.build((forms(example.given) for example in examples), self.options)
        self.state = {"labels": sorted(labels), "tags": sorted(tags), **lexicon.to_json()}
        self.lexicon = lexicon

    @cached_property
    def lexicon(self) -> Lexicon:
        """The numbers of words."""
        return Lexicon.from_json(self.state)

    def model(self) -> nn.Module:
        return Parser(self.lexicon, len(self.state["labels"]), len(self.state["tags"]), self.options)

    def encode(self, example: Example) -> Item:
        words, gold = forms(example.given), example.gold or Tree((), (), ())
        labels = {label: i for i, label in enumerate(self.state["labels"])}
        tags = {tag: i for i, tag in enumerate(self.state["tags"])}
        return {
            **self.lexicon.item(words),
            "shapes": np.array([shape(word) for word in words], np.int8),
            "heads": np.array(gold.heads, np.int16),
            "labels": np.array([labels.get(label, UNSEEN) for label in gold.relations], np.int16),
            "tags": np.array([tags.get(tag, UNSEEN) for tag in gold.tags], np.int16),
        }

    def length(self, item: Item) -> int:
        return len(item["words"])

    def batch(self, items: Sequence[Item]) -> Batch:
        texts = word_batch(items)
        padded = [_padded(items, name, texts.words.shape) for name in ("heads", "labels", "tags")]
        shapes = _padded(items, "shapes", texts.words.shape)
        return Batch(texts, shapes.clamp(min=0), *(padded if len(items[0]["heads"]) else (None, None, None)))

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        assert batch.heads is not None and batch.labels is not None and batch.tags is not None
        scores: Scores = model(batch.texts, batch.shapes)
        words = batch.heads != UNSEEN  # [B, T]
        labels = model.labels(scores, batch.heads.clamp(min=0))  # [B, T, L]
        pairs = ((scores.arcs, batch.heads), (labels, batch.labels), (scores.tags, batch.tags))
        total = sum(F.cross_entropy(s[words], right[words], ignore_index=UNSEEN, reduction="sum") for s, right in pairs)
        return total / int(words.sum()), int(words.sum())  # type: ignore[return-value]

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        scores: Scores = model(batch.texts, batch.shapes)
        heads = torch.zeros_like(batch.texts.words)  # [B, T]
        for row, n in enumerate(batch.texts.lengths.tolist()):
            heads[row, :n] = torch.from_numpy(best_tree(scores.arcs[row, :n, : n + 1].double().numpy()))
        logits = model.labels(scores, heads)  # [B, T, L]
        roots = torch.tensor([universal(label) == "root" for label in self.state["labels"]])  # [L]
        if roots.any() and not roots.all():  # what hangs on the root is "root", and nothing else is
            logits = logits.masked_fill(roots != (heads == 0).unsqueeze(2), -torch.inf)
        best = torch.stack([heads, logits.argmax(2), scores.tags.argmax(2)], 2).numpy()  # [B, T, 3]
        return [found[: len(item["words"])] for found, item in zip(best, items, strict=True)]

    def finish(self, example: Example, found: Any) -> Answer:
        labels, tags = self.state["labels"], self.state["tags"]
        tree = Tree(found[:, 0].tolist(), [labels[i] for i in found[:, 1]], [tags[i] for i in found[:, 2]])
        return Answer(tree._asdict(), with_tree(example.given, tree)[:-1], {"words": forms(example.given)})

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        from ostinato.tasks.parse_report import measures

        return measures([example.gold for example in examples], [Tree(**answer.value) for answer in answers])

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.parse_report import neighbours

        return neighbours([example.gold for example in train], [example.gold for example in test])

    def picture(self, example: Example, answer: Answer) -> str:
        return draw(forms(example.given), [Tree(**answer.value)])

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.parse_report import write_report

        return write_report(examples, answers, folder)


def shape(form: str) -> int:
    """What the lower-cased vocabulary does not show: 1 to 9 (0 is padding).

    >>> [shape(word) for word in ("house", "House", "HOUSE", "iPhone", "I", "12", "B2B", "...", "e-mail")]
    [1, 2, 3, 4, 5, 6, 7, 8, 1]
    """
    letters = any(map(str.isalpha, form))
    digits = any(map(str.isdigit, form))
    tests = (
        (8, not letters and not digits),
        (6, not letters),
        (7, digits),
        (5, len(form) == 1 and form.isupper()),
        (1, form == form.lower()),
        (3, form == form.upper()),
        (2, form[0].isupper() and form[1:] == form[1:].lower()),
    )
    return next((number for number, holds in tests if holds), 4)


def _padded(items: Sequence[Item], name: str, size: Sequence[int]) -> Tensor:
    out = torch.full(tuple(size), UNSEEN)  # [B, T]
    for row, item in enumerate(items):
        out[row, : len(item[name])] = torch.from_numpy(item[name].astype(np.int64))
    return out
