"""The command as a user meets it: what it prints, what it leaves, and one line for everything that goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import shakespeare, some_text

from ostinato import cells
from ostinato.cli import run_command
from ostinato.engines import cpu
from ostinato.files import load_tensors
from ostinato.training.run import RunFolder

TINY = ["--hidden-size", "12", "--embedding-size", "8", "--batch", "4", "--bptt", "16", "--epochs", "2"]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(some_text(2000), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run_command(["train", "generate", str(text), "--out", str(out), *TINY]) == 0
    return out


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A trained run that a test may damage."""
    import shutil

    return Path(shutil.copytree(trained, tmp_path / "copy"))


Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *words: str | Path) -> str:
    """What the command prints on standard output when all goes well."""
    capsys.readouterr()
    assert run_command([str(w) for w in words]) == 0
    return capsys.readouterr().out


def complaint(capsys: Capture, *words: str | Path) -> str:
    """The one line of a command that cannot do what it is asked."""
    capsys.readouterr()
    assert run_command([str(w) for w in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ostinato: ") and err.endswith("\n") and err.count("\n") == 1, err
    return err


def test_train_says_what_came_out_and_what_is_next(text: Path, tmp_path: Path, capsys: Capture) -> None:
    out = said(capsys, "train", "generate", text, "--out", tmp_path / "a run", *TINY)
    assert "bits per character" in out and "perplexity" in out
    words = out.splitlines()[-1].removeprefix("Next:  ")
    import shlex

    assert said(capsys, *shlex.split(words)[1:])


def test_a_run_folder_is_complete(trained: Path) -> None:
    names = {p.name for p in trained.iterdir()}
    assert {"config.json", "model.safetensors", "vocabulary.json", "metrics.jsonl", "checkpoint"} <= names
    config = json.loads((trained / "config.json").read_text())
    assert config["format"] == 1 and config["options"]["hidden_size"] == 12


def test_json_results(text: Path, trained: Path, tmp_path: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "train", "generate", text, "--out", tmp_path / "r", *TINY, "--json"))
    assert result["epochs"] == 2 and result["validation"]["bits_per_character"] > 0
    measured = json.loads(said(capsys, "evaluate", trained, text, "--json"))
    assert measured["tokens"] == 2000 and measured["unknown_tokens"] < 20
    written = json.loads(said(capsys, "predict", trained, "--prompt", "a", "--length", "30", "--json"))
    assert len(written["text"]) == 30
    assert json.loads(said(capsys, "info", "--json"))["cells"] == list(cells.names())


def test_a_resumed_finished_run_says_the_same(trained: Path, text: Path, capsys: Capture) -> None:
    once = said(capsys, "train", "generate", text, "--out", trained, "--resume", "--json")
    again = said(capsys, "train", "generate", text, "--out", trained, "--resume", "--json")
    assert once == again


def test_toml_equals_the_command_line(text: Path, trained: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "options.toml"
    file.write_text("hidden_size = 12\nembedding-size = 8\nbatch = 4\nbptt = 99\nepochs = 2\n[cell_options]\n")
    said(capsys, "train", "generate", text, "--out", tmp_path / "r", "--config", file, "--bptt", "16")
    assert (tmp_path / "r" / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_cell_options_in_both(text: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "options.toml"
    file.write_text('cell = "leaky"\n[cell-options]\ntau = 5.0\n')
    said(capsys, "train", "generate", text, "--out", tmp_path / "a", *TINY, "--config", file)
    leaky = ["--cell", "leaky", "--cell-option", "tau=5.0"]
    said(capsys, "train", "generate", text, "--out", tmp_path / "b", *TINY, *leaky)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_words(tmp_path: Path, text: Path, capsys: Capture) -> None:
    result = json.loads(
        said(capsys, "train", "generate", text, "--out", tmp_path / "w", *TINY, "--level", "words", "--json")
    )
    assert result["validation"]["perplexity_per_word"] > 1
    assert "<unk>" not in said(capsys, "predict", tmp_path / "w", "--length", "50")
    assert "prompt has words that the model does not know: 'xyzzy'" in complaint(
        capsys, "predict", tmp_path / "w", "--prompt", "the xyzzy"
    )


def test_a_validation_file_of_its_own(tmp_path: Path, text: Path, capsys: Capture) -> None:
    other = tmp_path / "valid.txt"
    other.write_text(text.read_text()[:300])
    result = json.loads(
        said(capsys, "train", "generate", text, "--out", tmp_path / "r", *TINY, "--valid", other, "--json")
    )
    measured = json.loads(said(capsys, "evaluate", tmp_path / "r", other, "--json"))
    assert result["validation"]["loss"] == pytest.approx(measured["loss"], rel=1e-6)


def test_predict_is_repeatable(trained: Path, capsys: Capture) -> None:
    def write(*words: str) -> str:
        return said(capsys, "predict", trained, "--prompt", "a", "--length", "60", *words)

    assert write("--seed", "3") == write("--seed", "3") != write("--seed", "4")
    assert write("--temperature", "0") == write("--top-k", "1", "--seed", "9")
    assert len(write("--length", "0").rstrip("\n")) == 1


def test_info_says_how_the_engines_run(capsys: Capture) -> None:
    library = cpu.library()
    assert f"cpu ({library.isa}, 1 thread), reference\n" in said(capsys, "info")
    state = json.loads(said(capsys, "info", "--json"))["engines"]
    assert state["cpu"]["runs"] and state["cpu"]["instruction_set"] in state["cpu"]["instruction_sets"]
    assert state["reference"] == {"runs": True}


def test_info_says_why_an_engine_does_not_run(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(cpu.Unavailable, match="not compiled when Ostinato was installed: with GCC or Clang, `pip"):
        cpu.Library(tmp_path / "lib" / "ostinato" / "engines" / "cpu" / "libostinato_cpu.so")
    monkeypatch.setattr(cpu, "unavailable", lambda: "no compiler")
    assert "cpu (does not run: no compiler), reference" in said(capsys, "info")
    state = json.loads(said(capsys, "info", "--json"))["engines"]["cpu"]
    assert state == {"runs": False, "why": "no compiler"}


def test_info_and_help(capsys: Capture) -> None:
    assert "torch" in said(capsys, "info")
    for words in ([], ["train"], ["train", "generate"], ["evaluate"], ["predict"], ["demo"], ["info"]):
        assert "Example" in said(capsys, *words, "--help")
    assert "ostinato demo" in said(capsys)
    assert said(capsys, "--version").startswith("ostinato ")


TRAIN = ["train", "generate"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cell", "lstn"], "unknown cell 'lstn' (did you mean 'lstm'?); known: antisymmetric"),
        (["--cell-option", "tau=3"], "unknown option of cell 'lstm' 'tau'; known: bias"),
        (["--cell-option", "tau"], "cell-options must be NAME=VALUE, got 'tau'"),
        (["--cell-option", "proj_size=-1"], "cell 'lstm': proj_size must be"),
        (["--cell-option", "device=cpu"], "unknown option of cell 'lstm' 'device'"),
        (["--hiden-size", "3"], "No such option '--hiden-size'"),
        (["--hidden-size", "3.5"], "'3.5' is not a valid integer"),
        (["--hidden-size", "0"], "hidden-size must be at least 1, got 0"),
        (["--learning-rate", "nan"], "learning-rate must be a finite number, got nan"),
        (["--level", "wurds"], "unknown level 'wurds' (did you mean 'words'?)"),
        (["--optimizer", "adan"], "unknown optimizer 'adan' (did you mean 'adam'?)"),
        (["--tied-embeddings", "--embedding-size", "7"], "tied embeddings are as wide as the output, 12"),
        (["--bptt", "5000"], "fewer than one sequence of 5000"),
        (["--resume", "--overwrite"], "exclude each other"),
        (["--config", "nothing.toml"], "nothing.toml: no such file"),
        (["--valid", "nothing.txt"], "nothing.txt: no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_options(text: Path, tmp_path: Path, capsys: Capture, words: list[str], message: str) -> None:
    assert message in complaint(capsys, *TRAIN, text, "--out", tmp_path / "r", *TINY, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hiden_size = 3", "options.toml 'hiden_size' (did you mean 'hidden-size'?); known: average, batch"),
        ("hidden_size = '3'", "hidden-size must be a whole number, got '3'"),
        ("hidden_size = true", "hidden-size must be a whole number, got True"),
        ("dropout = 2", "dropout must be at most 0.95, got 2.0"),
        ("tied_embeddings = 1", "tied-embeddings must be true or false, got 1"),
        ("cell_options = 1", "cell-options must be a table"),
        ("cell = 'lstn'", "unknown cell 'lstn' (did you mean 'lstm'?)"),
        ("hidden_size 3", "is not TOML"),
    ],
)
def test_bad_toml(text: Path, tmp_path: Path, capsys: Capture, content: str, message: str) -> None:
    file = tmp_path / "options.toml"
    file.write_text(content)
    assert message in complaint(capsys, *TRAIN, text, "--out", tmp_path / "r", "--config", file)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"ab\xffcd", "not UTF-8 text: byte 0xff at offset 2"),
        (b"too short", "fewer than one sequence"),
    ],
)
def test_bad_text(tmp_path: Path, trained: Path, capsys: Capture, data: bytes, message: str) -> None:
    file = tmp_path / "file.txt"
    file.write_bytes(data)
    assert message in complaint(capsys, *TRAIN, file, "--out", tmp_path / "r", *TINY)
    assert not (tmp_path / "r").exists()
    if "sequence" not in message:
        assert message in complaint(capsys, "evaluate", trained, file)


def test_missing_text_and_missing_run(tmp_path: Path, text: Path, capsys: Capture) -> None:
    assert "nothing: no such file" in complaint(capsys, *TRAIN, tmp_path / "nothing", "--out", tmp_path / "r")
    assert "is a folder" in complaint(capsys, *TRAIN, tmp_path, "--out", tmp_path / "r")
    assert "nothing: no such folder" in complaint(capsys, "predict", tmp_path / "nothing")
    assert "holds no run" in complaint(capsys, "evaluate", tmp_path, text)


def test_a_place_that_is_taken(trained: Path, text: Path, tmp_path: Path, capsys: Capture) -> None:
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    assert "holds a run: go on with --resume, or" in complaint(capsys, *TRAIN, text, "--out", trained, *TINY)
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before
    (tmp_path / "other").write_text("precious")
    assert "is not empty and holds no run" in complaint(capsys, *TRAIN, text, "--out", tmp_path, *TINY)
    assert "not empty" in complaint(capsys, *TRAIN, text, "--out", tmp_path, *TINY, "--overwrite")
    assert "is a file" in complaint(capsys, *TRAIN, text, "--out", tmp_path / "other", *TINY)
    assert (tmp_path / "other").read_text() == "precious"


def test_overwrite_replaces_a_run_and_only_that(copy: Path, text: Path, capsys: Capture) -> None:
    (copy / "notes.txt").write_text("precious")
    said(capsys, *TRAIN, text, "--out", copy, *TINY, "--overwrite", "--hidden-size", "9")
    assert json.loads((copy / "config.json").read_text())["options"]["hidden_size"] == 9
    assert (copy / "notes.txt").read_text() == "precious"


def test_resume_is_of_the_same_run(copy: Path, text: Path, tmp_path: Path, capsys: Capture) -> None:
    resume = [*TRAIN, text, "--out", copy, "--resume"]
    assert "was begun with hidden-size 12, not 13" in complaint(capsys, *resume, "--hidden-size", "13")
    other = tmp_path / "other.txt"
    other.write_text(some_text(2500)[300:])
    assert "begun with another text" in complaint(capsys, *TRAIN, other, "--out", copy, "--resume")
    said(capsys, *resume, "--epochs", "3")
    assert json.loads((copy / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 3


def test_prompts(trained: Path, capsys: Capture) -> None:
    assert "characters that the model does not know: 'é', '☃'" in complaint(
        capsys, "predict", trained, "--prompt", "aé☃é"
    )
    assert "the prompt is empty" in complaint(capsys, "predict", trained, "--prompt", "")
    assert "temperature must be 0 or more" in complaint(capsys, "predict", trained, "--temperature", "-1")


def test_a_text_of_one_line(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "dna.txt"
    file.write_text("gattaca" * 100)
    said(capsys, *TRAIN, file, "--out", tmp_path / "r", *TINY)
    assert set(said(capsys, "predict", tmp_path / "r").rstrip("\n")) <= set("gatc")


def test_too_little_memory(text: Path, tmp_path: Path, capsys: Capture) -> None:
    line = complaint(capsys, *TRAIN, text, "--out", tmp_path / "r", "--hidden-size", "2000000")
    assert "not enough memory" in line
    assert not (tmp_path / "r").exists()


def test_unknown_characters_are_counted(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "file.txt"
    file.write_text("one é two é")
    assert "2 of them are not in the model's vocabulary" in said(capsys, "evaluate", trained, file)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", lambda d: d[:40], "config.json is damaged: it is not JSON"),
        ("config.json", lambda d: b"[]", "config.json is damaged"),
        ("config.json", lambda d: d.replace(b'"format": 1', b'"format": 2'), "run of format 2, written by ostinato"),
        ("config.json", lambda d: d.replace(b'"tied_embeddings": false', b'"tied_embeddings": true'), "does not fit"),
        ("program.json", lambda d: d[:40], "program.json is damaged"),
        ("program.json", lambda d: d.replace(b"sigmoid", b"tanh"), "not the one that"),
        ("program.json", lambda d: None, "program.json: no such file"),
        ("config.json", lambda d: d.replace(b"hidden_size", b"hidden_sise"), "unknown option"),
        ("config.json", lambda d: d.replace(b'"generate"', b'"paint"'), "run of the task 'paint'"),
        ("vocabulary.json", lambda d: d[:-9], "vocabulary.json is damaged"),
        ("vocabulary.json", lambda d: d.replace(b'"format": 1', b'"format": 7'), "not a vocabulary of format 1"),
        ("vocabulary.json", lambda d: d.replace(b'"a",\n', b""), "the model knows"),
        ("model.safetensors", lambda d: d[:-100], "model.safetensors is damaged"),
        ("model.safetensors", lambda d: d[:-100] + bytes(100), "model.safetensors is damaged"),
        ("model.safetensors", lambda d: b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.", "model.safetensors is damaged"),
        ("model.safetensors", lambda d: None, "has no trained model yet"),
        ("vocabulary.json", lambda d: None, "vocabulary.json: no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_runs(copy: Path, capsys: Capture, name: str, damage: Any, message: str) -> None:
    file = copy / name
    changed = damage(file.read_bytes())
    assert changed != file.read_bytes()
    file.unlink() if changed is None else file.write_bytes(changed)
    assert message in complaint(capsys, "predict", copy)


def test_a_damaged_checkpoint(copy: Path, text: Path, capsys: Capture) -> None:
    file = RunFolder(copy).checkpoint
    file.write_bytes(file.read_bytes()[:-50])
    assert "last.safetensors is damaged" in complaint(capsys, *TRAIN, text, "--out", copy, "--resume", "--epochs", "3")


def test_the_demonstration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    import dataclasses

    from ostinato.tasks import demo

    small = dataclasses.replace(demo.OPTIONS, hidden_size=8, batch=128, bptt=64, epochs=1, layers=1)
    parts = demo.reference()
    monkeypatch.setattr(demo, "OPTIONS", small)
    monkeypatch.setattr(demo, "reference", lambda: dataclasses.replace(parts, test=parts.test[:3000]))
    monkeypatch.chdir(tmp_path)
    out = said(capsys, "demo")
    for expected in ("unigram", "5-gram", "this recurrent network", "Saved in runs/demo", "ostinato predict runs/demo"):
        assert expected in out
    result = json.loads(said(capsys, "demo", "--json"))
    assert result["test_bits"]["5-gram"] < result["test_bits"]["unigram"] < 8
    assert "holds a run" in complaint(capsys, "demo", "--out", "runs/demo")


def command(*words: str | Path) -> subprocess.Popen[str]:
    """The command in a process of its own, with as many threads as this one."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "ostinato", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for_step(run: RunFolder, step: int, process: subprocess.Popen[str]) -> None:
    """Wait until a training has come so far."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        lines = run.metrics.read_text().splitlines() if run.metrics.exists() else []
        if lines and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"the training did not come to step {step}: {process.communicate()}")


def numbers_of(folder: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    run = RunFolder(folder)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [line | {"seconds": 0} for line in lines], load_tensors(run.model)[0], load_tensors(run.checkpoint)[0]


def assert_same_bits(first: Path, second: Path) -> None:
    (lines, *tensors), (lines2, *tensors2) = numbers_of(first), numbers_of(second)
    assert lines == lines2
    for one, other in zip(tensors, tensors2, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_killed_and_interrupted_on_real_text(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "shakespeare.txt"
    file.write_text(shakespeare()[:60_000])
    options = ["--hidden-size", "32", "--layers", "2", "--dropout", "0.2", "--epochs", "2", "--checkpoint-steps", "7"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    said(capsys, *TRAIN, file, "--out", whole, *options)

    process = command(*TRAIN, file, "--out", cut, *options)
    wait_for_step(RunFolder(cut), 10, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    process = command(*TRAIN, file, "--out", cut, "--resume")
    wait_for_step(RunFolder(cut), 30, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    last = err.splitlines()[-1]
    assert (process.returncode, out) == (130, "")
    assert last.startswith("ostinato: stopped by SIGINT after step ") and "Traceback" not in err
    assert last.endswith(f"; go on with: ostinato train generate {file} --out {cut} --resume")

    said(capsys, *TRAIN, file, "--out", cut, "--resume")
    assert_same_bits(whole, cut)


def test_a_reader_that_has_seen_enough(trained: Path) -> None:
    line = f"{sys.executable} -m ostinato predict {trained} --length 3000 | head -c 10"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert (len(done.stdout), done.stderr) == (10, "")


def test_a_language_model_of_subwords(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "text.txt"
    file.write_text(some_text(12_000))
    words = ["--level", "subwords", "--vocabulary-size", "300", "--hidden-size", "24", "--epochs", "8", "--batch",
             "4"]  # fmt: skip
    said(capsys, *TRAIN, file, "--out", tmp_path / "run", *words)
    found = said(capsys, "predict", tmp_path / "run", "--prompt", "Żółw is new here", "--length", "9", "--json")
    assert json.loads(found)["prompt"] == "Żółw is new here" and json.loads(found)["text"]
    measured = json.loads(said(capsys, "evaluate", tmp_path / "run", file, "--json"))
    assert measured["perplexity_per_subword"] < 150 and measured["unknown_tokens"] == 0


def test_a_language_model_takes_what_all_take(text: Path, trained: Path, tmp_path: Path, capsys: Capture) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a\nthe\n")
    words = ["predict", trained, "--length", "12", "--json"]
    lines = [json.loads(line) for line in said(capsys, *words, "a", "the").splitlines()]
    assert [line["prompt"] for line in lines] == ["a", "the"]
    assert [json.loads(line) for line in said(capsys, *words, "--file", prompts).splitlines()] == lines
    assert json.loads(said(capsys, *words, "--prompt", "a")) == lines[0]
    assert "give it what to go on from" in complaint(capsys, *words, "a", "--prompt", "the")
    words = ["train", "generate", text, "--validation", text, "--test", text, "--out", tmp_path / "run", *TINY]
    result = json.loads(said(capsys, *words, "--json"))
    measured = json.loads(said(capsys, "evaluate", tmp_path / "run", text, "--json"))
    assert result["test"] == measured
    assert "no such file" in complaint(capsys, *words[:-len(TINY)], *TINY, "--overwrite", "--test", tmp_path / "none")
