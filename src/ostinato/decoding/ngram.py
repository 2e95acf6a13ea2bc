"""Language models that count: the next symbol from the last n - 1, of letters or of words.

    p(s | c) = (N(c s) + lambda_c p(s | c without its first)) / (N(c) + lambda_c)

where ``lambda_c`` is the number of different symbols seen after ``c``: the more surprising a context was, the more the
shorter one is asked. Shortest of all, every symbol is as probable.

Source: Witten and Bell, "The Zero-Frequency Problem: Estimating the Probabilities of Novel Events in Adaptive Text
Compression", IEEE Transactions on Information Theory 37, 1991, interpolated as in Chen and Goodman, 1999.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache

START, END = "<start>", "<end>"


class NGram:
    """A model of sequences of symbols.

    Args:
        sequences: to learn from.
        order: n; the next symbol from the last n - 1.

    Raises:
        ValueError: an order below 1, or no sequences.

    >>> model = NGram([list("abab"), list("abb")], order=2)
    >>> model.log_p("b", ["a"]) > model.log_p("a", ["a"])
    True
    >>> everything = [*"ab", END, "something new"]
    >>> round(sum(math.exp(model.log_p(s, ["b"])) for s in everything), 6)
    1.0
    """

    def __init__(self, sequences: Iterable[Sequence[Hashable]], order: int = 5) -> None:
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        self.order = order
        self._after: dict[tuple[Hashable, ...], Counter[Hashable]] = defaultdict(Counter)
        for sequence in sequences:
            whole = [START] * (order - 1) + list(sequence) + [END]
            for at in range(order - 1, len(whole)):
                for n in range(order):
                    self._after[tuple(whole[at - n : at])][whole[at]] += 1
        if not self._after:
            raise ValueError("there are no sequences to learn from")
        self._count = {context: after.total() for context, after in self._after.items()}
        self.symbols = len(self._after[()]) + 1
        """How many there are, the end and anything new among them."""

    def log_p(self, symbol: Hashable, before: Sequence[Hashable]) -> float:
        """The log probability of a symbol, or of ``END``, after others. All symbols never seen are one."""
        context = ([START] * (self.order - 1) + list(before))[len(before) :] if self.order > 1 else []
        p = 1 / self.symbols
        for n in range(self.order):
            key = tuple(context[len(context) - n :])
            after = self._after.get(key)
            if after is None:
                break
            p = (after[symbol] + len(after) * p) / (self._count[key] + len(after))
        return math.log(p)


class LetterScorer:
    """A model of letters for a search over numbers of letters.

    Args:
        model: of letters.
        letters: by number, from 1.
    """

    def __init__(self, model: NGram, letters: Sequence[str]) -> None:
        self._model, self._letters = model, letters
        self._asked = lru_cache(maxsize=100_000)(model.log_p)

    def go_on(self, before: tuple[int, ...], symbol: int) -> float:
        """The log probability of a letter."""
        return self._log_p(self._letters[symbol - 1], before)

    def end(self, before: tuple[int, ...]) -> float:
        """The log probability of the end."""
        return self._log_p(END, before)

    def _log_p(self, letter: str, before: tuple[int, ...]) -> float:
        known = before[max(0, len(before) - self._model.order + 1) :]
        return self._asked(letter, tuple(self._letters[s - 1] for s in known))


class WordScorer:
    """A model of words for a search over numbers of letters: it speaks when a blank ends a word.

    Args:
        model: of words.
        letters: by number, from 1.
    """

    def __init__(self, model: NGram, letters: Sequence[str]) -> None:
        self._model, self._letters = model, letters

    def go_on(self, before: tuple[int, ...], symbol: int) -> float:
        """The log probability of the word that a blank ends; of other letters none."""
        if self._letters[symbol - 1] != " ":
            return 0.0
        words = self._words(before)
        return self._model.log_p(words[-1], words[:-1]) if words else 0.0

    def end(self, before: tuple[int, ...]) -> float:
        """The log probability of the last word and of the end."""
        words = self._words(before)
        last = self._model.log_p(words[-1], words[:-1]) if words and self._letters[before[-1] - 1] != " " else 0.0
        return last + self._model.log_p(END, words)

    def _words(self, before: tuple[int, ...]) -> list[str]:
        return "".join(self._letters[s - 1] for s in before).split()
