"""Which recordings there are, and what is known of each: a manifest, or folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ostinato.features.audio.reading import SUFFIXES, Sound, read_audio
from ostinato.features.rows.manifest import Entry, find_files


@dataclass(frozen=True)
class Recording(Entry):
    """A file of sound and what is known of it."""

    def read(self, rate: int | None = None, channel: int | None = None) -> Sound:
        """The sound, as :func:`~ostinato.features.audio.read_audio` gives it."""
        return read_audio(self.path, rate, channel)


def find_recordings(path: str | Path, pattern: str | None = None) -> list[Recording]:
    """The recordings of a manifest or a folder, in order, as :func:`~ostinato.features.rows.manifest.find_files` finds
    them; none is read yet.

    Raises:
        InputError: a file, a column or a value is missing, a file name does not fit, or there are no recordings.
    """
    found = find_files(path, SUFFIXES, pattern, "recordings")
    return [Recording(entry.path, entry.place, entry.values) for entry in found]
