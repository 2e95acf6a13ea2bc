"""What a model must beat: an interpolated n-gram over the same tokens, which needs no tuning."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]


class NGram:
    """An n-gram with Witten-Bell interpolation.

    ``p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h))``: ``c`` counts, ``t(h)`` is how many different tokens have
    followed the context ``h`` of n - 1 tokens, ``h'`` is ``h`` without its oldest; below the unigram all are equal.

    Source: Witten and Bell, "The Zero-Frequency Problem", IEEE Transactions on Information Theory 37, 1991; Chen and
    Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998, section 2.4.

    Args:
        order: n; 1 is the unigram.
        size: of the vocabulary.

    Raises:
        ValueError: when ``size ** order`` is more than 63 bits hold.
    """

    def __init__(self, order: int, size: int) -> None:
        if order < 1 or order * math.log2(size) >= 63:
            raise ValueError(f"an {order}-gram of {size} tokens does not fit 64-bit codes")
        self.order = order
        self.size = size

    def fit(self, tokens: Codes) -> NGram:
        """Count all n-grams up to the order."""
        self._counts = []
        for length in range(self.order):
            context = self._contexts(tokens, length, np.arange(length, len(tokens)))
            grams, gram_counts = np.unique(context * self.size + tokens[length:], return_counts=True)
            contexts, context_counts = np.unique(context, return_counts=True)
            _, followers = np.unique(grams // self.size, return_counts=True)
            self._counts.append((grams, gram_counts, contexts, context_counts, followers))
        return self

    def loss(self, tokens: Codes) -> float:
        """The mean of ``-log p`` (in nats) of tokens 2 to N; the first few have a shorter context."""
        places = np.arange(1, len(tokens))
        p = np.full(len(places), 1 / self.size)
        for length, (grams, gram_counts, contexts, context_counts, followers) in enumerate(self._counts):
            context = self._contexts(tokens, length, places)
            c_gram = _look_up(grams, gram_counts, context * self.size + tokens[places])
            c, t = _look_up(contexts, context_counts, context), _look_up(contexts, followers, context)
            seen = (c > 0) & (places >= length)
            p = np.where(seen, (c_gram + t * p) / np.maximum(c + t, 1), p)
        return float(-np.log(p).mean())

    def _contexts(self, tokens: Codes, length: int, places: Codes) -> Codes:
        """The ``length`` tokens before each place as one number; nonsense where there are fewer."""
        code = np.zeros(len(places), dtype=np.int64)
        for back in range(length, 0, -1):
            code = code * self.size + tokens[np.maximum(places - back, 0)]
        return code


def _look_up(keys: Codes, values: Codes, wanted: Codes) -> Codes:
    """The value of each wanted key, 0 where there is none."""
    where = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[where] == wanted, values[where], 0)
