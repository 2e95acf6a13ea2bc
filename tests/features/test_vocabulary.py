"""Reading text strictly, and vocabularies: text to numbers and back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from corpus import some_text
from hypothesis import given
from hypothesis import strategies as st

from ostinato.errors import InputError
from ostinato.features.text import Vocabulary, read_text, tokenize, vocabulary_from_json

WORDS = "the cat saw the dog.\nthe dog (a small one) saw the cat, didn't it?\n"


@given(st.text(min_size=1))
def test_characters_come_back(text: str) -> None:
    vocabulary = Vocabulary.build(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.missing(text) == []


@given(st.text(), st.sampled_from(["characters", "words"]))
def test_json_round_trip(text: str, level: str) -> None:
    vocabulary = Vocabulary.build(text, level)
    again = vocabulary_from_json(vocabulary.to_json())
    assert (again.level, again.tokens) == (vocabulary.level, vocabulary.tokens)


def test_real_text_comes_back() -> None:
    text = some_text(50_000)
    vocabulary = Vocabulary.build(text)
    assert len(vocabulary) == len(set(text)) + 1
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_words_once_are_unknown() -> None:
    vocabulary = Vocabulary.build(WORDS, "words")
    assert vocabulary.tokens == ("<unk>", "\n", "cat", "dog", "saw", "the")
    assert vocabulary.encode("the cow saw") == [5, 0, 4]
    assert vocabulary.missing("the cow saw a cow") == ["cow", "a"]


def test_words_are_joined_as_prose() -> None:
    vocabulary = Vocabulary("words", ["<unk>", *dict.fromkeys(tokenize(WORDS, "words"))])
    assert vocabulary.decode(vocabulary.encode(WORDS)) == WORDS


def test_words_keep_the_unknown_mark_and_apostrophes_whole() -> None:
    assert tokenize("the <unk> didn't well-known 3.5\n", "words") == [
        "the", "<unk>", "didn't", "well-known", "3", ".", "5", "\n",
    ]  # fmt: skip


def test_the_most_frequent_are_kept_and_ties_are_settled() -> None:
    assert Vocabulary.build("aaabbccd", size=4).tokens == ("<unk>", "a", "b", "c")
    assert Vocabulary.build("dcba", size=3).tokens == ("<unk>", "a", "b")


def test_unknown_level() -> None:
    with pytest.raises(InputError, match=r"unknown level 'word' \(did you mean 'words'\?\)"):
        Vocabulary.build("a", "word")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a vocabulary"),
        ("[]", "format 1"),
        ('{"format": 2, "level": "words", "tokens": ["<unk>"]}', "format 1"),
        ('{"format": 1, "level": "words", "tokens": [1]}', "list of strings"),
        ('{"format": 1, "level": "words", "tokens": ["a"]}', "starts with <unk>"),
        ('{"format": 1, "level": "words", "tokens": ["<unk>", "a", "a"]}', "every token once"),
        ('{"format": 1, "level": "notes", "tokens": ["<unk>"]}', "unknown level 'notes'"),
    ],
)
def test_not_a_vocabulary(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        vocabulary_from_json(text)


def test_new_lines_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(path) == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "nothing but blanks"),
        (b"abc\xff", "not UTF-8 text: byte 0xff at offset 3"),
        (b"\xef\xbb\xbfab\x80", "byte 0x80 at offset 5"),
        ("één".encode("utf-16"), "not UTF-8 text: byte 0xff at offset 0"),
    ],
)
def test_unreadable_content(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_text(path)


def test_missing_folder_and_forbidden(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_text(tmp_path / "nothing")
    with pytest.raises(InputError, match="is a folder"):
        read_text(tmp_path)
    path = tmp_path / "text"
    path.write_text("text")
    path.chmod(0)
    if not os.access(path, os.R_OK):  # root reads everything
        with pytest.raises(InputError, match="cannot be read"):
            read_text(path)
