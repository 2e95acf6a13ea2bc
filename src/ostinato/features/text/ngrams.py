"""N-grams: groups of N or fewer consecutive words or characters."""

from __future__ import annotations

import re

from ostinato.errors import unknown
from ostinato.features.text.vocabulary import LEVELS

_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def ngram_list(text: str, n: int, level: str = "words") -> list[str]:
    """Every group of ``n`` or fewer consecutive words or characters, as often as it occurs, by where it begins.

    As an analyzer it lets a Tokenizer count n-grams: ``Tokenizer(analyzer=lambda text: ngram_list(text, 2))``.

    Args:
        text: words keep their case; punctuation is left out of words, and is characters like any other.
        n: at least 1.
        level: ``"words"`` or ``"characters"``.

    Raises:
        ValueError: n below 1, or another level.

    >>> ngram_list("to be or", 2)
    ['to', 'to be', 'be', 'be or', 'or']
    >>> ngram_list("abca", 3, "characters")
    ['a', 'ab', 'abc', 'b', 'bc', 'bca', 'c', 'ca', 'a']
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    tokens, glue = (_WORD.findall(text), " ") if level == "words" else (list(text), "")
    return [glue.join(tokens[i : i + k]) for i in range(len(tokens)) for k in range(1, min(n, len(tokens) - i) + 1)]


def ngrams(text: str, n: int, level: str = "words") -> set[str]:
    """The set of a text's n-grams: groups of ``n`` or fewer consecutive words or characters.

    Args, raises: as for :func:`ngram_list`.

    Source: the lecture, "What are N-grams".

    >>> sorted(ngrams("The cat sat on the mat.", 2))
    ['The', 'The cat', 'cat', 'cat sat', 'mat', 'on', 'on the', 'sat', 'sat on', 'the', 'the mat']
    """
    return set(ngram_list(text, n, level))
