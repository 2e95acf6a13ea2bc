"""Pieces of music as the notes that sound together, frame by frame: JSON files of MIDI pitches."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.files import read_json_value

Piece = list[list[int]]
"""For each frame (such as a quarter note) the MIDI pitches that sound, 60 is middle C."""
PITCHES = 128


def read_scores(path: str | Path) -> dict[str, list[Piece]]:
    """The pieces of a file by its parts: ``{"train": [pieces], ...}``; a file that is one list of pieces is "train".

    Raises:
        InputError: missing, not JSON, or a piece that is no list of lists of pitches from 0 to 127, with its place.
    """
    data = read_json_value(Path(path))
    parts = data if isinstance(data, dict) else {"train": data}
    return {part: [piece(p, f"{path}: {part}, piece {i}") for i, p in enumerate(_listed(pieces, f"{path}: {part}"))]
            for part, pieces in parts.items()}  # fmt: skip


def piece(value: Any, place: str) -> Piece:
    """A piece, checked.

    Raises:
        InputError: it is no list of lists of pitches, or has no frames.
    """
    frames = _listed(value, place)
    if not frames:
        raise InputError(f"{place} has no frames")
    for number, frame in enumerate(frames):
        for pitch in _listed(frame, f"{place}, frame {number}"):
            if type(pitch) is not int or not 0 <= pitch < PITCHES:
                raise InputError(f"{place}, frame {number}: a pitch is a whole number from 0 to 127, got {pitch!r}")
    return [sorted(set(frame)) for frame in frames]


def _listed(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{place} must be a list, got {type(value).__name__}")
    return value


STEP, ROW = 10, 7


def piano_roll(frames: Sequence[Sequence[int]], title: str = "") -> str:
    """A piece as SVG: time to the right, pitches upwards, a bar for as long as a note is there."""
    sounding = [pitch for frame in frames for pitch in frame] or [60]
    low, high = min(sounding) - 1, max(sounding) + 1
    width, height = STEP * len(frames) + 40, ROW * (high - low + 1) + 24
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
             f'font-size="9"><rect width="100%" height="100%" fill="#fff"/><text x="34" y="12">{escape(title)}</text>']
    for octave in range(-(-low // 12) * 12, high + 1, 12):  # every C
        y = 18 + ROW * (high - octave)
        parts.append(f'<text x="2" y="{y + ROW}" fill="#555">C{octave // 12 - 1}</text>'
                     f'<line x1="32" x2="{width - 4}" y1="{y + ROW}" y2="{y + ROW}" stroke="#ddd"/>')  # fmt: skip
    for pitch in range(low, high + 1):
        start = None
        for t in range(len(frames) + 1):
            there = t < len(frames) and pitch in frames[t]
            if there and start is None:
                start = t
            elif not there and start is not None:
                parts.append(f'<rect x="{34 + STEP * start}" y="{18 + ROW * (high - pitch)}" rx="2" fill="#0072b2" '
                             f'width="{STEP * (t - start) - 1}" height="{ROW - 1}"/>')  # fmt: skip
                start = None
    return "\n".join([*parts, "</svg>", ""])
