"""Which recordings there are, and what is known of each: a manifest, or folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.features.audio.reading import SUFFIXES, Sound, read_audio
from ostinato.features.rows import open_table

PATHS = ("path", "file", "filename", "file_name", "audio", "audio_filepath", "wav", "recording")
"""Names of a manifest's column of paths."""


@dataclass(frozen=True)
class Recording:
    """A file and what is known of it."""

    path: Path
    place: str
    """Where it is named, for messages: the manifest's line, or the file itself."""
    values: Mapping[str, Any]
    """The other columns of the manifest; ``label`` from a folder's name; the groups of a file name's pattern."""

    def read(self, rate: int | None = None, channel: int | None = None) -> Sound:
        """The sound, as :func:`~ostinato.features.audio.read_audio` gives it."""
        return read_audio(self.path, rate, channel)


def find_recordings(path: str | Path, pattern: str | None = None) -> list[Recording]:
    """The recordings of a manifest or a folder, in order; none is read yet.

    Args:
        path: a manifest (CSV, TSV, JSON lines, Parquet) with a column of paths (``PATHS``), from the manifest's
            folder on; or a folder: of folders named by label, or of files.
        pattern: a regular expression for the whole name of a file in a folder, without its suffix; its named groups
            become ``values``.

    Raises:
        InputError: a file, a column or a value is missing, a file name does not fit, or there are no recordings.
    """
    path = Path(path)
    found = list(_in_folder(path, pattern) if path.is_dir() else _in_manifest(path))
    if not found:
        raise InputError(f"{path} has no recordings: none of its files ends in {', '.join(SUFFIXES)}")
    return found


def _in_manifest(manifest: Path) -> Iterator[Recording]:
    for row in open_table(manifest, names=PATHS):
        values = dict(row.values)
        column = next((name for name in PATHS if name in values), None)
        if column is None:
            raise InputError(f"{row.place}: no column of paths ({', '.join(PATHS)}); it has: {', '.join(values)}")
        name = values.pop(column)
        if not isinstance(name, str) or not name:
            raise InputError(f"{row.place}: the column {column!r} must name a file, got {name!r}")
        path = manifest.parent / name
        if not path.is_file():
            raise InputError(f"{row.place}: {path}: no such file")
        yield Recording(path, row.place, values)


def _in_folder(folder: Path, pattern: str | None) -> Iterator[Recording]:
    form = None if pattern is None else re.compile(pattern)
    for entry in sorted(folder.iterdir()):
        inside = sorted(entry.iterdir()) if entry.is_dir() and not entry.name.startswith(".") else [entry]
        for file in inside:
            if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith("."):
                values = {"label": entry.name} if entry.is_dir() else {}
                yield Recording(file, str(file), values | _named(file, form))


def _named(file: Path, form: re.Pattern[str] | None) -> dict[str, str]:
    if form is None:
        return {}
    match = form.fullmatch(file.stem)
    if match is None:
        raise InputError(f"{file}: its name does not fit the pattern {form.pattern}")
    return match.groupdict()
