"""The commands that show what is here: demo and info."""

from __future__ import annotations

import platform
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

from ostinato import cells
from ostinato.cli.language import progress_bar
from ostinato.cli.options import PATH, as_json, print_json
from ostinato.engines import cpu
from ostinato.engines.choice import ENGINES
from ostinato.tasks import demo as tasks_demo
from ostinato.training.run import RunFolder


@click.command()
@click.option("--out", type=PATH, default=None, metavar="RUN", help="The folder for the run.  [runs/demo]")
@click.option("--overwrite", is_flag=True, help="Replace the run in RUN; runs/demo is always replaced.")
@as_json
def demo(out: Path | None, overwrite: bool, as_json: bool) -> None:
    """Train a small language model on Python's own language reference, and use it: about a minute.

    \b
    Example:
      ostinato demo
    """
    run, overwrite = RunFolder(out or Path("runs") / "demo"), overwrite or out is None
    run.check_free(overwrite)
    if not as_json:
        count = len(tasks_demo.reference().train)
        click.echo(f"A character language model of Python's language reference: {count:,} characters to learn from.")
    result = tasks_demo.run_demo(run, tasks_demo.OPTIONS, progress_bar(tasks_demo.OPTIONS), overwrite)
    print_json(result) if as_json else _show_demo(result, run)


def _show_demo(result: dict[str, Any], run: RunFolder) -> None:
    bits, name = result["test_bits"], shlex.quote(str(run.path))
    click.echo(f"\nTrained in {result['seconds']:.0f} s. Bits per character on {result['test_characters']:,} others:")
    for label, key in (("unigram", "unigram"), ("5-gram", "5-gram"), ("this recurrent network", "model")):
        click.echo(f"  {label:24} {bits[key]:.3f}")
    click.echo(f"\nIt writes:\n\n{result['sample']}\n")
    click.echo(f"Saved in {name}, loaded again, predicts the same.\n\nNext:")
    click.echo(f'  ostinato predict {name} --prompt "A class " --temperature 0.5')
    click.echo("  ostinato train generate YOUR.txt --out runs/yours")


@click.command()
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
        "engines": {name: _state(name) for name in ENGINES},
        "cells": list(cells.names()),
    }
    if as_json:
        return print_json(result)
    result["engines"] = [_described(name, state) for name, state in result["engines"].items()]
    for label, value in (result | result["versions"]).items():
        if label != "versions":
            click.echo(f"{label:17} {', '.join(value) if isinstance(value, list) else value}")


def _state(engine: str) -> dict[str, Any]:
    """Whether an engine runs on this machine, and with what or why not."""
    if engine != "cpu":
        return {"runs": True}
    if (why := cpu.unavailable()) is not None:
        return {"runs": False, "why": why}
    library = cpu.library()
    threads = torch.get_num_threads() if library.parallel else 1
    return {"runs": True, "instruction_set": library.isa, "instruction_sets": library.isas, "threads": threads}


def _described(engine: str, state: dict[str, Any]) -> str:
    if not state["runs"]:
        return f"{engine} (does not run: {state['why']})"
    if "threads" not in state:
        return engine
    count = state["threads"]
    return f"{engine} ({state['instruction_set']}, {count} thread{'s' if count != 1 else ''})"
