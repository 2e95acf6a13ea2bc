"""The Tokenizer and its neighbours against the class that Keras still carries inside."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from corpus import some_text
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.legacy.preprocessing import sequence as keras_sequence
from keras.src.legacy.preprocessing import text as keras_text
from keras.src.utils import sequence_utils

from ostinato.features import text as ours

SLIDES = ["The cat sat on the mat.", "The dog ate my homework."]
UNICODE = ["Straße İstanbul ΣΊΣΥΦΟΣ ﬁne", "ǅ naïve—café\u2028line\x00nul", "a\tb\n\nc  d", "", "   ",
           "a\0 a \ud800 \udfff\ud800", "ΑΣ. ΣΑ Σ\u0307Σ \u212aELVIN", "TOO LONG: " + "X" * 17 + " " + "x" * 16]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "few": {"num_words": 4},
    "others": {"oov_token": "<unk>"},
    "few and others": {"num_words": 4, "oov_token": "<unk>"},
    "others is a word": {"num_words": 3, "oov_token": "the"},
    "characters": {"char_level": True},
    "characters as they are": {"char_level": True, "lower": False, "num_words": 6},
    "case": {"lower": False},
    "other filters": {"filters": "aeiou", "split": "t"},
    "long split": {"split": ", ", "filters": "."},
    "analyzer": {"analyzer": lambda text: text.upper().split("A")},
}
MODES = ("binary", "count", "freq", "tfidf")


def state(tokenizer: Any) -> dict[str, Any]:
    names = ("word_counts", "word_docs", "word_index", "index_word", "index_docs", "document_count")
    return {name: getattr(tokenizer, name) for name in names} | {"order": list(tokenizer.word_counts)}


def both(options: dict[str, Any], texts: list[Any]) -> Iterator[Any]:
    for module in (ours, keras_text):
        tokenizer = module.Tokenizer(**options)
        tokenizer.fit_on_texts(texts)
        yield tokenizer


def check(options: dict[str, Any], texts: list[Any], others: list[Any]) -> None:
    mine, theirs = both(options, texts)
    assert state(mine) == state(theirs)
    for some in (texts, others):
        sequences = theirs.texts_to_sequences(some)
        assert mine.texts_to_sequences(some) == sequences
        assert list(mine.texts_to_sequences_generator(iter(some))) == sequences
        assert mine.sequences_to_texts([*sequences, [0, 1, 2, 3, 99]]) == theirs.sequences_to_texts(
            [*sequences, [0, 1, 2, 3, 99]])
        if theirs.word_index and texts:
            for mode in MODES:
                np.testing.assert_allclose(mine.texts_to_matrix(some, mode), theirs.texts_to_matrix(some, mode),
                                           rtol=1e-12)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("texts", [SLIDES, UNICODE, [*SLIDES, ["The", "CAT", "sat"]]], ids=["slides", "odd", "list"])
def test_as_keras(options: dict[str, Any], texts: list[Any]) -> None:
    check(options, texts, [*UNICODE, *SLIDES, ["the", "Dog"]])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_real_text(options: dict[str, Any]) -> None:
    lines = some_text(20_000).splitlines()
    check(options, lines[::2], lines[1::2])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text()), st.lists(st.text()), st.sampled_from(sorted(OPTIONS)))
def test_any_text(texts: list[str], others: list[str], name: str) -> None:
    check(OPTIONS[name], texts, others)


def test_fitted_twice() -> None:
    found = []
    for tokenizer in both({}, SLIDES):
        tokenizer.fit_on_texts(text for text in ["dog dog dog cat", "new"])
        tokenizer.fit_on_sequences([[1, 2, 2], [1]])
        found.append(state(tokenizer) | {"tfidf": tokenizer.sequences_to_matrix([[1, 2]], "tfidf").tolist()})
    assert found[0] == found[1]


def test_sequences_alone() -> None:
    found = []
    for module in (ours, keras_text):
        tokenizer = module.Tokenizer(num_words=5)
        tokenizer.fit_on_sequences([[1, 2, 2], [4]])
        found.append([tokenizer.sequences_to_matrix([[1, 2, 2, 7], []], mode).tolist() for mode in MODES])
    assert found[0] == found[1]


@pytest.mark.parametrize("options", [{}, {"num_words": 4, "oov_token": "<unk>", "char_level": True}])
def test_json_goes_both_ways(options: dict[str, Any]) -> None:
    mine, theirs = both(options, [*SLIDES, *UNICODE])
    assert json.loads(mine.to_json()).keys() == json.loads(theirs.to_json()).keys()
    config, other = mine.get_config(), theirs.get_config()
    assert {k: json.loads(v) if k.startswith(("word", "index")) else v for k, v in config.items()} == {
        k: json.loads(v) if k.startswith(("word", "index")) else v for k, v in other.items()}
    for again in (ours.tokenizer_from_json(theirs.to_json()), keras_text.tokenizer_from_json(mine.to_json(indent=1))):
        assert state(again) == state(mine)
        assert again.texts_to_sequences(SLIDES) == theirs.texts_to_sequences(SLIDES)
    again = ours.tokenizer_from_json(mine.to_json())
    again.fit_on_texts(["dog"])
    assert again.word_counts["d" if options else "dog"] > 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": {"word_counts": "{}"}}', '{"config": 3}'])
def test_json_of_something_else(text: str) -> None:
    with pytest.raises(ValueError, match="no Tokenizer's JSON"):
        ours.tokenizer_from_json(text)


def test_refusals() -> None:
    tokenizer = ours.Tokenizer()
    with pytest.raises(ValueError, match="unknown mode 'bits'"):
        tokenizer.sequences_to_matrix([[1]], mode="bits")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="specify a dimension"):
        tokenizer.sequences_to_matrix([[1]])
    with pytest.raises(ValueError, match="before using tfidf"):
        ours.Tokenizer(num_words=3).sequences_to_matrix([[1]], mode="tfidf")
    with pytest.raises(ValueError, match="'md5', a function or None, got 'sha'"):
        ours.hashing_trick("a", 5, "sha")


@given(st.text(), st.integers(2, 1000))
def test_hashing(text: str, n: int) -> None:
    for function in (None, "md5", len):
        assert ours.hashing_trick(text, n, function) == keras_text.hashing_trick(text, n, function)
    assert ours.one_hot(text, n, filters="a", lower=False) == keras_text.one_hot(text, n, filters="a", lower=False)
    assert ours.text_to_word_sequence(text) == keras_text.text_to_word_sequence(text)


SEQUENCES = st.lists(st.lists(st.integers(-5, 99), max_size=6), max_size=5)


@given(SEQUENCES, st.sampled_from([None, 1, 3, 8]), st.sampled_from(["pre", "post"]), st.sampled_from(["pre", "post"]),
       st.sampled_from(["int32", "float32"]), st.integers(0, 3))
def test_padding(sequences: list[list[int]], maxlen: int | None, padding: Any, truncating: Any, dtype: str,
                 value: int) -> None:
    if not sequences and maxlen is None:
        assert ours.pad_sequences(sequences).shape == (0, 0)
        return
    mine, theirs = (module.pad_sequences(sequences, maxlen, dtype, padding, truncating, value)
                    for module in (ours, sequence_utils))
    np.testing.assert_array_equal(mine, theirs, strict=True)


def test_padding_of_vectors_and_words() -> None:
    options: Any
    vectors = [np.ones((2, 3)), np.full((1, 3), 7.0), np.zeros((0, 3))]
    words = [["a", "bc"], ["d"]]
    for options in ({"dtype": "float64"}, {"dtype": "float32", "padding": "post", "maxlen": 1}):
        np.testing.assert_array_equal(ours.pad_sequences(vectors, **options),
                                      sequence_utils.pad_sequences(vectors, **options), strict=True)
    for dtype in (object, "U2"):
        mine, theirs = (m.pad_sequences(words, dtype=dtype, value="-", padding="post") for m in (ours, sequence_utils))
        np.testing.assert_array_equal(mine, theirs, strict=True)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"sequences": [[1], 2]}, "sequence 1 is no sequence: 2"),
    ({"sequences": 3}, "a list of sequences, got int"),
    ({"sequences": [[1]], "padding": "left"}, "padding must be 'pre' or 'post', got 'left'"),
    ({"sequences": [[1]], "truncating": "left"}, "truncating must be"),
    ({"sequences": [[1]], "value": "x"}, "needs dtype=object"),
    ({"sequences": [[[1]], [[1, 2]]]}, "one shape"),
])
def test_padding_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours.pad_sequences(**arguments)


@pytest.mark.filterwarnings("ignore:non-integer arguments to randrange")  # Keras draws its seed so
@pytest.mark.parametrize("options", [{}, {"categorical": True}, {"negative_samples": 0, "shuffle": False},
                                     {"sampling_table": ours.make_sampling_table(9, 1e-2), "window_size": 1},
                                     {"seed": 4, "negative_samples": 2.5}])
def test_skipgrams(options: dict[str, Any]) -> None:
    found = []
    for module in (ours, keras_sequence):
        random.seed(3)
        found.append(module.skipgrams([1, 2, 0, 3, 4, 8, 1], 9, **options))
    assert found[0] == found[1]


def test_sampling_table() -> None:
    np.testing.assert_array_equal(ours.make_sampling_table(1000, 1e-4), keras_sequence.make_sampling_table(1000, 1e-4))
