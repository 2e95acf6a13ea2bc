"""The parts of the documentation that the running code writes."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType

import torch

import ostinato
from ostinato import cells
from ostinato.cells.table import CELLS

WIDTH = 64


def fill_in(page: str) -> str:
    """A page with its ``@name arguments`` lines replaced; an unknown name is an error."""
    writers = {"cells": catalogue, "cell_table": cell_table, "help": help_text, "api": api}
    return re.sub(r"^@(\w+) *(.*)$", lambda m: writers[m[1]](*m[2].split()), page, flags=re.MULTILINE)


def catalogue() -> str:
    """Every cell that has a name: its formula and source, and how many parameters it has."""
    return "\n\n".join(cell_entry(name) for name in cells.names())


def cell_table() -> str:
    """Every cell that has a name: its class, its number of parameters, and what it is for."""
    rows = [["name", "class", "parameters", f"N = H = {WIDTH}", "what it is for"], ["---"] * 5]
    for name, entry in CELLS.items():
        size = f"{parameters(name, WIDTH, WIDTH):,}"
        rows.append([f"[{name}](#{name})", f"`{entry.factory.__name__}`", polynomial(name), size, entry.purpose])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def parameters(name: str, inputs: int, hidden: int) -> int:
    """How many parameters a cell of the catalogue has, with its default options."""
    return sum(p.numel() for p in cells.create(name, inputs, hidden).parameters())


def terms(inputs: int, hidden: int) -> list[float]:
    """What a number of parameters is a sum of: ``N H``, ``H²``, ``N``, ``H`` and 1."""
    return [inputs * hidden, hidden**2, inputs, hidden, 1]


POINTS = ((5, 8), (6, 8), (5, 12), (6, 12), (9, 16), (4, 32))
"""Sizes (N, H) that settle the factors of the terms, and one more."""


def polynomial(name: str) -> str:
    """The number of parameters for any N and H, found by counting: ``"4 N H + 4 H² + 4 H"``."""
    at = torch.tensor([terms(*point) for point in POINTS], dtype=torch.float64)
    counted = torch.tensor([parameters(name, *point) for point in POINTS], dtype=torch.float64)
    factors = torch.linalg.lstsq(at, counted.unsqueeze(1)).solution[:, 0].mul(2).round().div(2)
    if not torch.equal(at @ factors, counted):
        raise ValueError(f"the number of parameters of {name!r} is no such polynomial: {counted.tolist()}")
    pairs = [(f, term) for f, term in zip(factors.tolist(), ("N H", "H²", "N", "H", ""), strict=True) if f]
    text = " + ".join(term if f == 1 and term else f"{f:g} {term}".strip() for f, term in pairs)
    square = sum(f * term for f, term in zip(factors.tolist(), terms(8, 8), strict=True))
    fewer = "; fewer where N = H" if parameters(name, 8, 8) < square else ""
    trained = any(p.requires_grad for p in cells.create(name, 8, 8).parameters())
    return text + fewer + ("" if trained else "; none is trained")


def cell_entry(name: str) -> str:
    """One cell. The formula and the source are those of its docstring."""
    factory, settled, use, _ = CELLS[name]
    text = inspect.getdoc(factory) or ""
    summary, _, rest = text.partition("::\n")
    formula = textwrap.dedent(re.split(r"\n(?=\S)", rest.strip("\n"))[0]).strip()
    source = re.search(r"^Source: (.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if not (formula and source):
        raise ValueError(f"the docstring of {factory.__name__} has no formula or no source")
    given = "".join(f", {key}={value!r}" for key, value in settled.items())
    return "\n".join(
        [
            f"## {name}",
            "",
            f"What it is for: {use}. Parameters: {polynomial(name)}.",
            "",
            f"`cells.{factory.__name__}(input_size, hidden_size{given})`",
            "",
            "```{eval-rst}",
            f"{summary.strip()}:",
            "```",
            "",
            "```text",
            formula,
            "```",
            "",
            "```{eval-rst}",
            f"Source: {' '.join(source[1].split())}",
            "```",
        ]
    )


def help_text(*command: str) -> str:
    """What ``ostinato ... --help`` prints."""
    line = [sys.executable, "-m", "ostinato", *command, "--help"]
    text = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return f"```text\n{text.rstrip()}\n```"


def api() -> str:
    """Every public name of every room that declares some, each in the first room that has it."""
    shown: list[object] = []
    sections = []
    for module in rooms():
        names = [n for n in module.__all__ if callable(getattr(module, n)) and getattr(module, n) not in shown]
        shown += [getattr(module, n) for n in names]
        sections.append(API_SECTION.format(module=module.__name__, names=", ".join(names)))
    return "\n".join(sections)


API_SECTION = """## {module}

```{{eval-rst}}
.. automodule:: {module}
   :members: {names}
   :imported-members:
   :show-inheritance:
```
"""


def rooms() -> Iterator[ModuleType]:
    """The package and those of its modules that declare public names."""
    for name in ["ostinato", *sorted(f"ostinato.{m.name}" for m in pkgutil.iter_modules(ostinato.__path__))]:
        if not name.endswith("__main__") and hasattr(module := importlib.import_module(name), "__all__"):
            yield module
