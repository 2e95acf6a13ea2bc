"""Series of numbers from files: one sequence a file (CSV), or many with their labels (``.ts``)."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.features.rows.lines import read_lines

Series = NDArray[np.float32]
"""``[T, F]``: T steps of F channels."""


def read_series(path: str | Path, encoding: str = "utf-8") -> Series:
    """One sequence: a CSV file with a step a line, a channel a column; a first line that is no numbers names them.

    Raises:
        InputError: missing, empty, or with a cell that is not a number, with its line.
    """
    path = Path(path)
    rows: list[list[float]] = []
    for number, line in read_lines(path, encoding):
        if not line.strip():
            continue
        fields = next(csv.reader([line]))
        if not rows and (number == 1 or line.startswith("#")) and not all(map(_is_number, fields)):
            continue  # the channels' names
        rows.append(_numbers(fields, f"{path}:{number}"))
        if len(rows[-1]) != len(rows[0]):
            raise InputError(f"{path}:{number}: {len(rows[-1])} channels, where {len(rows[0])} are expected")
    if not rows:
        raise InputError(f"{path} has no steps: no line of numbers")
    return np.array(rows, np.float32)


def read_ts(path: str | Path, encoding: str = "utf-8") -> Iterator[tuple[str, Series, str | None]]:
    """The sequences of a ``.ts`` file, one after the other: place, values ``[T, F]``, label (None: the file has none).

    Channels are set apart by ``:``, steps by ``,``; the last field of a line is the label where ``@classLabel true``
    is said.

    Raises:
        InputError: missing, of another form, missing values (``?``), or channels of unlike length, with the line.

    Source: the time series classification archive, timeseriesclassification.com; aeon's ``.ts`` format.
    """
    path = Path(path)
    labelled = begun = False
    count = 0
    for number, line in read_lines(path, encoding):
        text, place = line.strip(), f"{path}:{number}"
        if not text or text.startswith("#"):
            continue
        if not begun:
            words = text.lower().split()
            if words[0] == "@timestamps" and words[-1] == "true":
                raise InputError(f"{place}: steps with time stamps are not read")
            labelled = words[1] == "true" if words[0] == "@classlabel" else labelled
            begun = words[0] == "@data"
            if not text.startswith("@"):
                raise InputError(f"{place}: a line that begins with @ is expected before @data, got {text[:40]!r}")
            continue
        parts = text.split(":")
        label = parts.pop().strip() if labelled else None
        channels = [_numbers(part.split(","), place) for part in parts]
        if not channels or len({len(channel) for channel in channels}) != 1:
            raise InputError(f"{place}: the channels have {', '.join(str(len(c)) for c in channels) or 'no'} steps, "
                             "where as many are expected in each")
        count += 1
        yield place, np.array(channels, np.float32).T, label
    if not count:
        raise InputError(f"{path} has no sequences" if begun else f"{path} has no line @data")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(fields: list[str], place: str) -> list[float]:
    values = []
    for field in fields:
        if not _is_number(field) or not math.isfinite(float(field)):
            raise InputError(f"{place}: a number is expected, got {field.strip()[:40]!r}")
        values.append(float(field))
    return values
