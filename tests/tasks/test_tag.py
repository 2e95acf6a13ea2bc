"""Tags of words: learned, kept, told again in a fresh process, as files and as brackets; what memory alone reaches."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from close import assert_close
from corpus import DATA
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

from ostinato.features.conll import ConlluFile
from ostinato.tasks.common.kind import Example
from ostinato.tasks.common.runs import load
from ostinato.tasks.tag import TagOptions
from ostinato.tasks.tag_files import Sentences, of_tokens
from ostinato.tasks.tag_report import measures, remembered
from ostinato.training.run import RunFolder

SMALL = ["--hidden-size", 24, "--embedding-size", 24, "--letter-size", 16, "--threads", 1, "--batch", 16,
         "--dropout", "0.2", "--learning-rate", "0.01"]  # fmt: skip
NAMES = ["Ann", "Jim", "Olga", "Pierre", "Wanda", "Boris"]
PLACES = ["Paris", "New York", "Nepal", "Rio", "San Marino"]


def made_up(count: int, seed: int = 1) -> str:
    """Sentences with people and places, two columns."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        who, where = draw.choice(NAMES), draw.choice(PLACES)
        forms = [f"{who} went to {where} .", f"In {where} , {who} met a friend .", f"{where} was cold ."]
        for piece in draw.choice(forms).split():
            kind = "PER" if piece in who else "LOC" if piece in where.split() else ""
            begins = "I" if kind == "LOC" and piece != where.split()[0] else "B"
            lines.append(f"{piece}\t{begins}-{kind}" if kind else f"{piece}\tO")
        lines.append("")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    folder = tmp_path_factory.mktemp("tag")
    (folder / "train.conll").write_text(made_up(200))
    (folder / "test.conll").write_text(made_up(50, seed=2))
    words = ["train", "tag", folder / "train.conll", "--out", folder / "run", *SMALL, "--epochs", 8]
    assert run_command([str(word) for word in words]) == 0
    return folder


def test_learns_and_reports(trained: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained / "run", trained / "test.conll", "--json"))
    assert result["measures"]["f1"] > 0.95 and set(result["measures"]) == {"f1", "precision", "recall"}
    assert set(result["instead"]) == {"list of names: f1"}
    folder = trained / "run" / "evaluation"
    assert (folder / "kinds.tsv").read_text().startswith("kind\tcount\trecall\tprecision\n")
    assert (folder / "mistakes.tsv").read_text().startswith("place\twrong\tright\tsaid")
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_brackets_and_places_in_a_fresh_process(trained: Path, capsys: Capture) -> None:
    text = "Olga went to New York."
    (by_argument,) = in_fresh_process("predict", trained / "run", text, "--json")
    (by_input,) = in_fresh_process("predict", trained / "run", "--json", input=f"{text}\n")
    assert by_argument == by_input
    assert by_argument["answer"] == ["B-PER", "O", "O", "B-LOC", "I-LOC", "O"]
    assert [(s["text"], s["kind"]) for s in by_argument["spans"]] == [("Olga", "PER"), ("New York", "LOC")]
    assert all(text[s["start"] : s["end"]] == s["text"] and 0.3 < s["probability"] <= 1 for s in by_argument["spans"])
    assert said(capsys, "predict", trained / "run", text) == "[Olga]PER went to [New York]LOC.\n"


def test_a_file_in_a_file_out(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.conll"
    out.write_text(said(capsys, "predict", trained / "run", "--file", trained / "test.conll"))
    right = [example.gold for example in Sentences(trained / "test.conll", TagOptions(), True)]
    found = [example.gold for example in Sentences(out, TagOptions(), True)]
    result = json.loads(said(capsys, "evaluate", trained / "run", trained / "test.conll", "--no-baseline", "--json"))
    examples = [Example("", of_tokens(tags), tags) for tags in right]
    assert measures(examples, found, "bio", ())["f1"] == result["measures"]["f1"]
    bare = tmp_path / "bare.conll"
    bare.write_text("Ann\nwent\n\nRio\n")
    assert said(capsys, "predict", trained / "run", "--file", bare).startswith("Ann\tB-PER\nwent\tO\n\nRio\tB-LOC\n")
    texts = tmp_path / "texts.txt"
    texts.write_text("Ann went to Paris.\nBoris was cold.\n")
    assert said(capsys, "predict", trained / "run", "--file", texts).startswith("[Ann]PER went to [Paris]LOC.\n")


@pytest.mark.parametrize("letters", ["tdnn", "lstm", "none"])
@pytest.mark.parametrize("crf", [True, False])
def test_alone_as_beside_longer_ones(letters: str, crf: bool, trained: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "tag", trained / "test.conll", "--letters", letters, "--crf" if crf else "--no-crf"]
    said(capsys, *words, *SMALL, "--epochs", 2, "--out", tmp_path / "run")
    kind, model = load(RunFolder(tmp_path / "run"))
    examples = [kind.from_text(text) for text in ("Ann went to New York .", "Paris", "In Rio , Jim met a stranger .")]
    items = [kind.encode(example) for example in examples]
    with torch.no_grad():
        together = kind.answer(model, kind.batch(items), items)
        for item, (tags, sure) in zip(items, together, strict=True):
            ((alone, surety),) = kind.answer(model, kind.batch([item]), [item])
            assert tags == alone
            assert_close(torch.tensor(sure), torch.tensor(surety))


def test_resume_gives_the_same_numbers(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "tag", trained / "test.conll", *SMALL, "--schedule", "constant"]
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "whole")
    said(capsys, *words, "--epochs", 1, "--out", tmp_path / "parts")
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "parts", "--resume")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def universal(count: int) -> str:
    """Short sentences of UD English EWT where it is, else a made-up one again and again."""
    path = DATA / "ud_ewt" / "en_ewt-ud-dev.conllu"
    if not path.exists():
        words = (("the", "DET"), ("dog", "NOUN"), ("sees", "VERB"), ("a", "DET"), ("cat", "NOUN"), (".", "PUNCT"))
        rows = [f"{i}\t{word}\t_\t{tag}" + "\t_" * 6 for i, (word, tag) in enumerate(words, start=1)]
        return ("\n".join(rows) + "\n\n") * count
    return "".join(s.text() for s in itertools.islice((s for s in ConlluFile(path) if len(s.words) <= 12), count))


def test_parts_of_speech(tmp_path: Path, capsys: Capture) -> None:
    file, other = tmp_path / "some.conllu", tmp_path / "out.conllu"
    file.write_text(universal(400), encoding="utf-8")
    said(capsys, "train", "tag", file, *SMALL, "--epochs", 8, "--out", tmp_path / "run")
    result = json.loads(said(capsys, "evaluate", tmp_path / "run", file, "--json"))
    assert result["measures"]["accuracy"] > 0.8 and "most frequent tag: accuracy" in result["instead"]
    other.write_text(said(capsys, "predict", tmp_path / "run", "--file", file), encoding="utf-8")
    before, after = list(ConlluFile(file)), list(ConlluFile(other))
    kept = [[(w.id, w.form, w.head, w.misc) for w in s.lines] for s in before]
    assert kept == [[(w.id, w.form, w.head, w.misc) for w in s.lines] for s in after]
    same = [a.upos == b.upos for s, t in zip(before, after, strict=True) for a, b in zip(s.words, t.words, strict=True)]
    assert sum(same) / len(same) == pytest.approx(result["measures"]["accuracy"])
    assert "/" in said(capsys, "predict", tmp_path / "run", "The dog sees it.")


def test_json_lines(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "some.jsonl"
    rows = [{"tokens": ["Ann", "saw", name], "tags": ["B-PER", "O", "B-PER"]} for name in NAMES * 5]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said(capsys, "train", "tag", file, *SMALL, "--epochs", 1, "--out", tmp_path / "run")
    file.write_text(file.read_text() + '{"tokens": ["a"], "tags": ["O", "O"]}\n')
    wanted = f"{file}:31: 1 tokens, but 2 tags"
    assert wanted in complaint(capsys, "train", "tag", file, "--out", tmp_path / "other")


@pytest.mark.parametrize(("content", "words", "message"), [
    ("Ann B-PER\nwent\n\n", [], "bad.conll:2: 1 fields, where 2 are expected between blanks"),
    ("Ann\nwent\n\n", [], "a token and its tag are expected in a line, but the lines have one field"),
    ("", [], "bad.conll is empty"),
    ("Ann B-PER\n\n", [], "has 1 example, and 2 are needed"),
    ("Ann X\n\n" * 4, [], "all words have the tag 'X': at least two tags are needed"),
    ("Ann X\nwent Y\n\n" * 4, ["--column", "3"], "has no column 3: its lines have 2 fields"),
    ("Ann X\nwent Y\n\n" * 4, ["--column", "pos"], "column of a CoNLL file must be a number from 1, got 'pos'"),
    ("Ann X\nwent Y\n\n" * 4, ["--format", "csv"], "unknown format 'csv'"),
    ("Ann X\nwent Y\n\n" * 4, ["--letters", "cnn"], "'cnn'"),
])  # fmt: skip
def test_bad_data(tmp_path: Path, capsys: Capture, content: str, words: Sequence[str], message: str) -> None:
    file = tmp_path / "bad.conll"
    file.write_text(content)
    assert message in complaint(capsys, "train", "tag", file, "--out", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_a_kind_that_training_never_saw_is_named(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "new.conll"
    file.write_text("Ann B-PER\n\nAcme B-ORG\n\n")
    line = complaint(capsys, "evaluate", trained / "run", file)
    assert f"{file}:3" in line and "'ORG'" in line and "LOC" in line
    assert "the text is empty" in complaint(capsys, "predict", trained / "run", " ")


def test_what_memory_reaches() -> None:
    train = [Example("", of_tokens(["Ann", "in", "New", "York"]), ["B-PER", "O", "B-LOC", "I-LOC"])]
    test = [Example("", of_tokens(["New", "York", "York", "Ann"]), ["B-LOC", "I-LOC", "O", "O"])]
    assert remembered(train, test, "bio") == {"list of names: f1": pytest.approx(2 / 3)}
    train, test = [Example("", of_tokens(["a", "b", "b"]), ["X", "Y", "Y"])], [Example("", of_tokens("ac"), ["X", "X"])]
    assert remembered(train, test, None) == {"most frequent tag: accuracy": 0.5}


def test_malformed_spans_count_as_conlleval_counts_them() -> None:
    examples = [Example("", of_tokens(["a", "b", "c"]), ["I-X", "I-X", "O"])]
    assert measures(examples, [["B-X", "I-X", "O"]], "bio", ())["f1"] == 1.0
    assert measures(examples, [["B-X", "B-X", "O"]], "bio", ())["f1"] == 0.0
    assert measures(examples, [["O", "O", "O"]], "bio", ()) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
