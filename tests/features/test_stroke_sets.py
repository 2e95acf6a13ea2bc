"""Sets of drawings: made here in each form, and the real ones where they are at hand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import DATA

from ostinato.errors import InputError
from ostinato.features.stroke_sets import read_cursive, read_sketches

ENTRY = {"metadata": {"asciiSequence": "ab"}, "points": [[1, 2, 1], [3, 4, 1], [3, 4, 0], [5, 6, 1], [7, 8, 0]]}


def test_handwriting(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.json", tmp_path / "a.json.zip"
    plain.write_text(json.dumps([ENTRY]))
    with zipfile.ZipFile(packed, "w") as pack:
        pack.writestr("__MACOSX/._a.json", "x")
        pack.write(plain, "a.json")
    for path in (plain, packed):
        [(text, strokes)] = read_cursive(path)
        assert text == "ab" and [s.tolist() for s in strokes] == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    for content, message in {
        "{": "holds no JSON",
        "[]": "must be a list",
        '[{"points": []}]': "entry 0 must have metadata",
        '[{"metadata": {"asciiSequence": "a"}, "points": [[1, 2]]}]': r"entry 0: .* \[x, y, pen\]",
    }.items():
        plain.write_text(content)
        with pytest.raises(InputError, match=message):
            read_cursive(plain)
    with pytest.raises(InputError, match="cannot be read"):
        read_cursive(tmp_path / "absent.json")


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("called",)


def stored(path: Path, *values: object) -> Path:
    whole = np.empty(len(values), object)
    whole[:] = values
    np.savez(path, train=whole)
    return path


def test_sketches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = np.array([[1, 2, 0], [3, -4, 1]], np.int16), np.array([[5, 6, 1]], np.int16)
    found = read_sketches(stored(tmp_path / "a.npz", one, two))
    assert [s.tolist() for s in found["train"]] == [one.tolist(), two.tolist()]
    assert found["train"][0].dtype == torch.float32
    with pytest.raises(InputError, match=r"holds builtins\.print, where only arrays are expected"):
        read_sketches(stored(tmp_path / "b.npz", Evil(), one))
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match=r"sketch 1 must be offsets \[T, 3\]"):
        read_sketches(stored(tmp_path / "c.npz", one, one[:, :2]))
    np.savez(tmp_path / "d.npz", train=one)
    with pytest.raises(InputError, match="where a list of sketches is expected"):
        read_sketches(tmp_path / "d.npz")
    (tmp_path / "e.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no \.npz file"):
        read_sketches(tmp_path / "e.npz")
    with pytest.raises(InputError, match="cannot be read"):
        read_sketches(tmp_path / "absent.npz")


def test_the_real_sets() -> None:
    sheep, cursive = DATA / "sketch_sheep" / "aaron_sheep.npz", DATA / "cursive_sam" / "bigbank_3500.json.zip"
    if sheep.exists():
        assert {name: len(part) for name, part in read_sketches(sheep).items()} == {
            "train": 7400, "valid": 300, "test": 300}  # fmt: skip
    if cursive.exists():
        drawings = read_cursive(cursive)
        assert len(drawings) == 3500 and drawings[0][0] == "hlin" and len(drawings[0][1]) == 3
