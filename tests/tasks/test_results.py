"""The table of results: what is made ready, and what of a run is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus import DATA

from benchmarks import results
from ostinato.features.rows import open_table


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
def test_splits(tmp_path: Path) -> None:
    assert results.surnames(tmp_path) == ["train.csv", "--test", "test.csv"]
    counts = [sum(1 for _ in open_table(tmp_path / name)) for name in ("train.csv", "test.csv")]
    assert counts == [20050 - 2005, 2005]
    results.ag_news(tmp_path)
    assert [sum(1 for _ in open_table(tmp_path / name)) for name in ("train.csv", "test.csv")] == [6600, 1000]
    assert results.multi30k(tmp_path)[:3] == ["train", "--validation", "val"]
    assert len((tmp_path / "train.de").read_text(encoding="utf-8").splitlines()) == 29000


def test_the_page(tmp_path: Path, monkeypatch: Any) -> None:
    page = tmp_path / "results.md"
    kept = "| sst2, with `glove_50d_8k` | accuracy | **0.841** | .835 |"
    page.write_text(f"before\n<!-- results -->\nold\n{kept}\n<!-- end -->\nafter\n")
    monkeypatch.setattr(results, "BUILD", tmp_path)
    monkeypatch.setattr(results, "PAGE", page)
    about = {"processor": "P", "cores": 2, "busy": "1.0"}
    test = {"measures": {"accuracy": 0.91234}, "instead": {"bag of words accuracy": 0.5, "bag of words f1": 0.4}}
    run = {"command": "ostinato train classify", "date": "2026-01-01", "reached": [0.91234, 0.9, 0.95],
           "machine": about, "test": test, "parameters": 1234, "seconds": 90.0, "peak_mb": 512.0}  # fmt: skip
    (tmp_path / "trec.json").write_text(json.dumps(run))
    results.page()
    text = page.read_text()
    assert kept in text  # run elsewhere
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    reached = "**0.921** (0.912, 0.900, 0.950)"
    assert f"| trec, 6 kinds of questions | accuracy | {reached} | .925 | 0.500 | 1,234 | 1.5 | 512 |" in text
    assert "`ostinato train classify`, 2026-01-01, seeds 0 to 2, P, 2 cores, load 1.0 at the end." in text
