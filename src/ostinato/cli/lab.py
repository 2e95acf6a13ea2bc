"""The commands of the laboratory: lab list, lab run, lab table."""

from __future__ import annotations

import dataclasses
import statistics
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ostinato.cli.options import PATH, as_json, options_of, print_json
from ostinato.errors import InputError
from ostinato.files import write_atomic, write_json
from ostinato.lab.measures import MEANING
from ostinato.lab.options import LabOptions, plan
from ostinato.lab.runs import check, stored_run
from ostinato.lab.store import Store
from ostinato.lab.table import FULL, QUICK, Sizes, Table, make_table
from ostinato.lab.task import Task
from ostinato.lab.tasks import TASKS, find
from ostinato.training.options import from_mapping


@click.group()
def lab() -> None:
    """What can a cell remember? Tasks with known answers, and the table of cells against lags.

    \b
    Examples:
      ostinato lab list
      ostinato lab run --task adding --cell lstm --lag 100
      ostinato lab table --quick
    """


@lab.command(name="list")
@click.option("--task", default=None, help="Only this one, such as adding, with its settings and published figures.")
@as_json
def list_tasks(task: str | None, as_json: bool) -> None:
    """The tasks, what each asks, and what others published.

    \b
    Examples:
      ostinato lab list
      ostinato lab list --task adding
    """
    tasks = [find(task)] if task else list(TASKS.values())
    if as_json:
        return print_json([_described(one) for one in tasks])
    if task:
        return _show_task(tasks[0])
    click.echo(f"{'task':17} {'LAG':>4}  what is asked")
    for one in tasks:
        click.echo(f"{one.name:17} {one.lag or '':>4}  {one.summary}")
    click.echo("More of one: ostinato lab list --task adding")


def _described(task: Task) -> dict[str, Any]:
    """A task in plain values."""
    plain = {name: getattr(task, name) for name in ("name", "summary", "source", "lag", "least_lag")}
    settings = dataclasses.asdict(task.settings)
    return {**plain, "goal": str(task.goal), "settings": settings, "published": _published(task)}


def _published(task: Task) -> list[dict[str, str]]:
    return [dataclasses.asdict(figure) for figure in task.published]


def _show_task(task: Task) -> None:
    described = _described(task)
    settings = {name.replace("_", "-"): value for name, value in described["settings"].items() if value is not None}
    described["settings"] = ", ".join(f"{name} {value}" for name, value in settings.items())
    described["goal"] += f": {MEANING[task.goal.measure]}"
    for label, value in described.items():
        if label != "published" and value is not None:
            _show(label.replace("_", " "), str(value))
    _show_published(task)


def _show(label: str, text: str) -> None:
    click.echo(textwrap.fill(f"{label:12} {text}", 100, subsequent_indent=" " * 13, break_on_hyphens=False))


def _show_published(task: Task) -> None:
    for figure in task.published:
        _show("published", f"{figure.figure} ({figure.setting}; {figure.source})")


@lab.command(name="run")
@click.option("--task", required=True, help="What is learned, such as adding (ostinato lab list).")
@click.option("--cell", default="lstm", help="Who learns it, with options, such as skip:delays=10.  [lstm]")
@click.option("--lag", type=int, default=None, help="Over how many steps, such as 500.  [the task's own]")
@click.option("--seeds", type=click.IntRange(1), default=1, help="So many runs, such as 5.  [1]")
@click.option("--first-seed", type=click.IntRange(0), default=0, help="The first of the seeds, such as 100.  [0]")
@click.option("--data", type=PATH, default=None, metavar="FOLDER", help="Where MNIST is, such as data/mnist.")
@click.option("--out", type=PATH, default=None, metavar="FOLDER", help="Keep results there, such as runs/lab.")
@click.option("--resume", is_flag=True, help="Go on with the results in FOLDER, as in --out runs/lab --resume.")
@click.option("--overwrite", is_flag=True, help="Replace the results in FOLDER, as in --out runs/lab --overwrite.")
@as_json
@options_of(LabOptions)
def run(
    task: str, cell: str, lag: int | None, seeds: int, first_seed: int, data: Path | None, out: Path | None,
    resume: bool, overwrite: bool, as_json: bool, **values: Any,
) -> None:  # fmt: skip
    """Train a cell on a task, once for each seed, until it is solved or its budget is spent.

    \b
    Examples:
      ostinato lab run --task adding --cell lstm --lag 500 --seeds 5
      ostinato lab run --task latching --cell elman --lag 20 --hidden-size 32 --learning-rate 0.003
      ostinato lab run --task mnist --data data/mnist --out runs/mnist
    """
    chosen = plan(task, cell, lag, _options(values))
    check(chosen)
    find(task).splits(data)
    store = _store(out, resume, overwrite)
    if not as_json:
        at = f" at lag {chosen.lag}" if chosen.lag else ""
        click.echo(f"{task} with {cell}{at}: {chosen.goal}, within {chosen.settings.sequences:,} sequences")
    results = []
    for seed in range(first_seed, first_seed + seeds):
        results.append(stored_run(chosen, seed, store, Bar(), data))
        if not as_json:
            _show_result(results[-1])
    whole = {"runs": results, "solved": sum(r["solved"] for r in results), "published": _published(find(task))}
    if as_json:
        return print_json(whole)
    count = statistics.median(result["sequences"] for result in results)
    click.echo(f"{whole['solved']} of {seeds} solved ({chosen.goal}); median of {count:,.0f} sequences")
    _show_published(find(task))


def _options(values: Mapping[str, Any]) -> LabOptions:
    given = {name: value for name, value in values.items() if value is not None}
    return from_mapping(LabOptions, given, "the command")


def _store(out: Path | None, resume: bool, overwrite: bool) -> Store | None:
    if out is None and (resume or overwrite):
        raise InputError("--resume and --overwrite need --out FOLDER")
    return None if out is None else Store(out, resume, overwrite)


def _show_result(result: Mapping[str, Any]) -> None:
    measures = ", ".join(f"{name} {value:.4g}" for name, value in result["test"].items() if value is not None)
    verdict = "solved" if result["solved"] else "diverged" if result["ended"] == "diverged" else "not solved"
    spent = f"{result['sequences']:,} sequences, {result['seconds']:.1f} s"
    click.echo(f"seed {result['seed']}: {verdict} after {spent}; {measures}")


@lab.command(name="table")
@click.option("--task", default="adding", help="What is learned, such as latching.  [adding]")
@click.option("--cells", default=None, help="Who learns it, such as elman,skip:delays=10,lstm.  [seven of them]")
@click.option("--lags", default=None, help="Over how many steps, such as 10,100,1000.  [10 to 1000]")
@click.option("--seeds", type=click.IntRange(1), default=None, help="So many runs for each place, such as 5.  [3]")
@click.option("--quick", is_flag=True, help="Fewer cells, lags and seeds: a minute, as in lab table --quick.")
@click.option("--out", type=PATH, default=None, metavar="FOLDER",
              help="Where results and table go, such as runs/adding.  [runs/lab, which is replaced]")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the results in FOLDER, as in --out runs/lab --resume.")
@click.option("--overwrite", is_flag=True, help="Replace the results in FOLDER, as in --out runs/lab --overwrite.")
@click.option("--picture/--no-picture", default=True, help="Draw it too (needs matplotlib); --no-picture does not.")
@as_json
@options_of(LabOptions)
def table(
    task: str, cells: str | None, lags: str | None, seeds: int | None, quick: bool, out: Path | None, resume: bool,
    overwrite: bool, picture: bool, as_json: bool, **values: Any,
) -> None:  # fmt: skip
    """The longest lag that each cell learns within the same budget: Markdown, CSV, JSON, SVG and PNG.

    \b
    Examples:
      ostinato lab table --quick
      ostinato lab table --task adding --cells elman,gru,lstm --lags 10,50,100 --out runs/adding
      ostinato lab table --task adding --cells elman,gru,lstm --lags 10,50,100 --out runs/adding --resume
    """
    base = QUICK if quick else FULL
    sizes = Sizes(
        tuple(cells.split(",")) if cells else base.cells,
        _numbers(lags) if lags else base.lags,
        seeds or base.seeds,
        dataclasses.replace(base.options, **{n: v for n, v in dataclasses.asdict(_options(values)).items() if v}),
    )
    store = Store(out or Path("runs") / "lab", resume, overwrite or (out is None and not resume))
    made = make_table(task, sizes, store, Bar())
    files = _write(made, store.path, picture)
    if as_json:
        return print_json({**made.as_json(), "files": [str(file) for file in files]})
    click.echo(made.as_markdown())
    click.echo(f"Written: {', '.join(str(file) for file in files)}")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--lags must be whole numbers such as 10,100, got {text!r}") from None


def _write(made: Table, folder: Path, picture: bool) -> list[Path]:
    """The table in every form; the files that were written."""
    contents = {"table.md": made.as_markdown().encode(), "table.csv": made.as_csv().encode()}
    if picture:
        from ostinato.lab.picture import draw

        contents |= {f"table.{kind}": data for kind, data in draw(made).items()}
    for name, data in contents.items():
        write_atomic(folder / name, data)
    write_json(folder / "table.json", made.as_json())
    return [folder / name for name in (*contents, "table.json")]


class Bar:
    """The course of one run after the other on a terminal, on standard error."""

    def __call__(self, event: str, values: Mapping[str, Any]) -> None:
        from tqdm import tqdm

        if event == "begin":
            self._bar = tqdm(total=values["total"], initial=values["step"], desc=values["name"].rsplit("-", 1)[0],
                             unit="update", disable=None, leave=False)  # fmt: skip
        elif event == "step":
            self._bar.update()
        elif event == "check":
            shown = {name: f"{value:.3g}" for name, value in values.items() if name != "sequences"}
            self._bar.set_postfix(shown, refresh=False)
        elif event == "end":
            self._bar.close()
