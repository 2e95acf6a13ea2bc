"""Vectors from every format, the words needed and no more; errors by line; the layer; neighbours and analogies."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch
from close import assert_close
from corpus import DATA

from ostinato.errors import InputError
from ostinato.features.embeddings import Embedding, Vectors, read_vectors

WORDS = ["the", "Größe", ". . .", "at 9", "cat"]
MATRIX = torch.tensor([[0.5, -1.25, 3e-5], [1, 2, 3], [4, 5, 6], [7, 8, 9], [-0.1, 0.2, 0.3]])
GLOVE = DATA / "glove_50d_8k" / "glove.6B.50d.8k.txt"


def text(header: bool = False) -> bytes:
    rows = [f"{word} {' '.join(map(repr, row))}" for word, row in zip(WORDS, MATRIX.tolist(), strict=True)]
    return ("\n".join([*(["5 3"] if header else []), *rows]) + "\n").encode()


def binary(newlines: bool = True) -> bytes:
    end = b"\n" if newlines else b""
    words = [word.replace(" ", "_").encode() for word in WORDS]
    rows = (w + b" " + struct.pack("<3f", *row) + end for w, row in zip(words, MATRIX.tolist(), strict=True))
    return b"5 3\n" + b"".join(rows)


@pytest.mark.parametrize(("name", "data"), [
    ("glove.txt", text()), ("fasttext.vec", text(header=True)), ("glove.txt.gz", gzip.compress(text(), mtime=0)),
    ("w2v.bin", binary()), ("w2v.bin", binary(newlines=False)), ("w2v.bin.gz", gzip.compress(binary(), mtime=0)),
])  # fmt: skip
def test_formats(tmp_path: Path, name: str, data: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    blank = "_" if ".bin" in name else " "
    vectors = read_vectors(file)
    assert vectors.words == [word.replace(" ", blank) for word in WORDS]
    assert torch.equal(vectors.matrix, MATRIX)
    some = read_vectors(file, ["CAT", "Größe", "dog"])
    assert some.words == ["Größe", "cat"]
    assert torch.equal(some["cat"], MATRIX[4])
    assert read_vectors(file, ["cat"], first=2).words == [*vectors.words[:2], "cat"]


@pytest.mark.parametrize("name", ["a.safetensors", "a.txt"])
def test_written_and_read_back(tmp_path: Path, name: str) -> None:
    vectors = Vectors([word.replace(" ", "") for word in WORDS], MATRIX)
    vectors.save(tmp_path / name)
    again = read_vectors(tmp_path / name)
    assert again.words == vectors.words and torch.equal(again.matrix, MATRIX)
    assert read_vectors(tmp_path / name, ["cat"]).words == ["cat"]


def test_the_first_of_a_word_that_comes_twice(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a 1.0 2.0\na 3.0 4.0\n")
    assert read_vectors(file)["a"].tolist() == [1, 2]


@pytest.mark.parametrize(("name", "data", "message"), [
    ("a.txt", b"", r"a\.txt is empty"),
    ("a.txt", b"a 1.0 2.0\nb 1.0\n", r"a\.txt:2: a word and 2 numbers are expected, got 2 fields"),
    ("a.txt", b"a 1.0 2.0\nb 1.0 2.0 3.0\n", r"a\.txt:2: a word and 2 numbers are expected, got 3 numbers"),
    ("a.txt", b"a 1.0 2.0\n\nb 1.0 2.0\n", r"a\.txt:2: a word and 2 numbers are expected, got 0 fields"),
    ("a.txt", b"a 1.0 2.0\nb 1.0 x\n", r"a\.txt:2: 'x' is not a number"),
    ("a.txt", b"a 1.0 2.0\nb 1.0 nan\n", r"a\.txt:2: a vector has nan"),
    ("a.txt", b"a 1.0 2.0\nb\xff 1.0 2.0\n", r"a\.txt:2: byte 0xff is not UTF-8"),
    ("a.vec", b"9 3\na 1.0 2.0\n", r"a\.vec:2: a word and 3 numbers are expected"),
    ("a.bin", binary()[:-3], r"a\.bin, word 5 of 5: the file ends in the middle of its vector"),
    ("a.bin", binary()[:23], r"a\.bin, word 2 of 5: the file ends before it"),
    ("a.gz", gzip.compress(text() * 99, mtime=0)[:-30], "damaged after line"),
    ("a.safetensors", b"nothing", r"a\.safetensors is damaged"),
])  # fmt: skip
def test_broken_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_vectors(file)


def test_bad_requests(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a 1.0 2.0\n")
    with pytest.raises(InputError, match="no such file"):
        read_vectors(tmp_path / "b.txt")
    with pytest.raises(InputError, match="unknown format of vectors 'glove'; known: binary, safetensors, text"):
        read_vectors(file, format="glove")
    with pytest.raises(InputError, match="no vector for any of the 2 words"):
        read_vectors(file, ["b", "c"])
    with pytest.raises(InputError, match="has a blank in it"):
        Vectors(WORDS, MATRIX).save(tmp_path / "c.txt")


def test_coverage() -> None:
    vectors = Vectors(["the", "cat"], torch.eye(2))
    matrix, coverage = vectors.for_words(["The", "cat", "sat"])
    assert matrix.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert (coverage.exact, coverage.lowered, coverage.words) == (1, 1, 3)
    assert str(coverage) == "2 of 3 words have a vector (1 of them in lower case): 66.7%"


def test_neighbours_and_analogies() -> None:
    torch.manual_seed(0)
    base, royal, female = torch.randn(3, 12)
    planted = {"man": base, "king": base + royal, "woman": base + female, "queen": base + royal + female}
    noise = {f"w{i}": torch.randn(12) for i in range(50)}
    vectors = Vectors([*planted, *noise], torch.stack([*planted.values(), *noise.values()]))
    assert vectors.analogy("man", "king", "woman", 1)[0][0] == "queen"
    cosine = torch.nn.functional.cosine_similarity(vectors.matrix, vectors["king"], dim=1)
    cosine[1] = -2
    best = cosine.topk(3)
    found = vectors.neighbours("king", 3)
    assert [word for word, _ in found] == [vectors.words[i] for i in best.indices]
    assert [value for _, value in found] == pytest.approx(best.values.tolist(), abs=1e-5)
    with pytest.raises(InputError, match="unknown word 'kinq'"):
        vectors.neighbours("kinq")


@pytest.mark.skipif(not GLOVE.exists(), reason=f"no {GLOVE}")
def test_real_vectors() -> None:
    vectors = read_vectors(GLOVE)
    assert (len(vectors), vectors.size) == (8453, 50)
    assert {word for word, _ in vectors.neighbours("france", 5)} >= {"paris", "spain", "italy"}
    assert vectors.analogy("man", "he", "woman", 1)[0][0] == "she"


def test_padding_is_zero_and_stays() -> None:
    layer = Embedding(5, 3)
    layer(torch.tensor([[0, 1, 0]])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[0].tolist() == [0, 0, 0] and layer.weight.grad[1].tolist() == [1, 1, 1]
    assert layer(torch.tensor([0])).tolist() == [[0, 0, 0]]


def test_word_dropout_drops_a_word_everywhere() -> None:
    torch.manual_seed(0)
    layer = Embedding(200, 4, dropout=0.4)
    with torch.no_grad():
        layer.weight[1:] = 1
    x = torch.arange(1, 200).repeat(2, 1)  # [2, 199]
    out = layer(x)
    assert torch.equal(out[0], out[1])
    kept = out[0, :, 0]
    assert torch.isin(kept, torch.tensor([0.0, 1 / 0.6])).all()
    assert 0.45 < float((kept > 0).float().mean()) < 0.75
    assert torch.equal(layer.eval()(x), torch.ones(2, 199, 4))


def test_from_vectors() -> None:
    torch.manual_seed(0)
    vectors = Vectors(["the", "cat"], torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
    layer = Embedding.from_vectors(vectors, ["cat", "sat", "The"], first=2, frozen=True)
    assert layer.weight.shape == (5, 2) and not layer.weight.requires_grad
    assert layer.weight[[2, 4, 0]].tolist() == [[3, -4], [1, 2], [0, 0]]
    assert layer.weight[3].abs().sum() > 0 and layer.coverage is not None and layer.coverage.exact == 1
    assert layer.vectors(["cat", "sat"], first=2)["cat"].tolist() == [3, -4]


@pytest.mark.parametrize("width", [None, 3, 7])
def test_tied_output(width: int | None) -> None:
    layer = Embedding(6, 3, padding=None)
    output = layer.as_output(width)
    h = torch.randn(2, width or 3)
    projected = h if width in (None, 3) else h @ output.projection.weight.T  # type: ignore[operator]
    assert_close(output(h), projected @ layer.weight.T + output.bias)
    output(h).sum().backward()
    assert output.weight is layer.weight and layer.weight.grad is not None


def test_refusals() -> None:
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1, got 1"):
        Embedding(3, 2, dropout=1)
    with pytest.raises(ValueError, match="padding must be a number below 3, got 3"):
        Embedding(3, 2, padding=3)
    with pytest.raises(ValueError, match="a row for each word"):
        Vectors(["a"], torch.ones(2, 2))
    with pytest.raises(ValueError, match="more than once"):
        Vectors(["a", "a"], torch.ones(2, 2))
