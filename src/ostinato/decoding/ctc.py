"""Connectionist temporal classification: what was said, of a network that says something or nothing at every step.

A path has a symbol or a blank (number 0) at each step; repeated symbols, then blanks, are taken out: ``a a - a b b`` is
``a a b``. The probability of a text is the sum over all its paths.

Source: Graves, Fernandez, Gomez and Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented Sequence
Data with Recurrent Neural Networks", ICML 2006; prefix search with a language model: Hannun, Maas, Jurafsky and Ng,
"First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", arXiv 1408.2873, 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

BLANK = 0
NONE = float("-inf")


class Scorer(Protocol):
    """A language model over symbols: what it says when a text goes on, and when it ends."""

    def go_on(self, before: tuple[int, ...], symbol: int) -> float:
        """The log probability that counts when ``symbol`` follows ``before``."""
        ...

    def end(self, before: tuple[int, ...]) -> float:
        """The log probability that counts when the text ends after ``before``."""
        ...


class Text(NamedTuple):
    """One of the texts found."""

    symbols: tuple[int, ...]
    score: float
    """What it is ranked by: ``log_p``, with the language model's part."""
    log_p: float
    """The network's: of all paths of this text that were followed."""


def collapse(path: Sequence[int]) -> list[int]:
    """The text of a path.

    >>> collapse([1, 1, 0, 1, 2, 2])
    [1, 1, 2]
    """
    return [s for i, s in enumerate(path) if s != BLANK and (i == 0 or s != path[i - 1])]


def greedy(log_p: Tensor, lengths: Sequence[int] | Tensor) -> list[list[int]]:
    """The text of the most probable path of each sequence, ``[B, T, K]`` and ``[B]``."""
    best = log_p.argmax(2).tolist()  # [B][T]
    return [collapse(row[:n]) for row, n in zip(best, torch.as_tensor(lengths).tolist(), strict=True)]


def log_probabilities(log_p: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
    """The log probability of each text, over all its paths, of one sequence ``[T, K]``: ``[N]``; -inf where it is too
    short for a text."""
    targets = torch.tensor([s for text in texts for s in text], dtype=torch.long)
    lengths = torch.tensor([len(text) for text in texts])
    many = log_p.unsqueeze(1).expand(-1, len(texts), -1)  # [T, N, K]
    steps = torch.full((len(texts),), len(log_p))
    return -F.ctc_loss(many, targets, steps, lengths, BLANK, "none")


def prefix_beam_search(
    log_p: ArrayLike, beam: int = 16, *, scorer: Scorer | None = None, weight: float = 1.0, bonus: float = 0.0,
    most: int = 20, least: float = -12.0,
) -> list[Text]:  # fmt: skip
    """The most probable texts of one sequence, best first: at most ``beam``.

    Texts are ranked by ``log p(text | x) + weight * log p_model(text) + bonus * symbols``. The probabilities of all
    paths to the same prefix are added up; the ``beam`` best prefixes stay after each step.

    Args:
        log_p: ``[T, K]``, log probabilities of symbols, 0 the blank.
        beam: how many prefixes are followed.
        scorer: a language model; default: none.
        weight: of the model's log probability.
        bonus: for each symbol, since a model makes long texts less probable.
        most: so many symbols, the likeliest, are tried at a step.
        least: those of a smaller log probability are not.

    Raises:
        ValueError: a beam below 1, or another shape.

    >>> p = np.log([[0.6, 0.4], [0.6, 0.4]])  # the best path is blank, blank: .36; the best text is 1: .64
    >>> [(text.symbols, round(float(np.exp(text.log_p)), 2)) for text in prefix_beam_search(p)]
    [((1,), 0.64), ((), 0.36)]
    """
    scores = np.asarray(log_p, np.float64)  # [T, K]
    if scores.ndim != 2 or beam < 1:
        raise ValueError(f"log_p must be [T, K] and beam at least 1, got {list(scores.shape)} and {beam}")
    # of each prefix: log p of its paths that end with a blank, that end with its last symbol; the model's part
    live: dict[tuple[int, ...], tuple[float, float, float]] = {(): (0.0, NONE, 0.0)}
    for row in scores:
        likely = np.argsort(-row, kind="stable")[: most + 1]
        tried = sorted(int(s) for s in likely if s != BLANK and row[s] > least)
        new: dict[tuple[int, ...], list[float]] = {}

        def add(prefix: tuple[int, ...], blank: float, symbol: float, model: float,
                to: dict[tuple[int, ...], list[float]] = new) -> None:  # fmt: skip
            if blank == symbol == NONE:
                return
            known = to.setdefault(prefix, [NONE, NONE, model])
            known[0], known[1] = _sum(known[0], blank), _sum(known[1], symbol)

        for prefix, (blank, symbol, model) in live.items():
            both = _sum(blank, symbol)
            last = prefix[-1] if prefix else None
            add(prefix, both + row[BLANK], NONE if last is None else symbol + row[last], model)
            for s in tried:
                longer = (*prefix, s)
                part = new[longer][2] if longer in new else _model(scorer, weight, bonus, prefix, s, model)
                add(longer, NONE, (blank if s == last else both) + row[s], part)
        ranked = sorted(new.items(), key=lambda entry: (-_sum(entry[1][0], entry[1][1]) - entry[1][2], entry[0]))
        live = {prefix: (values[0], values[1], values[2]) for prefix, values in ranked[:beam]}
    found = []
    for prefix, (blank, symbol, model) in live.items():
        last = 0.0 if scorer is None else weight * scorer.end(prefix)
        found.append(Text(prefix, _sum(blank, symbol) + model + last, _sum(blank, symbol)))
    return sorted(found, key=lambda text: (-text.score, text.symbols))


def _model(scorer: Scorer | None, weight: float, bonus: float, prefix: tuple[int, ...], symbol: int,
           before: float) -> float:  # fmt: skip
    return before + bonus + (0.0 if scorer is None else weight * scorer.go_on(prefix, symbol))


def _sum(a: float, b: float) -> float:
    """``log(exp(a) + exp(b))``."""
    if a < b:
        a, b = b, a
    return float(a if b == NONE else a + np.log1p(np.exp(b - a)))
