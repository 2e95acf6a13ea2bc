"""The command, called as a user would, and what it said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ostinato.cli import run_command

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *words: Any) -> str:
    """What a command that succeeds prints."""
    capsys.readouterr()
    assert run_command([str(word) for word in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def complaint(capsys: Capture, *words: Any) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    assert run_command([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if not line.startswith("epoch ")]
    assert len(lines) == 1 and lines[0].startswith("ostinato: "), error
    return lines[0]


def in_fresh_process(*words: Any, input: str | None = None) -> list[Any]:
    """What a command in another process prints, a JSON value a line."""
    code = "from ostinato.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], input=input, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same best model, to the bit."""
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
