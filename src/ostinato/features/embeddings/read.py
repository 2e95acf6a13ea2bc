"""Pretrained vectors from GloVe, word2vec (text and binary), fastText and safetensors files: the words needed, no more.

A file is read once from its beginning to its end, a line or a block at a time; memory holds what is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch

from ostinato.errors import InputError, unknown
from ostinato.features.embeddings.vectors import Vectors
from ostinato.features.rows.lines import open_bytes
from ostinato.files import load_tensors

Found = Iterator[tuple[str, np.ndarray]]
PROGRESS_BYTES = 50_000_000
"""Larger files show how far they are read."""


def read_vectors(path: str | Path, words: Collection[str] | None = None, first: int = 0, format: str | None = None,
                 progress: bool | None = None) -> Vectors:  # fmt: skip
    """The vectors of a file.

    Args:
        path: the file; text and binary may be packed (``.gz``).
        words: keep these only (and their lower-case forms); None keeps all.
        first: keep so many from the beginning of the file too, where frequent words usually stand.
        format: ``text`` (GloVe, and word2vec's and fastText's with a first line of two counts), ``binary`` (word2vec)
            or ``safetensors``; None tells it by the content.
        progress: draw a bar; by default for large files on a terminal.

    Raises:
        InputError: missing, empty, damaged; a line with another number of fields or with what is no finite number (by
            its line, and in binary files by the number of its word); none of the words is there.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise unknown("format of vectors", format, FORMATS)
    wanted = None if words is None else _Wanted({*words, *(word.lower() for word in words)}, first)
    kept: dict[str, np.ndarray] = {}
    with open_bytes(path) as file, _Bar(path, file, progress) as tick:
        for word, vector in FORMATS[format or _tell(path)](path, file, wanted, tick):
            kept.setdefault(word, vector)  # the first of a word that comes twice
    if not kept:
        raise InputError(f"{path} has no vector for any of the {len(words or ())} words")
    return Vectors(list(kept), torch.from_numpy(np.stack(list(kept.values()))))


class _Wanted:
    """The words to keep: asked in the order of the file, it says yes to the first ones too."""

    def __init__(self, words: set[str], first: int) -> None:
        self._words, self._first = words, first

    def __contains__(self, word: str) -> bool:
        self._first -= 1
        return self._first >= 0 or word in self._words


class _Bar:
    """Draws how many bytes of a large file are read."""

    def __init__(self, path: Path, file: IO[bytes], progress: bool | None) -> None:
        size = path.stat().st_size
        self._shown = progress if progress is not None else size > PROGRESS_BYTES
        self._total, self._name = (size if path.suffix != ".gz" else None), path.name
        self._required = progress is True

    def __enter__(self) -> Callable[[int], object]:
        if not self._shown:
            self._tqdm = None
            return lambda count: None
        from tqdm import tqdm

        disable = False if self._required else None
        self._tqdm = tqdm(total=self._total, unit="B", unit_scale=True, desc=self._name, leave=False, disable=disable)
        return self._tqdm.update

    def __exit__(self, *exception: object) -> None:
        if self._tqdm is not None:
            self._tqdm.close()


def _tell(path: Path) -> str:
    if path.suffix == ".safetensors":
        return "safetensors"
    with open_bytes(path) as file:
        first, second = file.readline(200), file.read(4096)
    if not first:
        raise InputError(f"{path} is empty")
    counts = first.split()
    headed = len(counts) == 2 and all(part.isdigit() for part in counts)
    return "binary" if headed and any(byte < 9 for byte in second) else "text"  # no text has a byte so small


def _text(path: Path, file: IO[bytes], wanted: _Wanted | None, tick: Callable[[int], object]) -> Found:
    """``word number ... number`` a line; a first line of two counts is left out. A word may have blanks in it."""
    size = 0
    number = 0
    for number, line in enumerate(_damage_named(path, file), start=1):
        tick(len(line))
        line = line.rstrip()
        blanks = line.count(b" ")
        if number == 1 and blanks == 1 and all(part.isdigit() for part in line.split(b" ")):
            size = int(line.split(b" ")[1])
            continue
        size = size or blanks
        place = f"{path}:{number}"
        if not line or blanks < size or size < 1:
            raise InputError(f"{place}: a word and {max(size, 1)} numbers are expected, got {len(line.split())} fields")
        fields = line.split(b" ", 1) if blanks == size else line.rsplit(b" ", size)
        if blanks > size and _is_coordinate(fields[0].rsplit(b" ", 1)[-1]):
            raise InputError(f"{place}: a word and {size} numbers are expected, got {blanks} numbers")
        try:
            word = fields[0].decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{place}: byte 0x{fields[0][error.start]:02x} is not UTF-8") from None
        if wanted is None or word in wanted:
            yield word, _numbers(fields[1].split(b" ") if blanks == size else fields[1:], place)
    if number == 0:
        raise InputError(f"{path} is empty")


def _is_coordinate(field: bytes) -> bool:
    """Whether the end of what should be a word is one number more: GloVe has words such as ``. . .`` and ``at 9``, but
    none that ends like a coordinate."""
    return _parses(field) and b"." in field


def _numbers(fields: list[bytes], place: str) -> np.ndarray:
    try:
        vector = np.array(fields, dtype=np.float64)
    except ValueError:
        wrong = next(field for field in fields if not _parses(field))
        raise InputError(f"{place}: {wrong.decode(errors='replace')!r} is not a number") from None
    return _finite(vector.astype(np.float32), place)


def _parses(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _finite(vector: np.ndarray, place: str) -> np.ndarray:
    if not np.isfinite(vector).all():
        raise InputError(f"{place}: a vector has {vector[~np.isfinite(vector)][0]} in it")
    return vector


def _damage_named(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    import zlib

    number = 0
    try:
        for line in file:
            number += 1
            yield line
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is damaged after line {number}: {error}") from None


def _binary(path: Path, file: IO[bytes], wanted: _Wanted | None, tick: Callable[[int], object]) -> Found:
    """word2vec: two counts on a line, then a word, a blank, and its 32-bit numbers, for each word."""
    counts = file.readline(200).split()
    if len(counts) != 2 or not all(part.isdigit() for part in counts):
        raise InputError(f"{path} is not word2vec's binary: it does not begin with two counts")
    count, size = map(int, counts)
    for number in range(1, count + 1):
        place = f"{path}, word {number} of {count}"
        word = _word(file, place)
        data = file.read(4 * size)
        if len(data) < 4 * size:
            raise InputError(f"{place}: the file ends in the middle of its vector of {size} numbers")
        tick(len(data) + len(word) + 1)
        try:
            text = word.decode()
        except UnicodeDecodeError:
            if wanted is None:
                raise InputError(f"{place}: it is not UTF-8") from None
            continue
        if wanted is None or text in wanted:
            yield text, _finite(np.frombuffer(data, "<f4").astype(np.float32), place)


def _word(file: IO[bytes], place: str) -> bytes:
    word = bytearray()
    while True:
        byte = file.read(1)
        if not byte:
            raise InputError(f"{place}: the file ends before it")
        if byte == b" ":
            return bytes(word)
        if byte != b"\n":
            word += byte
        if len(word) > 10_000:
            raise InputError(f"{place}: no blank after 10,000 bytes: this is not word2vec's binary")


def _safetensors(path: Path, file: IO[bytes], wanted: _Wanted | None, tick: Callable[[int], object]) -> Found:
    """A matrix ``vectors`` and its ``words``, as :meth:`Vectors.save` writes them."""
    tensors, about = load_tensors(path)
    tick(os.path.getsize(path))
    words = about.get("words") if isinstance(about, dict) else None
    matrix = tensors.get("vectors")
    if matrix is None or matrix.dim() != 2 or not isinstance(words, list) or len(words) != len(matrix):
        raise InputError(f"{path} holds no words with vectors: a matrix 'vectors' and as many 'words' are expected")
    for number, (word, row) in enumerate(zip(words, matrix.float().numpy(), strict=True), start=1):
        if wanted is None or word in wanted:
            yield word, _finite(row, f"{path}, word {number} of {len(words)}")


FORMATS: dict[str, Callable[[Path, IO[bytes], _Wanted | None, Callable[[int], object]], Found]] = {
    "text": _text,
    "binary": _binary,
    "safetensors": _safetensors,
}
"""How each format is read."""
