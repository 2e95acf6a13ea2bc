"""The commands of every task: train TASK, evaluate, predict."""

from __future__ import annotations

import itertools
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from ostinato.cli import language
from ostinato.cli.options import PATH, as_json, given_options, options_of, print_json
from ostinato.errors import InputError
from ostinato.features.text import read_text
from ostinato.files import write_atomic, write_json, writing
from ostinato.tasks.common import runs
from ostinato.tasks.common.kind import Answer, Example, Kind
from ostinato.training.options import from_mapping, named_value
from ostinato.training.run import RunFolder

CHUNK = 256
"""Examples that are answered together."""


class TrainGroup(click.Group):
    """One command a task, made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *runs.KINDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return train_command(runs.kind_class(cmd_name)) if found is None and cmd_name in runs.KINDS else found


def train_command(kind: type[Kind]) -> click.Command:
    """``ostinato train NAME``, its options those of the task."""

    @click.command(name=kind.name, short_help=kind.summary, help=_help(kind))
    @click.argument("data", type=PATH)
    @click.option("--out", type=PATH, required=True, metavar="RUN", help="The folder for the run.")
    @click.option("--validation", type=PATH, metavar="FILE", help="What validates.  [drawn from DATA]")
    @click.option("--test", type=PATH, metavar="FILE", help="Evaluate on this, once, when the training is over.")
    @click.option("--config", type=PATH, metavar="FILE.toml", help="Options as TOML; the command line wins.")
    @click.option("--resume", is_flag=True, help="Go on with the run in RUN.")
    @click.option("--overwrite", is_flag=True, help="Replace the run in RUN.")
    @as_json
    @options_of(kind.options_class)
    def command(data: Path, out: Path, validation: Path | None, test: Path | None, config: Path | None, resume: bool,
                overwrite: bool, as_json: bool, **values: Any) -> None:  # fmt: skip
        from ostinato.training.progress import TaskBar

        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other")
        run, given = RunFolder(out), given_options(kind.options_class, config, values)
        if resume and run.exists:
            task = runs.options_of_run(run, given)
        else:
            task = kind(from_mapping(kind.options_class, given, "the command"))
        if test is not None:
            next(iter(task.read(test)))  # what is wrong with it is said before the training
        result = runs.train(task, data, validation, run, TaskBar(), resume, overwrite)
        if not as_json:
            _show_training(result)
        if test is not None:
            result["test"] = evaluation(run, test, None, True, {})
            if not as_json:
                _show_measures(result["test"])
        if as_json:
            return print_json(result)
        click.echo(f"Next:  ostinato predict {shlex.quote(str(out))} {shlex.quote(_shown(task, data))}")

    return command


def _help(kind: type[Kind]) -> str:
    return f"{kind.summary}\n\n\b\nExamples:\n{textwrap.indent(textwrap.dedent(kind.help_examples).strip(), '  ')}"


def _shown(task: Kind, data: Path) -> str:
    """Something to try a trained model on."""
    return task.as_text(next(iter(task.read(data))))


@click.command()
@click.argument("run", type=PATH)
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, metavar="FOLDER", help="Where figures, pictures and mistakes go.  [RUN/evaluation]")
@click.option("--baseline/--no-baseline", default=True, help="Also fit what one would use instead, to compare.  [yes]")
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help="Which column is what, as text=body.")
@click.option("--format", default=None, help="Of DATA.  [by its name]")
@click.option("--encoding", default=None, help="Of DATA.  [as in training]")
@click.option("--verify", is_flag=True, help="classify: tell whether two examples share a label, a new one too.")
@click.option("--streams", type=click.IntRange(1), default=1, help="generate: read so many parts at once: faster.  [1]")
@as_json
def evaluate(run: Path, data: Path, out: Path | None, baseline: bool, columns: tuple[str, ...], format: str | None,
             encoding: str | None, verify: bool, streams: int, as_json: bool) -> None:  # fmt: skip
    """Measure a trained model on data that it has not seen.

    \b
    Examples:
      ostinato evaluate runs/reviews test.tsv
      ostinato evaluate runs/book other.txt
    """
    folder = RunFolder(run)
    if folder.read_config().get("task") == language.TASK:
        return language.evaluate(folder, data, streams, as_json)
    reading = _reading(columns, format, encoding)
    result = verification(folder, data, reading) if verify else evaluation(folder, data, out, baseline, reading)
    print_json(result) if as_json else _show_measures(result)


def verification(run: RunFolder, data: Path, reading: dict[str, Any]) -> dict[str, Any]:
    """Whether two examples share a label, asked of all pairs."""
    kind, model = runs.load(run, **reading)
    examples = list(kind.read(data))
    return {"run": str(run.path), "task": kind.name, "data": str(data), "examples": len(examples), "files": [],
            "measures": kind.verify(model, examples)}  # fmt: skip


def evaluation(run: RunFolder, data: Path, out: Path | None, baseline: bool, reading: dict[str, Any]) -> dict[str, Any]:
    """Answer all examples, measure the answers, write the report."""
    kind, model = runs.load(run, **reading)
    examples = list(kind.read(data))
    answers = answer(kind, model, examples)
    measures = kind.measure(examples, answers)
    folder = out or run.path / "evaluation"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = kind.report(examples, answers, folder)
    result: dict[str, Any] = {"run": str(run.path), "task": kind.name, "data": str(data), "examples": len(examples),
                              "measures": measures}  # fmt: skip
    if baseline:
        result |= _instead(run, kind, examples)
    result["files"] = [str(file) for file in [folder / "metrics.json", *files]]
    write_json(folder / "metrics.json", result)
    return result


def _instead(run: RunFolder, kind: Kind, examples: list[Example]) -> dict[str, Any]:
    """What the baseline reaches, where the training data is still there."""
    learned, _ = runs.load(run)
    try:
        train = list(learned.read(Path(run.read_config()["data"]["train"])))
    except InputError:
        return {}
    found = kind.baseline(train, examples)
    return {"instead": found} if found else {}


@click.command()
@click.argument("run", type=PATH)
@click.argument("inputs", nargs=-1)
@click.option("--file", type=PATH, metavar="FILE", help="Answer every example of a file.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help="Which column is what, as text=body.")
@click.option("--format", default=None, help="Of FILE.  [by its name]")
@click.option("--encoding", default=None, help="Of FILE.  [as in training]")
@click.option("--picture", type=PATH, metavar="FILE.svg", help="Draw the answer to the one INPUT.")
@click.option("--stream", metavar="FILE|-", help="transcribe: while the sound arrives; -: raw 16-bit samples.")
@click.option("--prompt", default=None, help="generate: what it goes on from.  [a new line]")
@click.option("--length", type=click.IntRange(0), default=400, help="generate: tokens to write.  [400]")
@click.option("--temperature", type=float, default=0.8, help="generate: below 1 safer, 0 the likeliest.  [0.8]")
@click.option("--top-k", type=int, default=0, help="generate: draw among the k likeliest only.  [0: all]")
@click.option("--top-p", type=float, default=1.0, help="generate: draw among the likeliest with this share.  [1: all]")
@click.option("--seed", type=int, default=0, help="generate, draw: the same seed writes the same.  [0]")
@click.option("--bias", type=click.FloatRange(0), default=0.0, help="draw: the more, the neater.  [0]")
@as_json
def predict(run: Path, inputs: tuple[str, ...], file: Path | None, columns: tuple[str, ...], format: str | None,
            encoding: str | None, picture: Path | None, stream: str | None, as_json: bool,
            **writing: Any) -> None:  # fmt: skip
    """Let a trained model answer: one line for each INPUT, line of standard input, or example of a file.

    \b
    Examples:
      ostinato predict runs/reviews "a warm and funny film"
      ostinato predict runs/reviews --file new.csv --json > answers.jsonl
      cat lines.txt | ostinato predict runs/reviews
      ostinato predict runs/book "It was " --length 200 --temperature 0.6
    """
    folder = RunFolder(run)
    if folder.read_config().get("task") == language.TASK:
        prompt, given = writing.pop("prompt"), [*inputs, *(read_text(file).splitlines() if file else ())]
        if (given and prompt is not None) or (inputs and file):
            raise InputError(f"{run} writes text: give it what to go on from as --prompt, as inputs, or as a --file")
        return language.predict(folder, given or [prompt], as_json=as_json, **writing)
    if inputs and file:
        raise InputError("give inputs or a --file, not both")
    kind, model = runs.load(folder, **_reading(columns, format, encoding))
    kind.writing = {"seed": writing["seed"], "bias": writing["bias"]}
    if stream is not None:
        if inputs or file or as_json:
            raise InputError("--stream reads one sound and writes its text: give nothing beside it")
        for text in kind.stream(model, stream):
            click.echo(text, nl=False)
            sys.stdout.flush()
        return click.echo()
    if file is not None:
        examples: Iterable[Example] = kind.read(file, answered=False)
    else:
        lines = inputs or (line.rstrip("\n") for line in _standard_input() if line.strip())
        examples = (kind.from_text(line) for line in lines)
    if picture is not None:
        examples = list(itertools.islice(examples, 2))
        if len(examples) != 1:
            raise InputError("--picture draws the answer to one input: give one")
    chunk = 1 if not inputs and not file and sys.stdin.isatty() else CHUNK
    for some in _chunks(examples, chunk):
        found = answer(kind, model, some)
        if picture is not None:
            write_atomic(picture, kind.picture(some[0], found[0]).encode())
        for one in found:
            print_line(one, as_json)


def print_line(found: Answer, as_json: bool) -> None:
    """One answer on one line."""
    import json

    value = {"answer": found.value, **found.details}
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else found.text)


def _standard_input() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise InputError(f"standard input, line {number}: byte 0x{byte:02x} is not UTF-8") from None


def _chunks(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    rest = iter(examples)
    while some := list(itertools.islice(rest, size)):
        yield some


def answer(kind: Kind, model: Any, examples: list[Example]) -> list[Answer]:
    """The answers in order, with a bar where there are many."""
    from tqdm import tqdm

    quiet = True if len(examples) <= CHUNK else None  # None: where this is no terminal
    with tqdm(total=len(examples), unit="example", disable=quiet, leave=False) as bar:
        return runs.answers_of(kind, model, examples, bar.update)


def _reading(columns: tuple[str, ...], format: str | None, encoding: str | None) -> dict[str, Any]:
    given = dict(named_value("column", text) for text in columns)
    return {name: str(value) for name, value in given.items()} | {
        name: value for name, value in (("format", format), ("encoding", encoding)) if value is not None
    }


def _show_training(result: dict[str, Any]) -> None:
    drawn = ", drawn from the data by the seed" if result["validation_drawn"] else ""
    bad = f"; {result['bad_lines']:,} bad lines left out" if result["bad_lines"] else ""
    click.echo(
        f"{result['examples']:,} examples to learn from, {result['validation_examples']:,} to validate{drawn}{bad}"
    )
    click.echo(
        f"best at epoch {result['best_epoch']} of {result['epochs']}: {_words(result['validation'])} "
        f"({result['parameters']:,} parameters, {result['steps']:,} steps)"
    )


def _show_measures(result: dict[str, Any]) -> None:
    click.echo(f"{result['examples']:,} examples of {result['data']}")
    rows = [*result["measures"].items(), *((f"instead: {k}", v) for k, v in result.get("instead", {}).items())]
    for name, value in rows:
        click.echo(f"  {name.replace('_', ' '):38} {value:.4f}")
    if result["files"]:
        click.echo(f"Written: {', '.join(result['files'])}")


def _words(measures: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measures.items())
