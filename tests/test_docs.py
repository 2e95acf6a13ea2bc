"""Every Python example in README.md and docs/ runs, and prints what its comments say."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> list[str]:
    """The fenced Python blocks of a page, each at the line where it stands there."""
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return ["\n" * text[: m.start(1)].count("\n") + m[1] for m in found]


def promised(block: str) -> list[str]:
    """What the ``print(...)  # so`` lines of a block say they print."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p.read_text("utf-8"))], ids=lambda p: p.name)
def test_examples_run_and_print_what_they_say(page: Path, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(page.read_text("utf-8")):
        exec(compile(block, page, "exec"), names)
        if promised(block):
            assert capsys.readouterr().out.splitlines() == promised(block)


def test_a_wrong_promise_is_found() -> None:
    assert promised("x = 1\nprint(x)  # 2\nprint(x)\n") == ["2"]
    assert blocks("a\n```python\nx\n```\n") == ["\n\nx\n"]


def test_the_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = "".join(p.read_text("utf-8") for p in PAGES)
    named = set(re.findall(r"`make ([a-z]+)", text)) | set(re.findall(r"^make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_links_between_files_lead_somewhere() -> None:
    links = [(p, link) for p in PAGES for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", p.read_text("utf-8"))]
    assert [(p.name, link) for p, link in links if not (p.parent / link).exists()] == []
