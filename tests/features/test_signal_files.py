"""Series and images from files; what is wrong with a file is said with its place."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from corpus import DATA

from ostinato.errors import InputError
from ostinato.features.images import read_idx, read_image, scan
from ostinato.features.rows.manifest import find_files
from ostinato.features.series import read_series, read_ts

TS = "#made up\n@problemName x\n@timeStamps false\n@classLabel true a b\n@data\n1,2,3:4,5,6:a\n7,8:9,0:b\n"


def test_series_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "one.csv"
    file.write_text("#x, y\n1,2\n3,4.5\n\n")
    assert read_series(file).tolist() == [[1, 2], [3, 4.5]]
    file.write_text("1\n2\n")
    assert read_series(file).tolist() == [[1], [2]]


@pytest.mark.parametrize(("content", "message"), [
    ("x,y\n", "has no steps"),
    ("1,2\n3,?\n", "one.csv:2: a number is expected, got '\\?'"),
    ("1,2\n3,nan\n", "one.csv:2: a number is expected, got 'nan'"),
    ("1,2\n3\n", "one.csv:2: 1 channels, where 2 are expected"),
])  # fmt: skip
def test_bad_series(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "one.csv"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        read_series(file)


def test_ts(tmp_path: Path) -> None:
    file = tmp_path / "x.ts"
    file.write_text(TS)
    found = list(read_ts(file))
    assert [(values.tolist(), label) for _, values, label in found] == [
        ([[1, 4], [2, 5], [3, 6]], "a"), ([[7, 9], [8, 0]], "b")]  # fmt: skip
    assert found[1][0] == f"{file}:7"
    real = DATA / "tsc_BasicMotions" / "BasicMotions_TRAIN.ts"
    if real.exists():
        shapes = {(values.shape, label) for _, values, label in read_ts(real)}
        assert shapes == {((100, 6), label) for label in ("Standing", "Running", "Walking", "Badminton")}


@pytest.mark.parametrize(("content", "message"), [
    (TS + "1,2:3:a\n", "x.ts:8: the channels have 2, 1 steps"),
    (TS + "1,?:3,4:a\n", "x.ts:8: a number is expected, got '\\?'"),
    (TS[: TS.index("1,2")], "has no sequences"),
    ("1,2:a\n", "x.ts:1: a line that begins with @ is expected"),
    ("@timeStamps true\n", "x.ts:1: steps with time stamps are not read"),
])  # fmt: skip
def test_bad_ts(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "x.ts"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        list(read_ts(file))


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def test_idx(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for data in (idx(values), gzip.compress(idx(values))):
        (tmp_path / "x").write_bytes(data)
        np.testing.assert_array_equal(read_idx(tmp_path / "x"), values)
    for data, message in ((idx(values)[:-1], "cut short"), (b"no", "no idx file"), (idx(values)[:6], "cut short"),
                          (gzip.compress(idx(values))[:-20], "cannot be read|cut short")):  # fmt: skip
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_idx(tmp_path / "x")


def test_images(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.array([[0, 255], [255, 0], [0, 0], [0, 0]], np.uint8)).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png")
    assert image.tolist() == [[0, 1], [1, 0], [0, 0], [0, 0]]
    assert read_image(tmp_path / "x.png", height=8).shape == (8, 4)
    assert scan(image, "columns").tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    with pytest.raises(InputError, match="square"):
        scan(image, "both")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(tmp_path / "x.png")


def test_files_of_a_manifest_and_of_folders(tmp_path: Path) -> None:
    for name in ("a/1.csv", "b/2.csv", "b/3.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    found = [(entry.path.name, entry.values) for entry in find_files(tmp_path, (".csv",))]
    assert found == [("1.csv", {"label": "a"}), ("2.csv", {"label": "b"})]
    (tmp_path / "list.csv").write_text("path,label\na/1.csv,x\nb/4.csv,y\n")
    with pytest.raises(InputError, match=r"list.csv:3: .*4.csv: no such file"):
        list(find_files(tmp_path / "list.csv", (".csv",)))
    with pytest.raises(InputError, match="no regular expression"):
        list(find_files(tmp_path, (".csv",), "("))
