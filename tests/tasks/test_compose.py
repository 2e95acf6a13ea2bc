"""Music: learned from chords that follow each other, kept, written in a fresh process; bad files are named."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import DATA
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

from ostinato.features.scores import piano_roll, read_scores
from ostinato.tasks.compose import Compose, ComposeOptions

CADENCE = [[48, 64, 67], [53, 60, 69], [55, 62, 71], [48, 64, 67]]
SMALL = ["--hidden-size", 24, "--threads", 1, "--dropout", "0", "--batch", 8, "--learning-rate", "0.02", "--epochs", 5,
         "--transpose", 0, "--average", "0.9"]  # fmt: skip


def pieces(count: int) -> list[Any]:
    """The cadence again and again, each piece in a key of its own."""
    draw = np.random.default_rng(0)
    keys = draw.integers(0, 5, count)
    return [[[pitch + int(key) for pitch in frame] for frame in CADENCE * int(draw.integers(2, 5))] for key in keys]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    folder = tmp_path_factory.mktemp("compose")
    file = folder / "pieces.json"
    file.write_text(json.dumps({"train": pieces(40), "valid": pieces(8), "test": pieces(9)}))
    words = ["train", "compose", f"{file}:train", "--validation", f"{file}:valid", "--out", folder / "run", *SMALL]
    assert run_command([str(word) for word in words]) == 0
    return folder


def test_learns_and_reports(trained: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained / "run", f"{trained / 'pieces.json'}:test", "--json"))
    assert result["measures"]["nats_per_frame"] < 1.5
    instead = result["instead"]
    assert 2 < instead["by the frame before: nats_per_frame"] < instead["each note by its share: nats_per_frame"]
    picture = xml.parse(trained / "run" / "evaluation" / "piece-0.svg").getroot()
    assert picture.tag.endswith("svg")


def test_writes_in_a_fresh_process(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    begun = json.dumps(CADENCE[:2])
    lines = said(capsys, "predict", trained / "run", "3", "3", "4", begun, "--json").splitlines()
    here = [json.loads(line) for line in lines]
    assert in_fresh_process("predict", trained / "run", "3", "3", "4", begun, "--json") == here
    assert here[0] == here[1] != here[2] and here[3]["frames"][0] == CADENCE[2]
    said(capsys, "predict", trained / "run", begun, "--picture", tmp_path / "x.svg")
    assert xml.parse(tmp_path / "x.svg").getroot().tag.endswith("svg")
    assert "give the piece a number, or a beginning" in complaint(capsys, "predict", trained / "run", "Bach")


def test_resumed_to_the_same_numbers(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "compose", trained / "pieces.json", *SMALL, "--dropout", "0.3", "--schedule", "constant"]
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "whole")
    said(capsys, *words, "--epochs", 1, "--out", tmp_path / "parts")
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "parts", "--resume")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_nats_by_hand_and_other_keys() -> None:
    kind = Compose(ComposeOptions(hidden_size=6))
    kind.state = {"shares": [0.25] * 128, "usual": 4}
    model: Any = kind.model().eval()
    with torch.no_grad():
        model.V.weight.zero_()
    batch = kind.batch([{"notes": np.eye(128, dtype=np.uint8)[60:63], "number": np.zeros(1, np.int64)},
                        {"notes": np.zeros((1, 128), np.uint8), "number": np.zeros(1, np.int64)}])  # fmt: skip
    none = -128 * math.log(0.75)
    expected = [3 * (none + math.log(0.75) - math.log(0.25)), none]
    torch.testing.assert_close(model.nats(batch), torch.tensor(expected), rtol=1e-5, atol=1e-4)
    low = torch.zeros(50, 3, 128)
    low[:, :, 2] = low[:, :, 125] = 1  # two semitones of room on both sides
    moved = model.moved(low)
    assert set(moved.sum((1, 2)).tolist()) == {6.0}
    found = {tuple(row.nonzero().flatten().tolist()) for row in moved[:, 0]}
    assert found == {(2 + n, 125 + n) for n in range(-2, 3)}


@pytest.mark.parametrize(("data", "message"), [
    ({"train": [[[60, 200]]]}, "train, piece 0, frame 0: a pitch is a whole number from 0 to 127, got 200"),
    ({"train": [[[60], 5]]}, "train, piece 0, frame 1 must be a list, got int"),
    ([[[60]], []], "train, piece 1 has no frames"),
    ({"test": [[[60]]]}, "has no part 'train'; it has: test"),
    ({"train": []}, "has no pieces"),
    (7, "must be a list, got int"),
    ("[[", "must be a list, got str"),
])  # fmt: skip
def test_bad_files(tmp_path: Path, capsys: Capture, data: Any, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(data))
    assert message in complaint(capsys, "train", "compose", file, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_roll_has_a_bar_for_each_note() -> None:
    svg = piano_roll([[60, 64], [60], [], [60]])
    assert svg.count('fill="#0072b2"') == 3 and 'width="19"' in svg and ">C4<" in svg


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
def test_real_chorales() -> None:
    parts = read_scores(DATA / "jsb_chorales" / "jsb-chorales-quarter.json")
    assert {name: len(some) for name, some in parts.items()} == {"train": 229, "valid": 76, "test": 77}
    assert sum(len(one) for one in parts["train"]) == 13_807
