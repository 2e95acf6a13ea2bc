"""Vectors over n-grams against the Tokenizer, which knows the same modes, and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from close import assert_close
from corpus import some_text

from ostinato.errors import InputError
from ostinato.features.text import TermVectors, Tokenizer, ngram_list

SLIDES = ["The cat sat on the mat.", "The dog ate my homework."]


@pytest.mark.parametrize("mode", ["binary", "count", "freq", "tfidf"])
@pytest.mark.parametrize(("n", "level"), [(1, "words"), (2, "words"), (3, "characters")])
@pytest.mark.parametrize("texts", [SLIDES, some_text(3000).splitlines()], ids=["slides", "real"])
def test_as_the_tokenizer(texts: list[str], n: int, level: str, mode: Any) -> None:
    tokenizer = Tokenizer(analyzer=lambda text: ngram_list(text.lower(), n, level))
    tokenizer.fit_on_texts(texts)
    vectors = TermVectors(n, level).fit(iter(texts))
    assert list(vectors.terms) == list(tokenizer.word_index)
    some = [*texts[:5], "a zebra, the cat", ""]
    wanted = torch.from_numpy(tokenizer.texts_to_matrix(some, mode))[:, 1:].float()
    assert_close(vectors(some, mode), wanted)
    thin = vectors(iter(some), mode, sparse=True)
    assert thin.is_sparse
    assert_close(thin.to_dense(), wanted)


def test_by_hand() -> None:
    vectors = TermVectors(size=2).fit(["b a b", "b", "B c"])
    assert (vectors.terms, vectors.documents, vectors.document_count) == (("b", "a"), (3, 1), 3)
    two = torch.tensor(2.0).log()
    wanted = torch.stack([(1 + two) * torch.tensor(1.75).log(), torch.tensor(2.5).log()])
    assert_close(vectors(["b b a c"]), wanted[None])
    assert_close(vectors(["b b a c"], "freq"), torch.tensor([[2 / 3, 1 / 3]]))
    assert TermVectors(lower=False).fit(["B b"]).terms == ("B", "b")
    assert vectors([]).shape == (0, 2)
    assert vectors.fit(["z"]).terms == ("z",)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        TermVectors(0)
    with pytest.raises(ValueError, match="lines"):
        TermVectors(level="lines")
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        TermVectors(size=0)
    with pytest.raises(ValueError, match="bits"):
        TermVectors().fit(SLIDES)(SLIDES, "bits")
    with pytest.raises(ValueError, match="fit it on texts"):
        TermVectors()(SLIDES)


def test_kept_and_read_again() -> None:
    texts = ["Żółw and the cat", "the cat sat on the mat", "a mat"]
    vectors = TermVectors(n=2, size=9).fit(texts)
    again = TermVectors.from_json(vectors.to_json())
    assert (again.terms, again.documents, again.document_count) == (vectors.terms, vectors.documents, 3)
    for mode in ("binary", "count", "freq", "tfidf"):
        assert torch.equal(again([*texts, "new words"], mode), vectors([*texts, "new words"], mode))
    for text in ("no", "[]", "{}", vectors.to_json().replace('"format": 1', '"format": 9'),
                 vectors.to_json().replace('"documents": [2, ', '"documents": [')):  # fmt: skip
        with pytest.raises(InputError, match="term vectors"):
            TermVectors.from_json(text)
