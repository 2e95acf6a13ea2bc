"""Which files there are, and what is known of each: a manifest, or folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.features.rows.table import open_table

PATHS = ("path", "file", "filename", "file_name", "audio", "audio_filepath", "wav", "recording", "image", "strokes")
"""Names of a manifest's column of paths."""


@dataclass(frozen=True)
class Entry:
    """A file and what is known of it."""

    path: Path
    place: str
    """Where it is named, for messages: the manifest's line, or the file itself."""
    values: Mapping[str, Any]
    """The other columns of the manifest; ``label`` from a folder's name; the groups of a file name's pattern."""


def find_files(
    path: str | Path, suffixes: Sequence[str], pattern: str | None = None, what: str = "files",
    base: str | Path | None = None,
) -> Iterator[Entry]:  # fmt: skip
    """The files of a manifest or a folder, in order; none is read yet.

    Args:
        path: a manifest (CSV, TSV, JSON lines, Parquet) with a column of paths (``PATHS``), from the manifest's
            folder on; or a folder: of folders named by label, or of files.
        suffixes: of a folder's files that count, with the dot, in small letters.
        pattern: a regular expression for the whole name of a file in a folder, without its suffix; its named groups
            become ``values``.
        what: the files are, for messages.
        base: the folder from which a manifest's paths count. Default: its own.

    Raises:
        InputError: a file, a column or a value is missing, a file name does not fit, or there are no files.
    """
    path = Path(path)
    empty = True
    if path.is_dir():
        entries = _in_folder(path, suffixes, pattern)
    else:
        entries = _in_manifest(path, path.parent if base is None else Path(base))
    for entry in entries:
        empty = False
        yield entry
    if empty:
        raise InputError(f"{path} has no {what}: none of its files ends in {', '.join(suffixes)}")


def path_column(values: Mapping[str, Any]) -> str | None:
    """The column of a row that names a file, by its name."""
    return next((name for name in PATHS if name in values), None)


def _in_manifest(manifest: Path, base: Path) -> Iterator[Entry]:
    for row in open_table(manifest, names=PATHS):
        values = dict(row.values)
        column = path_column(values)
        if column is None:
            raise InputError(f"{row.place}: no column of paths ({', '.join(PATHS)}); it has: {', '.join(values)}")
        name = values.pop(column)
        if not isinstance(name, str) or not name:
            raise InputError(f"{row.place}: the column {column!r} must name a file, got {name!r}")
        path = base / name
        if not path.is_file():
            raise InputError(f"{row.place}: {path}: no such file")
        yield Entry(path, row.place, values)


def _in_folder(folder: Path, suffixes: Sequence[str], pattern: str | None) -> Iterator[Entry]:
    form = None if pattern is None else _compiled(pattern)
    for entry in sorted(folder.iterdir()):
        inside = sorted(entry.iterdir()) if entry.is_dir() and not entry.name.startswith(".") else [entry]
        for file in inside:
            if file.suffix.lower() in suffixes and file.is_file() and not file.name.startswith("."):
                values = {"label": entry.name} if entry.is_dir() else {}
                yield Entry(file, str(file), values | _named(file, form))


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"the pattern {pattern!r} is no regular expression: {error}") from None


def _named(file: Path, form: re.Pattern[str] | None) -> dict[str, str]:
    if form is None:
        return {}
    match = form.fullmatch(file.stem)
    if match is None:
        raise InputError(f"{file}: its name does not fit the pattern {form.pattern}")
    return match.groupdict()
