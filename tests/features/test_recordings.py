"""Recordings from files: formats, rates, channels, manifests and folders, and what is wrong with each."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from close import assert_close
from corpus import DATA

from ostinato.errors import InputError
from ostinato.features.audio import AudioFeatures, AudioOptions, find_recordings, read_audio, resample

SPEAKERS = r"(?P<digit>\d)_(?P<speaker>\w+)_(?P<take>\d+)"


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def written(path: Path, samples: np.ndarray, rate: int = 8000, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype)
    return path


@pytest.mark.parametrize(("name", "error"), [("a.wav", 4e-5), ("a.flac", 4e-5), ("a.ogg", 0.05)])
def test_each_format_is_read(tmp_path: Path, name: str, error: float) -> None:
    sound = read_audio(written(tmp_path / name, tone(440, 8000)))
    assert sound.rate == 8000 and sound.samples.shape == (4000,) and sound.samples.dtype == torch.float32
    assert np.abs(sound.samples.numpy() - tone(440, 8000)).max() < error


def test_channels_are_mixed_or_chosen(tmp_path: Path) -> None:
    both = np.stack([tone(300, 8000), 0.5 * tone(900, 8000)], 1)
    path = written(tmp_path / "two.wav", both, subtype="DOUBLE")
    assert_close(read_audio(path).samples, torch.from_numpy(both.mean(1)).float())
    assert_close(read_audio(path, channel=1).samples, torch.from_numpy(both[:, 1]).float())
    with pytest.raises(InputError, match=r"two\.wav has 2 channels, from 0 on: there is no 2"):
        read_audio(path, channel=2)


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 16_000), (8000, 16_000), (16_000, 8000)])
def test_resampling_keeps_tones_and_adds_none(rate: int, wanted: int) -> None:
    heard = resample(tone(1000, rate), rate, wanted)
    assert len(heard) == wanted // 2
    middle = slice(wanted // 10, -wanted // 10)
    assert np.abs(heard - tone(1000, wanted))[middle].max() < 1e-3
    above = resample(tone(0.47 * max(rate, wanted), max(rate, wanted)), max(rate, wanted), min(rate, wanted))
    assert np.abs(above)[len(above) // 10 : -len(above) // 10].max() < 1e-3  # no alias
    with pytest.raises(InputError, match="1 or more"):
        resample(heard, wanted, 0)


def test_a_file_is_resampled_when_read(tmp_path: Path) -> None:
    sound = read_audio(written(tmp_path / "a.wav", tone(440, 8000), subtype="FLOAT"), rate=16_000)
    assert sound.rate == 16_000
    assert_close(sound.samples, torch.from_numpy(resample(tone(440, 8000), 8000, 16_000)).float())


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 30_000)
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "nothing.wav").write_bytes(b"")
    for name in ("whole.wav", "whole.flac", "whole.ogg"):
        data = written(tmp_path / name, noise).read_bytes()
        (tmp_path / name.replace("whole", "cut")).write_bytes(data[: len(data) * 2 // 3])
    written(tmp_path / "empty.wav", np.zeros(0))
    written(tmp_path / "silent.wav", np.zeros(100))
    written(tmp_path / "constant.flac", np.full(100, 0.25))
    written(tmp_path / "nan.wav", np.array([0.1, np.nan]), subtype="FLOAT")
    for name, message in {
        "absent.wav": "no such file",
        ".": "is a folder",
        "text.wav": "cannot be read as WAV, FLAC or OGG: Format not recognised",
        "nothing.wav": "cannot be read",
        "cut.wav": "cut short",
        "cut.flac": "cut short|cannot be read",
        "cut.ogg": "cut short",
        "empty.wav": "is empty",
        "silent.wav": "is silent: all of its 100 samples are 0 ",
        "constant.flac": "is silent: all of its 100 samples are 0.25",
        "nan.wav": "sample 1 is not a number",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            read_audio(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert len(read_audio(tmp_path / "silent.wav", silent=True).samples) == 100


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    path = written(tmp_path / "a.wav", tone(440, 8000))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs {package}: pip install 'ostinato\[audio\]'"):
        read_audio(path, rate=16_000)


def test_a_manifest_names_recordings(tmp_path: Path) -> None:
    written(tmp_path / "sounds" / "a.wav", tone(300, 8000))
    written(tmp_path / "sounds" / "b.flac", tone(400, 8000))
    csv, lines = tmp_path / "list.csv", tmp_path / "list.jsonl"
    csv.write_text("text,wav\nhello there,sounds/a.wav\nyes,sounds/b.flac\n")
    lines.write_text('{"path": "sounds/a.wav", "text": "hello there"}\n{"path": "sounds/b.flac", "text": "yes"}\n')
    for manifest in (csv, lines):
        found = find_recordings(manifest)
        assert [dict(r.values) for r in found] == [{"text": "hello there"}, {"text": "yes"}]
        assert [len(r.read().samples) for r in found] == [4000, 4000]
    csv.write_text("text,wav\nhello,sounds/c.wav\n")
    with pytest.raises(InputError, match=r"list.csv:2: .*c.wav: no such file"):
        find_recordings(csv)
    lines.write_text('{"sound": "a.wav", "text": "x"}\n')
    with pytest.raises(InputError, match=r"list.jsonl:1: no column of paths .* it has: sound, text"):
        find_recordings(lines)
    lines.write_text('{"path": 3}\n')
    with pytest.raises(InputError, match="must name a file, got 3"):
        find_recordings(lines)


def test_folders_name_labels(tmp_path: Path) -> None:
    for name in ("yes/1_ann_0.wav", "yes/1_bob_1.OGG", "no/0_ann_0.flac"):
        written(tmp_path / name, tone(300, 8000))
    (tmp_path / "yes" / "notes.txt").write_text("not a sound")
    found = find_recordings(tmp_path, SPEAKERS)
    assert [dict(r.values) for r in found] == [
        {"label": "no", "digit": "0", "speaker": "ann", "take": "0"},
        {"label": "yes", "digit": "1", "speaker": "ann", "take": "0"},
        {"label": "yes", "digit": "1", "speaker": "bob", "take": "1"},
    ]
    with pytest.raises(InputError, match="does not fit the pattern x"):
        find_recordings(tmp_path, "x")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no recordings"):
        find_recordings(tmp_path / "none")


def test_spoken_digits(tmp_path: Path) -> None:
    """The free spoken digits where they are at hand; else tones in files of the same names."""
    folder = DATA / "fsdd" / "recordings"
    if not folder.exists():
        folder = tmp_path
        for digit in range(10):
            written(folder / f"{digit}_ann_0.wav", tone(200 + 100 * digit, 8000))
    found = find_recordings(folder, SPEAKERS)
    assert len(Counter(r.values["digit"] for r in found)) == 10
    features = AudioFeatures(AudioOptions(rate=8000, kind="mfcc", mels=24, deltas=1))
    for recording in found[:: len(found) // 10]:
        sound = recording.read()
        frames, lengths = features(sound.samples.unsqueeze(0))
        assert sound.rate == 8000 and frames.isfinite().all()
        assert lengths.tolist() == [1 + len(sound.samples) // 80] and frames.shape[2] == 26
