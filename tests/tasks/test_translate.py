"""One sequence into another: learned from two files, a table, a dictionary; attention; several right answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks.commands import Capture, complaint, in_fresh_process, said

from ostinato.tasks.common.kind import Example
from ostinato.tasks.translate import Translate, TranslateOptions
from ostinato.tasks.translate_report import measures

SMALL = ["--hidden-size", 32, "--embedding-size", 24, "--dropout", "0", "--batch", 16, "--average", "0.9"]
SOUNDS = {"a": "AH", "b": "B", "c": "K", "d": "D", "e": "EH", "i": "IH", "l": "L", "n": "N", "o": "OW", "t": "T"}


def spoken(word: str) -> str:
    """A made-up pronunciation that needs a look at the next letter."""
    return " ".join("S" if a == "c" and b == "e" else SOUNDS[a] for a, b in zip(word, word[1:] + "$", strict=True))


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw, folder = random.Random(0), tmp_path_factory.mktemp("sounds")
    words = sorted({"".join(draw.choice("abcdeilnot") for _ in range(draw.randint(2, 6))) for _ in range(700)})
    draw.shuffle(words)
    for name, part in (("train.dict", words[:-100]), ("test.dict", words[-100:])):
        lines = [f"{word}{'(2)' if i % 50 == 7 else ''} {spoken(word)} # a note" for i, word in enumerate(part)]
        (folder / name).write_text("\n".join([";;; made up", *lines]))
    return folder


@pytest.fixture(scope="module")
def trained(dictionary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "translate", dictionary / "train.dict", "--format", "first-word", "--out", out, *SMALL,
             "--epochs", 12, "--learning-rate", "0.01"]  # fmt: skip
    assert run_command([str(word) for word in words]) == 0
    return out


def test_learns(trained: Path, dictionary: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained, dictionary / "test.dict", "--json"))
    assert result["measures"]["token_error_rate"] < 0.1
    assert result["instead"]["nearest example, token_error_rate"] > 0.2
    assert (trained / "evaluation" / "attention.png").read_bytes().startswith(b"\x89PNG")
    header = (trained / "evaluation" / "mistakes.tsv").read_text().splitlines()[0]
    assert header.split("\t") == ["place", "error", "source", "right", "said"]


def test_answers_in_a_fresh_process(trained: Path) -> None:
    found = in_fresh_process("predict", trained, "--json", input="bad\nlob\n")
    assert [answer["answer"] for answer in found] == ["B AH D", "L OW B"]
    weights = np.array(found[0]["attention"])
    assert weights.shape == (3, 3)  # a row a sound, a column a letter
    np.testing.assert_allclose(weights.sum(1), 1, atol=0.01)


def test_two_files(tmp_path: Path, capsys: Capture) -> None:
    draw = random.Random(0)
    numbers = [draw.choices(["one", "two", "three", "four"], k=2) for _ in range(150)]
    pairs = [(f"{a} plus {b}", f"{b} and {a}") for a, b in numbers]
    for name, texts in (("a.xx", [p[0] for p in pairs]), ("a.yy", [p[1] for p in pairs])):
        (tmp_path / name).write_text("\n".join(texts))
    words = ["train", "translate", tmp_path / "a", "--source", "xx", "--target", "yy", "--out", tmp_path / "run"]
    words += SMALL
    result = json.loads(said(capsys, *words, "--epochs", 15, "--learning-rate", "0.01", "--json"))
    assert result["validation"]["token_error_rate"] < 0.2
    (tmp_path / "a.yy").write_text("one\n")
    assert "have not as many lines: one ends before line 2" in complaint(capsys, *words, "--overwrite")
    (tmp_path / "a.yy").unlink()
    assert "a.yy: no such file" in complaint(capsys, *words, "--overwrite")


@pytest.mark.parametrize(("options", "steps"), [({}, 8), ({"attention": "additive", "scheduled_sampling": 0.5}, 8)])
def test_beam_one_is_greedy(options: Any, steps: int) -> None:
    torch.manual_seed(0)
    kind = Translate(TranslateOptions(hidden_size=12, embedding_size=8, beam=1, longest=steps, dropout=0.0, **options))
    kind.prepare([Example("", "abcd", "efgh"), Example("", "abca", "hgfe")])
    model: Any = kind.model().eval()
    with torch.no_grad():
        batch = kind.batch([kind.encode(Example("", "abcd")), kind.encode(Example("", "ba"))])
        found = kind.answer(model, batch, [{}, {}])
        memory, states = model.remember(batch)
        written: list[list[int]] = [[2], [2]]
        for _ in range(steps):
            logits, _, _ = model.decode(torch.tensor(written), memory, states)
            logits[:, :, [0, 2]] = -torch.inf
            for row, best in zip(written, logits[:, -1].argmax(1).tolist(), strict=True):
                row.append(best)
    for (symbols, _, _), row in zip(found, written, strict=True):
        assert symbols == row[1 : len(symbols) + 1]


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    kind = Translate(TranslateOptions(hidden_size=12, embedding_size=8, dropout=0.0))
    examples = [Example("", "abcd", "efgh"), Example("", "ba", "h")]
    kind.prepare(examples)
    model: Any = kind.model().eval()
    items = [kind.encode(example) for example in examples]
    together, count = kind.loss(model, kind.batch(items))
    apart = [kind.loss(model, kind.batch([item])) for item in items]
    assert count == sum(n for _, n in apart) == 7
    expected = sum(float(loss.detach()) * n for loss, n in apart) / count
    assert float(together.detach()) == pytest.approx(expected, rel=1e-5)


def test_scheduled_sampling_changes_what_is_read() -> None:
    torch.manual_seed(0)
    kind = Translate(TranslateOptions(hidden_size=12, embedding_size=8, dropout=0.0, scheduled_sampling=1.0))
    kind.prepare([Example("", "abcd", "efgh")])
    model = kind.model().train()
    batch = kind.batch([kind.encode(Example("", "abcd", "efgh"))])
    forced = model(batch)
    kind.progress(model, 1.0)
    own = model(batch)
    assert torch.equal(forced[:, 0], own[:, 0]) and not torch.equal(forced[:, 1:], own[:, 1:])


def test_several_right_answers() -> None:
    kind = Translate(TranslateOptions())
    kind.state = {"target_level": "words", "prose": False}
    examples = [Example("", "tomato", "T AH"), Example("", "tomato", "T EY T"), Example("", "bad", "B AE D")]
    assert measures(kind, examples, ["T EY T", "T EY T", "B D"]) == {"token_error_rate": 1 / 6, "error_rate": 0.5}


def test_bleu() -> None:
    kind = Translate(TranslateOptions())
    kind.state = {"target_level": "words", "prose": True}
    examples = [Example("", "x", "the cat sat on the mat"), Example("", "y", "a dog ran to me")]
    assert measures(kind, examples, [e.gold for e in examples])["bleu"] == pytest.approx(100)
    assert measures(kind, examples, ["the cat sat on a mat", "a dog ran"])["bleu"] < 70


@pytest.mark.parametrize(("name", "content", "words", "message"), [
    ("a.tsv", "source\ttarget\none\ttwo\nthree\t\n", [], "a.tsv:3: the column 'target' is empty"),
    ("a.dict", "one W AH\ntwo\n", ["--format", "first-word"], "a.dict:2: a word and what belongs to it"),
    ("a.tsv", "a\tb\tc\n1\t2\t3\n", [], "is the source? It has"),
    ("a.dict", ";;; nothing\n", ["--format", "first-word"], "no pairs that can be used"),
])  # fmt: skip
def test_bad_data(tmp_path: Path, capsys: Capture, name: str, content: str, words: list[str], message: str) -> None:
    (tmp_path / name).write_text(content)
    assert message in complaint(capsys, "train", "translate", tmp_path / name, "--out", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_subwords_on_both_sides(tmp_path: Path, capsys: Capture) -> None:
    draw = random.Random(0)
    numbers = (["sieben", "siebzehn", "siebzig", "achtzehn", "achtzig"],
               ["seven", "seventeen", "seventy", "eighteen", "eighty"])  # fmt: skip
    chosen = [[draw.randrange(5) for _ in range(draw.randint(1, 3))] for _ in range(400)]
    rows = ["\t".join(" ".join(side[i] for i in some) for side in numbers) for some in chosen]
    (tmp_path / "pairs.tsv").write_text("\n".join(["source\ttarget", *rows]))
    words = ["train", "translate", tmp_path / "pairs.tsv", "--out", tmp_path / "run", *SMALL, "--learning-rate", "0.01",
             "--source-level", "subwords", "--target-level", "subwords", "--source-size", 270, "--target-size", 275,
             "--epochs", 6]  # fmt: skip
    assert json.loads(said(capsys, *words, "--json"))["validation"]["error_rate"] < 0.1
    (found,) = in_fresh_process("predict", tmp_path / "run", "achtzig siebzehn sieben", "--json")
    assert found["answer"] == "eighty seventeen seven"
    assert len(found["source"]) > 3 and "".join(found["source"]).replace("Ġ", " ") == "achtzig siebzehn sieben"
    assert "a size of 99 is too small" in complaint(capsys, *words, "--source-size", 99, "--overwrite")
