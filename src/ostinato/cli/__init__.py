"""The command ``ostinato``: what it takes, what it prints, and one line for what goes wrong."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from ostinato.cli.about import demo, info
from ostinato.cli.lab import lab
from ostinato.cli.language import inspect, train_generate
from ostinato.cli.tasks import TrainGroup, evaluate, predict
from ostinato.errors import InputError
from ostinato.training.interrupt import Interrupted


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("ostinato"), message="ostinato %(version)s")
def cli() -> None:
    """Recurrent neural networks: train, evaluate and use them.

    \b
    Example:
      ostinato demo
    """


@cli.group(name="train", cls=TrainGroup)
def train_group() -> None:
    """Train a model of a task on your data.

    \b
    Examples:
      ostinato train classify reviews.tsv --out runs/reviews
      ostinato train generate book.txt --out runs/book
    """


for command in (demo, evaluate, predict, inspect, lab, info):
    cli.add_command(command)
train_group.add_command(train_generate)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command; what goes wrong is one line on standard error and an exit code other than 0."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    try:
        return cli.main(arguments, prog_name="ostinato", standalone_mode=False) or 0
    except Interrupted as stop:
        return _complain(f"{stop}{_how_to_go_on(arguments)}", 128 + stop.number)
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
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        return _complain("not enough memory: try a smaller --batch or --hidden-size", 2)
    except OSError as error:
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}", 2)


def _complain(message: str, code: int) -> int:
    click.echo(f"ostinato: {' '.join(message.split())}", err=True)
    return code


def _how_to_go_on(arguments: Sequence[str] | None) -> str:
    words = [word for word in (sys.argv[1:] if arguments is None else arguments) if word != "--overwrite"]
    if "train" not in words and not ("lab" in words and ("--out" in words or "table" in words)):  # nothing else can
        return ""
    return f"; go on with: {shlex.join(['ostinato', *words, *([] if '--resume' in words else ['--resume'])])}"


def main() -> None:
    """The console script."""
    sys.exit(run_command())
