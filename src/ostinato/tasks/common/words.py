"""Words as the tasks read them: segments, a vocabulary, and the character n-grams of each word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.features.embeddings import Embedding, read_vectors
from ostinato.tasks.common.store import Item
from ostinato.training.options import option

PAD, UNKNOWN = 0, 1
# As in the Penn Treebank, whose segments pretrained vectors know: do n't, it 's; compounds stay whole.
_WORD = re.compile(r"\w+(?=n['’]t\b)|n['’]t\b|['’](?:s|ve|re|ll|d|m)\b|\w+(?:-\w+)*|[^\w\s]", re.IGNORECASE)


def segment(text: str) -> list[str]:
    """Words and punctuation marks.

    >>> segment("It's a rock-n-roll film, isn't it?")
    ['It', "'s", 'a', 'rock-n-roll', 'film', ',', 'is', "n't", 'it', '?']
    """
    return _WORD.findall(text)


def places(text: str) -> list[tuple[int, int]]:
    """Where the words and punctuation marks of :func:`segment` begin and end.

    >>> places("It's")
    [(0, 2), (2, 4)]
    """
    return [found.span() for found in _WORD.finditer(text)]


@lru_cache(maxsize=200_000)
def character_ngrams(word: str, low: int = 3, high: int = 5) -> tuple[str, ...]:
    """The n-grams of a word between its borders, the whole left out.

    Source: Bojanowski et al., "Enriching Word Vectors with Subword Information", 2017 (arXiv 1607.04606).

    >>> character_ngrams("cat", 3, 3)
    ('<ca', 'cat', 'at>')
    """
    marked = f"<{word}>"
    return tuple(
        marked[i : i + n] for n in range(low, min(high, len(marked) - 1) + 1) for i in range(len(marked) - n + 1)
    )


@dataclass(frozen=True)
class WordOptions:
    """How words become vectors."""

    vocabulary_size: int = option(30_000, "keep so many of the most frequent words", low=1)
    ngrams: int = option(30_000, "keep so many of the words' most frequent character n-grams (0: none)", low=0)
    embedding_size: int = option(100, "numbers that a word or character becomes", low=1)
    vectors: str | None = option(None, "pretrained vectors beside the learned (GloVe, word2vec, fastText, safetensors)")
    freeze_vectors: bool = option(False, "do not train the pretrained vectors on")


@dataclass(frozen=True)
class Lexicon:
    """The numbers of words and of their n-grams; 0 is padding, 1 unknown.

    ``vector_size`` is how many numbers a pretrained vector has (0: there are none); ``matrix`` holds them, a row for
    each number of a word, when the lexicon has just been built.
    """

    words: Sequence[str]
    ngrams: Sequence[str]
    vector_size: int = 0
    matrix: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_word", {w: i for i, w in enumerate(self.words, start=2)})
        object.__setattr__(self, "_ngram", {g: i for i, g in enumerate(self.ngrams, start=1)})

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]], options: WordOptions, ngrams: bool = True,
              least: int = 2) -> Lexicon:  # fmt: skip
        """The most frequent words and n-grams of segmented texts, and the frequent words of the pretrained vectors.

        Args:
            ngrams: whether the pieces are words that have n-grams.
            least: a word must be there so often, so that training meets unknown ones.

        Raises:
            InputError: anything wrong with the file of vectors.
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(word.lower() for word in text)
        grams: Counter[str] = Counter()
        if ngrams and options.ngrams:
            for word, n in counts.items():
                for gram in character_ngrams(word):
                    grams[gram] += n
        words = _frequent(counts, options.vocabulary_size, least)
        kept = _frequent(grams, options.ngrams, least)
        if options.vectors is None:
            return cls(words, kept)
        vectors = read_vectors(options.vectors, counts, first=options.vocabulary_size)
        words += [word for word in vectors.words if word not in set(words) and word == word.lower()]
        matrix, _ = vectors.for_words(words)  # [V, E]
        return cls(words, kept, vectors.size, torch.cat([torch.zeros(2, vectors.size), matrix]))

    @property
    def word_count(self) -> int:
        """Numbers of words, padding and unknown among them."""
        return len(self.words) + 2

    @property
    def ngram_count(self) -> int:
        return len(self.ngrams) + 1

    def item(self, text: Sequence[str]) -> Item:
        """The arrays of a segmented text: ``words`` ``[T]``, all ``grams``, and how many each word has."""
        lower = [word.lower() for word in text]
        index: dict[str, int] = self._word  # type: ignore[attr-defined]
        grams = [self._grams(word) for word in lower]
        return {
            "words": np.array([index.get(word, UNKNOWN) for word in lower], np.int32),
            "grams": np.array([g for word in grams for g in word], np.int32),
            "counts": np.array([len(word) for word in grams], np.int32),
        }

    def _grams(self, word: str) -> list[int]:
        index: dict[str, int] = self._ngram  # type: ignore[attr-defined]
        if not index:
            return []
        return [number for number in map(index.get, character_ngrams(word)) if number is not None]

    def to_json(self) -> dict[str, Any]:
        return {"words": list(self.words), "ngrams": list(self.ngrams), "vector_size": self.vector_size}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Lexicon:
        """Of a task's state."""
        return cls(state["words"], state["ngrams"], state["vector_size"])


def _frequent(counts: Counter[str], size: int, least: int) -> list[str]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [piece for piece, n in ranked if n >= least][:size]


class WordBatch(NamedTuple):
    """Segmented texts as tensors."""

    words: Tensor  # [B, T]
    grams: Tensor  # [G], those of all words end to end
    offsets: Tensor  # [B T], where the grams of each word begin
    lengths: Tensor  # [B]


def word_batch(items: Sequence[Item]) -> WordBatch:
    """The arrays of :meth:`Lexicon.item` side by side."""
    lengths = torch.tensor([len(item["words"]) for item in items])  # [B]
    words = torch.zeros(len(items), int(lengths.max()), dtype=torch.long)  # [B, T]
    counts = torch.zeros_like(words)  # [B, T]
    for row, item in enumerate(items):
        words[row, : lengths[row]] = torch.from_numpy(item["words"].astype(np.int64))
        counts[row, : lengths[row]] = torch.from_numpy(item["counts"].astype(np.int64))
    grams = torch.from_numpy(np.concatenate([item["grams"] for item in items]).astype(np.int64))  # [G]
    return WordBatch(words, grams, counts.flatten().cumsum(0) - counts.flatten(), lengths)


class WordVectors(nn.Module):
    """A word as the sum of its own vector and the mean of those of its character n-grams, beside its pretrained one.

    A word that training never saw still has n-grams, and maybe a pretrained vector. In training a share ``hidden`` of
    the words is as if never seen, so that these must speak for them.
    """

    def __init__(self, lexicon: Lexicon, options: WordOptions, dropout: float, hidden: float = 0.0) -> None:
        super().__init__()
        self.hidden = hidden
        size = options.embedding_size
        self.size = size + lexicon.vector_size
        self.word = Embedding(lexicon.word_count, size)
        with torch.no_grad():
            self.word.weight[UNKNOWN] = 0
        self.gram = nn.EmbeddingBag(lexicon.ngram_count, size, mode="mean") if lexicon.ngrams else None
        if self.gram is not None:
            nn.init.normal_(self.gram.weight, std=0.1)
        self.given: Embedding | None = None
        if lexicon.vector_size:
            self.given = Embedding(lexicon.word_count, lexicon.vector_size, frozen=options.freeze_vectors)
            if lexicon.matrix is not None:
                with torch.no_grad():
                    self.given.weight.copy_(lexicon.matrix)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: WordBatch) -> Tensor:
        """Words to vectors ``[B, T, size]``."""
        words = batch.words  # [B, T]
        if self.training and self.hidden:
            words = words.masked_fill((torch.rand(words.shape) < self.hidden) & (words > PAD), UNKNOWN)
        e = self.word(words)  # [B, T, E]
        if self.gram is not None:
            e = e + self.gram(batch.grams, batch.offsets).view_as(e)  # [B, T, E]
        if self.given is not None:
            e = torch.cat([e, self.given(batch.words)], 2)  # [B, T, E + G]
        return self.dropout(e)
