"""The commands of the language model: train generate, inspect; and what evaluate and predict do with one."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ostinato.cli.options import PATH, as_json, given_options, options_of, print_json
from ostinato.decoding.sampling import Sampler
from ostinato.errors import InputError
from ostinato.features.text import AnyVocabulary, read_text
from ostinato.files import write_atomic
from ostinato.tasks import generate_run
from ostinato.tasks.generate import GenerateOptions, generate
from ostinato.tasks.generate import evaluate as language_loss
from ostinato.training.options import from_mapping
from ostinato.training.run import RunFolder

TASK = generate_run.TASK


@click.command(name="generate")
@click.argument("file", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="RUN", help="The folder for the run.")
@click.option("--validation", "--valid", "valid", type=PATH, metavar="FILE",
              help="A text that validates, in place of the end of FILE.")  # fmt: skip
@click.option("--test", type=PATH, metavar="FILE", help="Measure on this text, once, when the training is over.")
@click.option("--config", type=PATH, metavar="FILE.toml", help="Options as TOML; the command line wins.")
@click.option("--resume", is_flag=True, help="Go on with the run in RUN.")
@click.option("--overwrite", is_flag=True, help="Replace the run in RUN.")
@as_json
@options_of(GenerateOptions)
def train_generate(
    file: Path, out: Path, valid: Path | None, test: Path | None, config: Path | None, resume: bool, overwrite: bool,
    as_json: bool, **values: Any,
) -> None:  # fmt: skip
    """Train a language model on a text: it predicts the next character or word, and writes.

    \b
    Examples:
      ostinato train generate book.txt --out runs/book
      ostinato train generate book.txt --out runs/book --resume
      ostinato train generate book.txt --out runs/words --level words --cell gru --layers 2 --dropout 0.3
    """
    run, given = RunFolder(out), given_options(GenerateOptions, config, values)
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other")
    if resume and run.exists:
        options = generate_run.options_to_resume(run, given)
    else:
        options = from_mapping(GenerateOptions, given, "the command")
    text = read_text(file)
    tested = None if test is None else read_text(test)  # what is wrong with it is said before the training
    train_text, valid_text = (text, read_text(valid)) if valid else generate_run.split(text, options.held_out)
    result = generate_run.train(run, options, train_text, valid_text, progress_bar(options), resume, overwrite)
    if tested is not None:
        result["test"] = measure(run, tested, f"{test}", 1)
    if as_json:
        return print_json(result)
    measures = result["validation"]
    click.echo(
        f"best at epoch {result['best_epoch']} of {result['epochs']}: held out {_in_words(measures)} "
        f"({result['parameters']:,} parameters, {result['steps']:,} steps)"
    )
    if tested is not None:
        click.echo(f"on {test}: {_in_words(result['test'])}")
    click.echo(f"Next:  ostinato predict {shlex.quote(str(out))} --prompt {shlex.quote(result['prompt'])}")


def measure(run: RunFolder, text: str, named: str, streams: int) -> dict[str, Any]:
    """How well a trained model predicts a text, its states carried through."""
    from tqdm import tqdm

    loaded = generate_run.load_model(run)
    ids = generate_run.numbers(loaded.vocabulary, text)
    if len(ids) < 2:
        raise InputError(f"{named} has {len(ids)} tokens, and 2 are needed")
    with tqdm(total=-(-(len(ids) - 1) // streams), unit="step", disable=None, leave=False) as bar:
        loss = language_loss(loaded.model, ids, streams, tick=bar.update)
    level, unknown = loaded.options.level, int((ids == 0).sum())
    return {**generate_run.measures(loss, level), "level": level, "tokens": len(ids), "unknown_tokens": unknown}


def evaluate(run: RunFolder, file: Path, streams: int, as_json: bool) -> None:
    """Measure a trained model on a text, and say it."""
    result = measure(run, read_text(file), str(file), streams)
    if as_json:
        return print_json(result)
    click.echo(f"{_in_words(result)} over {result['tokens'] - 1:,} {result['level']}")
    if unknown := result["unknown_tokens"]:
        click.echo(f"{unknown:,} of them are not in the model's vocabulary and count as <unk>")


@click.command()
@click.argument("run", type=PATH)
@click.option("--input", "text", default=None, metavar="TEXT", help="What the model reads.  [what it writes itself]")
@click.option("--out", type=PATH, metavar="FILE.html", help="The page.")
@click.option("--live", is_flag=True, help="Serve the page on this machine, with a field to type into.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, help="For --live; 0: any that is free.  [8765]")
def inspect(run: Path, text: str | None, out: Path | None, live: bool, port: int) -> None:
    """Show what a trained language model is and does, as one page that opens in any browser.

    \b
    Examples:
      ostinato inspect runs/book --input "The class is" --out inside.html
      ostinato inspect runs/book --live
    """
    from ostinato.inspect.live import live as served
    from ostinato.tasks.generate_report import inspect_run

    folder = RunFolder(run)
    if live == (out is not None) or (live and text is not None):
        raise InputError("give --out FILE.html for a page, or --live to type into one")
    if out is not None:
        write_atomic(out, inspect_run(folder, text).encode())
        return click.echo(f"{out}")
    generate_run.load_model(folder)  # what is wrong with it is said before there is a page
    with served(lambda typed: inspect_run(folder, typed), port) as server:
        click.echo(f"http://127.0.0.1:{server.server_port}  (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def predict(run: RunFolder, prompts: Sequence[str | None], length: int, temperature: float, top_k: int, top_p: float,
            seed: int, bias: float, as_json: bool) -> None:  # fmt: skip
    """Let a trained language model go on from each prompt; None: from a beginning of its own choice."""
    if bias:
        raise InputError("--bias is for drawings; a text is drawn by --temperature, --top-k, --top-p")
    loaded = generate_run.load_model(run)
    for prompt in prompts:
        sampler = Sampler(temperature, top_k, top_p, seed)
        start = prompt if prompt is not None else first_prompt(loaded.vocabulary)
        written = generate(loaded.model, loaded.vocabulary, start, length, sampler)
        if as_json:
            value = {"prompt": start, "text": written, "length": length, "seed": seed}
            click.echo(json.dumps(value, ensure_ascii=False))
            continue
        space = " " if prompt and loaded.options.level == "words" and not prompt[-1].isspace() else ""
        click.echo(f"{prompt or ''}{space}{written}")


def first_prompt(vocabulary: AnyVocabulary) -> str:
    """What to begin a text from when nothing is asked for: a new line, or where the model knows none, any token."""
    return vocabulary.tokens[1] if vocabulary.missing("\n") and len(vocabulary) > 1 else "\n"


def progress_bar(options: GenerateOptions) -> Callable[..., None]:
    """What draws the course of a training."""
    from ostinato.training.progress import Bar

    return Bar(options.level.removesuffix("s"))


def _in_words(measures: dict[str, Any]) -> str:
    shown = [f"{value:.4g} {name.replace('_', ' ')}" for name, value in measures.items() if "_per_" in name]
    return ", ".join(shown)
