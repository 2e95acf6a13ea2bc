"""Options on the command line, made from an options dataclass, and the same in a TOML file."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ostinato.training.options import from_mapping, named_value, read_toml

PATH = click.Path(path_type=Path)
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


def given_options(kind: type[Any], config: Path | None, values: dict[str, Any]) -> dict[str, Any]:
    """What the TOML file and the command line give; the command line wins."""
    given = {name: value for name, value in values.items() if value is not None and value != ()}
    for name, value in given.items():
        if isinstance(value, tuple):
            given[name] = dict(named_value(name.replace("_", "-"), text) for text in value)
    if config is None:
        return given
    table = read_toml(config)
    from_mapping(kind, table, str(config))
    return table | given


def print_json(value: Any) -> None:
    """Print a result for programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
