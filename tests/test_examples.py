"""Every file of examples/ runs by itself, without a warning, and reaches what it promises."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *options: str | Path) -> str:
    command = [sys.executable, "-W", "error", EXAMPLES / name, *options]
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


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text("utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'run("{path.name}"' not in source] == []
