"""Sentences from CoNLL and CoNLL-U files: a token a line, an empty line between sentences.

Sources: Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003 (columns between blanks or
tabs); universaldependencies.org/format.html (CoNLL-U, ten columns between tabs).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ostinato.errors import InputError
from ostinato.features.rows.lines import Bad, read_lines, refuse

SNIFFED = 200
"""Lines that are looked at to tell how the columns of a CoNLL file are set apart, and how many there are."""
_ID = re.compile(r"(?P<word>[1-9]\d*)|(?P<first>[1-9]\d*)-(?P<last>[1-9]\d*)|(?P<empty>\d+\.[1-9]\d*)")


class Word(NamedTuple):
    """One line of CoNLL-U, as it is written there; ``_`` is nothing."""

    id: str
    form: str
    lemma: str = "_"
    upos: str = "_"
    xpos: str = "_"
    feats: str = "_"
    head: str = "_"
    deprel: str = "_"
    deps: str = "_"
    misc: str = "_"


@dataclass(frozen=True)
class Sentence:
    """One sentence of CoNLL-U.

    ``words`` are what a grammar speaks of, with the numbers 1, 2, ...; the lines of multiword tokens (``3-4``) and
    empty nodes (``5.1``) are in ``lines`` too, and come out again.

    >>> lines = (Word("1-2", "don't"), Word("1", "do"), Word("2", "n't"))
    >>> sentence = Sentence("a.conllu:1", ("# text = don't",), lines)
    >>> [word.form for word in sentence.words]
    ['do', "n't"]
    >>> print(sentence.given("upos", ["AUX", "PART"]).text().replace("\\t", " "), end="")
    # text = don't
    1-2 don't _ _ _ _ _ _ _ _
    1 do _ AUX _ _ _ _ _ _
    2 n't _ PART _ _ _ _ _ _
    <BLANKLINE>
    """

    place: str
    """File and first line, for messages."""
    comments: tuple[str, ...]
    lines: tuple[Word, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """The lines whose ID is a whole number."""
        return tuple(word for word in self.lines if word.id.isdigit())

    @property
    def heads(self) -> list[int]:
        """The head of each word, 0 for the root.

        Raises:
            InputError: a word has none.
        """
        for word in self.words:
            if word.head == "_":
                raise InputError(f"{self.place}: word {word.id} ({word.form!r}) has no HEAD")
        return [int(word.head) for word in self.words]

    def given(self, column: str, values: Sequence[object]) -> Sentence:
        """The same sentence with one value in a column (``upos``, ``head``, ...) for each of its words."""
        if len(values) != len(self.words):
            raise ValueError(f"{len(self.words)} words, but {len(values)} values for {column}")
        new = iter(values)
        lines = [word._replace(**{column: str(next(new))}) if word.id.isdigit() else word for word in self.lines]
        return replace(self, lines=tuple(lines))

    def text(self) -> str:
        """The sentence as CoNLL-U, the empty line after it included."""
        return "".join(f"{line}\n" for line in [*self.comments, *("\t".join(word) for word in self.lines), ""])


@dataclass
class ConlluFile:
    """The sentences of a CoNLL-U file, in order; iterating reads them anew.

    With ``skip_bad`` a sentence with a line that cannot be used is left out, and counted in ``bad``.

    Raises:
        InputError: when it is read, by default: what is wrong, with file and line.
    """

    path: Path
    encoding: str = "utf-8"
    skip_bad: bool = False
    bad: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Sentence]:
        return _sentences(self, _conllu_sentence)


class Tagged(NamedTuple):
    """One sentence of a CoNLL file."""

    place: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass
class ConllFile:
    """The sentences of a file with a token and its tags a line, between tabs or blanks.

    ``-DOCSTART-`` and comments (``#`` where a sentence begins, with another number of fields) are passed over. Where
    tabs set the columns apart, a token may have blanks in it, or be empty.

    Args:
        column: of the tag, from 1; default: the last. 0: the tags are not read, and there may be tokens alone.
        skip_bad: leave out sentences with a line that cannot be used, and count them in ``bad``.

    Raises:
        InputError: when it is read, by default: what is wrong, with file and line.
    """

    path: Path
    encoding: str = "utf-8"
    column: int | None = None
    skip_bad: bool = False
    bad: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Tagged]:
        tabs, count = self.shape()
        if self.column is not None and self.column > count:
            raise InputError(f"{self.path} has no column {self.column}: its lines have {count} fields")
        if count < 2 and self.column != 0:
            raise InputError(f"{self.path}: a token and its tag are expected in a line, but the lines have one field")
        return _sentences(self, lambda path, lines: _tagged(path, lines, tabs, count, self.column))

    def shape(self) -> tuple[bool, int]:
        """Whether tabs set the columns apart, and how many columns most of the first lines have."""
        first = itertools.islice(read_lines(self.path, self.encoding, lambda message: None), SNIFFED)
        lines = [line.rstrip("\n") for _, line in first if line.strip()]
        tabs = 2 * sum("\t" in line for line in lines) > len(lines)
        counts = Counter(len(_fields(line, tabs)) for line in lines)
        return tabs, max(counts, key=lambda n: counts[n], default=0)


Lines = list[tuple[int, str]]


def _sentences(file: ConlluFile | ConllFile, read: Callable[[Path, Lines], object]) -> Iterator:
    """What ``read`` makes of the lines of each sentence; those of which it makes nothing are passed over."""
    file.bad, count = 0, 0

    def skip(message: str) -> None:
        file.bad += 1

    bad: Bad = skip if file.skip_bad else refuse
    for lines in _blocks(read_lines(file.path, file.encoding, bad)):
        try:
            sentence = read(file.path, lines)
        except InputError as error:
            bad(str(error))
            continue
        if sentence is not None:
            count += 1
            yield sentence
    if not count:
        raise InputError(f"{file.path} has no sentences that can be used")


def _blocks(lines: Iterator[tuple[int, str]]) -> Iterator[Lines]:
    """Numbered lines between empty ones; a line that could not be read leaves a hole, and ends its block wrongly."""
    block: Lines = []
    for number, line in lines:
        if line.strip():
            block.append((number, line.rstrip("\n")))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _fields(line: str, tabs: bool) -> list[str]:
    return line.split("\t") if tabs else line.split()


def _tagged(path: Path, lines: Lines, tabs: bool, count: int, column: int | None) -> Tagged | None:
    tokens, tags = [], []
    _check_whole(path, lines)
    for number, line in lines:
        fields = _fields(line, tabs)
        comment = line.startswith("#") and not tokens and len(fields) != count
        if comment or fields[0] == "-DOCSTART-":
            continue
        if len(fields) != count:
            between = "tabs" if tabs else "blanks"
            raise InputError(f"{path}:{number}: {len(fields)} fields, where {count} are expected between {between}: "
                             f"{line[:40]!r}")  # fmt: skip
        tag = fields[-1 if column is None else column - 1].strip() if column != 0 else ""
        if not tag and column != 0:
            raise InputError(f"{path}:{number}: the tag of {fields[0]!r} is empty")
        tokens.append(fields[0].strip())
        tags.append(tag)
    return Tagged(f"{path}:{lines[0][0]}", tuple(tokens), tuple(tags)) if tokens else None


def _check_whole(path: Path, lines: Lines) -> None:
    """A line that was left out for its encoding leaves a gap in the numbers: its sentence is not whole."""
    first, last = lines[0][0], lines[-1][0]
    if last - first + 1 != len(lines):
        raise InputError(f"{path}:{first}: a sentence with a line that cannot be read")


def _conllu_sentence(path: Path, lines: Lines) -> Sentence | None:
    _check_whole(path, lines)
    comments = tuple(itertools.takewhile(lambda line: line.startswith("#"), (line for _, line in lines)))
    rows = lines[len(comments) :]
    words = tuple(_word(f"{path}:{number}", line) for number, line in rows)
    count = 0
    for (number, _), word in zip(rows, words, strict=True):
        count += _check_id(f"{path}:{number}", word, count)
    for (number, _), word in zip(rows, words, strict=True):
        if word.id.isdigit() and word.head != "_" and not (word.head.isdecimal() and int(word.head) <= count):
            raise InputError(f"{path}:{number}: HEAD is {word.head!r}, expected a number from 0 to {count} or _")
    return Sentence(f"{path}:{lines[0][0]}", comments, words) if count else None


def _word(place: str, line: str) -> Word:
    fields = line.split("\t")
    if len(fields) != len(Word._fields):
        raise InputError(f"{place}: {len(fields)} fields, where CoNLL-U has 10 between tabs: {line[:40]!r}")
    for name, value in zip(Word._fields, fields, strict=True):
        if not value:
            raise InputError(f"{place}: {name.upper()} is empty, where CoNLL-U writes _ for nothing")
    return Word(*fields)


def _check_id(place: str, word: Word, before: int) -> int:
    """1 for a word, 0 for other lines, when the ID is one that may follow word number ``before``."""
    found = _ID.fullmatch(word.id)
    if not found:
        raise InputError(f"{place}: ID is {word.id!r}, expected a number, a range as 3-4, or an empty node as 5.1")
    if found["word"]:
        fits = int(word.id) == before + 1
    elif found["first"]:
        fits = int(found["first"]) == before + 1 and int(found["last"]) >= int(found["first"])
    else:
        fits = int(found["empty"].partition(".")[0]) == before
    if not fits:
        raise InputError(f"{place}: ID is {word.id!r} after word {before}: words are numbered 1, 2, 3, ...")
    return int(bool(found["word"]))
