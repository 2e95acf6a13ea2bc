"""Real text for the tests: tiny Shakespeare where it is at hand, else what every Python carries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("OSTINATO_DATA", Path(__file__).parents[2] / "shared" / "data"))
SHAKESPEARE = DATA / "tinyshakespeare" / "input.txt"


def shakespeare() -> str:
    """The whole of tiny Shakespeare; a test that needs it is skipped where it is not."""
    if not SHAKESPEARE.exists():
        pytest.skip(f"no {SHAKESPEARE}: set OSTINATO_DATA to the folder that holds tinyshakespeare")
    return SHAKESPEARE.read_text(encoding="utf-8")


def some_text(characters: int) -> str:
    """The beginning of a real text."""
    if SHAKESPEARE.exists():
        return SHAKESPEARE.read_text(encoding="utf-8")[:characters]
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))[:characters]
