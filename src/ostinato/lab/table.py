"""The table of cells against lags: the longest lag that each cell learns within a fixed budget."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ostinato.errors import InputError
from ostinato.lab.options import LabOptions, Plan, plan
from ostinato.lab.runs import Reporter, check, stored_run
from ostinato.lab.store import Store
from ostinato.lab.tasks import find


@dataclass(frozen=True)
class Sizes:
    """What a table is made of, where the command leaves it open."""

    cells: tuple[str, ...]
    lags: tuple[int, ...]
    seeds: int
    options: LabOptions


QUICK = Sizes(
    ("elman", "skip:delays=10", "leaky", "gru", "lstm"), (5, 20, 50), 1, LabOptions(sequences=32_000, held_out=256)
)
FULL = Sizes(
    ("elman", "skip:delays=10", "narx:delays=10", "leaky", "leaky-spectrum", "gru", "lstm"),
    (10, 20, 50, 100, 200, 500, 1000),
    3,
    LabOptions(sequences=32_000),
)


@dataclass(frozen=True)
class Place:
    """One cell at one lag: how many of how many seeds solved it; none of none where it was not tried."""

    solved: int = 0
    tried: int = 0

    @property
    def learned(self) -> bool:
        """More than half of the seeds."""
        return 2 * self.solved > self.tried


@dataclass(frozen=True)
class Row:
    """One cell over all lags."""

    cell: str
    places: tuple[Place, ...]
    longest: int | None
    """The longest lag learned, all shorter ones learned too; None where not even the first."""


@dataclass(frozen=True)
class Table:
    """Cells against lags on one task."""

    task: str
    goal: str
    budget: int
    lags: tuple[int, ...]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything in it, for programs."""
        return {
            "task": self.task,
            "goal": self.goal,
            "budget": self.budget,
            "lags": list(self.lags),
            "cells": [
                {"cell": r.cell, "longest": r.longest, "solved": [p.solved for p in r.places],
                 "tried": [p.tried for p in r.places]} for r in self.rows
            ],
        }  # fmt: skip

    def as_markdown(self) -> str:
        """A table whose last column is the longest lag learned."""
        head = ["cell", *(f"lag {lag}" for lag in self.lags), "longest"]
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *self._lines("–")]
        title = f"Task `{self.task}`: seeds that reached {self.goal} within {self.budget:,} sequences.\n\n"
        return title + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def as_csv(self) -> str:
        """The same, comma-separated."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["cell", *(f"lag {lag}" for lag in self.lags), "longest"], *self._lines("")])
        return file.getvalue()

    def _lines(self, untried: str) -> list[list[str]]:
        return [
            [r.cell, *(f"{p.solved}/{p.tried}" if p.tried else untried for p in r.places), str(r.longest or untried)]
            for r in self.rows
        ]


def make_table(
    task: str, sizes: Sizes, store: Store, report: Reporter | None = None, first_seed: int = 0
) -> Table:
    """Run every cell at every lag, the shortest first, up to the first lag that it does not learn.

    Raises:
        InputError: an unknown task, cell or option, or lags that the task cannot have; before anything is run.
        Interrupted: by Ctrl-C; what was finished is in the store, and is not run again.
    """
    if find(task).lag is None:
        raise InputError(f"the task {task!r} has no lag, and a table needs one: choose another task")
    lags = tuple(sorted(set(sizes.lags)))
    plans = [[plan(task, cell, lag, sizes.options) for lag in lags] for cell in sizes.cells]
    for row in plans:
        check(row[0])
    seeds = range(first_seed, first_seed + sizes.seeds)
    rows = tuple(_row(row, seeds, store, report) for row in plans)
    first = plans[0][0]
    return Table(task, str(first.goal), first.settings.sequences, lags, rows)


def _row(plans: Sequence[Plan], seeds: Sequence[int], store: Store, report: Reporter | None) -> Row:
    places: list[Place] = []
    for one in plans:
        untried = bool(places) and not places[-1].learned
        places.append(Place() if untried else _place(one, seeds, store, report))
    learned = [one.lag for one, place in zip(plans, places, strict=True) if place.learned]
    return Row(plans[0].cell, tuple(places), max(learned, default=None))


def _place(one: Plan, seeds: Sequence[int], store: Store, report: Reporter | None) -> Place:
    results = [stored_run(one, seed, store, report) for seed in seeds]
    return Place(sum(result["solved"] for result in results), len(results))
