"""What a run and a table of the laboratory can be told."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ostinato.files import digest
from ostinato.lab.task import Goal, Settings
from ostinato.lab.tasks import find
from ostinato.training.options import SCHEDULES, named_value, option

OWN = "the task's own"


@dataclass(frozen=True)
class LabOptions:
    """What a run can be told, whatever the task; None stands for the task's own setting."""

    hidden_size: int | None = option(None, f"width of the cell, such as 32 ({OWN})", low=1)
    batch: int | None = option(None, f"sequences in an update, such as 32 ({OWN})", low=1)
    learning_rate: float | None = option(None, f"Adam's rate, such as 0.003 ({OWN})", low=0)
    schedule: str | None = option(None, f"how the rate changes, such as cosine ({OWN})", choices=SCHEDULES[:3])
    clip: float | None = option(None, f"the largest gradient norm, such as 1, or 0 for any ({OWN})", low=0)
    sequences: int | None = option(None, f"the budget: stop when so many were seen, such as 32000 ({OWN})", low=1)
    check: int | None = option(None, f"updates between two validations, such as 50 ({OWN})", low=1)
    held_out: int | None = option(None, f"sequences to validate and to test with, such as 512 ({OWN})", low=1)
    span: int | None = option(
        None, "gates begin open for 2 to so many steps, such as 100, or 0 for the cell's own start (the lag)", low=0
    )
    threads: int | None = option(None, f"compute with so many threads, such as 2 ({OWN})", low=1)
    bound: float | None = option(None, f"what the measure must reach to count as solved, such as 0.01 ({OWN})", low=0)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run but its seed."""

    task: str
    cell: str
    """A cell's name, and options after it: see :func:`parse_cell`."""
    lag: int
    goal: Goal
    settings: Settings

    def name(self, seed: int) -> str:
        """A name for the files of a run: readable, and another one for every other plan."""
        cell, whole = self.cell.split(":")[0], digest(repr(self))[:8]
        return f"{self.task}-{cell}-lag{self.lag}-seed{seed}-{whole}"


def plan(task: str, cell: str, lag: int | None, options: LabOptions) -> Plan:
    """The plan of a run: the task's settings with those given in their place.

    Raises:
        InputError: an unknown task, or a lag that it cannot have.
    """
    found = find(task)
    given = {name: value for name, value in dataclasses.asdict(options).items() if value is not None}
    goal = dataclasses.replace(found.goal, bound=given.pop("bound", found.goal.bound))
    lag, settings = found.check_lag(lag), dataclasses.replace(found.settings, **given)
    span = lag if settings.span is None else settings.span
    return Plan(task, cell, lag, goal, dataclasses.replace(settings, span=span))


def parse_cell(text: str) -> tuple[str, dict[str, Any]]:
    """A cell with options, as one word: its name, then ``:option=value`` as often as needed.

    Raises:
        InputError: an option without a value.

    >>> parse_cell("skip:delays=10:nonlinearity=relu")
    ('skip', {'delays': 10, 'nonlinearity': 'relu'})
    """
    name, *pairs = text.split(":")
    return name, dict(named_value("an option of a cell", pair) for pair in pairs)
