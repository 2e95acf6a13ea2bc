"""Subwords: learned, written, read, saved; the same for the same text in every process."""

from __future__ import annotations

import doctest
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from corpus import some_text
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.errors import InputError
from ostinato.features.text import Subwords, subwords, train_subwords

KINDS = ("bpe", "wordpiece", "unigram")
TEXT = some_text(40_000).splitlines(keepends=True)
MADE = {kind: train_subwords(TEXT, kind, 600) for kind in KINDS}
AGAIN = """
import hashlib
from corpus import some_text
from ostinato.features.text import train_subwords
for kind in ("bpe", "wordpiece"):
    made = train_subwords(iter(some_text(40_000).splitlines(keepends=True)), kind, 600)
    print(hashlib.sha256(made.to_json().encode()).hexdigest())
"""


def test_the_same_in_every_process() -> None:
    found = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True,
                           cwd=Path(__file__).parents[1]).stdout.split()
    assert found == [hashlib.sha256(MADE[kind].to_json().encode()).hexdigest() for kind in ("bpe", "wordpiece")]


@settings(deadline=None)
@given(st.text())
def test_bytes_bring_back_any_text(text: str) -> None:
    made = MADE["bpe"]
    numbers = made.encode(text, begin=True, end=True)
    assert made.decode(numbers) == text
    assert (numbers[0], numbers[-1]) == (made.begin, made.end)
    assert made.unknown not in numbers


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_known_text_comes_back(kind: str) -> None:
    text = "".join(TEXT[:200])
    assert MADE[kind].decode(MADE[kind].encode(text)) == text


def test_word_pieces_come_back_as_prose() -> None:
    made = MADE["wordpiece"]
    assert made.decode(made.encode("  Before we proceed,\n speak. ")) == "Before we proceed, speak."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lower", [False, True])
def test_offsets_are_into_the_text_as_it_was(kind: str, lower: bool) -> None:
    made = train_subwords(TEXT, kind, 600, lower=lower)
    text = "Before WE proceed: İ naïve 🙂 end"
    places = made.offsets(text)
    assert len(places) == len(made.encode(text))
    assert [a for a, _ in places] == sorted(a for a, _ in places)
    covered = {i for a, b in places for i in range(a, b)}
    assert {i for i, c in enumerate(text) if not c.isspace()} <= covered
    assert made.encode("BEFORE") == made.encode("before") if lower else made.encode("BEFORE") != made.encode("before")


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_spells_a_special_token_stays_text(kind: str) -> None:
    made = train_subwords([*TEXT, "<s> </s> <pad> <unk>\n" * 50], kind, 700)
    numbers = made.encode("<s> a </s> <pad> <unk>")
    assert not {0, 1, 2, 3} & set(numbers)
    assert made.decode([made.begin, *numbers, made.end], specials=True).startswith("<s>")


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    made, path = MADE[kind], tmp_path / "tokenizer.json"
    made.save(path)
    text = "So </s> shall you <unk> hear 🙂"
    for other in (Subwords.load(path), Subwords.from_json(made.to_json()), pickle.loads(pickle.dumps(made))):
        assert other.encode(text) == made.encode(text)
        assert [other.padding, other.unknown, other.begin, other.end, len(other)] == [0, 1, 2, 3, len(made)]
    assert subwords.library().Tokenizer.from_file(str(path)).get_vocab() == made.tokenizer.get_vocab()


def test_others_tokenizers_neither_pad_nor_cut() -> None:
    package = subwords.library()
    other = package.Tokenizer(package.models.WordLevel({"[UNK]": 0, "a": 1, "[CLS]": 2}, unk_token="[UNK]"))
    other.pre_tokenizer = package.pre_tokenizers.Whitespace()
    other.enable_truncation(2)
    other.enable_padding(length=9)
    made = Subwords(other)
    assert made.encode("a b a a", begin=True) == [2, 1, 0, 1, 1]
    with pytest.raises(InputError, match=r"no token for padding: none of <pad>, \[PAD\]"):
        _ = made.padding


def test_many_at_once() -> None:
    made = MADE["unigram"]
    assert made.encode_batch(iter(TEXT[:9]), end=True) == [made.encode(text, end=True) for text in TEXT[:9]]
    assert made.encode("") == made.encode_batch([]) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("texts", "size", "message"), [
    ([], 300, "there is none"), ([" ", "\n"], 300, "there is none"), (["a", 3], 300, "text 1 is no text: 3"),
    ("one text", 300, "not one text"), (["a b"], 4, "at least 5, got 4"),
    (["abcdefghijklmnopqrstuvwxyz" * 2], 20, "size of 20 is too small: the characters alone take"),
])
def test_refuses(kind: str, texts: list[str], size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_subwords(texts, kind, size)


def test_refuses_an_unknown_kind_and_number() -> None:
    with pytest.raises(InputError, match="did you mean 'bpe'"):
        train_subwords(["a"], "bp")
    with pytest.raises(InputError, match="from 0 to 599, got 600"):
        MADE["bpe"].decode([1, 600])


@pytest.mark.parametrize("text", ["", "{}", "[]", "\x00", '{"model": {"type": "BPE"}}', MADE["bpe"].to_json()[:-20]])
def test_refuses_damaged_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer\.json: no tokenizer in the format of tokenizers"):
        Subwords.load(path)


def test_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Subwords.load(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        Subwords.load(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        Subwords.load(tmp_path / "bytes")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'ostinato\[text\]'"):
        train_subwords(["a"])


def test_a_bar_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    train_subwords(["some text"] * 3, size=300, progress=True)
    assert " texts" in capsys.readouterr().err
    train_subwords(["some text"] * 3, size=300, progress=False)
    assert capsys.readouterr().err == ""


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "text.md"
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert (failed, tried) == (0, 7)
    assert json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))["model"]["type"] == "BPE"
