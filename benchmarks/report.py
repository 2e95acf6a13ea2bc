"""Write the tables of the last run into the pages that quote them: ``python -m benchmarks.report [NAME ...]``; with
names, those of these benchmarks alone.

A page has the place of a table between ``<!-- benchmark: NAME -->`` and ``<!-- end -->``; NAME is a benchmark, or
``summary`` for the README's short table. Results taken with --quick are refused.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Table, described

PAGES = [ROOT / "docs/performance.md", ROOT / "README.md"]
RESULTS = ROOT / "build/bench"
PLACE = re.compile(r"(<!-- benchmark: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def result(name: str) -> dict[str, Any]:
    """What a benchmark saved.

    Raises:
        SystemExit: when it has not run, or ran with --quick.
    """
    file = RESULTS / f"{name}.json"
    if not file.exists():
        sys.exit(f"{file} is not there: run python -m benchmarks --only {name}")
    data = json.loads(file.read_text("utf-8"))
    if data["quick"]:
        sys.exit(f"{file} was taken with --quick, which is not to be quoted")
    return data


def tables(name: str) -> str:
    """All tables of one benchmark, and where they come from."""
    data = result(name)
    return "\n".join([described(data), *(Table(**table).markdown() for table in data["tables"])])


def summary() -> str:
    """How many times faster a training step is: a row for each shape, a column for each cell."""
    data = result("train")
    kinds = list(dict.fromkeys(f["cell"] for f in data["figures"]))
    rivals = {f["cell"]: "torch.nn" if f["against"] == "torch.nn" else "loop or JAX" for f in data["figures"]}
    table = Table("", ["T, B, H", *(f"{kind} ({rivals[kind]})" for kind in kinds)])
    for shape in dict.fromkeys((f["T"], f["B"], f["H"]) for f in data["figures"]):
        found = {f["cell"]: f["ratio"] for f in data["figures"] if (f["T"], f["B"], f["H"]) == shape}
        table.rows.append([str(shape)[1:-1], *(f"{found[kind]:.1f}" for kind in kinds)])
    return f"{table.markdown()}\n{described(data)}"


def filled(page: str, names: Sequence[str] = ()) -> str:
    """A page with every place filled, or those of the benchmarks named."""

    def fill(m: re.Match[str]) -> str:
        if names and ("train" if m[2] == "summary" else m[2]) not in names:
            return m[0]
        return f"{m[1]}\n{summary() if m[2] == 'summary' else tables(m[2])}\n{m[3]}"

    return PLACE.sub(fill, page)


def main() -> None:
    """Rewrite the pages."""
    texts = {page: filled(page.read_text("utf-8"), sys.argv[1:]) for page in PAGES}
    for page, text in texts.items():
        Path(page).write_text(text, "utf-8")
        print(page)


if __name__ == "__main__":
    main()
