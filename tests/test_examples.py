"""Every file of examples/ runs by itself, without a warning, and reaches what it promises."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *options: str | Path) -> str:
    keras = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"  # Keras 3.15 with NumPy 2
    command = [sys.executable, "-W", "error", "-W", keras, EXAMPLES / name, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_own_cell_learns_to_add() -> None:
    text = run("own_cell.py")
    before, after = map(float, re.findall(r"error (?:before|after) training: +([\d.]+)", text))
    assert after < 0.01 < 0.167 < before
    assert text.endswith("learned to add\n")


def test_teacher_forcing_goes_astray_and_is_put_back(tmp_path) -> None:
    picture = tmp_path / "picture.png"
    text = run("teacher_forcing.py", "--quick", "--out", picture)
    assert "in the loop while it was taught: 0 operations" in text
    taught, free, put_back = map(float, re.findall(r"error over 200 steps, [a-z ]+: ([\d.]+)", text))
    assert 10 * taught < put_back < free
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_entities_of_the_lecture() -> None:
    lines = run("entities.py").splitlines()
    assert lines[1:] == [
        "[Jim]Person bought 300 shares of [Acme Corp.]Organization in [2006]Time",
        "I went to Nepal in [1999]Time",
        "In [1999]Time, I went to Nepal",
    ]


def test_the_clouds_are_in_the_sky() -> None:
    near, far = run("clouds.py").splitlines()
    assert near.startswith("the clouds are in the ___  sky 0.9") or "___  sky 1.0" in near
    assert "fluent ___  French 0.9" in far or "fluent ___  French 1.0" in far


def test_two_dimensional_reads_digits() -> None:
    text = run("two_dimensional.py", "--epochs", "5")
    found = [float(share) for share in re.findall(r"recognised ([\d.]+) of 359", text)]
    assert len(found) == 5 and found[-1] > 0.8


def test_two_dimensional_reads_a_file(tmp_path) -> None:
    images, labels = tmp_path / "images.gz", tmp_path / "labels.gz"
    images.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 8, 0, 0, 0, 6]) + bytes(range(240)) * 2))
    labels.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 10, *range(10)])))
    options = ["--images", str(images), "--labels", str(labels), "--epochs", "1", "--cell", "elman", "--most", "5"]
    assert re.fullmatch(r"epoch  1: recognised [\d.]+ of 1\n", run("two_dimensional.py", *options))


@pytest.mark.parametrize(("name", "expected"), [
    ("one_hot.py", ["Found 9 unique tokens."]),
    ("vectorize.py", ["(1, 10000)"]),
    ("embedding.py", []),
    ("last_output.py", ["320,000", " 2,080", "Total params: 322,080", "(None, None, 32)", "(None, 32)"]),
    ("every_output.py", ["320,000", " 2,080", "Total params: 322,080", "(None, None, 32)"]),
    ("stack.py", ["Total params: 328,320", "(None, None, 32)", "(None, 32)"]),
])
def test_the_listings_of_the_slides(name: str, expected: list[str]) -> None:
    text = run(f"lecture/{name}")
    for wanted in expected:
        assert wanted in text
    assert "unbuilt" not in text and ("every_output" not in name or "(None, 32)" not in text)


def reviews(count: int) -> list[tuple[int, list[int]]]:
    """Numbers of words; the label says which of two words there are more of."""
    rng = np.random.default_rng(count)
    made = [rng.integers(10, 60, rng.integers(5, 20)).tolist() for _ in range(count)]
    return [(i % 2, [*words, *[1 + i % 2] * 6]) for i, words in enumerate(made)]


def test_imdb_from_text(tmp_path) -> None:
    for name in ("train", "test"):
        lines = [f"{label}\t{' '.join(f'w{word}' for word in words)}" for label, words in reviews(200)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["label\ttext", *lines]), encoding="utf-8")
    text = run("imdb.py", tmp_path / "train.tsv", tmp_path / "test.tsv", "--epochs", "3")
    assert "322,080" not in text and "320,000" in text and "val_acc" in text
    assert float(text.rsplit(maxsplit=1)[1]) > 0.9


def test_imdb_from_keras_file(tmp_path) -> None:
    arrays = {}
    for name in ("train", "test"):
        labels, words = zip(*reviews(200), strict=True)
        arrays |= {f"x_{name}": np.array([list(w) for w in words], dtype=object), f"y_{name}": np.array(labels)}
    np.savez(tmp_path / "imdb.npz", **arrays)
    text = run("imdb.py", tmp_path / "imdb.npz", "--epochs", "3")
    assert float(text.rsplit(maxsplit=1)[1]) > 0.9


@pytest.mark.parametrize(("content", "message"), [
    (b"0\ta\n1\tb\n2\tc\n", "line 3: expected a label (0 or 1), a tab and a text"),
    (b"0\ta\n0\tb\n", "needs reviews with the label 0 and with the label 1"),
    (b"0\t\xff\n", "cannot be read"),
])
def test_imdb_refuses(content: bytes, message: str, tmp_path) -> None:
    (tmp_path / "bad.tsv").write_bytes(content)
    (tmp_path / "bad.npz").write_bytes(content)
    both = ((["bad.tsv", "bad.tsv"], message), (["bad.npz"], "not Keras's imdb.npz"))
    for files, wanted in both if b"\xff" in content else both[:1]:
        command = [sys.executable, EXAMPLES / "imdb.py", *(tmp_path / file for file in files)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and wanted in done.stderr and "Traceback" not in done.stderr


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text("utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'run("{path.name}"' not in source] == []
