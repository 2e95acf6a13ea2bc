"""The laboratory on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from ostinato import cells
from ostinato.cli import run_command
from ostinato.cli.lab import lab
from ostinato.lab import TASKS

Capture = pytest.CaptureFixture[str]
SMALL = ["--hidden-size", "8", "--batch", "8", "--sequences", "80", "--check", "5", "--held-out", "16"]
RUN = ["lab", "run", "--task", "latching", "--lag", "4", *SMALL]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def said(capsys: Capture, *words: str | Path) -> str:
    capsys.readouterr()
    assert run_command([str(w) for w in words]) == 0
    return capsys.readouterr().out


def complaint(capsys: Capture, *words: str | Path) -> str:
    """The one line of a command that cannot do what it is asked."""
    capsys.readouterr()
    assert run_command([str(w) for w in words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ostinato: ") and err.count("\n") == 1, err
    return err


def test_list(capsys: Capture) -> None:
    out = said(capsys, "lab", "list")
    heading, *lines, more = out.splitlines()
    assert heading.split()[:2] == ["task", "LAG"] and "--task" in more
    assert [line.split()[0] for line in lines] == list(TASKS)
    assert lines[0].split()[1] == "100"
    listed = json.loads(said(capsys, "lab", "list", "--json"))
    assert [task["name"] for task in listed] == list(TASKS) and all(task["summary"] for task in listed)
    one = said(capsys, "lab", "list", "--task", "reber")
    assert "published    148 of 150 trials" in one and "right at least 1" in one and "learning-rate 0.02" in one


def test_run(capsys: Capture) -> None:
    out = said(capsys, *RUN, "--seeds", "2")
    assert "seed 0: " in out and "seed 1: " in out and "of 2 solved (right at least 0.99); median of" in out
    result = json.loads(said(capsys, *RUN, "--seeds", "2", "--first-seed", "7", "--json"))
    assert [run["seed"] for run in result["runs"]] == [7, 8] and result["runs"][0]["lag"] == 4


def test_run_shows_the_published_figure(capsys: Capture) -> None:
    words = ["lab", "run", "--task", "order-2", "--lag", "10", *SMALL]
    assert "published    solved after 31,390 sequences" in said(capsys, *words)


def test_results_are_kept(tmp_path: Path, capsys: Capture) -> None:
    once = said(capsys, *RUN, "--out", tmp_path / "lab", "--json")
    assert "holds results" in complaint(capsys, *RUN, "--out", tmp_path / "lab")
    assert said(capsys, *RUN, "--out", tmp_path / "lab", "--resume", "--json") == once
    more = json.loads(said(capsys, *RUN, "--out", tmp_path / "lab", "--resume", "--seeds", "2", "--json"))
    assert more["runs"][0] == json.loads(once)["runs"][0]
    said(capsys, *RUN, "--out", tmp_path / "lab", "--overwrite")


def test_table(tmp_path: Path, capsys: Capture) -> None:
    words = ["lab", "table", "--cells", "elman,skip:delays=3", "--lags", "3,2", "--seeds", "1", *SMALL]
    out = said(capsys, *words, "--out", tmp_path / "lab")
    assert "| cell | lag 2 | lag 3 | longest |" in out and "| skip:delays=3 |" in out
    names = {path.name for path in (tmp_path / "lab").iterdir() if path.is_file()}
    assert names == {"lab.json", *(f"table.{kind}" for kind in ("md", "csv", "json", "svg", "png"))}
    kept = json.loads((tmp_path / "lab" / "table.json").read_text())
    shown = json.loads(said(capsys, *words, "--out", tmp_path / "lab", "--resume", "--json"))
    assert shown.pop("files") and shown == kept
    said(capsys, *words, "--out", tmp_path / "bare", "--no-picture")
    assert not list((tmp_path / "bare").glob("*.png"))


def test_a_table_has_a_folder_of_its_own(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["lab", "table", "--cells", "elman", "--lags", "2", "--seeds", "1", "--no-picture", *SMALL]
    assert said(capsys, *words) == said(capsys, *words)
    assert (tmp_path / "runs" / "lab" / "table.md").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--task", "addin"], "unknown task 'addin' (did you mean 'adding'?)"),
        (["run", "--task", "adding", "--cell", "lstn"], "unknown cell 'lstn' (did you mean 'lstm'?)"),
        (["run", "--task", "adding", "--lag", "1"], "'adding' needs a lag of at least 2, got 1"),
        (["run", "--task", "reber", "--lag", "9"], "'reber' has no lag"),
        (["run", "--task", "adding", "--data", "x"], "makes its own sequences"),
        (["run", "--task", "mnist"], "give --data FOLDER"),
        (["run", "--task", "mnist", "--data", "nowhere"], "no such file"),
        (["run", "--task", "adding", "--batch", "0"], "batch must be at least 1, got 0"),
        (["run", "--task", "adding", "--schedule", "cosin"], "did you mean 'cosine'?"),
        (["run", "--task", "adding", "--resume"], "--resume and --overwrite need --out FOLDER"),
        (["table", "--task", "reber", "--out", "x"], "'reber' has no lag"),
        (["table", "--lags", "a,b", "--out", "x"], "--lags must be whole numbers such as 10,100, got 'a,b'"),
        (["table", "--cells", "elman,", "--out", "x"], "unknown cell ''"),
        (["list", "--task", "x"], "unknown task 'x'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    words: list[str], message: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in complaint(capsys, "lab", *words)


@pytest.mark.parametrize("name", list(lab.commands))
def test_every_command_has_examples_that_parse(name: str) -> None:
    command = lab.commands[name]
    examples = [line.split() for line in (command.help or "").splitlines() if line.strip().startswith("ostinato lab")]
    assert examples
    for words in examples:
        assert words[2] == name
        command.make_context(name, words[3:])
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []


def test_every_cell_of_the_table_has_a_name() -> None:
    from ostinato.lab.table import FULL, QUICK

    assert {cell.split(":")[0] for cell in (*FULL.cells, *QUICK.cells)} <= set(cells.names())
