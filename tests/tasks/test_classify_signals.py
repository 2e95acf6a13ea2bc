"""Labels of signals: sound, series, strokes and images, each learned, kept, and told again in a fresh process."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import DATA
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

SMALL = ["--hidden-size", 16, "--threads", 1, "--batch", 16, "--epochs", 8, "--learning-rate", "0.01"]


def tone(pitch: float, seed: int, rate: int = 8000) -> np.ndarray:
    draw = np.random.default_rng(seed)
    time = np.arange(int(rate * (0.2 + 0.1 * draw.random()))) / rate  # [S]
    sound = 0.3 * np.sin(2 * np.pi * pitch * (1 + 0.05 * draw.random()) * time) + 0.01 * draw.normal(size=len(time))
    return sound.astype(np.float32)


def recordings(folder: Path, count: int = 30) -> Path:
    """Digits of three names where the recordings are, else tones; a manifest beside them."""
    import soundfile

    folder.mkdir(exist_ok=True)
    rows = ["path,digit"]
    real = sorted((DATA / "fsdd" / "recordings").glob("[0-2]_theo_*.wav"))
    for i in range(count):
        label, take = i % 3, i // 3
        path = next((f for f in real if f.name == f"{label}_theo_{take}.wav"), folder / f"{label}_made_{take}.wav")
        if path.parent == folder:
            soundfile.write(path, tone(300 * (1 + label), i), 8000)
        rows.append(f"{path},{label}")
    (folder / "list.csv").write_text("\n".join([*rows, ""]))
    return folder / "list.csv"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    folder = tmp_path_factory.mktemp("sounds")
    manifest = recordings(folder / "data", 90)
    words = ["train", "classify", manifest, "--label", "digit", "--out", folder / "run", *SMALL]
    assert run_command([str(word) for word in words]) == 0
    return folder


def test_learns_sounds_and_reports(trained: Path, capsys: Capture) -> None:
    manifest = trained / "data" / "list.csv"
    result = json.loads(said(capsys, "evaluate", trained / "run", manifest, "--json"))
    assert result["measures"]["accuracy"] > 0.9
    assert set(result["instead"]) == {"nearest neighbour accuracy", "logistic regression accuracy"}
    assert (trained / "run" / "evaluation" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (trained / "run" / "evaluation" / "mistakes.tsv").exists()
    config = json.loads((trained / "run" / "vocabulary.json").read_text())
    assert config["input"]["kind"] == "audio" and config["input"]["rate"] == 8000


def test_a_file_is_classified_in_a_fresh_process(trained: Path) -> None:
    manifest = trained / "data" / "list.csv"
    files = [line.split(",") for line in manifest.read_text().split()[1:5]]
    found = in_fresh_process("predict", trained / "run", *(path for path, _ in files), "--json")
    listed = in_fresh_process("predict", trained / "run", "--file", manifest, "--json")
    for one, other in zip(found, listed, strict=False):
        assert one["answer"] == other["answer"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-4)  # alone, and beside longer ones
    assert sum(one["answer"] == label for one, (_, label) in zip(found, files, strict=True)) >= 3


def test_resume_gives_the_same_numbers(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "classify", trained / "data" / "list.csv", "--label", "digit", *SMALL, "--schedule", "constant"]
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "whole")
    said(capsys, *words, "--epochs", 1, "--out", tmp_path / "parts")
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "parts", "--resume")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_voices_that_were_never_heard_are_verified(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    import soundfile

    from ostinato.tasks.classify_report import equal_error_rate

    rows = ["path,digit"]
    for i in range(16):
        soundfile.write(tmp_path / f"{i}.wav", tone((450, 2500)[i % 2], 1000 + i), 8000)
        rows.append(f"{i}.wav,{('low', 'high')[i % 2]}")
    (tmp_path / "list.csv").write_text("\n".join([*rows, ""]))
    result = json.loads(said(capsys, "evaluate", trained / "run", tmp_path / "list.csv", "--verify", "--json"))
    assert result["measures"]["equal_error_rate"] < 0.35  # by chance a half
    assert "equal error rate" in said(capsys, "evaluate", trained / "run", tmp_path / "list.csv", "--verify")
    vectors = np.array([[1.0, 0], [0.9, 0.1], [0, 1.0], [0.1, 0.9]])
    assert equal_error_rate(vectors, ["a", "a", "b", "b"])["equal_error_rate"] == 0
    assert equal_error_rate(vectors, ["a", "b", "a", "b"])["equal_error_rate"] >= 0.5
    (tmp_path / "list.csv").write_text("\n".join([rows[0], rows[1], rows[3], ""]))
    assert "examples are needed that share a label" in complaint(
        capsys, "evaluate", trained / "run", tmp_path / "list.csv", "--verify")  # fmt: skip


def series(tmp_path: Path) -> list[Any]:
    """One .ts file: rising and falling lines of unlike lengths."""
    draw, lines = np.random.default_rng(0), ["@classLabel true down up", "@data"]
    for i in range(60):
        walk = np.cumsum(draw.normal(size=(2, 12 + i % 5)) + (i % 2) - 0.5, 1)  # [F, T]
        lines.append(":".join([*(",".join(f"{v:.3f}" for v in row) for row in walk), ("down", "up")[i % 2]]))
    (tmp_path / "walks.ts").write_text("\n".join([*lines, ""]))
    return [tmp_path / "walks.ts"]


def series_by_folder(tmp_path: Path) -> list[Any]:
    """One CSV file a sequence, in folders named by label."""
    draw = np.random.default_rng(0)
    for i in range(60):
        folder = tmp_path / "walks" / ("down", "up")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        walk = np.cumsum(draw.normal(size=15) + (i % 2) - 0.5)
        (folder / f"{i}.csv").write_text("\n".join(["height", *map(str, walk), ""]))
    return [tmp_path / "walks"]


def images(tmp_path: Path) -> list[Any]:
    """MNIST's files: bars that lie and bars that stand."""
    draw = np.random.default_rng(0)
    pictures, labels = np.zeros((80, 8, 8), np.uint8), np.arange(80, dtype=np.uint8) % 2
    for picture, label in zip(pictures, labels, strict=True):
        picture[draw.integers(8)] = 200
        picture[:] = picture.T if label else picture
    for name, values in (("x-images-idx3-ubyte", pictures), ("x-labels-idx1-ubyte", labels)):
        header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        (tmp_path / name).write_bytes(header + values.tobytes())
    return [tmp_path / "x-images-idx3-ubyte", "--scan", "both"]


def strokes(tmp_path: Path) -> list[Any]:
    """InkML by folder: circles and zigzags."""
    draw = np.random.default_rng(0)
    for i in range(60):
        folder = tmp_path / "drawings" / ("circle", "zigzag")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        at = np.linspace(0, 6.3, 14)
        x, y = (np.cos(at), np.sin(at)) if i % 2 == 0 else (at, np.arange(14) % 2)
        points = ", ".join(f"{a:.3f} {b:.3f}" for a, b in np.stack([x, y], 1) + 0.1 * draw.normal(size=(14, 2)))
        (folder / f"{i}.inkml").write_text(f"<ink><trace>{points}</trace></ink>")
    return [tmp_path / "drawings"]


@pytest.mark.parametrize("make", [series, series_by_folder, images, strokes], ids=lambda make: make.__name__)
def test_other_signals(make: Any, tmp_path: Path, capsys: Capture) -> None:
    data, *options = make(tmp_path)
    said(capsys, "train", "classify", data, *options, *SMALL, "--epochs", 12, "--out", tmp_path / "run")
    result = json.loads(said(capsys, "evaluate", tmp_path / "run", data, "--json", "--no-baseline"))
    assert result["measures"]["accuracy"] > 0.9


def test_classes_of_real_series(tmp_path: Path, capsys: Capture) -> None:
    file = DATA / "tsc_ItalyPowerDemand" / "ItalyPowerDemand_TRAIN.ts"
    if not file.exists():
        (file,) = series(tmp_path)
    said(capsys, "train", "classify", file, *SMALL, "--epochs", 15, "--out", tmp_path / "run")
    result = json.loads(said(capsys, "evaluate", tmp_path / "run", file, "--json"))
    assert result["measures"]["accuracy"] > 0.85


def test_bad_signals(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    lines = (trained / "data" / "list.csv").read_text().splitlines()[:7]
    (tmp_path / "broken.wav").write_bytes(b"RIFF no sound")
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join([*lines, f"{tmp_path / 'broken.wav'},1", ""]))
    out = tmp_path / "run"
    words = ["train", "classify", manifest, "--label", "digit", "--out", out, *SMALL]
    assert "broken.wav cannot be read as WAV" in complaint(capsys, *words)
    assert not out.exists()
    assert "1 bad lines left out" in said(capsys, *words, "--skip-bad-lines", "--epochs", 1)
    assert "column 'label') is missing; there are: digit" in complaint(
        capsys, "train", "classify", manifest, "--out", tmp_path / "other")  # fmt: skip
    assert "no such file; the model reads audio" in complaint(capsys, "predict", trained / "run", "hello")
    manifest.write_text("\n".join([lines[0], lines[1].rpartition(",")[0] + ",9", ""]))
    assert "'9'" in complaint(capsys, "evaluate", trained / "run", manifest)
