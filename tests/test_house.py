"""The house of CONTRIBUTING.md: imports point one way, downwards; public names are explained; importing is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ostinato

SOURCE = Path(ostinato.__file__).parent
FLOORS = [
    {"cli"},
    {"tasks", "lab", "keras"},
    {"training", "inspect", "features", "decoding"},
    {"layers"},
    {"recurrent"},
    {"engines"},
    {"program"},
    {"cells"},
    {"cell"},
    {"noise"},
    {"files"},
    {"errors"},
]
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
DOORS = {"__init__", "__main__"}  # the package's own: the public names and the command
HEAVY = ["sympy", "torch._dynamo", "networkx", "matplotlib", "pandas"]
HEAVY += ["lightning", "lightning_fabric", "tensorboardX", "click", "tqdm"]


def room_of(module: str) -> str:
    """``ostinato.program.trace`` is in the room ``program``; the package itself is ``__init__``."""
    return ((*module.split("."), "__init__"))[1]


def imports_of(module: str, source: str) -> Iterator[str]:
    """Every module that ``source`` imports, anywhere in it, with its full name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            target = ".".join(part for part in (base, node.module) if part)
            yield from (f"{target}.{alias.name}" for alias in node.names)


def violations(module: str, source: str) -> list[str]:
    """The imports of ``source`` that point upwards or sideways."""
    room, found = room_of(module), []
    if room in DOORS:
        return found
    if room not in FLOOR:
        return [f"{module} is in no room of the house"]
    for name in imports_of(module, source):
        if name.split(".")[0] == "ostinato":
            target = room_of(name)
            lower = target in FLOOR and FLOOR[target] > FLOOR[room]
            if target != room and not (lower and (room != "cells" or target == "cell")):
                found.append(f"{module} imports {name}")
        elif room == "cells" and name.split(".")[0] not in {"torch", *sys.stdlib_module_names}:
            found.append(f"{module} imports {name}")
    return found


def modules() -> dict[str, str]:
    """Each module of the package, by its full name (a package is ``name.__init__``), with its text."""
    files = sorted(SOURCE.rglob("*.py"))
    return {".".join(["ostinato", *f.relative_to(SOURCE).with_suffix("").parts]): f.read_text("utf-8") for f in files}


def test_imports_point_downwards() -> None:
    texts = modules()
    assert len(texts) > 5
    assert [v for module, text in texts.items() for v in violations(module, text)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ostinato.cell", "from ostinato.recurrent import Recurrent"),
        ("ostinato.cell", "from ostinato import Recurrent"),
        ("ostinato.cell", "import ostinato"),
        ("ostinato.cells.gru", "import numpy as np"),
        ("ostinato.cells.gru", "from ostinato.program import trace"),
        ("ostinato.program.trace", "def f():\n    from ostinato.engines import eager"),
        ("ostinato.program.trace", "from ..engines import eager"),
        ("ostinato.engines.__init__", "from .. import recurrent"),
        ("ostinato.training.loop", "import ostinato.features.text"),
        ("ostinato.layers.drop_in", "from ostinato import keras"),
        ("ostinato.recurrent", "from ostinato.cli import main"),
        ("ostinato.attic", ""),
    ],
)
def test_the_check_finds_a_violation(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ostinato.cells.gru", "import math\nimport torch\nfrom ostinato.cell import Cell\nfrom .elman import Elman"),
        ("ostinato.program.__init__", "from .trace import trace\nfrom ostinato import cells"),
        ("ostinato.cli", "from ostinato import tasks, training\nimport click"),
        ("ostinato.__main__", "from ostinato.cli import main"),
    ],
)
def test_the_check_allows_what_points_down(module: str, source: str) -> None:
    assert violations(module, source) == []


@pytest.mark.parametrize("name", [name for name in ostinato.__all__ if not name.startswith("__")])
def test_public_names_are_explained(name: str) -> None:
    value = getattr(ostinato, name)
    assert (value.__doc__ or "").strip(), f"ostinato.{name} has no docstring"


def test_import_is_light() -> None:
    code = "import sys, torch; before = set(sys.modules); import ostinato; print(*(set(sys.modules) - before))"
    added = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "ostinato" in added
    assert [name for name in HEAVY if name in added] == []
