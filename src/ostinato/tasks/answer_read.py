"""Stories with questions, from bAbI's format, from tables with columns, and from one line of text."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.features.rows import choose_columns, open_table, read_lines
from ostinato.features.rows.lines import refuse
from ostinato.tasks.common.kind import Example

_NUMBERED = re.compile(r"(\d+)\s+(\S.*)")


@dataclass(frozen=True)
class Story:
    """What is given: sentences in order, and a question."""

    sentences: tuple[str, ...]
    question: str
    number: int = 0
    """Questions with the same number are about the same story."""


def sentences_of(text: str) -> list[str]:
    """Sentences of a text, which end with a mark before a blank, or with a line.

    >>> sentences_of("Mary is in Oslo. Where is she?")
    ['Mary is in Oslo.', 'Where is she?']
    """
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n", text) if part.strip()]


def story_of(given: Any, question: Any, place: str, number: int = 0) -> Story:
    """A story that is a text or a list of sentences.

    Raises:
        InputError: it is neither, or there is no sentence or no question.
    """
    if isinstance(given, str) and given.lstrip().startswith("["):
        with contextlib.suppress(json.JSONDecodeError):  # else it is a text that begins with a bracket
            given = json.loads(given)
    if isinstance(given, str):
        sentences: Sequence[Any] = sentences_of(given)
    elif isinstance(given, list) and all(isinstance(sentence, str) for sentence in given):
        sentences = [sentence.strip() for sentence in given if sentence.strip()]
    else:
        raise InputError(f"{place}: the story must be a text or a list of sentences, got {str(given)[:40]}")
    if not sentences:
        raise InputError(f"{place}: the story has no sentence")
    if not isinstance(question, str) or not question.strip():
        raise InputError(f"{place}: the question must be a text, got {str(question)[:40]!r}")
    return Story(tuple(sentences), question.strip(), number)


def story_of_text(text: str) -> Story:
    """A story and its question in one line: JSON, or sentences of which the last ends with ``?``.

    Raises:
        InputError: there is no question, or no sentence before it.

    >>> story_of_text('{"story": ["Mary is in Oslo."], "question": "Where is Mary?"}').question
    'Where is Mary?'
    """
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"the text is not JSON: {error.msg} at column {error.colno}") from None
        for name in ("story", "question"):
            if name not in value:
                raise InputError(f"the text has no {name!r}; {{\"story\": ..., \"question\": ...}} is expected")
        return story_of(value["story"], value["question"], "the text")
    sentences = sentences_of(text)
    if not sentences or not sentences[-1].endswith("?"):
        raise InputError(f"a story and then a question that ends with ? are expected, got {text.strip()[-60:]!r}")
    return story_of(sentences[:-1], sentences[-1], "the text")


class Stories:
    """The examples of a file, read anew at every iteration."""

    def __init__(self, path: Path, options: Any, answered: bool) -> None:
        self.path, self.options, self.answered = path, options, answered
        self._bad, self._table = 0, None
        if options.format == "babi" or (options.format is None and is_babi(path, options.encoding)):
            return
        told = {"story": options.story, "question": options.question, "answer": options.answer}
        names = [name for name in told.values() if name]
        self._table = open_table(path, options.format, encoding=options.encoding, header=options.header, names=names,
                                 skip_bad=options.skip_bad_lines)  # fmt: skip
        self._columns = self._choose(told)

    def _choose(self, told: dict[str, str | None]) -> Any:
        rows = [row.values for row in self._table.sample()] if self._table else []
        try:
            return choose_columns(rows, told, self.path)
        except InputError:
            if self.answered or told["answer"] is not None:
                raise
            return choose_columns(rows, {role: said for role, said in told.items() if role != "answer"}, self.path)

    @property
    def bad(self) -> int:
        """Lines that were left out."""
        return self._bad + (self._table.bad if self._table else 0)

    def __iter__(self) -> Iterator[Example]:
        self._bad = 0
        found = self._of_table() if self._table else self._of_babi()
        first = next(found, None)
        if first is None:
            raise InputError(f"{self.path} has no question that can be used")
        return itertools.chain([first], found)

    def _complain(self, message: str) -> None:
        if not self.options.skip_bad_lines:
            refuse(message)
        self._bad += 1

    def _of_table(self) -> Iterator[Example]:
        assert self._table is not None
        numbers: dict[Any, int] = {}
        for row in self._table:
            try:
                yield self._of_row(row.values, row.place, numbers)
            except InputError as error:
                self._complain(str(error))

    def _of_row(self, values: Mapping[str, Any], place: str, numbers: dict[Any, int]) -> Example:
        columns = self._columns
        story = story_of(columns.raw("story", values, place), columns.raw("question", values, place), place)
        number = numbers.setdefault(hash(story.sentences), len(numbers))
        gold = None
        if "answer" in columns.of:
            gold = answer_of(columns.raw("answer", values, place), place)
        return Example(place, Story(story.sentences, story.question, number), gold)

    def _of_babi(self) -> Iterator[Example]:
        sentences: list[str] = []
        story = 0
        for number, line in read_lines(self.path, self.options.encoding, self._complain):
            if not line.strip():
                continue
            place, found = f"{self.path}:{number}", _NUMBERED.match(line)
            if found is None:
                self._complain(f"{place}: a number and a sentence are expected, got {line.strip()[:40]!r}")
                continue
            if found[1] == "1":
                sentences, story = [], story + 1
            text, *rest = [part.strip() for part in found[2].split("\t")]
            if not rest and not (text.endswith("?") and not self.answered):
                sentences.append(text)
            elif not sentences or not text or (rest and not rest[0]):
                missing = "a sentence before the question" if not sentences else "question TAB answer"
                self._complain(f"{place}: {missing} is expected, got {line.strip()[:40]!r}")
            else:
                yield Example(place, Story(tuple(sentences), text, story), rest[0] if rest else None)


def answer_of(value: Any, place: str) -> str:
    """An answer that is a text, a number, or a list of them (joined by commas).

    Raises:
        InputError: it is none of these, or without a word.
    """
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, dict) or not text.strip(" ,"):
        raise InputError(f"{place}: the answer must be a text or a list of texts, got {str(value)[:40]!r}")
    return text.strip()


def is_babi(path: Path, encoding: str) -> bool:
    """Whether the first line that is not empty is bAbI's ``1 sentence`` and the name promises no other format."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file of stories")
    try:
        first = next((line for _, line in read_lines(path, encoding) if line.strip()), "")
    except LookupError:
        raise InputError(f"unknown encoding {encoding!r}; known are utf-8, latin-1, cp1252, ...") from None
    named = path.suffix in (".csv", ".tsv", ".jsonl", ".json", ".parquet")
    return not named and _NUMBERED.match(first) is not None
