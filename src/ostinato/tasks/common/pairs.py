"""Pairs of texts: two columns of a table, two files with a line each, or a word and what follows it."""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.features.rows import choose_columns, open_table, read_lines
from ostinato.features.rows.lines import refuse
from ostinato.tasks.common.kind import Example

FIRST_WORD = "first-word"
_VARIANT = re.compile(r"\(\d+\)$")


def pairs(path: Path, options: Any, answered: bool) -> Pairs:
    """The examples of DATA: a table, or with ``--source de --target en`` the files ``DATA.de`` and ``DATA.en``."""
    if not path.exists() and options.source and side(path, options.source) is not None:
        return Parallel(path, options, answered)
    if options.format == FIRST_WORD:
        return FirstWord(path, options, answered)
    return Columns(path, options, answered)


def side(path: Path, name: str) -> Path | None:
    """``DATA.name``, packed or not, where it is."""
    for ending in (name, f"{name}.gz"):
        file = path.with_name(f"{path.name}.{ending}")
        if file.exists():
            return file
    return None


class Pairs(ABC):
    """Examples read anew at every iteration; bad lines are counted where they may be."""

    def __init__(self, path: Path, options: Any, answered: bool) -> None:
        self.path, self.options, self.answered, self.bad = path, options, answered, 0

    def complain(self, message: str) -> None:
        """Count a line that cannot be used, or refuse it."""
        self.bad += 1
        if not self.options.skip_bad_lines:
            refuse(message)

    def __iter__(self) -> Iterator[Example]:
        self.bad, count = 0, 0
        for example in self.examples():
            count += 1
            yield example
        if not count:
            raise InputError(f"{self.path} has no pairs that can be used")

    @abstractmethod
    def examples(self) -> Iterator[Example]:
        """Each pair in turn."""


class Columns(Pairs):
    """Two columns of a table."""

    def examples(self) -> Iterator[Example]:
        options = self.options
        told = {"source": options.source, "target": options.target}
        names = [name for name in told.values() if name]
        table = open_table(self.path, options.format, encoding=options.encoding, names=names,
                           skip_bad=options.skip_bad_lines)  # fmt: skip
        some = [row.values for row in table.sample()]
        columns = choose_columns(some, told if self.answered else {"source": options.source}, self.path)
        for row in table:
            try:
                source = columns.text("source", row.values, row.place)
                target = columns.text("target", row.values, row.place) if self.answered else None
            except InputError as error:
                self.complain(str(error))
                continue
            yield Example(row.place, source, target)
        self.bad += table.bad


class Parallel(Pairs):
    """Two files, the n-th line of one the translation of the n-th of the other."""

    def examples(self) -> Iterator[Example]:
        files = [side(self.path, self.options.source)]
        if self.answered:
            if self.options.target is None or side(self.path, self.options.target) is None:
                raise InputError(f"{self.path}.{self.options.target or 'TARGET'}: no such file; say --target")
            files.append(side(self.path, self.options.target))
        lines = [read_lines(file, self.options.encoding) for file in files if file is not None]
        for together in itertools.zip_longest(*lines):
            if None in together:
                number = next(entry for entry in together if entry is not None)[0]
                raise InputError(f"{files[0]} and {files[1]} have not as many lines: one ends before line {number}")
            place, texts = f"{files[0]}:{together[0][0]}", [text.strip() for _, text in together]
            if not all(texts):
                self.complain(f"{place}: an empty line")
                continue
            yield Example(place, texts[0], texts[1] if self.answered else None)


class FirstWord(Pairs):
    """A word, a blank, and what belongs to it, as in a pronouncing dictionary; ``word(2)`` is another for ``word``."""

    def examples(self) -> Iterator[Example]:
        for number, line in read_lines(self.path, self.options.encoding, self.complain):
            text = line.split(" #")[0].strip()
            if not text or text.startswith((";;;", "#")):
                continue
            word, _, rest = text.partition(" ")
            if self.answered and not rest.strip():
                self.complain(f"{self.path}:{number}: a word and what belongs to it are expected, got {text!r}")
                continue
            yield Example(f"{self.path}:{number}", _VARIANT.sub("", word), rest.strip() if self.answered else None)
