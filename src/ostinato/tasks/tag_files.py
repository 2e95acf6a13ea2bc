"""Words and their tags: from CoNLL, CoNLL-U, JSON lines, or plain text, a sentence a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.decoding.spans import Span, spans
from ostinato.errors import InputError, unknown
from ostinato.features.conll import ConllFile, ConlluFile, Sentence, Word
from ostinato.features.rows import open_table, read_lines
from ostinato.features.rows.lines import refuse
from ostinato.tasks.common.kind import Example
from ostinato.tasks.common.words import places

FORMATS = ("conll", "conllu", "jsonl", "lines")
ENDINGS = {".conllu": "conllu", ".jsonl": "jsonl"}


@dataclass(frozen=True)
class Words:
    """The words of a sentence, and where they stand in its text.

    >>> words = from_line("Ann saw Paris.", "here")
    >>> words.bracketed(["B-PER", "O", "B-LOC", "O"])
    '[Ann]PER saw [Paris]LOC.'
    >>> words.tagged(["PROPN", "VERB", "PROPN", "PUNCT"])
    'Ann/PROPN saw/VERB Paris/PROPN ./PUNCT'
    """

    tokens: tuple[str, ...]
    text: str
    starts: tuple[int, ...]
    """Of each word, from 0, in characters."""
    file: Any = None
    """The sentence as its file has it, where the answer is to look the same: True for CoNLL."""

    def end(self, word: int) -> int:
        """Where a word ends in the text."""
        return self.starts[word] + len(self.tokens[word])

    def part(self, span: Span) -> str:
        """The text of a span."""
        return self.text[self.starts[span.start] : self.end(span.stop - 1)]

    def bracketed(self, tags: Sequence[str]) -> str:
        """The text with its spans in brackets; of a file, as that file writes them."""
        if self.file is not None:
            return self._as_file(tags)
        out, before = [], 0
        for span in spans(tags):
            start, stop = self.starts[span.start], self.end(span.stop - 1)
            out += [self.text[before:start], f"[{self.part(span)}]{span.kind}"]
            before = stop
        return "".join([*out, self.text[before:]])

    def tagged(self, tags: Sequence[str]) -> str:
        """Each word with its tag; of a file, as that file writes them."""
        if self.file is not None:
            return self._as_file(tags)
        return " ".join(f"{token}/{tag}" for token, tag in zip(self.tokens, tags, strict=True))

    def _as_file(self, tags: Sequence[str]) -> str:
        """Lines, the last of them empty."""
        if isinstance(self.file, tuple):
            sentence, column = self.file
            return sentence.given(column, tags).text()[:-1]
        return "".join(f"{token}\t{tag}\n" for token, tag in zip(self.tokens, tags, strict=True))


def of_tokens(tokens: Sequence[str], file: Any = None) -> Words:
    """Words with a blank between any two."""
    starts, at = [], 0
    for token in tokens:
        starts.append(at)
        at += len(token) + 1
    return Words(tuple(tokens), " ".join(tokens), tuple(starts), file)


def from_line(text: str, place: str) -> Words:
    """A plain text, cut into words and punctuation marks.

    Raises:
        InputError: there is no word in it.
    """
    text = text.strip()
    found = places(text)
    if not found:
        raise InputError(f"{place}: there is no word in it" if text else f"{place}: the text is empty")
    return Words(tuple(text[a:b] for a, b in found), text, tuple(a for a, _ in found))


class Sentences:
    """The examples of a file, read anew at every iteration.

    Args:
        answered: each word must have its tag; else no tag is read.

    Raises:
        InputError: an unknown format or column; while it is read: anything wrong with the file, with its line.
    """

    def __init__(self, path: Path, options: Any, answered: bool) -> None:
        self.path, self.options, self.answered, self.bad = path, options, answered, 0
        by_name = next((ENDINGS[end] for end in reversed(path.suffixes) if end in ENDINGS), None)
        self.format = options.format or by_name or self._by_content()
        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS)

    def _by_content(self) -> str:
        """CoNLL, but for a file without tags whose lines are texts."""
        if self.answered:
            return "conll"
        if not self.path.exists():
            raise InputError(f"{self.path}: no such file")
        tabs, fields = ConllFile(self.path, self.options.encoding, 0).shape()
        return "conll" if tabs or fields == 1 else "lines"

    def __iter__(self) -> Iterator[Example]:
        self.bad = 0
        return getattr(self, f"_{self.format}")()

    def _complain(self, message: str) -> None:
        self.bad += 1
        if not self.options.skip_bad_lines:
            refuse(message)

    def _conll(self) -> Iterator[Example]:
        column = self.options.column
        if column is not None and not column.isdigit():
            raise InputError(f"column of a CoNLL file must be a number from 1, got {column!r}")
        number = 0 if not self.answered else int(column) if column else None
        file = ConllFile(self.path, self.options.encoding, number, self.options.skip_bad_lines)
        for sentence in file:
            gold = list(sentence.tags) if self.answered else None
            yield Example(sentence.place, of_tokens(sentence.tokens, True), gold)
        self.bad = file.bad

    def _conllu(self) -> Iterator[Example]:
        column = self.options.column or "upos"
        if column not in Word._fields:
            raise unknown("column of CoNLL-U", column, Word._fields)
        file = ConlluFile(self.path, self.options.encoding, self.options.skip_bad_lines)
        for sentence in file:
            gold = [getattr(word, column) for word in sentence.words] if self.answered else None
            if gold is not None and all(tag == "_" for tag in gold):
                self._complain(f"{sentence.place}: no word has a {column.upper()}")
                continue
            yield Example(sentence.place, _of_sentence(sentence, column), gold)
        self.bad += file.bad

    def _jsonl(self) -> Iterator[Example]:
        table = open_table(self.path, "jsonl", encoding=self.options.encoding, skip_bad=self.options.skip_bad_lines)
        count = 0
        for row in table:
            tokens, tags = (row.values.get(name) for name in ("tokens", self.options.column or "tags"))
            wrong = _wrong(tokens, tags, self.answered, self.options.column or "tags")
            if wrong:
                self._complain(f"{row.place}: {wrong}")
                continue
            count += 1
            yield Example(row.place, of_tokens(tokens or ()), tags if self.answered else None)
        self.bad += table.bad
        if not count:
            raise InputError(f"{self.path} has no sentences that can be used")

    def _lines(self) -> Iterator[Example]:
        for number, line in read_lines(self.path, self.options.encoding):
            if line.strip():
                place = f"{self.path}:{number}"
                yield Example(place, from_line(line, place))


def _of_sentence(sentence: Sentence, column: str) -> Words:
    return of_tokens([word.form for word in sentence.words], (sentence, column))


def _wrong(tokens: Any, tags: Any, answered: bool, name: str) -> str | None:
    """What is wrong with a line of JSON."""
    for key, value in (("tokens", tokens), (name, tags))[: 1 + answered]:
        if not (isinstance(value, list) and value and all(isinstance(entry, str) and entry for entry in value)):
            return f"{key!r} must be a list of texts, got {value!r:.40}"
    if answered and len(tokens) != len(tags):
        return f"{len(tokens)} tokens, but {len(tags)} {name}"
    return None
