"""Words counted and numbered by the native library, many texts at a time: what makes the Tokenizer fast."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ostinato.engines.cpu.library import Unavailable, library

SEPARATOR = 256
"""What a byte counts as that stands between words."""
TOGETHER = 1 << 20
"""Characters that are handed over at a time, about."""
Cut = Callable[[str], Sequence[str]]
Texts = tuple[bytes, NDArray[np.int64]]
"""Texts one after the other, a byte between them, and where each ends."""


def byte_table(filters: str, lower: bool, split: str) -> NDArray[np.uint16] | None:
    """What each byte counts as; None where bytes do not tell: ``split`` is not one ASCII character."""
    if len(split) != 1 or not split.isascii():
        return None
    table = np.arange(256, dtype=np.uint16)
    for number in range(128):
        letter = chr(number).lower() if lower else chr(number)
        table[number] = SEPARATOR if letter in filters or letter == split else ord(letter)
    return table


class Lexicon:
    """Words in the order in which they first came, and how often they did.

    Args:
        filters, lower, split: as of the Tokenizer.
        cut: the words of a text, where its bytes do not tell them.

    Raises:
        Unavailable: there is no native library, or ``split`` is not one ASCII character.

    >>> lexicon = Lexicon(".", True, " ", str.split)
    >>> lexicon.count(["The cat. The", "dog"])
    >>> lexicon.words(), lexicon.counts.tolist(), lexicon.documents.tolist()
    (['the', 'cat', 'dog'], [2, 1, 1], [1, 1, 1])
    """

    def __init__(self, filters: str, lower: bool, split: str, cut: Cut) -> None:
        table = byte_table(filters, lower, split)
        if table is None:
            raise Unavailable("the words of such texts are not told by bytes")
        self._native, self._table, self._cut = library().native, table, cut
        self._lower, self._plain = lower, filters.isascii()
        self._handle = ctypes.c_void_p()
        self._check(self._native.ost_lexicon_make(ctypes.byref(self._handle)))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._native.ost_lexicon_free(self._handle)

    def __len__(self) -> int:
        return self._native.ost_lexicon_size(self._handle)

    def _check(self, code: int) -> None:
        if code:
            raise MemoryError(self._native.ost_message().decode())

    def _bytes(self, texts: Sequence[str]) -> Texts:
        """Texts as bytes, a new line between any two: it is no letter, so that a last sigma is still the last."""
        whole = "\n".join(texts)
        ends = np.fromiter(itertools.accumulate(map(len, texts)), np.int64, len(texts)) + np.arange(len(texts))
        if whole.isascii():
            return whole.encode(), ends
        small = whole.lower() if self._lower else whole
        if not self._plain or len(small) != len(whole):  # letters that become two, separators that are no bytes
            return self._cut_bytes(texts)
        data = small.encode("utf-8", "surrogatepass")
        letters = np.flatnonzero(np.frombuffer(data, np.uint8) & 0xC0 != 0x80)  # where each begins
        return data, np.append(letters, len(data))[ends]

    def _cut_bytes(self, texts: Sequence[str]) -> Texts:
        """Texts cut by Python, their words set apart by a byte that no word has."""
        apart = next((chr(byte) for byte in range(128) if self._table[byte] == SEPARATOR), "")
        parts = [apart.join(self._cut(text)).encode("utf-8", "surrogatepass") for text in texts]
        ends = np.fromiter(itertools.accumulate(map(len, parts)), np.int64, len(parts)) + np.arange(len(parts))
        return b"\n".join(parts), ends

    def add(self, words: Sequence[str]) -> None:
        """Take words in, as they are: each that is new gets the next number.

        Raises:
            ValueError: a word that no text could have: empty, or with what stands between words.
        """
        before = len(self)
        parts = [word.encode("utf-8", "surrogatepass") for word in words]
        ends = np.fromiter(itertools.accumulate(map(len, parts)), np.int64, len(parts)) + np.arange(len(parts))
        plain = np.arange(256, dtype=np.uint16)
        self._check(self._native.ost_lexicon_count(self._handle, b"\n".join(parts), ends.ctypes.data, len(ends),
                                                   1, plain.ctypes.data))  # fmt: skip
        if len(self) - before != len(words):
            raise ValueError("a word is empty, or there twice")

    def count(self, texts: Sequence[str]) -> None:
        """Count the words of texts."""
        data, ends = self._bytes(texts)
        self._check(self._native.ost_lexicon_count(self._handle, data, ends.ctypes.data, len(ends), 1,
                                                   self._table.ctypes.data))  # fmt: skip

    def _read(self) -> tuple[bytes, NDArray[np.int64]]:
        """The words end to end; and of each its end, its count and its documents: ``[3, V]``."""
        words = ctypes.create_string_buffer(self._native.ost_lexicon_bytes(self._handle) + 1)
        numbers = np.zeros((3, len(self)), np.int64)
        self._native.ost_lexicon_read(self._handle, words, *(row.ctypes.data for row in numbers))
        return words.raw[:-1], numbers

    def words(self) -> list[str]:
        """The words, by number."""
        data, (ends, *_) = self._read()
        text = data.decode("utf-8", "surrogatepass")
        if len(text) == len(data):  # all ASCII
            return [text[a:b] for a, b in itertools.pairwise([0, *ends.tolist()])]
        return [data[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise([0, *ends.tolist()])]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each word came, ``[V]``."""
        return self._read()[1][1]

    @property
    def documents(self) -> NDArray[np.int64]:
        """In how many texts each word came, ``[V]``."""
        return self._read()[1][2]

    def encode(self, texts: Sequence[str], numbers: NDArray[np.int64], other: int) -> list[list[int]]:
        """For each text ``numbers[w]`` of its words w, and ``other`` of what is no word; negative ones are left out."""
        data, ends = self._bytes(texts)
        result, stops = np.empty(len(data) + 1, np.int64), np.zeros(len(ends), np.int64)
        self._check(self._native.ost_lexicon_encode(
            self._handle, data, ends.ctypes.data, len(ends), 1, self._table.ctypes.data, numbers.ctypes.data,
            other, result.ctypes.data, stops.ctypes.data))  # fmt: skip
        found, places = result[: stops[-1] if len(stops) else 0].tolist(), [0, *stops.tolist()]
        return [found[a:b] for a, b in itertools.pairwise(places)]


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """No search for garbage while many lists are made, none of which is garbage: it takes longer than they do."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def in_chunks(texts: Iterable[str | list[str]]) -> Iterator[list[str | list[str]]]:
    """Texts, about a megabyte at a time."""
    rest, chunk, size = iter(texts), [], 0
    while some := list(itertools.islice(rest, 64)):
        chunk += some
        try:
            size += sum(map(len, some))
        except TypeError:  # what an analyzer reads may have no length
            size += TOGETHER
        if size >= TOGETHER:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
