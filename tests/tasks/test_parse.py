"""Trees: the best of all, learned from a file, told again in a fresh process, measured by CoNLL 2018's rules."""

from __future__ import annotations

import itertools
import json
import random
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from corpus import DATA
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

from ostinato.features.conll import ConlluFile
from ostinato.tasks.common.runs import load
from ostinato.tasks.parse import ParseOptions
from ostinato.tasks.parse_files import Sentences, Tree, forms, from_line, tree_of
from ostinato.tasks.parse_report import measures, neighbours
from ostinato.tasks.parse_tree import best_tree, draw
from ostinato.training.run import RunFolder

SMALL = ["--hidden-size", 32, "--embedding-size", 32, "--layers", 2, "--arc-size", 32, "--label-size", 16,
         "--epochs", 10, "--threads", 1, "--dropout", "0.1", "--batch", 16, "--learning-rate", "0.01"]  # fmt: skip


def made_up(count: int) -> list[str]:
    """Sentences of a small grammar: determiners, adjectives, a verb, a full stop."""
    draw_from = random.Random(1)
    sentences = []
    for _ in range(count):
        rows, places = [], []
        for role in ("nsubj", "obj"):
            words = ["the", *draw_from.choices(["red", "old", "big"], k=draw_from.choice([0, 1, 2]))]
            noun = len(rows) + len(words) + 1
            rows += [(w, "DET" if w == "the" else "ADJ", noun, "det" if w == "the" else "amod") for w in words]
            rows.append((draw_from.choice(["dog", "cat", "house", "king"]), "NOUN", None, role))
            places.append(len(rows))
            if role == "nsubj":
                rows.append((draw_from.choice(["sees", "likes"]), "VERB", 0, "root"))
        rows.append((".", "PUNCT", None, "punct"))
        verb = places[0] + 1
        lines = [f"{i}\t{w}\t_\t{tag}\t_\t_\t{verb if head is None else head}\t{label}\t_\t_"
                 for i, (w, tag, head, label) in enumerate(rows, start=1)]  # fmt: skip
        sentences.append("\n".join([*lines, "", ""]))
    return sentences


def real(name: str, count: int) -> list[str]:
    """Short sentences of UD English EWT where it is, else made-up ones."""
    path = DATA / "ud_ewt" / f"en_ewt-ud-{name}.conllu"
    if not path.exists():
        return made_up(count)
    short = (s.text() for s in ConlluFile(path) if 4 <= len(s.words) <= 12)
    return list(itertools.islice(short, count))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    for name, count in (("train", 500), ("dev", 100)):
        (folder / f"{name}.conllu").write_text("".join(real(name, count)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "parse", files / "train.conllu", "--validation", files / "dev.conllu", "--out", out, *SMALL]
    assert run_command([str(word) for word in words]) == 0
    return out


def trees(count: int) -> list[tuple[int, ...]]:
    """All trees of so many words with one root, by looking at everything."""

    def is_tree(heads: tuple[int, ...]) -> bool:
        reached = {0}
        for _ in heads:
            reached |= {i for i, head in enumerate(heads, start=1) if head in reached}
        return len(reached) == len(heads) + 1 and heads.count(0) == 1

    return [heads for heads in itertools.product(range(count + 1), repeat=count) if is_tree(heads)]


def by_looking(scores: np.ndarray) -> tuple[int, ...]:
    return max(trees(len(scores)), key=lambda heads: sum(scores[i, head] for i, head in enumerate(heads)))


def test_there_are_as_many_trees_as_cayley_says() -> None:
    assert [len(trees(n)) for n in (1, 2, 3, 4)] == [n ** (n - 1) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_best_tree_by_brute_force(count: int) -> None:
    draw_from = np.random.default_rng(count)
    for root in (0.0, 3.0, -3.0):  # many want to be roots, or none
        for _ in range(10):
            scores = draw_from.normal(size=(count, count + 1)) * 2
            scores[:, 0] += root
            scores[np.arange(count), np.arange(1, count + 1)] = -np.inf
            assert tuple(best_tree(scores)) == by_looking(scores)


def test_the_parsers_tree_is_the_best_of_its_own_scores(trained: Path) -> None:
    kind, model = load(RunFolder(trained))
    texts = ["Dogs see cats .", "the old king", "Where is it now ?"]
    examples = [kind.from_text(text) for text in texts]
    items = [kind.encode(example) for example in examples]
    for example, item in zip(examples, items, strict=True):
        with torch.no_grad():
            batch = kind.batch([item])
            scores = model(batch.texts, batch.shapes).arcs[0].double().numpy()  # [T, 1 + T]
            (found,) = kind.answer(model, batch, [item])
        assert kind.finish(example, found).value["heads"] == list(by_looking(scores))
    with torch.no_grad():  # beside longer ones, with padding, they are the same
        together = kind.answer(model, kind.batch(items), items)
        for alone, item in zip(together, items, strict=True):
            np.testing.assert_array_equal(alone, kind.answer(model, kind.batch([item]), [item])[0])


def test_padding_does_not_count(trained: Path, files: Path) -> None:
    kind, model = load(RunFolder(trained))
    items = [kind.encode(e) for e, _ in zip(kind.read(files / "dev.conllu"), range(7), strict=False)]
    with torch.no_grad():
        together, words = kind.loss(model, kind.batch(items))
        each = [kind.loss(model, kind.batch([item])) for item in items]
    assert words == sum(n for _, n in each)
    assert float(together) == pytest.approx(sum(float(loss) * n for loss, n in each) / words, rel=1e-4)


def test_learns_and_reports(trained: Path, files: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained, files / "dev.conllu", "--json"))
    got, instead = result["measures"], result["instead"]
    assert got["las"] > 0.5 and got["upos"] > 0.7
    assert got["uas"] > 0.15 + max(instead["head is the next word: uas"], instead["head is the previous word: uas"])
    assert got["uas"] >= got["las"] >= got["las_subtypes"]
    folder = trained / "evaluation"
    assert (folder / "relations.tsv").read_text().startswith("relation\tcount\trecall\tprecision\n")
    pictures = sorted((folder / "trees").glob("*.svg"))
    assert pictures and all(xml.parse(picture).getroot().tag.endswith("svg") for picture in pictures)


def test_predicts_in_a_fresh_process(trained: Path, capsys: Capture) -> None:
    text = "Where's the old king?"
    (by_argument,) = in_fresh_process("predict", trained, text, "--json")
    (by_input,) = in_fresh_process("predict", trained, "--json", input=f"{text}\n")
    assert by_argument == by_input
    assert by_argument["words"] == ["Where", "'s", "the", "old", "king", "?"]
    assert by_argument["answer"]["heads"].count(0) == 1
    root = by_argument["answer"]["heads"].index(0)
    assert by_argument["answer"]["relations"][root] == "root" and by_argument["answer"]["relations"].count("root") == 1
    plain = said(capsys, "predict", trained, text)
    assert plain.startswith("# text = Where's the old king?\n1\tWhere\t_\t") and plain.endswith("SpaceAfter=No\n\n")


def test_an_answer_is_drawn(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "tree.svg"
    said(capsys, "predict", trained, "The king sees it.", "--picture", file)
    assert "king" in "".join(xml.parse(file).getroot().itertext())
    assert "give one" in complaint(capsys, "predict", trained, "One.", "Two.", "--picture", file)


def test_a_file_in_a_file_out(trained: Path, files: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "out.conllu"
    file.write_text(said(capsys, "predict", trained, "--file", files / "dev.conllu"), encoding="utf-8")
    before, after = list(ConlluFile(files / "dev.conllu")), list(ConlluFile(file))
    assert [s.comments for s in before] == [s.comments for s in after]
    kept = [[(w.id, w.form, w.lemma, w.xpos, w.feats, w.misc) for w in s.lines] for s in before]
    assert kept == [[(w.id, w.form, w.lemma, w.xpos, w.feats, w.misc) for w in s.lines] for s in after]
    scores = measures([tree_of(s) for s in before], [tree_of(s) for s in after])
    result = json.loads(said(capsys, "evaluate", trained, files / "dev.conllu", "--no-baseline", "--json"))
    assert scores == result["measures"]
    lines = tmp_path / "lines.txt"
    lines.write_text("The king sees it.\n\nWho?\n")
    assert said(capsys, "predict", trained, "--file", lines).count("# text = ") == 2


def test_trees_are_not_needed_to_predict(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "bare.conllu"
    file.write_text("1-2\tdon't" + "\t_" * 8 + "\n1\tdo" + "\t_" * 8 + "\n2\tn't" + "\t_" * 8 + "\n\n")
    lines = said(capsys, "predict", trained, "--file", file).splitlines()
    assert lines[0] == "1-2\tdon't" + "\t_" * 8
    assert sorted(line.split("\t")[6] for line in lines[1:3]) in (["0", "1"], ["0", "2"])
    assert "has no HEAD" in complaint(capsys, "evaluate", trained, file)


def test_resume_gives_the_same_numbers(files: Path, tmp_path: Path, capsys: Capture, monkeypatch: Any) -> None:
    words = ["train", "parse", files / "dev.conllu", *SMALL, "--epochs", 2, "--checkpoint-steps", 2]
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


def row(number: int, head: Any, relation: str = "dep", tag: str = "X") -> str:
    return f"{number}\tw{number}\t_\t{tag}\t_\t_\t{head}\t{relation}\t_\t_\n"


GOOD = row(1, 0, "root") + "\n"


@pytest.mark.parametrize(("content", "words", "message"), [
    (GOOD + row(1, 2) + row(2, 0) + row(3, 0) + "\n", [], "bad.conllu:3: 2 words have HEAD 0, expected one root"),
    (GOOD + row(1, 2) + row(2, 1) + row(3, 0) + "\n", [], "bad.conllu:3: the heads above word 1 go round in a circle"),
    (GOOD + row(1, 2) + row(2, 7) + "\n", [], "bad.conllu:4: HEAD is '7', expected a number from 0 to 2"),
    (GOOD + row(1, "_") + "\n", [], "bad.conllu:3: word 1 ('w1') has no HEAD"),
    (GOOD + row(1, 0, "_") + "\n", [], "bad.conllu:3: word 1 ('w1') has no DEPREL"),
    (GOOD + "1\tw\n\n", [], "bad.conllu:3: 2 fields, where CoNLL-U has 10"),
    (GOOD, [], "has 1 example, and 2 are needed"),
    ("", [], "bad.conllu is empty"),
    (GOOD + row(1, 0, "root", "_") + "\n", ["--layers", "1"], "layers must be at least 2"),
    (2 * (row(1, 0, "root", "_") + "\n"), [], "no word has a part of speech (UPOS)"),
    (GOOD * 2, ["--format", "csv"], "unknown format 'csv'"),
])  # fmt: skip
def test_bad_data(tmp_path: Path, capsys: Capture, content: str, words: list[str], message: str) -> None:
    file = tmp_path / "bad.conllu"
    file.write_text(content)
    assert message in complaint(capsys, "train", "parse", file, "--out", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_bad_sentences_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "bad.conllu"
    file.write_text(GOOD + row(1, 0) + row(2, 0) + "\n" + "1\tw\n\n" + GOOD)
    sentences = Sentences(file, ParseOptions(skip_bad_lines=True), answered=True)
    assert [forms(example.given) for example in sentences] == [["w1"], ["w1"]]
    assert sentences.bad == 2


def test_empty_texts(trained: Path, capsys: Capture) -> None:
    assert "the text is empty" in complaint(capsys, "predict", trained, " ")


def test_a_relation_that_training_never_saw_is_a_mistake(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "new.conllu"
    file.write_text(row(1, 0, "root") + row(2, 1, "never:seen", "NEW") + "\n")
    got = json.loads(said(capsys, "evaluate", trained, file, "--json"))["measures"]
    assert got["las"] <= 0.5 and got["upos"] <= 0.5


def test_neighbours() -> None:
    tree = Tree([2, 3, 0, 3], ["det", "det", "root", "punct"], ["X"] * 4)
    found = neighbours([tree], [tree])
    assert found["head is the next word: uas"] == 0.5 and found["head is the next word: las"] == 0.5
    assert found["head is the previous word: uas"] == 0.25


def test_a_picture_escapes_and_marks_mistakes() -> None:
    right, wrong = Tree([2, 0], ["a", "root"], ["X", "Y"]), Tree([2, 0], ["b", "root"], ["X", "Y"])
    same, other = draw(["<&", "b"], [right]), draw(["<&", "b"], [wrong, right])
    assert "&lt;&amp;" in same and "#c00" not in same
    assert other.count("#c00") == 2 and other.count("#080") == 2 and xml.fromstring(other) is not None


def test_a_line_of_text() -> None:
    sentence = from_line("  He said:  no-one's  there ", "x")
    assert forms(sentence) == ["He", "said", ":", "no-one", "'s", "there"]
    assert [w.misc for w in sentence.words] == ["_", "SpaceAfter=No", "_", "SpaceAfter=No", "_", "SpaceAfter=No"]
