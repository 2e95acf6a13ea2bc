"""The native counter of words says what Python says, on any text, and so does the Tokenizer without it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.engines.cpu.library import Unavailable, unavailable
from ostinato.features.text import Tokenizer
from ostinato.features.text.lexicon import Lexicon, in_chunks
from ostinato.features.text.tokenizer import FILTERS, _splitter

TEXTS = ["Straße İstanbul ΟΔΟΣ ΟΔΟΣ. Σ", "The cat, the Cat\tand\nTHE CATS", "", " ", "a\0b \ud800 ok", "naïve CAFÉ"]
ALPHABET = st.sampled_from("aAbB .,\n\tΣσςİßéÉ字'\0x") | st.characters()


def test_the_library_is_there() -> None:
    assert unavailable() is None


@settings(deadline=None)
@given(st.lists(st.text(ALPHABET)), st.sampled_from([FILTERS, "", ".é", "\n"]), st.booleans(),
       st.sampled_from([" ", "x", "A", "\n"]))  # fmt: skip
def test_as_python_cuts_and_counts(texts: list[str], filters: str, lower: bool, split: str) -> None:
    cut = _splitter(filters, lower, split)
    lexicon = Lexicon(filters, lower, split, cut)
    for chunk in in_chunks([*texts, *TEXTS]):
        lexicon.count(chunk)  # type: ignore[arg-type]
    tokens = [cut(text) for text in [*texts, *TEXTS]]
    counts = Counter(token for some in tokens for token in some)
    assert dict(zip(lexicon.words(), lexicon.counts.tolist(), strict=True)) == dict(counts)
    assert lexicon.words() == list(counts)  # in the order in which they came
    documents = Counter(token for some in tokens for token in set(some))
    assert dict(zip(lexicon.words(), lexicon.documents.tolist(), strict=True)) == dict(documents)
    numbers = np.arange(len(lexicon)) * 2 - 1  # the first is left out
    known = dict(zip(lexicon.words(), numbers.tolist(), strict=True))
    wanted = [[known[token] for token in some if known[token] >= 0] for some in tokens]
    assert lexicon.encode([*texts, *TEXTS], numbers, -1) == wanted


def test_words_as_they_are() -> None:
    lexicon = Lexicon(FILTERS, True, " ", str.split)
    lexicon.add(["the cat", "É", "<unk>"])
    assert lexicon.words() == ["the cat", "É", "<unk>"] and len(lexicon) == 3
    assert lexicon.encode(["unk É é"], np.array([5, 6, 7]), 9) == [[9, 9, 9]]  # lower-cased: no text has É
    with pytest.raises(ValueError, match="empty, or there twice"):
        lexicon.add(["a", "a"])
    for split in ("", "ab", "é"):
        with pytest.raises(Unavailable):
            Lexicon(FILTERS, True, split, str.split)


def test_the_same_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*TEXTS * 3, ["Given", "tokens", ""], "the end"]
    found = []
    for native in (True, False):
        if not native:
            monkeypatch.setattr(Tokenizer, "_lexicon", lambda self: None)
        tokenizer = Tokenizer(num_words=9, oov_token="<unk>")
        tokenizer.fit_on_texts(texts)
        tokenizer.fit_on_texts(iter(texts[:4]))
        found.append((tokenizer.get_config(), tokenizer.texts_to_sequences(texts)))
    assert found[0] == found[1]


def test_many_texts_come_a_megabyte_at_a_time() -> None:
    chunks = list(in_chunks("x" * 1000 for _ in range(5000)))
    assert sum(map(len, chunks)) == 5000 and 4 <= len(chunks) <= 6
    assert list(in_chunks([])) == []


def test_few_texts_need_no_lexicon(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer: Any = Tokenizer(lower=False)
    tokenizer.fit_on_texts(["a b c d e f", [1, 2, 1]])
    assert tokenizer.texts_to_sequences(["f a 1" * 100, [1, 2]])[1] == [1, 8]
    assert tokenizer.texts_to_sequences(["f a"] * 100) == [[7, 2]] * 100  # by a lexicon, which has no number for 1
    monkeypatch.setattr(Tokenizer, "_lexicon", None)
    assert tokenizer.texts_to_sequences(["f a"]) == [[7, 2]]


def test_an_analyzer_may_read_anything() -> None:
    tokenizer = Tokenizer(analyzer=lambda number: ["even", "odd"][number % 2 :])  # type: ignore[arg-type, operator]
    tokenizer.fit_on_texts([1, 2, 3])  # type: ignore[list-item]
    assert tokenizer.texts_to_sequences([4, 5]) == [[2, 1], [1]]  # type: ignore[list-item]
