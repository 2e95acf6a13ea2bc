"""Several processes that train one model: the same numbers as one, and what happens when one of them ends."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import some_text

from ostinato.cli import run_command
from ostinato.errors import InputError
from ostinato.files import load_tensors
from ostinato.training.options import TrainingOptions
from ostinato.training.run import RunFolder
from ostinato.training.workers import STARTED, Part, Workers

GENERATE = ["train", "generate", "--hidden-size", "12", "--layers", "2", "--batch", "5", "--bptt", "11", "--epochs",
            "2", "--checkpoint-steps", "5", "--threads", "1"]  # fmt: skip
CLASSIFY = ["train", "classify", "--dropout", "0", "--hidden-size", "8", "--epochs", "1", "--threads", "1"]


def start(*words: Any, by: tuple[str, ...] = (sys.executable, "-m", "ostinato")) -> subprocess.Popen[str]:
    return subprocess.Popen([*by, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """What a process says on standard error."""
    _, error = process.communicate(timeout=300)
    assert process.returncode == code, error
    return error


def furthest(one: Path, other: Path) -> float:
    """How far the best weights of two runs are apart."""
    first, second = (load_tensors(RunFolder(run).model)[0] for run in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first if first[name].is_floating_point())


def assert_same_bits(one: Path, other: Path) -> None:
    for file in ("model.safetensors", "checkpoint/last.safetensors"):
        first, second = load_tensors(one / file)[0], load_tensors(other / file)[0]
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_two_processes_one_of_them_killed(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(some_text(3000))
    one, two, cut = (tmp_path / name for name in ("one", "two", "cut"))
    pair = start(*GENERATE, text, "--out", two, "--devices", 2)
    assert run_command([*GENERATE, str(text), "--out", str(one)]) == 0
    assert ended(pair).count("epoch ") == 2  # the second process says nothing
    assert furthest(one, two) < 1e-5  # five streams: three in one process, two in the other

    process = start(*GENERATE, text, "--out", cut, "--devices", 2)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("epoch   1"):
        assert process.poll() is None
    (child,) = children(process.pid)
    os.kill(child, signal.SIGKILL)
    line = ended(process, 2).splitlines()[-1]
    said = rf"ostinato: worker 1 \(process {child}\) was killed by SIGKILL at step \d+; "
    found = re.fullmatch(said + r"the checkpoint is of step (\d+): go on with --resume", line)
    assert found and int(found[1]) > 0, line
    ended(start(*GENERATE, text, "--out", cut, "--devices", 2, "--resume"))
    assert_same_bits(two, cut)


def children(process: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_torchrun_and_a_batch_with_an_example_too_few(tmp_path: Path) -> None:
    data, random_ = tmp_path / "data.csv", random.Random(0)
    labels = [random_.choice(("good", "bad")) for _ in range(33 + 20)]
    lines = (" ".join(random_.choices(("the", "a", "film"), k=4)) + f" {label} end,{label}" for label in labels)
    data.write_text("\n".join(["text,label", *lines]))
    held = tmp_path / "held.csv"
    held.write_text("text,label\na good end,good\na bad end,bad\n")
    words = [*CLASSIFY, "--batch", "4", str(data), "--validation", str(held)]  # 53 examples: the last batch has one
    by = (str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2", "-m", "ostinato")
    pair = start(*words, "--out", tmp_path / "two", by=by)
    assert run_command([*words, "--out", str(tmp_path / "one")]) == 0
    ended(pair)
    assert furthest(tmp_path / "one", tmp_path / "two") < 1e-5


def test_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="--strategy ddp is for more than one process"):
        Workers(TrainingOptions(strategy="ddp"))
    text = tmp_path / "text.txt"
    text.write_text(some_text(1000))
    assert run_command([*GENERATE, str(text), "--out", str(tmp_path / "run"), "--devices", "6"]) == 2
    assert "the text is read as 5 streams, too few for 6 processes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    for name, value in {STARTED: "x", "RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert Workers(TrainingOptions()).part == Part(1, 4)
    with pytest.raises(InputError, match="torchrun started 2 processes on this machine, and --devices is 3"):
        Workers(TrainingOptions(devices=3))
