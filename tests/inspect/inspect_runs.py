"""A run that is small enough to be looked into."""

from __future__ import annotations

from pathlib import Path

from ostinato.cli import run_command

TEXT = "the clouds are in the sky and I grew up in France, I speak fluent French\n" * 40
TINY = ["--epochs", "1", "--hidden-size", "6", "--embedding-size", "4", "--bptt", "16", "--batch", "4"]


def trained(folder: Path, cell: str) -> Path:
    """The folder of a language model of two layers."""
    (folder / "text.txt").write_text(TEXT)
    words = ["train", "generate", str(folder / "text.txt"), "--out", str(folder / "run"), *TINY]
    assert run_command([*words, "--layers", "2", "--cell", cell]) == 0
    return folder / "run"
