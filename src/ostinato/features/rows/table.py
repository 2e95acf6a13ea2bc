"""Any of the formats as one thing: a table whose rows are read again and again, never all at once."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ostinato.errors import InputError, unknown
from ostinato.features.rows.columns import is_header
from ostinato.features.rows.hub import hub_rows, is_hub
from ostinato.features.rows.lines import Bad, read_lines, refuse

csv.field_size_limit(2**30)  # a document may be one field
SNIFFED = 200
"""Lines that are looked at to tell a format."""


@dataclass(frozen=True)
class Row:
    """One row: its values by column, and where it stands, for messages."""

    place: str
    values: Mapping[str, Any]


@dataclass
class Table:
    """Rows of one file or folder, in order; iterating reads them anew.

    With ``skip_bad`` a row that cannot be read is left out, and counted in ``bad``; otherwise it is an
    :class:`~ostinato.errors.InputError` that names file and line.
    """

    path: Path
    format: str
    encoding: str = "utf-8"
    header: bool | None = None
    """Whether the first line names the columns (CSV, TSV); None: it does where it has names that are known."""
    names: Sequence[str] = ()
    """Columns that the caller will ask for: a first line that has them is a header."""
    skip_bad: bool = False
    bad: int = field(default=0, init=False)
    first_bad: str = field(default="", init=False)

    def __iter__(self) -> Iterator[Row]:
        self.bad, count = 0, 0
        for row in FORMATS[self.format](self, self.complain if self.skip_bad else refuse):
            count += 1
            yield row
        if not count:
            raise InputError(f"{self.path} has no rows that can be used")

    def complain(self, message: str) -> None:
        """Count a row that cannot be used."""
        self.bad, self.first_bad = self.bad + 1, self.first_bad or message

    def sample(self, count: int = SNIFFED) -> list[Row]:
        """The first rows."""
        return list(itertools.islice(iter(self), count))


def open_table(path: str | Path, format: str | None = None, **options: Any) -> Table:
    """A table, its format told by the name of the file or, where that says nothing, by its first lines.

    Args:
        path: a file (``.gz`` too), or a folder: of files named by label with one text a line, or of folders named by
            label with one text a file; or ``hub:NAME:SPLIT``, of a data set on the Hugging Face hub.
        format: one of ``FORMATS``.
        **options: ``encoding``, ``header``, ``names``, ``skip_bad``, as in :class:`Table`.

    Raises:
        InputError: an unknown format, a missing or empty file.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if is_hub(path):
        return Table(path, "hub", **options)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        "".encode(options.get("encoding", "utf-8"))
    except LookupError:
        raise InputError(f"unknown encoding {options['encoding']!r}; known are utf-8, latin-1, cp1252, ...") from None
    return Table(path, format or _guess(path, options.get("encoding", "utf-8")), **options)


SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


def _guess(path: Path, encoding: str) -> str:
    if path.is_dir():
        return "folder"
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix.lower() in SUFFIXES:
        return SUFFIXES[suffix.lower()]
    first = [line for _, line in itertools.islice(read_lines(path, encoding, lambda message: None), SNIFFED)]
    lines = [line for line in first if line.strip()]
    if lines and all(line.startswith("{") for line in lines):
        return "jsonl"
    tabs = {line.count("\t") for line in lines}
    if len(tabs) == 1 and tabs != {0}:
        return "tsv"
    if lines and all(line.startswith("__label__") or _labelled(line) for line in lines):
        return "label-first"
    return "lines"


def _labelled(line: str) -> bool:
    """``NUM:dist How far ...``: a label with its finer part before the text."""
    word, _, rest = line.partition(" ")
    return bool(rest) and ":" in word[1:-1] and word.replace(":", "").replace("_", "").isalnum()


def _separated(delimiter: str, quoting: Any) -> Callable[[Table, Bad], Iterator[Row]]:
    def read(table: Table, bad: Bad) -> Iterator[Row]:
        numbers = {"line": 0}

        def lines() -> Iterator[str]:
            for number, text in read_lines(table.path, table.encoding, bad):
                numbers["line"] = number
                yield text

        columns: list[str] | None = None
        reader = csv.reader(lines(), delimiter=delimiter, quoting=quoting, strict=True)
        start = 1
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                bad(f"{table.path}:{numbers['line']}: {error}")
                continue
            if fields is None:
                return
            place, start = f"{table.path}:{start}", numbers["line"] + 1
            if not fields or fields == [""]:
                continue
            if columns is None:
                header = table.header if table.header is not None else is_header(fields, table.names)
                columns = _distinct(fields, table.path) if header else [str(i + 1) for i in range(len(fields))]
                if header:
                    continue
            if len(fields) != len(columns):
                bad(f"{place}: {len(fields)} fields, where {len(columns)} are expected ({', '.join(columns)})")
                continue
            yield Row(place, dict(zip(columns, fields, strict=True)))

    return read


def _distinct(names: list[str], path: Path) -> list[str]:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{path}: the column {sorted(twice)[0]!r} is there more than once")
    return names


def _json_lines(table: Table, bad: Bad) -> Iterator[Row]:
    for number, text in read_lines(table.path, table.encoding, bad):
        place = f"{table.path}:{number}"
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            bad(f"{place}: not JSON ({error.msg} at column {error.colno}); one object a line is expected")
            continue
        if not isinstance(value, dict):
            bad(f"{place}: an object with names is expected, got {text.strip()[:40]}")
            continue
        yield Row(place, value)


def _parquet(table: Table, bad: Bad) -> Iterator[Row]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError("Parquet files need pyarrow: pip install 'ostinato[tasks]'") from None
    try:
        with ParquetFile(table.path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{table.path}, row {number}", values)
    except (ArrowInvalid, OSError) as error:
        raise InputError(f"{table.path} is not a whole Parquet file: {str(error).splitlines()[0]}") from None


def _label_first(table: Table, bad: Bad) -> Iterator[Row]:
    """``__label__x __label__y text`` as fastText has it, or ``LABEL:finer text``."""
    for number, line in read_lines(table.path, table.encoding, bad):
        place, words = f"{table.path}:{number}", line.split()
        labels = list(itertools.takewhile(lambda word: word.startswith("__label__"), words))
        if labels:
            names: Any = [label.removeprefix("__label__") for label in labels]
            yield Row(place, {"label": names[0] if len(names) == 1 else names, "text": " ".join(words[len(labels):])})
        elif len(words) > 1:
            coarse, _, fine = words[0].partition(":")
            text = line.strip().removeprefix(words[0]).strip()
            yield Row(place, {"label": coarse, "fine": fine, "text": text} if fine else {"label": coarse, "text": text})
        elif words:
            bad(f"{place}: a label and a text are expected, got {line.strip()!r}")


def _lines(table: Table, bad: Bad) -> Iterator[Row]:
    for number, line in read_lines(table.path, table.encoding, bad):
        if line.strip():
            yield Row(f"{table.path}:{number}", {"text": line.strip()})


def _folder(table: Table, bad: Bad) -> Iterator[Row]:
    entries = sorted(entry for entry in table.path.iterdir() if not entry.name.startswith((".", "README")))
    folders, files = [e for e in entries if e.is_dir()], [e for e in entries if e.is_file()]
    if folders:
        for folder in folders:
            for file in sorted(folder.iterdir()):
                if file.is_file():
                    text = " ".join(line.strip() for _, line in read_lines(file, table.encoding, bad))
                    yield Row(str(file), {"text": text, "label": folder.name})
        return
    by_suffix = len({file.stem for file in files}) == 1  # rt-polarity.pos and rt-polarity.neg
    for file in files:
        for number, line in read_lines(file, table.encoding, bad):
            if line.strip():
                label = file.suffix[1:] if by_suffix and file.suffix else file.stem
                yield Row(f"{file}:{number}", {"text": line.strip(), "label": label})


def _hub(table: Table, bad: Bad) -> Iterator[Row]:
    return (Row(place, values) for place, values in hub_rows(table.path))


FORMATS: dict[str, Callable[[Table, Bad], Iterator[Row]]] = {
    "csv": _separated(",", csv.QUOTE_MINIMAL),
    "tsv": _separated("\t", csv.QUOTE_NONE),
    "jsonl": _json_lines,
    "parquet": _parquet,
    "label-first": _label_first,
    "lines": _lines,
    "folder": _folder,
    "hub": _hub,
}
"""How each format is read."""

