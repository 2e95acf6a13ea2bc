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

import ostinato
from ostinato import cells
from ostinato.cells.table import CELLS

WIDTH = 64


def fill_in(page: str) -> str:
    """A page with its ``@name arguments`` lines replaced; an unknown name is an error."""
    writers = {"cells": catalogue, "help": help_text, "api": api}
    return re.sub(r"^@(\w+) *(.*)$", lambda m: writers[m[1]](*m[2].split()), page, flags=re.MULTILINE)


def catalogue() -> str:
    """Every cell that has a name: its formula and source, and how many parameters it has."""
    return "\n\n".join(cell_entry(name) for name in cells.names())


def cell_entry(name: str) -> str:
    """One cell. The formula and the source are those of its docstring."""
    factory, settled = CELLS[name]
    text = inspect.getdoc(factory) or ""
    summary, _, rest = text.partition("::\n")
    formula = textwrap.dedent(re.split(r"\n(?=\S)", rest.strip("\n"))[0]).strip()
    source = re.search(r"^Source: (.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if not (formula and source):
        raise ValueError(f"the docstring of {factory.__name__} has no formula or no source")
    count = sum(p.numel() for p in cells.create(name, WIDTH, WIDTH).parameters())
    given = "".join(f", {key}={value!r}" for key, value in settled.items())
    return "\n".join(
        [
            f"## {name}",
            "",
            f"`cells.{factory.__name__}(input_size, hidden_size{given})`, {count:,} parameters.",
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
