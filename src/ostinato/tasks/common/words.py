"""Words as the tasks read them: segments, a vocabulary, and the character n-grams of each word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ostinato.tasks.common.store import Item

PAD, UNKNOWN = 0, 1
# As in the Penn Treebank, whose segments pretrained vectors know: do n't, it 's; compounds stay whole.
_WORD = re.compile(r"\w+(?=n['’]t\b)|n['’]t\b|['’](?:s|ve|re|ll|d|m)\b|\w+(?:-\w+)*|[^\w\s]", re.IGNORECASE)


def segment(text: str) -> list[str]:
    """Words and punctuation marks.

    >>> segment("It's a rock-n-roll film, isn't it?")
    ['It', "'s", 'a', 'rock-n-roll', 'film', ',', 'is', "n't", 'it', '?']
    """
    return _WORD.findall(text)


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
class Lexicon:
    """The numbers of words and of their n-grams; 0 is padding, 1 unknown."""

    words: Sequence[str]
    ngrams: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_word", {w: i for i, w in enumerate(self.words, start=2)})
        object.__setattr__(self, "_ngram", {g: i for i, g in enumerate(self.ngrams, start=1)})

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]], size: int, ngrams: int, least: int = 2,
              extra: Sequence[str] = ()) -> Lexicon:  # fmt: skip
        """The most frequent words and n-grams of segmented texts.

        Args:
            size: words at most.
            ngrams: n-grams at most; those of a word count as often as the word.
            least: a word must be there so often, so that training meets unknown ones.
            extra: words known from elsewhere, as from pretrained vectors.
        """
        counts = Counter(word for text in texts for word in text)
        lower: Counter[str] = Counter()
        grams: Counter[str] = Counter()
        for word, n in counts.items():
            lower[word.lower()] += n
        if ngrams:
            for word, n in lower.items():
                for gram in character_ngrams(word):
                    grams[gram] += n
        words = [w for w, n in sorted(lower.items(), key=lambda item: (-item[1], item[0])) if n >= least][:size]
        kept = [g for g, n in sorted(grams.items(), key=lambda item: (-item[1], item[0])) if n >= least][:ngrams]
        return cls([*words, *(w for w in extra if w not in lower or lower[w] < least)], kept)

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
        return {"words": list(self.words), "ngrams": list(self.ngrams)}
