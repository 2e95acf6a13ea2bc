"""N-grams, one-hot vectors and windows of a series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ostinato.features.text import (
    OneHot,
    Tokenizer,
    Vocabulary,
    ngram_list,
    ngrams,
    one_hot_vectors,
    timeseries_dataset_from_array,
    vectorize_sequences,
)

SENTENCE = "The cat sat on the mat."


def test_the_slides_sets() -> None:
    two = {"The", "The cat", "cat", "cat sat", "sat", "sat on", "on", "on the", "the", "the mat", "mat"}
    three = {"The", "The cat", "cat", "cat sat", "The cat sat", "sat", "sat on", "on", "cat sat on", "on the", "the",
             "sat on the", "the mat", "mat", "on the mat"}
    assert ngrams(SENTENCE, 2) == two
    assert ngrams(SENTENCE, 3) == three


@given(st.text(max_size=30), st.integers(1, 5))
def test_character_ngrams(text: str, n: int) -> None:
    found = ngram_list(text, n, "characters")
    ends = range(len(text) + 1)
    assert sorted(found) == sorted(text[i:j] for i in ends for j in ends if 0 < j - i <= n)


def test_ngrams_are_counted_by_a_tokenizer() -> None:
    tokenizer = Tokenizer(analyzer=lambda text: ngram_list(text, 2))
    tokenizer.fit_on_texts([SENTENCE, "the cat the cat"])
    assert tokenizer.word_counts["the cat"] == 2
    row = tokenizer.texts_to_matrix(["the cat the cat"], mode="count")[0]
    assert row[tokenizer.word_index["the cat"]] == 2


def test_ngrams_refuse() -> None:
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        ngrams(SENTENCE, 0)
    with pytest.raises(ValueError, match="unknown level 'word'"):
        ngrams(SENTENCE, 1, "word")


@pytest.mark.parametrize("shape", [(0,), (5,), (2, 3), ()])
def test_one_hot(shape: tuple[int, ...]) -> None:
    numbers = torch.randint(7, shape)
    dense = one_hot_vectors(numbers, 7)
    assert torch.equal(dense, torch.nn.functional.one_hot(numbers, 7).float())
    sparse = one_hot_vectors(numbers, 7, sparse=True)
    assert sparse.is_sparse and torch.equal(sparse.to_dense(), dense)
    torch.sparse_coo_tensor(sparse.indices(), sparse.values(), sparse.shape, check_invariants=True)


@pytest.mark.parametrize("level", ["characters", "words"])
def test_a_text_comes_back(level: str) -> None:
    encode = OneHot(Vocabulary.build(SENTENCE * 2, level))
    for sparse in (False, True):
        assert encode.decode(encode(SENTENCE, sparse)) == SENTENCE


def test_out_of_range() -> None:
    with pytest.raises(ValueError, match="from 0 to 2, got 0 to 3"):
        one_hot_vectors([0, 3], 3)
    with pytest.raises(ValueError, match="sequence 1 has numbers from -1 to 2"):
        vectorize_sequences([[0], [2, -1]], 3)


def test_vectorize_as_on_the_slide() -> None:
    found = vectorize_sequences([[3, 5]])
    assert found.shape == (1, 10_000) and found.dtype == np.float64
    assert found[0].nonzero()[0].tolist() == [3, 5]


@pytest.mark.parametrize("options", [{}, {"sequence_stride": 3}, {"sampling_rate": 2, "batch_size": 4},
                                     {"start_index": 2, "end_index": 11}, {"shuffle": True, "seed": 1},
                                     {"batch_size": None}])
def test_windows(options: dict[str, Any]) -> None:
    series, targets = torch.randn(15, 2), torch.arange(15)
    loader = timeseries_dataset_from_array(series, targets, 4, **options)
    batches = list(loader)
    if options.get("batch_size", 128) is None:
        batches = [(x[None], y[None]) for x, y in batches]
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    begin, end, rate = options.get("start_index", 0), options.get("end_index", 15), options.get("sampling_rate", 1)
    starts = range(begin, end - 3 * rate, options.get("sequence_stride", 1))
    assert sorted(y.tolist()) == list(starts)
    assert (y.tolist() != list(starts)) == options.get("shuffle", False)
    for window, start in zip(x, y.tolist(), strict=True):
        assert torch.equal(window, series[start : start + 4 * rate : rate])


def test_windows_alone_and_refused() -> None:
    assert next(iter(timeseries_dataset_from_array(np.arange(5.0), None, 2))).shape == (4, 2)
    value: Any
    for name, value in (("start_index", 5), ("end_index", 9), ("sampling_rate", 0), ("sequence_stride", 5)):
        with pytest.raises(ValueError, match=f"{name} must be from .* for a series of 5 steps, got {value}"):
            timeseries_dataset_from_array(np.arange(5), None, 2, **{name: value})
