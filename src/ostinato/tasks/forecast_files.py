"""Series with their times and covariates from tables, and the windows that a forecaster learns from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.features.rows import open_table
from ostinato.tasks.common.kind import Example

Values = NDArray[np.float64]
TIMES = ("date", "time", "timestamp", "datetime", "ds", "index")
SERIES = ("unique_id", "series", "id", "item_id", "series_id")
TARGETS = ("y", "value", "target")
"""Names of columns that are clear."""
EMPTY = ("", "na", "nan", "null", "none")


@dataclass(frozen=True)
class Series:
    """One or more quantities over time, a row a step."""

    name: str
    place: str
    """File and first line, for messages."""
    targets: Values
    """``[T, C]``, what is forecast."""
    past: Values
    """``[T, P]``, what is known until the forecast is made."""
    known: Values
    """``[T + ahead, K]``, what is known of the future too: columns, and the time of day, week and year."""
    times: tuple[datetime, ...] | None
    """Of the T steps, and of those ahead."""


class Window(NamedTuple):
    """A forecast to be made: the last step that is known, and how many come."""

    series: Series
    origin: int
    """The first step that is to be forecast; those before it are known."""
    horizon: int

    def time(self, step: int) -> str:
        """When step ``step`` of the forecast (from 0) is, or its number."""
        times, at = self.series.times, self.origin + step
        if times is None:
            return str(at)
        ahead = max(0, at - len(times) + 1)  # past the file's last row
        return (times[at - ahead] + ahead * (times[-1] - times[-2])).isoformat(" ")


def read_series(path: Path, options: Any) -> list[Series]:
    """The series of a table with a step a row (several series one below the other, with a column of names), or with a
    series a row, as the M4 competition has them.

    Raises:
        InputError: a cell that is no number, a gap, times that are not evenly set apart, with file and line.
    """
    names = [name for name in (options.target, options.known, options.time, options.series) if name]
    wanted = [part.strip() for name in names for part in name.split(",")]
    table = open_table(path, options.format, encoding=options.encoding, header=True, names=wanted)
    first = next(iter(table)).values
    if list(first)[:2] == ["V1", "V2"]:
        return list(_series_of_rows(table, path))
    columns = _columns(list(first), options, path)
    groups: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for row in table:
        name = str(row.values.get(columns["series"][0], "")) if columns["series"] else ", ".join(columns["target"])
        groups.setdefault(name, []).append((row.place, row.values))
    return [_series(name, rows, columns) for name, rows in groups.items()]


def _columns(names: list[str], options: Any, path: Path) -> dict[str, list[str]]:
    lower = {name.lower(): name for name in reversed(names)}

    def told(said: str | None, guesses: Sequence[str]) -> list[str]:
        if said is None:
            return [lower[guess] for guess in guesses if guess in lower][:1]
        chosen = [part.strip() for part in said.split(",")]
        for name in chosen:
            if name not in names:
                raise InputError(f"{path} has no column {name!r}; it has: {', '.join(names)}")
        return chosen

    time, series, known = told(options.time, TIMES), told(options.series, SERIES), told(options.known, ())
    rest = [name for name in names if name not in {*time, *series, *known}]
    target = told(options.target, TARGETS) or rest
    if not target:
        raise InputError(f"{path} has no column to forecast: it has {', '.join(names)}")
    past = [name for name in rest if name not in target] if options.covariates else []
    return {"time": time, "series": series, "known": known, "target": target, "past": past}


def _series(name: str, rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Mapping[str, list[str]]) -> Series:
    ahead = 0  # rows at the end that know covariates alone
    while columns["known"] and ahead < len(rows) and _empty(rows[-1 - ahead][1].get(columns["target"][0])):
        ahead += 1
    whole = rows[: len(rows) - ahead]
    if not whole:
        raise InputError(f"{rows[0][0]}: series {name!r} has no values")
    times = _times(rows, columns["time"][0]) if columns["time"] else None
    known = [_table(rows, columns["known"]), *([_clock(times)] if times else [])]
    return Series(name, rows[0][0], _table(whole, columns["target"]), _table(whole, columns["past"]),
                  np.concatenate(known, 1), times)  # fmt: skip


def _table(rows: Sequence[tuple[str, Mapping[str, Any]]], names: Sequence[str]) -> Values:
    """``[T, N]``."""
    return np.array([[_number(values.get(name), name, place) for name in names] for place, values in rows],
                    np.float64).reshape(len(rows), len(names))  # fmt: skip


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in EMPTY) or value != value


def _number(value: Any, name: str, place: str) -> float:
    if _empty(value):
        raise InputError(f"{place}: the column {name!r} is empty: a gap must be filled before a series is forecast")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{place}: the column {name!r} must be a number, got {str(value)[:40]!r}") from None
    if not np.isfinite(number):
        raise InputError(f"{place}: the column {name!r} must be a number, got {value!r}")
    return number


def _times(rows: Sequence[tuple[str, Mapping[str, Any]]], name: str) -> tuple[datetime, ...]:
    times = []
    for place, values in rows:
        value = values.get(name)
        try:
            times.append(value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip()))
        except ValueError:
            raise InputError(f"{place}: {str(value)[:40]!r} is no time: 2024-01-31 or 2024-01-31 18:00 is expected; "
                             "--time names another column") from None  # fmt: skip
        if len(times) > 2 and not _same_step(times[-1] - times[-2], times[1] - times[0]):
            raise InputError(f"{place}: {times[-1]} comes {times[-1] - times[-2]} after {times[-2]}, where the series "
                             f"has steps of {times[1] - times[0]}")  # fmt: skip
    if len(times) > 1 and times[1] <= times[0]:
        raise InputError(f"{rows[1][0]}: {times[1]} does not come after {times[0]}")
    return tuple(times)


def _same_step(one: timedelta, other: timedelta) -> bool:
    """Months, quarters and years are not of one length."""
    return one == other or (other >= timedelta(28) and abs(one / other - 1) < 0.12)


def _clock(times: Sequence[datetime]) -> Values:
    """The time of day and week as points of circles, ``[T, 4]``; of steps of days those of week and year; of longer
    ones that of the year, ``[T, 2]``. A year of hours is too little to learn a year from."""
    step = times[1] - times[0] if len(times) > 1 else timedelta(days=1)
    turns = [((t.hour + t.minute / 60) / 24, (t.weekday() + t.hour / 24) / 7, t.timetuple().tm_yday / 366)
             for t in times]  # fmt: skip
    use = [step < timedelta(days=1), step < timedelta(days=7), step >= timedelta(days=1)]
    angles = 2 * np.pi * np.array(turns)[:, use]  # [T, 1 or 2]
    return np.concatenate([np.sin(angles), np.cos(angles)], 1)


def _series_of_rows(table: Any, path: Path) -> Iterator[Series]:
    for row in table:
        name, *cells = row.values.values()
        while cells and _empty(cells[-1]):
            cells.pop()
        values = np.array([[_number(cell, f"V{i}", row.place)] for i, cell in enumerate(cells, start=2)])
        if not len(values):
            raise InputError(f"{row.place}: series {name!r} has no values")
        nothing = np.zeros((len(values), 0))
        yield Series(str(name), row.place, values, nothing, nothing, None)


class Windows:
    """The forecasts of a file that can be checked (answered), or the one of each series that comes next.

    Args:
        every: a window begins every so many steps.
        last: only the last of each series.
    """

    def __init__(self, path: Path, options: Any, answered: bool, lookback: int, every: int | None,
                 last: bool = False) -> None:  # fmt: skip
        self.path, self.answered, self.bad = path, answered, 0
        self._horizon, self._lookback, self._last = options.horizon, lookback, last
        self._all = read_series(path, options)
        possible = sum(max(0, len(s.targets) - lookback - self._horizon + 1) for s in self._all)
        self._every = every or max(1, round(possible / MOST))

    @property
    def lookback(self) -> int:
        """Steps before the forecast that are read."""
        return self._lookback

    @property
    def series(self) -> list[Series]:
        """All of the file."""
        return self._all

    def __iter__(self) -> Iterator[Example]:
        count = 0
        for series in self._all:
            for origin in self._origins(series):
                window = Window(series, origin, self._horizon)
                gold = series.targets[origin : origin + self._horizon] if self.answered else None  # [H, C]
                count += 1
                yield Example(f"{series.place} from step {origin}", window, gold)
        if not count:
            longest = max(len(series.targets) for series in self._all)
            needed = self._lookback + self._horizon * self.answered
            raise InputError(f"{self.path} is too short: {needed} steps are needed (lookback {self._lookback}"
                             f"{f', horizon {self._horizon}' * self.answered}), its longest series has {longest}")

    def _origins(self, series: Series) -> Iterable[int]:
        length = len(series.targets)
        if self.answered:
            origins = range(length - self._horizon, self._lookback - 1, -self._every)  # the last one always
            return origins[:1] if self._last else origins
        return [length] if length >= self._lookback else []


def going_on(series: Series, end: int) -> Values:
    """What is known of the first ``end`` steps; the clock goes on by itself.

    Raises:
        InputError: a column whose future is said to be known ends too early.
    """
    if end <= len(series.known):
        return series.known
    if series.times is None:
        if series.known.shape[1]:
            raise InputError(f"{series.place}: what is known of the future ends after {len(series.known)} steps, and "
                             f"{end} are needed: add rows with an empty target")  # fmt: skip
        return np.zeros((end, 0))
    step = series.times[-1] - series.times[-2]
    ahead = [series.times[-1] + (i + 1) * step for i in range(end - len(series.times))]
    clock = _clock([*series.times[:2], *ahead])[2:]  # [end - T, 2 or 4]
    if clock.shape[1] != series.known.shape[1]:
        raise InputError(f"{series.place}: the columns whose future is known end after {len(series.known)} steps, and "
                         f"{end} are needed: add rows with an empty target")  # fmt: skip
    return np.concatenate([series.known, clock])


MOST = 20_000
"""Windows of a file that are made at most, about."""
