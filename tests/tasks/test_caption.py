"""Captions: learned from strips of coloured squares, kept, said in a fresh process; CIDEr; another network's eyes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import DATA
from PIL import Image
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

from ostinato.tasks.caption import Caption, CaptionOptions
from ostinato.tasks.caption_report import cider, measures
from ostinato.tasks.common.kind import Example

COLOURS = {"red": (220, 30, 30), "green": (20, 180, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
SMALL = ["--height", 16, "--channels", 8, "--hidden-size", 32, "--embedding-size", 16, "--threads", 1, "--batch", 8,
         "--epochs", 4, "--dropout", "0.1", "--learning-rate", "0.01", "--patience", 0]  # fmt: skip


def strips(folder: Path, counts: dict[str, int]) -> Path:
    """Images of one to three squares, the caption their colours from left to right."""
    random = np.random.default_rng(0)
    for part, count in counts.items():
        rows = []
        for number in range(count):
            names = random.choice(list(COLOURS), random.integers(1, 4))
            squares = [np.full((16, 16, 3), COLOURS[name]) + random.integers(-15, 16, (16, 16, 3)) for name in names]
            file = f"{part}{number}.png"
            Image.fromarray(np.hstack(squares).clip(0, 255).astype(np.uint8)).save(folder / file)
            rows.append((file, f"A {', a '.join(names)} square."))
        with open(folder / f"{part}.csv", "w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([("image", "caption"), *rows])
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return strips(tmp_path_factory.mktemp("caption"), {"train": 160, "test": 30})


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    from ostinato.cli import run_command

    assert run_command([str(w) for w in ("train", "caption", data / "train.csv", "--out", data / "run", *SMALL)]) == 0
    return data / "run"


def test_learns_and_reports(trained: Path, data: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained, data / "test.csv", "--json"))
    assert result["measures"]["error_rate"] < 0.2 < result["instead"]["best constant caption, error_rate"]
    assert result["measures"]["cider"] > 2 * result["instead"]["best constant caption, cider"]
    assert "nearest by colour, bleu" in result["instead"]
    assert (trained / "evaluation" / "captions.png").read_bytes()[:4] == b"\x89PNG"
    assert (trained / "evaluation" / "mistakes.tsv").read_text().startswith("image\toverlap\tsaid\tright\n")


def test_in_a_fresh_process(trained: Path, data: Path, capsys: Capture) -> None:
    images = [data / f"test{number}.png" for number in range(3)]
    here = [json.loads(line) for line in said(capsys, "predict", trained, *images, "--json").splitlines()]
    assert in_fresh_process("predict", trained, *images, "--json") == here
    words = here[0]["answer"].split()
    with Image.open(images[0]) as first:
        width = first.width
    assert np.array(here[0]["attention"]).shape == (len(words), width)  # 16 rows halved twice: 4 by W / 4
    alone = json.loads(said(capsys, "predict", trained, images[1], "--json"))
    assert alone["answer"] == here[1]["answer"] and alone["log_p"] == pytest.approx(here[1]["log_p"], abs=1e-4)


@pytest.mark.parametrize("encoder", ["conv", "recurrent"])
def test_an_image_does_not_depend_on_those_beside_it(data: Path, encoder: str) -> None:
    kind = Caption(CaptionOptions(height=16, channels=8, hidden_size=12, embedding_size=7, encoder=encoder))
    examples = list(kind.read(data / "test.csv"))[:6]
    kind.prepare(examples)
    torch.manual_seed(0)
    model = kind.model().eval()
    items = [kind.encode(example) for example in examples]
    assert len({len(item["image"]) for item in items}) > 1
    together, lengths = model(kind.batch(items)), [len(item["target"]) + 1 for item in items]
    for row, item in enumerate(items):
        alone = model(kind.batch([item]))
        torch.testing.assert_close(together[row, : lengths[row]], alone[0], rtol=1e-4, atol=1e-5)


def test_recurrence_over_both_dimensions(data: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "caption", data / "train.csv", *SMALL, "--encoder", "recurrent", "--flip"]
    said(capsys, *words, "--out", tmp_path / "one", "--epochs", 1)
    said(capsys, *words, "--out", tmp_path / "other", "--epochs", 1)
    assert same_weights(tmp_path / "one", tmp_path / "other")


def test_a_network_from_elsewhere(data: Path, tmp_path: Path, capsys: Capture) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    sides: dict[str, Any] = {"kernel_shape": [4, 4], "strides": [4, 4]}
    graph = helper.make_graph(
        [helper.make_node("AveragePool", ["image"], ["found"], **sides)], "eyes",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, 3, "h", "w"])])  # fmt: skip
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "eyes.onnx")
    words = ["train", "caption", data / "train.csv", *SMALL, "--out", tmp_path / "run", "--encoder"]
    said(capsys, *words, tmp_path / "eyes.onnx")
    result = json.loads(said(capsys, "evaluate", tmp_path / "run", data / "test.csv", "--no-baseline", "--json"))
    assert result["measures"]["error_rate"] < 0.5
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    assert "no.onnx cannot be read as a network" in complaint(capsys, *words, tmp_path / "no.onnx", "--overwrite")


def test_cider_by_hand() -> None:
    said_, right = ["a cat", "a dog"], [["a cat sat"], ["a dog"]]
    # "a" is in both images and weighs nothing; cat, (a, cat), sat, (cat, sat) weigh log 2 each, as do their like
    near = np.exp(-1 / 72)
    first = near * (1 / np.sqrt(2) + 1 / np.sqrt(2)) / 4 * 10  # one of two words, one of two pairs
    second = (1 + 1) / 4 * 10
    assert cider(said_, right) == pytest.approx((first + second) / 2)


def test_measures_of_several_captions() -> None:
    examples = [Example("", Path("x"), text) for text in ("A dog runs on the grass.", "The dog is running")]
    examples.append(Example("", Path("y"), "Two men sit on a bench"))
    found = measures(examples, ["the dog is running", "the dog is running", "two men sit on a bench"])
    assert found["error_rate"] == 0 and found["bleu"] == pytest.approx(100)
    assert measures(examples, ["a cat", "a cat", "a cat"])["error_rate"] == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("image,caption\nnone.png,a square", "none.png: no such file"),
        ("image,caption\ntest0.png,", "the caption is empty or has no words"),
        ("image,words\ntest0.png,a square", "no column of captions"),
        ("image,caption\nbroken.png,a square\ntest0.png,a square", "broken.png cannot be read as an image"),
        ("name,caption\ntest0.png,a square", "no column of paths"),
    ],
)
def test_bad_data(data: Path, tmp_path: Path, capsys: Capture, lines: str, message: str) -> None:
    (data / "broken.png").write_bytes(b"\x89PNG no more")
    file = data / "bad.csv"
    file.write_text(lines + "\n")
    assert message in complaint(capsys, "train", "caption", file, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "--encoder must be" in complaint(capsys, "train", "caption", data / "train.csv", "--out", tmp_path / "run",
                                            "--encoder", "huge")  # fmt: skip


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
def test_real_images(tmp_path: Path, capsys: Capture) -> None:
    folder = DATA / "flickr8k_a"
    with open(folder / "captions.txt", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:100]
    with open(tmp_path / "some.csv", "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("image", "caption"), *((row["image"], row["caption"]) for row in rows)])
    words = ["train", "caption", tmp_path / "some.csv", "--images", folder / "images", "--out", tmp_path / "run"]
    result = json.loads(said(capsys, *words, *SMALL, "--epochs", 2, "--flip", "--json"))
    assert result["validation"]["loss"] < 5.2  # of 300 words by chance: 5.7
    assert result["validation_examples"] % 5 == 0  # no image is on both sides
