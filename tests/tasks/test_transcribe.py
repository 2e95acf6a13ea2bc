"""Sound and strokes to text: learned, kept, told in a fresh process; while it arrives; chosen among the known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import DATA
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights
from tasks.test_classify_signals import tone

from ostinato.tasks.common.runs import load
from ostinato.tasks.transcribe import Live, Transcribe
from ostinato.training.run import RunFolder

SMALL = ["--hidden-size", 32, "--layers", 1, "--threads", 1, "--batch", 16, "--learning-rate", "0.01", "--dropout", 0]
PITCH = {"a": 300, "b": 700, "c": 1500}


def sounds(folder: Path, count: int = 80) -> Path:
    """Texts of two to four letters, each a tone; a manifest."""
    import soundfile

    folder.mkdir()
    draw, rows = np.random.default_rng(0), ["path,text"]
    for i in range(count):
        text = "".join(draw.choice(list("abc"), draw.integers(2, 5)))
        pieces = [tone(PITCH[letter], 10 * i + k) for k, letter in enumerate(text)]
        quiet = [np.concatenate([piece, np.zeros(400, np.float32)]) for piece in pieces]
        soundfile.write(folder / f"{i}.wav", np.concatenate(quiet), 8000)
        rows.append(f"{i}.wav,{text}")
    (folder / "list.csv").write_text("\n".join([*rows, ""]))
    return folder / "list.csv"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    folder = tmp_path_factory.mktemp("sounds")
    words = ["train", "transcribe", sounds(folder / "data"), "--out", folder / "run", *SMALL, "--epochs", 10,
             "--streaming", "--no-augment"]  # fmt: skip
    assert run_command([str(word) for word in words]) == 0
    return folder


def test_learns_and_reports(trained: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained / "run", trained / "data" / "list.csv", "--json"))
    got = result["measures"]
    assert got["character_error_rate"] < 0.1 and got["not_exact"] < 0.3
    assert "nearest neighbour, character_error_rate" in result["instead"]
    folder = trained / "run" / "evaluation"
    assert (folder / "mistakes.tsv").read_text().startswith("error\tplace\tright\tsaid")
    assert (folder / "confusions.tsv").read_text().startswith("count\tright\tsaid")


def test_files_are_transcribed_in_a_fresh_process(trained: Path) -> None:
    lines = (trained / "data" / "list.csv").read_text().split()[1:9]
    files = [trained / "data" / line.split(",")[0] for line in lines]
    found = in_fresh_process("predict", trained / "run", *files, "--json")
    assert sum(one["answer"] == line.split(",")[1] for one, line in zip(found, lines, strict=True)) >= 5
    assert all(0 < one["probability"] <= 1 for one in found)


@pytest.mark.parametrize("size", [1, 77, 800, 100_000])
def test_pieces_give_what_the_whole_gives(trained: Path, size: int) -> None:
    kind, model = load(RunFolder(trained / "run"))
    assert isinstance(kind, Transcribe)
    for i in range(3):
        example = kind.from_text(str(trained / "data" / f"{i}.wav"))
        with torch.no_grad():
            batch = kind.batch([kind.encode(example)])
            kind.validating = True  # the likeliest path
            ((whole, _),) = kind.answer(model, batch, [])
        from ostinato.features.audio import read_audio

        samples = read_audio(trained / "data" / f"{i}.wav", 8000).samples
        live, texts = Live(kind, model), [""]
        for piece in samples[: 2000 if size == 1 else None].split(size):
            texts.append(live.push(piece))
            assert texts[-1].startswith(texts[-2])  # what was said stays said
        if size > 1:
            assert live.finish() == kind.spelled(whole)


def test_streams_from_files_and_standard_input(trained: Path, capsys: Capture) -> None:
    import soundfile

    file = trained / "data" / "1.wav"
    text = said(capsys, "predict", trained / "run", "--stream", file)
    raw = soundfile.read(file, dtype="int16")[0].tobytes()
    code = "from ostinato.cli import main; main()"
    words = [sys.executable, "-c", code, "predict", str(trained / "run"), "--stream", "-"]
    done = subprocess.run(words, input=raw, capture_output=True, check=False)
    assert done.returncode == 0 and done.stdout.decode() == text
    assert "give nothing beside it" in complaint(capsys, "predict", trained / "run", "x", "--stream", file)


def test_resume_gives_the_same_numbers(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "transcribe", trained / "data" / "list.csv", *SMALL, "--schedule", "constant"]
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "whole")
    said(capsys, *words, "--epochs", 1, "--out", tmp_path / "parts")
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "parts", "--resume")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    needs = "only a model of sound that was trained with --streaming"
    assert needs in complaint(capsys, "predict", tmp_path / "whole", "--stream", trained / "data" / "1.wav")


def test_words_that_are_known_and_models_of_letters(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    manifest = trained / "data" / "list.csv"
    known = {line.split(",")[1] for line in manifest.read_text().split()[1:]}
    words = ["train", "transcribe", manifest, *SMALL, "--epochs", 2]
    said(capsys, *words, "--closed", "--out", tmp_path / "closed")
    answers = said(capsys, "predict", tmp_path / "closed", "--file", manifest).split()
    assert set(answers) <= known
    for model in ("letters", "words"):
        said(capsys, *words, "--model", model, "--out", tmp_path / model)
        assert len(said(capsys, "predict", tmp_path / model, "--file", manifest, "--json").splitlines()) == 80


def test_handwriting(tmp_path: Path, capsys: Capture) -> None:
    """Real strokes where they are; here only that the way from file to text works."""
    import zipfile

    real = DATA / "cursive_sam" / "bigbank_3500.json.zip"
    if real.exists():
        with zipfile.ZipFile(real) as pack:
            name = next(n for n in pack.namelist() if n.endswith(".json") and not n.startswith("__MACOSX"))
            entries = json.loads(pack.read(name))[:60]
    else:
        draw = np.random.default_rng(0)
        points = np.column_stack([np.cumsum(draw.normal(size=(60, 2)), 0), np.ones(60)])
        entries = [{"metadata": {"asciiSequence": "ab c"}, "points": points.tolist()}] * 60
    file = tmp_path / "some.json.zip"
    with zipfile.ZipFile(file, "w") as pack:
        pack.writestr("some.json", json.dumps(entries))
    said(capsys, "train", "transcribe", file, *SMALL, "--epochs", 1, "--out", tmp_path / "run")
    result = json.loads(said(capsys, "evaluate", tmp_path / "run", file, "--json", "--no-baseline"))
    assert 0 < result["measures"]["character_error_rate"] <= 2


def test_bad_data(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    manifest = tmp_path / "list.csv"
    out = tmp_path / "run"
    wav = trained / "data" / "0.wav"
    for rows, options, message in (
        (f"path,text\n{wav},{'ab' * 200}\n{wav},a\n", [], "steps (stride 1) are too few for the 400 letters"),
        (f"path,words\n{wav},a\n", [], "column 'text') is missing; there are: words"),
        (f"path,text\n{wav},a\n", [], "1 example, and 2 are needed"),
        (f"path,text\n{tmp_path / 'no.wav'},a\n{wav},a\n", [], "no such file"),
        ("text,label\na b,c\n", [], "holds no signals"),
        (f"path,text\n{wav},a\n{wav},b\n", ["--model", "many"], "'many'"),
    ):
        manifest.write_text(rows)
        assert message in complaint(capsys, "train", "transcribe", manifest, "--out", out, *options)
        assert not out.exists()
    assert "no such file" in complaint(capsys, "predict", trained / "run", tmp_path / "no.wav")
