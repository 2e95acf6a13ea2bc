"""Labels for texts: learned, kept, told again in a fresh process; several labels; probabilities that are true."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from corpus import DATA
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

from ostinato.features.rows import open_table
from ostinato.tasks.classify import Classify, ClassifyOptions, Texts
from ostinato.tasks.common.kind import Example

SMALL = ["--hidden-size", 16, "--embedding-size", 16, "--epochs", 6, "--threads", 1, "--dropout", "0.2"]


def questions(count: int) -> list[tuple[str, str]]:
    """Texts and labels: TREC's questions where they are, else made-up ones."""
    if (DATA / "trec").exists():
        table = open_table(DATA / "trec" / "TREC.train", encoding="latin-1")
        rows = [(row.values["text"], row.values["label"]) for row, _ in zip(table, range(count), strict=False)]
        return rows
    draw = random.Random(1)
    kinds = {"NUM": "How many {} are there in {} ?", "LOC": "Where is the {} of {} ?", "HUM": "Who made {} for {} ?"}
    words = ["bread", "rivers", "Rome", "stars", "Peru", "tea", "maps", "horses"]
    some = [draw.choice(list(kinds)) for _ in range(count)]
    return [(kinds[label].format(draw.choice(words), draw.choice(words)), label) for label in some]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    rows = questions(1200)
    for name, part in (("train.csv", rows[:1000]), ("test.csv", rows[1000:])):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows(part)
    return folder


@pytest.fixture(scope="module")
def trained(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "classify", files / "train.csv", "--out", out, *SMALL]
    assert run_command([str(word) for word in words]) == 0
    return out


def test_learns_and_reports(trained: Path, files: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained, files / "test.csv", "--json"))
    assert result["measures"]["accuracy"] > 0.6  # the most frequent label: about 0.25
    assert set(result["instead"]) == {"bag of words accuracy", "bag of characters accuracy"}
    assert result["examples"] == 200
    folder = trained / "evaluation"
    assert json.loads((folder / "metrics.json").read_text())["measures"] == result["measures"]
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    mistakes = list(csv.DictReader((folder / "mistakes.tsv").read_text().splitlines(), delimiter="\t"))
    wrong = round((1 - result["measures"]["accuracy"]) * 200)
    assert len(mistakes) == min(wrong, 50)
    assert all(row["right"] != row["said"] for row in mistakes)
    surety = [float(row["probability"]) for row in mistakes]
    assert surety == sorted(surety, reverse=True)


def test_predicts_in_a_fresh_process(trained: Path, files: Path, capsys: Capture) -> None:
    by_argument = in_fresh_process("predict", trained, "Where is Rome ?", "How many stars are there ?", "--json")
    by_input = in_fresh_process("predict", trained, "--json", input="Where is Rome ?\n\nHow many stars are there ?\n")
    assert by_argument == by_input
    assert [sum(found["scores"].values()) for found in by_argument] == pytest.approx([1, 1], abs=1e-4)
    assert [max(f["scores"], key=f["scores"].get) for f in by_argument] == [f["answer"] for f in by_argument]
    lines = said(capsys, "predict", trained, "--file", files / "test.csv").splitlines()
    assert len(lines) == 200
    right = [row["label"] for row in csv.DictReader((files / "test.csv").read_text().splitlines())]
    assert np.mean([a == b for a, b in zip(lines, right, strict=True)]) > 0.6


def test_a_label_is_not_needed_to_predict(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "new.csv"
    file.write_text("text,label\nWhere is Rome ?,\n")
    assert len(said(capsys, "predict", trained, "--file", file).splitlines()) == 1
    file.write_text("id,text\n7,Where is Rome ?\n")
    assert len(said(capsys, "predict", trained, "--file", file).splitlines()) == 1
    file.write_text("a\tb\nx\tWhere is Rome ?\n")
    words = ["--format", "tsv", "--column", "text=2"]
    assert len(said(capsys, "predict", trained, "--file", file, *words).splitlines()) == 2


def test_resume_gives_the_same_numbers(files: Path, tmp_path: Path, capsys: Capture, monkeypatch: Any) -> None:
    words = ["train", "classify", files / "test.csv", *SMALL[:4], "--epochs", 2, "--checkpoint-steps", 3]
    said(capsys, *words, "--out", tmp_path / "whole")
    from ostinato.tasks.common.runs import TaskTraining

    loss, count = TaskTraining.loss, iter(range(1000))

    def killed(self: Any, *given: Any) -> Any:
        if next(count) == 8:
            raise KeyboardInterrupt
        return loss(self, *given)

    with monkeypatch.context() as patch, pytest.raises(click.Abort):
        patch.setattr(TaskTraining, "loss", killed)
        from ostinato.cli import cli

        cli.main([str(w) for w in [*words, "--out", tmp_path / "killed"]], standalone_mode=False)
    said(capsys, *words, "--out", tmp_path / "killed", "--resume")
    assert same_weights(tmp_path / "whole", tmp_path / "killed")


def test_names_by_characters(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    draw = random.Random(0)
    endings = {"Greek": ["opoulos", "akis", "idis"], "Polish": ["owski", "wicz", "czyk"], "Latin": ["ius", "ullus"]}
    for language, ends in endings.items():
        names = {draw.choice("BDKLMPRST") + draw.choice(["a", "o", "e"]) + draw.choice("lmnrst") + draw.choice(ends)
                 for _ in range(150)}  # fmt: skip
        (folder / f"{language}.txt").write_text("\n".join(sorted(names)))
    result = json.loads(said(capsys, "train", "classify", folder, "--out", tmp_path / "run", *SMALL, "--epochs", 20,
                             "--json"))  # fmt: skip
    assert result["validation"]["accuracy"] > 0.8
    assert json.loads((tmp_path / "run" / "vocabulary.json").read_text())["input"]["level"] == "characters"


def test_subwords(files: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "classify", files / "train.csv", "--out", tmp_path / "run", *SMALL, "--level", "subwords",
             "--vocabulary-size", 600, "--learning-rate", "0.01"]  # fmt: skip
    result = json.loads(said(capsys, *words, "--json"))
    assert result["validation"]["accuracy"] > 0.5  # the most frequent of six labels: 0.23
    state = json.loads((tmp_path / "run" / "vocabulary.json").read_text())["input"]
    assert len(state["words"]) <= 600 and state["ngrams"] == []
    asked = "How many unheardofthings are there ?"
    here = json.loads(said(capsys, "predict", tmp_path / "run", asked, "--json"))
    assert in_fresh_process("predict", tmp_path / "run", asked, "--json") == [here]


def test_several_labels(tmp_path: Path, capsys: Capture) -> None:
    draw, colours = random.Random(0), ["red", "green", "blue"]
    file = tmp_path / "a.jsonl"
    rows = []
    for _ in range(400):
        some = draw.sample(colours, draw.choice([1, 2]))  # in either order
        rows.append({"text": f"a {' and a '.join(some)} thing", "labels": sorted(some)})
    file.write_text("\n".join(map(json.dumps, rows)))
    words = ["train", "classify", file, "--label", "labels", "--out", tmp_path / "run", *SMALL, "--epochs", "10"]
    assert "say --several" in complaint(capsys, *words)
    result = json.loads(said(capsys, *words, "--several", "--json"))
    assert result["validation"]["micro_f1"] > 0.95
    assert said(capsys, "predict", tmp_path / "run", "a red and a blue thing") == "blue|red\n"
    report = json.loads(said(capsys, "evaluate", tmp_path / "run", file, "--json"))
    assert report["measures"]["accuracy"] > 0.9


def test_probabilities_are_calibrated() -> None:
    kind = Classify(ClassifyOptions())
    kind.state = {"labels": ["a", "b"], "temperature": 1.0}
    random_numbers = np.random.default_rng(0)
    p = random_numbers.uniform(0.05, 0.95, 4000)
    gold = np.where(random_numbers.uniform(size=4000) < p, "a", "b")
    logits = np.stack([np.log(p), np.log(1 - p)], 1) * 3  # three times too sure
    examples = [Example("", "", str(label)) for label in gold]
    kind.calibrate(examples, list(logits))
    assert kind.state["temperature"] == pytest.approx(3, rel=0.1)
    found = kind.finish(examples[0], logits[0]).details["scores"]["a"]
    assert found == pytest.approx(p[0], abs=0.03)


def test_class_weights() -> None:
    kind = Classify(ClassifyOptions(class_weights=True))
    kind.state = {"counts": [90, 10]}
    weights = kind._weights()
    assert weights is not None
    np.testing.assert_allclose(weights.numpy() * [90, 10], [50, 50], rtol=1e-6)


@pytest.mark.parametrize(("content", "words", "message"), [
    ("text,label\na,x\nb,x\n", [], "all examples have the label 'x': at least two labels"),
    ("text,label\na,x\n,y\n", [], "bad.csv:3: the column 'text' is empty"),
    ("text,label\na,x\nb,\n", [], "bad.csv:3: the column 'label' is empty"),
    ("text,kind,sort\na,x,y\nb,y,x\n", [], "which column of"),
    ("text,label\na,x\n", [], "has 1 example, and 2 are needed"),
    ("", [], "bad.csv is empty"),
    ("text,label\n" + "a,x\nb,y\n" * 9, ["--cell", "lstn"], "unknown cell 'lstn' (did you mean 'lstm'?)"),
    ("text,label\na,x\nb,y\n", ["--pooling", "sum"], "unknown pooling 'sum'"),
    ("text,label\na,x\nb,y\n", ["--validation", "nowhere.csv"], "nowhere.csv: no such file"),
])  # fmt: skip
def test_bad_data(tmp_path: Path, capsys: Capture, content: str, words: list[str], message: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    assert message in complaint(capsys, "train", "classify", file, "--out", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_a_label_that_training_never_saw(tmp_path: Path, trained: Path, capsys: Capture) -> None:
    file = tmp_path / "other.csv"
    file.write_text("text,label\nWhere is Rome ?,LOC\nWho ?,NOBODY\n")
    message = complaint(capsys, "evaluate", trained, file)
    assert "unknown label at" in message and "other.csv:3" in message and "'NOBODY'" in message


def test_a_missing_package_is_named_before_any_work(tmp_path: Path, capsys: Capture, monkeypatch: Any) -> None:
    monkeypatch.setattr(Classify, "needs", ("sklearn", "no_such_module"))
    file = tmp_path / "a.csv"
    file.write_text("text,label\n" + "a,x\nb,y\n" * 9)
    message = complaint(capsys, "train", "classify", file, "--out", tmp_path / "run")
    assert "classify needs no_such_module: pip install 'ostinato[tasks]'" in message


def test_skipped_lines_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("text,label\na,x\n,y\nb\nc,y\n")
    texts = Texts(file, ClassifyOptions(skip_bad_lines=True), answered=True)
    assert [example.given for example in texts] == ["a", "c"]
    assert texts.bad == 2
