"""Questions about stories: learned, kept, answered in a fresh process; attention; answers of several words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from close import assert_close
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

from ostinato import Recurrent
from ostinato.tasks.answer import Reduction, answer_words

SMALL = ["--hidden-size", 16, "--embedding-size", 16, "--memory-size", 40, "--threads", 1, "--batch", 16]
STORY = "Mary went to the garden. John went to the office. Where is Mary?"


def babi(count: int, seed: int) -> str:
    """Stories in bAbI's format: who went where."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        at: dict[str, tuple[str, int]] = {}
        number = 0
        for _ in range(3):
            for _ in range(2):
                number += 1
                who, where = draw.choice(["Mary", "John", "Sandra"]), draw.choice(["garden", "office", "kitchen"])
                at[who] = where, number
                lines.append(f"{number} {who} went to the {where}.")
            number += 1
            who = draw.choice(sorted(at))
            lines.append(f"{number} Where is {who}? \t{at[who][0]}\t{at[who][1]}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    folder = tmp_path_factory.mktemp("answer")
    (folder / "train.txt").write_text(babi(300, 0))
    (folder / "test.txt").write_text(babi(60, 1))
    words = ["train", "answer", folder / "train.txt", "--out", folder / "run", *SMALL, "--epochs", 15,
             "--patience", 0]  # fmt: skip
    assert run_command([str(word) for word in words]) == 0
    return folder


def test_learns_and_reports(trained: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained / "run", trained / "test.txt", "--json"))
    assert result["measures"]["accuracy"] > 0.9  # by chance a third
    assert set(result["instead"]) == {"most frequent answer accuracy", "bag of words accuracy"}
    assert result["measures"]["accuracy"] > result["instead"]["bag of words accuracy"]
    assert (trained / "run" / "evaluation" / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert (trained / "run" / "evaluation" / "mistakes.tsv").read_text().startswith("place\tright\tsaid")


def test_predicts_in_a_fresh_process(trained: Path) -> None:
    by_text, by_json = in_fresh_process("predict", trained / "run", "--json", input=f"{STORY}\n" + json.dumps(
        {"story": STORY.split(" Where")[0], "question": "Where is Mary?"}))  # fmt: skip
    assert by_text == by_json
    assert by_text["answer"] == "garden" and 0 < by_text["probability"] <= 1
    assert [row["sentence"] for row in by_text["attention"]] == ["Mary went to the garden.", "John went to the office."]
    assert all(len(row["hops"]) == 3 for row in by_text["attention"])


def test_resume_gives_the_same_numbers(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "answer", trained / "test.txt", *SMALL, "--schedule", "constant"]
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "whole")
    said(capsys, *words, "--epochs", 1, "--out", tmp_path / "parts")
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "parts", "--resume")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_answers_of_several_words(tmp_path: Path, capsys: Capture) -> None:
    draw, things = random.Random(0), ["milk", "football", "apple", "key", "book"]
    rows = []
    for number in range(600):
        some = draw.sample(things, draw.choice([1, 2]))
        story = [f"Mary took the {thing}." for thing in some] + [f"John counted to {number}."]
        rows.append({"story": story, "question": "What does Mary have?", "answer": ",".join(some)})
    file = tmp_path / "lists.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    words = ["train", "answer", file, "--out", tmp_path / "run", *SMALL, "--epochs", 15, "--patience", 0]
    result = json.loads(said(capsys, *words, "--json"))
    assert result["validation"]["accuracy"] > 0.2  # stories that training never saw; by chance at most 0.1
    state = json.loads((tmp_path / "run" / "vocabulary.json").read_text())
    assert state["answers"] == [",", *sorted(things)] and state["comma"] == ","
    found = said(capsys, "predict", tmp_path / "run", "Mary took the apple. What does Mary have?").strip()
    assert set(answer_words(found)) <= {",", *things}


@pytest.mark.parametrize("reverse", [False, True])
def test_shares_are_what_the_state_holds(reverse: bool) -> None:
    torch.manual_seed(0)
    cell = Reduction(3).double()
    s, q = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)  # [B, T, N]
    live = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    shares = cell.shares(s, q, live, reverse)  # [B, T, T]
    both = cell.both(s, q)
    candidates = torch.sigmoid(cell.R(both)) * torch.tanh(cell.H(both))  # [B, T, N]
    h, _ = Recurrent(cell, reverse=reverse)((s, q), lengths=[5, 3])
    assert_close(shares @ candidates, h)


@pytest.mark.parametrize(("content", "message"), [
    ("1 Mary is here.\nMary went.\n2 Where?\tx\t1\n", "bad.txt:2: a number and a sentence are expected"),
    ("1 Where is Mary?\tx\t1\n", "bad.txt:1: a sentence before the question is expected"),
    ("1 Mary is here.\n2 Where is Mary?\t\t1\n", "bad.txt:2: question TAB answer is expected"),
    ("1 Mary is here.\n", "bad.txt has no question that can be used"),
    ("", "bad.txt is empty"),
    ('{"story": 3, "question": "Where?", "answer": "x"}\n', "bad.txt:1: the story must be a text or a list"),
    ('{"story": "A b.", "question": "Where?"}\n', "which column of"),
    ("1 Mary is here.\n2 Where is Mary?\there\n3 Where is she?\there\n", "2 examples that belong together"),
])  # fmt: skip
def test_bad_data(tmp_path: Path, capsys: Capture, content: str, message: str) -> None:
    file = tmp_path / "bad.txt"
    file.write_text(content)
    assert message in complaint(capsys, "train", "answer", file, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_questions(trained: Path, capsys: Capture) -> None:
    assert "a story and then a question" in complaint(capsys, "predict", trained / "run", "Mary is here.")
    assert "the story has no sentence" in complaint(capsys, "predict", trained / "run", "Where is Mary?")
    message: Any = complaint(capsys, "predict", trained / "run", '{"story": "A b."}')
    assert "the text has no 'question'" in message


def test_skipped_lines_are_counted(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "some.txt"
    file.write_text(babi(20, 0) + "no number\n")
    result = json.loads(said(capsys, "train", "answer", file, "--out", tmp_path / "run", *SMALL, "--epochs", 1,
                             "--skip-bad-lines", "--json"))  # fmt: skip
    assert result["bad_lines"] == 1
