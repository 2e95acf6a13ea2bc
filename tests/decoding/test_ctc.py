"""Paths and texts: the sum over all paths, the search for the best text, against looking at everything."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from close import assert_close

from ostinato.decoding.ctc import Text, collapse, greedy, log_probabilities, prefix_beam_search
from ostinato.decoding.ngram import END, LetterScorer, NGram, WordScorer


def all_texts(log_p: np.ndarray) -> dict[tuple[int, ...], float]:
    """The log probability of every text, by every path."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        found[tuple(collapse(path))] += math.exp(sum(log_p[t, s] for t, s in enumerate(path)))
    return {text: math.log(p) for text, p in found.items()}


def scores(steps: int, symbols: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(steps, symbols, generator=draw, dtype=torch.float64)).log_softmax(1)


@pytest.mark.parametrize(("steps", "symbols"), [(1, 2), (3, 3), (5, 3), (4, 4)])
def test_the_loss_is_the_sum_over_all_paths(steps: int, symbols: int) -> None:
    log_p = scores(steps, symbols, steps)
    by_path = all_texts(log_p.numpy())
    texts = list(by_path)
    assert_close(log_probabilities(log_p, texts), torch.tensor([by_path[text] for text in texts], dtype=torch.float64))
    assert log_probabilities(log_p, [[1] * (steps + 1)]).tolist() == [-math.inf]


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_search_finds_what_looking_at_everything_finds(seed: int) -> None:
    log_p = scores(4, 3, seed).numpy()
    by_path = all_texts(log_p)
    found = prefix_beam_search(log_p, 1000, least=-math.inf)
    assert {text.symbols: pytest.approx(text.log_p) for text in found} == by_path
    assert [text.score for text in found] == sorted((text.score for text in found), reverse=True)


@pytest.mark.parametrize("seed", range(8))
def test_with_a_model_too(seed: int) -> None:
    log_p, letters = scores(5, 4, seed).numpy(), "ab "
    sequences = ["ab a", "b ab", "a b ab"]
    for scorer in (LetterScorer(NGram(sequences, 3), letters),
                   WordScorer(NGram([s.split() for s in sequences], 2), letters)):  # fmt: skip
        found = prefix_beam_search(log_p, 5000, scorer=scorer, weight=0.7, bonus=0.3, least=-math.inf)
        best = []
        for text, p in all_texts(log_p).items():
            parts = [scorer.go_on(text[:i], s) for i, s in enumerate(text)] + [scorer.end(text)]
            best.append(Text(text, p + 0.7 * sum(parts) + 0.3 * len(text), p))
        best.sort(key=lambda text: (-text.score, text.symbols))
        assert found[0].symbols == best[0].symbols and found[0].score == pytest.approx(best[0].score)
        assert len(found) == len(best)


def test_a_narrow_search_is_no_better_and_no_worse_than_greedy() -> None:
    for seed in range(20):
        log_p = scores(12, 5, seed)
        wide, narrow = (prefix_beam_search(log_p.numpy(), beam)[0] for beam in (200, 8))
        (path,) = greedy(log_p.unsqueeze(0), [12])
        exact = log_probabilities(log_p, [wide.symbols, path])
        assert exact[0] >= exact[1] - 1e-9
        assert wide.score >= narrow.score - 1e-9


def test_greedy_stops_at_the_length() -> None:
    log_p = torch.zeros(2, 4, 3)
    for t, s in enumerate([1, 1, 0, 1]):
        log_p[:, t, s] = 5
    assert greedy(log_p, [4, 2]) == [[1, 1], [1]]


def test_ngrams() -> None:
    model = NGram(["abc", "abd", "xbd"], 3)
    everything = [*"abcdx", END, "new"]
    for before in ("", "a", "ab", "zz", "xb"):
        assert sum(math.exp(model.log_p(s, before)) for s in everything) == pytest.approx(1)
    assert model.log_p("d", "xb") > model.log_p("c", "xb") and model.log_p("a", "") > model.log_p("b", "")
    assert model.log_p("d", "ab") == model.log_p("d", "zzzab")
    for wrong in (lambda: NGram(["a"], 0), lambda: NGram([], 2)):
        with pytest.raises(ValueError, match=r"order|no sequences"):
            wrong()


def test_the_search_refuses() -> None:
    for log_p, beam in ((np.zeros(3), 2), (np.zeros((2, 2)), 0)):
        with pytest.raises(ValueError, match="log_p must be"):
            prefix_beam_search(log_p, beam)
