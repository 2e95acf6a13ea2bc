"""Drawings: learned, kept, drawn in a fresh process; after a text; the same number draws the same."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as xml
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import DATA
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

from ostinato.features.stroke_sets import read_sketches
from ostinato.tasks.common.runs import load
from ostinato.training.run import RunFolder

SMALL = ["--hidden-size", 32, "--components", 5, "--threads", 1, "--batch", 16, "--learning-rate", "0.01",
         "--epochs", 4]  # fmt: skip


def sketches(path: Path) -> Path:
    """Sheep where they are, else squares that walk to the right; parts of 60, 20 and 20."""
    real = DATA / "sketch_sheep" / "aaron_sheep.npz"
    if real.exists():
        sets = read_sketches(real)
        parts = {name: [d.numpy().astype(np.int16) for d in sets[name] if len(d) < 120][:n]
                 for name, n in (("train", 60), ("valid", 20), ("test", 20))}  # fmt: skip
    else:
        draw = np.random.default_rng(0)
        square = np.array([[20, 0, 0], [0, 20, 0], [-20, 0, 0], [0, -20, 1], [40, 0, 0]])
        made = [np.tile(square, (4, 1)) + draw.integers(-2, 3, (20, 3)) * [1, 1, 0] for _ in range(100)]
        parts = {"train": made[:60], "valid": made[60:80], "test": made[80:]}
    arrays = {}
    for name, drawings in parts.items():
        arrays[name] = np.empty(len(drawings), object)
        arrays[name][:] = [np.asarray(d, np.int16) for d in drawings]
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    folder = tmp_path_factory.mktemp("draw")
    file = sketches(folder / "some.npz")
    words = ["train", "draw", f"{file}:train", "--validation", f"{file}:valid", "--out", folder / "run", *SMALL]
    assert run_command([str(word) for word in words]) == 0
    return folder


def test_learns_and_reports(trained: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained / "run", f"{trained / 'some.npz'}:test", "--json"))
    assert result["measures"]["nats_per_step"] < result["instead"]["one mixture for all: nats_per_step"]
    page = (trained / "run" / "evaluation" / "drawings.svg").read_text()
    assert xml.fromstring(page).tag.endswith("svg") and page.count("<svg x=") >= 5


def near(one: Any, other: Any) -> bool:
    """The same drawing: what sums round otherwise is seen in the last of three decimals."""
    return [len(s) for s in one["strokes"]] == [len(s) for s in other["strokes"]] and np.allclose(
        np.concatenate(one["strokes"]), np.concatenate(other["strokes"]), rtol=0, atol=0.01)  # fmt: skip


def test_draws_in_a_fresh_process(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    one, same, other = in_fresh_process("predict", trained / "run", "3", "3", "4", "--json")
    assert one["strokes"] != [] and len(one["strokes"][0][0]) == 2
    (alone,) = in_fresh_process("predict", trained / "run", "4", "--json")
    assert near(alone, other) and near(one, same)  # whatever is beside it
    (again,) = in_fresh_process("predict", trained / "run", "4", "--json", "--bias", "2")
    assert alone != again and same["strokes"] != other["strokes"]
    picture = tmp_path / "x.svg"
    said(capsys, "predict", trained / "run", "3", "--picture", picture)
    assert xml.parse(picture).getroot().tag.endswith("svg")


def test_steps_at_once_are_steps_one_by_one(trained: Path) -> None:
    kind, model = load(RunFolder(trained / "run"))
    example = next(iter(kind.read(Path(f"{trained / 'some.npz'}:test"))))
    batch = kind.batch([kind.encode(example)])
    with torch.no_grad():
        whole, _ = model(batch.steps, None)
        states, parts = None, []
        for t in range(batch.steps.shape[1]):
            part, states = model(batch.steps[:, t : t + 1], None, states)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-4)


def test_resume_gives_the_same_numbers(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "draw", f"{trained / 'some.npz'}:valid", *SMALL, "--schedule", "constant"]
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "whole")
    said(capsys, *words, "--epochs", 1, "--out", tmp_path / "parts")
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "parts", "--resume")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_after_a_text(tmp_path: Path, capsys: Capture) -> None:
    """Each letter is a shape of its own; the pen takes longer for a longer text."""
    shapes = {"a": [[2, 1], [3, 3], [4, 1]], "b": [[0, 4], [2, 4], [2, 0]], "c": [[2, 2], [4, 0], [5, 2]]}
    draw, entries = np.random.default_rng(0), []
    for _ in range(60):
        text, x, points = "".join(draw.choice(list("abc"), draw.integers(1, 5))), 0.0, []
        for letter in text:
            places = np.array(shapes[letter]) * 5 + [x, 0] + draw.normal(size=(3, 2))
            points += [[*place, int(i < 2)] for i, place in enumerate(places.tolist())]
            x += 30
        entries.append({"metadata": {"asciiSequence": text}, "points": points})
    file = tmp_path / "some.json.zip"
    with zipfile.ZipFile(file, "w") as pack:
        pack.writestr("some.json", json.dumps(entries))
    said(capsys, "train", "draw", file, *SMALL, "--out", tmp_path / "run")
    short, long = in_fresh_process("predict", tmp_path / "run", "a", "abcabc", "--json", "--bias", "1")
    assert sum(map(len, short["strokes"])) < sum(map(len, long["strokes"]))
    assert "letters that training never saw: 'x'" in complaint(capsys, "predict", tmp_path / "run", "ax")
    said(capsys, "evaluate", tmp_path / "run", file, "--no-baseline")
    page = (tmp_path / "run" / "evaluation" / "drawings.svg").read_text()
    assert set(re.findall(r"<text[^>]*>([^<]*)<", page)) <= {e["metadata"]["asciiSequence"] for e in entries}


def test_what_it_draws_is_what_it_learned(tmp_path: Path, capsys: Capture) -> None:
    """Squares of several sizes, a line in each: six steps, of which the first four come back to where they began."""
    draw = np.random.default_rng(0)
    parts = {}
    for name, count in (("train", 120), ("valid", 30)):
        sides = draw.integers(8, 12, count)
        parts[name] = np.empty(count, object)
        parts[name][:] = [np.array([[s, 0, 0], [0, s, 0], [-s, 0, 0], [0, -s, 1], [2, s // 2, 0], [s - 4, 0, 1]],
                                   np.int16) for s in sides]  # fmt: skip
    file = tmp_path / "squares.npz"
    np.savez(file, **parts)  # type: ignore[arg-type]
    said(capsys, "train", "draw", f"{file}:train", "--validation", f"{file}:valid", "--out", tmp_path / "run", *SMALL,
         "--epochs", 15, "--layers", 2, "--dropout", 0, "--average", 0.98)  # fmt: skip
    lines = said(capsys, "predict", tmp_path / "run", *range(20), "--bias", 1).splitlines()
    good = 0
    for line in lines:
        steps = np.array([[float(number) for number in step.split(",")] for step in line.split()])  # [T, 3]
        good += len(steps) == 6 and bool((np.abs(steps[:4, :2].sum(0)) < 4).all())
    assert len(lines) == 20 and good >= 12


def test_bad_data(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    assert "has no part 'best'; it has: " in complaint(
        capsys, "train", "draw", f"{trained / 'some.npz'}:best", "--out", out)  # fmt: skip
    (tmp_path / "x.npz").write_bytes(b"no")
    assert "is no .npz file" in complaint(capsys, "train", "draw", tmp_path / "x.npz", "--out", out)
    assert "give the drawing a number" in complaint(capsys, "predict", trained / "run", "sheep")
    assert not out.exists()
