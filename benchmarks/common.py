"""What every benchmark shares: its options, the machine's description, and tables that are printed and saved."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.contest import WrongAnswer
from ostinato import Recurrent, cells
from ostinato.engines.cpu import library

ROOT = Path(__file__).parent.parent


@dataclass
class Table:
    """A table as it is printed: a title, the heads of its columns, rows of text, and what has to be said below it."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """One more row, printed at once: a benchmark takes minutes."""
        self.rows.append([str(cell) for cell in cells])
        if len(self.rows) == 1:
            print(f"\n{self.title}\n{self._line(self.columns)}")
        print(self._line(self.rows[-1]), flush=True)

    def _line(self, cells: Sequence[str]) -> str:
        return "  ".join(f"{text:>{max(len(head), 11)}}" for text, head in zip(cells, self.columns, strict=True))

    def markdown(self) -> str:
        """The table as Markdown, its notes below."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        head = f"**{self.title}**\n\n" if self.title else ""
        return f"{head}{text}\n" + "".join(f"\n{note}\n" for note in self.notes)


@dataclass
class Report:
    """What a benchmark found: tables for readers, figures (one mapping a measurement) for programs."""

    name: str
    about: dict[str, Any] = field(default_factory=dict)
    """The command, the date and the machine, as they were at the start."""
    tables: list[Table] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def table(self, title: str, *columns: str) -> Table:
        """A new table of this report."""
        self.tables.append(Table(title, list(columns)))
        return self.tables[-1]

    def save(self, folder: Path) -> None:
        """``NAME.json`` and ``NAME.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        data = {"name": self.name, **self.about, "tables": [asdict(t) for t in self.tables], "figures": self.figures}
        (folder / f"{self.name}.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
        text = "\n".join([described(data), *(table.markdown() for table in self.tables)])
        (folder / f"{self.name}.md").write_text(text, "utf-8")
        print(f"\nsaved in {folder / self.name}.json and .md")


def described(data: dict[str, Any]) -> str:
    """Where the figures of a saved report come from, in one line of Markdown."""
    about = ", ".join(f"{key} {value}" for key, value in data["machine"].items())
    return f"`{data['command']}`, {data['date']}: {about}.\n"


def command() -> str:
    """The command that is running, as one types it."""
    return " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])


def machine() -> dict[str, Any]:
    """What the figures are taken on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})",
        "ostinato": f"{metadata.version('ostinato')} ({engine()})",
        "Python": platform.python_version(),
        "system": platform.platform(terse=True),
        "busy": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
    }


def engine() -> str:
    """The engine that runs, and the instructions that it uses."""
    found = Recurrent(cells.Elman(2, 2)).explain(torch.zeros(1, 1, 2)).engine
    return f"{found} engine, {library().isa}" if found == "cpu" else f"{found} engine"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="fewer cases and rounds: to see that it works, not to quote")
    made.add_argument("--seconds", type=float, help="about how long to measure each line (default 4; quick 0.5)")
    made.add_argument("--threads", type=int, help="for all sides (default: torch's own choice)")
    made.add_argument("--no-rivals", action="store_true", help="leave out JAX and ONNX Runtime")
    made.add_argument("--out", type=Path, default=ROOT / "build/bench", help="folder of the results")
    return made


def main(run: Callable[[argparse.Namespace, Report], None], name: str, made: argparse.ArgumentParser) -> None:
    """Run one benchmark as a command; a wrong answer ends it, and nothing is saved."""
    options = made.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    options.seconds = options.seconds or (0.5 if options.quick else 4.0)
    torch.manual_seed(0)
    about = {"command": command(), "date": f"{datetime.date.today()}", "quick": options.quick, "machine": machine()}
    report = Report(name, about)
    print(described(about))
    try:
        run(options, report)
    except WrongAnswer as error:
        sys.exit(f"{name}: {error}")
    report.save(options.out)


def ms(seconds: float) -> str:
    """Milliseconds, with three figures that count."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def ratio(value: float, target: float | None = None) -> str:
    """A ratio, and the target it has to reach where there is one."""
    text = f"{value:.2f}" if value < 10 else f"{value:.1f}"
    return text if target is None else f"{text} (≥ {target:g})" + ("" if value >= target else " ✗")


def at_most(value: float, target: float) -> str:
    """A cost, and the target that it must not exceed."""
    return f"{value:.3g} (≤ {target:g})" + ("" if value <= target else " ✗")
