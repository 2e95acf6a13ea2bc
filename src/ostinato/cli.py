"""The command ``ostinato``: what it takes, what it prints, and one line for what goes wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import platform
import shlex
import sys
import tomllib
import typing
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

from ostinato import cells
from ostinato.errors import InputError
from ostinato.features.text import read_text
from ostinato.tasks import generate_run
from ostinato.tasks.generate import GenerateOptions
from ostinato.training.interrupt import Interrupted
from ostinato.training.options import from_mapping, read_toml
from ostinato.training.run import RunFolder

FILE, RUN = click.Path(path_type=Path), click.Path(path_type=Path)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for programs.")


def options_of(kind: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """One command-line option for every field of an options dataclass; those not given are None."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        types = typing.get_type_hints(kind)
        for field in reversed(dataclasses.fields(kind)):
            command = _option(field, types[field.name])(command)
        return command

    return decorate


def _option(field: dataclasses.Field[Any], wanted: Any) -> Callable[..., Any]:
    name, text, choices = field.name.replace("_", "-"), field.metadata["help"], field.metadata.get("choices", ())
    shown = "." if field.default in (None, dataclasses.MISSING) else f".  [{field.default}]"
    text = f"{text[0].upper()}{text[1:]}{shown}"
    if wanted is bool:
        return click.option(f"--{name}/--no-{name}", field.name, default=None, help=text)
    if field.default is dataclasses.MISSING:  # a table: the option may be given several times
        return click.option(f"--{name.removesuffix('s')}", field.name, multiple=True, metavar="NAME=VALUE", help=text)
    kind = (typing.get_args(wanted) or (wanted,))[0]
    metavar = "|".join(choices) or None
    return click.option(f"--{name}", field.name, type=kind, default=None, metavar=metavar, help=text)


def given_options(config: Path | None, values: dict[str, Any]) -> dict[str, Any]:
    """What the TOML file and the command line give; the command line wins."""
    given = {name: value for name, value in values.items() if value is not None and value != ()}
    for name, value in given.items():
        if isinstance(value, tuple):
            given[name] = dict(_pair(name, text) for text in value)
    if config is None:
        return given
    table = read_toml(config)
    from_mapping(GenerateOptions, table, str(config))
    return table | given


def _pair(option: str, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{option.replace('_', '-')} must be NAME=VALUE, got {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("ostinato"), message="ostinato %(version)s")
def cli() -> None:
    """Recurrent neural networks: train, evaluate and use them.

    \b
    Example:
      ostinato demo
    """


@cli.group(name="train")
def train_group() -> None:
    """Train a model of a task on your data.

    \b
    Example:
      ostinato train generate book.txt --out runs/book
    """


@train_group.command(name="generate")
@click.argument("file", type=FILE)
@click.option("--out", type=RUN, required=True, metavar="RUN", help="The folder for the run.")
@click.option("--valid", type=FILE, metavar="FILE", help="A text that validates, in place of the end of FILE.")
@click.option("--config", type=FILE, metavar="FILE.toml", help="Options as TOML; the command line wins.")
@click.option("--resume", is_flag=True, help="Go on with the run in RUN.")
@click.option("--overwrite", is_flag=True, help="Replace the run in RUN.")
@as_json
@options_of(GenerateOptions)
def train_generate(
    file: Path, out: Path, valid: Path | None, config: Path | None, resume: bool, overwrite: bool, as_json: bool,
    **values: Any,
) -> None:  # fmt: skip
    """Train a language model on a text: it predicts the next character or word, and writes.

    \b
    Examples:
      ostinato train generate book.txt --out runs/book
      ostinato train generate book.txt --out runs/book --resume
      ostinato train generate book.txt --out runs/words --level words --cell gru --layers 2 --dropout 0.3
    """
    run, given = RunFolder(out), given_options(config, values)
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other")
    if resume and run.exists:
        options = generate_run.options_to_resume(run, given)
    else:
        options = from_mapping(GenerateOptions, given, "the command")
        run.check_free(overwrite)
    text = read_text(file)
    train_text, valid_text = (text, read_text(valid)) if valid else generate_run.split(text, options.held_out)
    result = generate_run.train(run, options, train_text, valid_text, _bar(options), resume, overwrite)
    if as_json:
        return _print_json(result)
    measures = result["validation"]
    click.echo(
        f"best at epoch {result['best_epoch']} of {result['epochs']}: held out {_in_words(measures)} "
        f"({result['parameters']:,} parameters, {result['steps']:,} steps)"
    )
    click.echo(f"Next:  ostinato predict {shlex.quote(str(out))} --prompt {shlex.quote(result['prompt'] + ' ')}")


@cli.command()
@click.argument("run", type=RUN)
@click.argument("file", type=FILE)
@click.option(
    "--streams", type=click.IntRange(1), default=1, help="Read so many parts at once: faster, less exact.  [1]"
)
@as_json
def evaluate(run: Path, file: Path, streams: int, as_json: bool) -> None:
    """Measure how well a trained model predicts a text, its states carried through.

    \b
    Example:
      ostinato evaluate runs/book other.txt
    """
    from tqdm import tqdm

    from ostinato.tasks.generate import evaluate as measure

    loaded = generate_run.load_model(RunFolder(run))
    ids = generate_run.numbers(loaded.vocabulary, read_text(file))
    if len(ids) < 2:
        raise InputError(f"{file} has {len(ids)} tokens, and 2 are needed")
    with tqdm(total=-(-(len(ids) - 1) // streams), unit="step", disable=None, leave=False) as bar:
        loss = measure(loaded.model, ids, streams, tick=bar.update)
    unknown = int((ids == 0).sum())
    result = {**generate_run.measures(loss, loaded.options.level), "tokens": len(ids), "unknown_tokens": unknown}
    if as_json:
        return _print_json(result)
    click.echo(f"{_in_words(result)} over {len(ids) - 1:,} {loaded.options.level}")
    if unknown:
        click.echo(f"{unknown:,} of them are not in the model's vocabulary and count as <unk>")


@cli.command()
@click.argument("run", type=RUN)
@click.option("--prompt", default="\n", help="What it goes on from.  [a new line]")
@click.option("--length", type=click.IntRange(0), default=400, help="Tokens to write.  [400]")
@click.option("--temperature", type=float, default=0.8, help="Below 1 safer, above 1 bolder, 0 the likeliest.  [0.8]")
@click.option("--top-k", type=int, default=0, help="Draw among the k likeliest only.  [0: all]")
@click.option("--seed", type=int, default=0, help="The same seed writes the same.  [0]")
@as_json
def predict(run: Path, prompt: str, length: int, temperature: float, top_k: int, seed: int, as_json: bool) -> None:
    """Let a trained language model write.

    \b
    Example:
      ostinato predict runs/book --prompt "It was " --length 200 --temperature 0.6
    """
    from ostinato.decoding.sampling import Sampler
    from ostinato.tasks.generate import generate

    loaded = generate_run.load_model(RunFolder(run))
    sampler = Sampler(temperature, top_k, seed)
    written = generate(loaded.model, loaded.vocabulary, prompt, length, sampler)
    if as_json:
        return _print_json({"prompt": prompt, "text": written, "length": length, "seed": seed})
    space = " " if loaded.options.level == "words" and not prompt[-1].isspace() else ""
    click.echo(f"{prompt}{space}{written}")


@cli.command()
@click.option("--out", type=RUN, default=None, metavar="RUN", help="The folder for the run.  [runs/demo]")
@click.option("--overwrite", is_flag=True, help="Replace the run in RUN; runs/demo is always replaced.")
@as_json
def demo(out: Path | None, overwrite: bool, as_json: bool) -> None:
    """Train a small language model on Python's own language reference, and use it: about a minute.

    \b
    Example:
      ostinato demo
    """
    from ostinato.tasks.demo import OPTIONS, reference, run_demo

    run = RunFolder(out or Path("runs") / "demo")
    if not as_json:
        count = len(reference().train)
        click.echo(f"A character language model of Python's language reference: {count:,} characters to learn from.")
    result = run_demo(run, OPTIONS, _bar(OPTIONS), overwrite or out is None)
    _print_json(result) if as_json else _show_demo(result, run)


def _show_demo(result: dict[str, Any], run: RunFolder) -> None:
    bits, name = result["test_bits"], shlex.quote(str(run.path))
    click.echo(f"\nTrained in {result['seconds']:.0f} s. Bits per character on {result['test_characters']:,} others:")
    for label, key in (("unigram", "unigram"), ("5-gram", "5-gram"), (OUR_NAME, "model")):
        click.echo(f"  {label:24} {bits[key]:.3f}")
    click.echo(f"\nIt writes:\n\n{result['sample']}\n")
    click.echo(f"Saved in {name}, loaded again, predicts the same.\n\nNext:")
    click.echo(f'  ostinato predict {name} --prompt "A class " --temperature 0.5')
    click.echo("  ostinato train generate YOUR.txt --out runs/yours")


OUR_NAME = "this recurrent network"


@cli.command()
@as_json
def info(as_json: bool) -> None:
    """Versions, threads, engines and cells.

    \b
    Example:
      ostinato info
    """
    names = ("ostinato", "torch", "lightning-fabric", "safetensors", "numpy", "click", "tqdm", "tensorboardX")
    result = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in names},
        "threads": torch.get_num_threads(),
        "engines": ["reference"],
        "cells": list(cells.names()),
    }
    if as_json:
        return _print_json(result)
    for label, value in (result | result["versions"]).items():
        if label != "versions":
            click.echo(f"{label:17} {', '.join(value) if isinstance(value, list) else value}")


def _bar(options: GenerateOptions) -> Callable[..., None]:
    from ostinato.training.progress import Bar

    return Bar("character" if options.level == "characters" else "word")


def _in_words(measures: dict[str, Any]) -> str:
    shown = [f"{value:.4g} {name.replace('_', ' ')}" for name, value in measures.items() if "_per_" in name]
    return ", ".join(shown)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command; what goes wrong is one line on standard error and an exit code other than 0."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    try:
        return cli.main(arguments, prog_name="ostinato", standalone_mode=False) or 0
    except Interrupted as stop:
        return _complain(f"{stop}; go on with: {_resume_line(arguments)}", 128 + stop.number)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except (InputError, click.ClickException) as error:
        return _complain(error.format_message() if isinstance(error, click.ClickException) else str(error), 2)
    except (click.Abort, KeyboardInterrupt):
        return _complain("stopped", 130)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}", 2)


def _complain(message: str, code: int) -> int:
    click.echo(f"ostinato: {' '.join(message.split())}", err=True)
    return code


def _resume_line(arguments: Sequence[str] | None) -> str:
    words = [word for word in (sys.argv[1:] if arguments is None else arguments) if word != "--overwrite"]
    return shlex.join(["ostinato", *words, *([] if "--resume" in words else ["--resume"])])


def main() -> None:
    """The console script."""
    sys.exit(run_command())
