"""The language model, its evaluation, and the training loop: what a run that is cut anywhere must still give."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import some_text

from ostinato.decoding.sampling import Sampler
from ostinato.errors import InputError
from ostinato.features.text import Vocabulary
from ostinato.files import load_tensors, save_tensors
from ostinato.tasks import generate_run
from ostinato.tasks.baselines import NGram
from ostinato.tasks.generate import GenerateOptions, LanguageModel, evaluate, generate, new_model, streams
from ostinato.training.interrupt import Interrupted
from ostinato.training.options import SCHEDULES, TrainingOptions
from ostinato.training.run import RunFolder
from ostinato.training.schedule import FLOOR, learning_rate

SMALL = GenerateOptions(epochs=2, hidden_size=12, embedding_size=7, batch=4, bptt=11, dropout=0.2, checkpoint_steps=5)
TEXT, VALID = some_text(1200)[:800], some_text(1200)[800:]
STEPS = math.ceil(199 / 11)  # of one epoch: (800 - 1) // 4 steps of time in chunks of 11


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Killed(BaseException):
    """Ends a run at once, as a kill would."""


def fit(folder: Path, options: GenerateOptions = SMALL, at: int = 0, do: Callable[[], Any] | None = None,
        resume: bool = False) -> dict[str, Any]:  # fmt: skip
    """Train; ``do`` something after step ``at``."""

    def report(event: str, values: Mapping[str, Any]) -> None:
        if event == "step" and values["step"] == at and do is not None:
            do()

    return generate_run.train(RunFolder(folder), options, TEXT, VALID, report, resume)


def outcome(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """All numbers of a run: metrics but for the seconds, the best weights, and the last checkpoint."""
    run = RunFolder(folder)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for line in lines:
        line.pop("seconds", None)
    last, data = load_tensors(run.checkpoint)
    data["progress"].pop("metrics_size")  # the seconds may have another number of digits
    return lines, load_tensors(run.model)[0], {**last, "data": data}


def assert_same_bits(first: Path, second: Path) -> None:
    (lines, best, last), (lines2, best2, last2) = outcome(first), outcome(second)
    assert lines == lines2
    assert last.pop("data") == last2.pop("data")
    for one, other in ((best, best2), (last, last2)):
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("at", [1, 4, 5, 7, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS - 1, 2 * STEPS])
def test_killed_anywhere_and_resumed(tmp_path: Path, at: int) -> None:
    fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "cut", at=at, do=kill)
    fit(tmp_path / "cut", resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    "changes",
    [
        {"level": "subwords", "vocabulary_size": 280, "bptt": 5},
        {"optimizer": "sgd", "schedule": "plateau", "learning_rate": 3.0},
        {"optimizer": "rmsprop", "schedule": "constant", "clip": 0.0},
        {"optimizer": "adam", "schedule": "linear", "weight_decay": 0.1, "tied_embeddings": True, "embedding_size": 12},
        {"cell": "skip", "layers": 2, "level": "words", "bptt": 5},
        {"cell": "leaky-learned", "initial_scale": 0.1, "checkpoint_steps": 3},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_kind_of_state_is_in_the_checkpoint(tmp_path: Path, changes: dict[str, Any]) -> None:
    options = dataclasses.replace(SMALL, **changes)
    fit(tmp_path / "whole", options)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", options, at=8, do=kill)
    fit(tmp_path / "cut", options, resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "cut")


def test_ctrl_c_between_steps(tmp_path: Path) -> None:
    fit(tmp_path / "whole")
    with pytest.raises(Interrupted, match="stopped by SIGINT after step 7"):
        fit(tmp_path / "cut", at=7, do=lambda: signal.raise_signal(signal.SIGINT))
    assert load_tensors(RunFolder(tmp_path / "cut").checkpoint)[1]["progress"]["step"] == 7
    fit(tmp_path / "cut", resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "cut")


def test_ctrl_c_while_validating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("ostinato.tasks.generate.evaluate", lambda *a, **k: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted, match=f"stopped by SIGTERM after step {STEPS}"):
            fit(tmp_path / "cut")
    fit(tmp_path / "cut", resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "cut")


def test_signals_are_as_before_afterwards(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    fit(tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_longer_run_goes_on_from_a_finished_one(tmp_path: Path) -> None:
    constant = dataclasses.replace(SMALL, schedule="constant")
    longer = dataclasses.replace(constant, epochs=3)
    fit(tmp_path / "whole", longer)
    fit(tmp_path / "cut", constant)
    fit(tmp_path / "cut", longer, resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "cut")


def test_both_clips_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = torch.nn.utils.clip_grad_value_

    def looked_at(parameters: Any, limit: float) -> None:
        parameters = list(parameters)
        real(parameters, limit)
        seen.append(torch.cat([p.grad.flatten() for p in parameters]))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_value_", looked_at)
    fit(tmp_path / "run", dataclasses.replace(SMALL, epochs=1, clip=0.5, clip_value=0.02))
    assert seen and all(g.norm() <= 0.5 + 1e-6 and g.abs().max() <= 0.02 for g in seen)
    assert any(g.abs().max() == pytest.approx(0.02) for g in seen)


def test_states_are_carried_where_they_are_to_be(tmp_path: Path) -> None:
    fit(tmp_path / "carried", dataclasses.replace(SMALL, epochs=1))
    fit(tmp_path / "anew", dataclasses.replace(SMALL, epochs=1, carry_state=False))
    (carried, *_), (anew, *_) = outcome(tmp_path / "carried"), outcome(tmp_path / "anew")
    assert carried != anew
    assert load_tensors(RunFolder(tmp_path / "anew").checkpoint)[1]["carried"] == []


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, epochs=40, patience=2, learning_rate=0.05, dropout=0.0, schedule="constant")
    result = fit(tmp_path / "run", options)
    assert result["epochs"] == result["best_epoch"] + 2 < 40
    loaded = generate_run.load_model(RunFolder(tmp_path / "run"))
    losses = [line["validation/loss"] for line in outcome(tmp_path / "run")[0] if "validation/loss" in line]
    assert evaluate(loaded.model, generate_run.numbers(loaded.vocabulary, VALID)) == pytest.approx(min(losses))
    assert result["validation"]["loss"] == min(losses)


def test_a_diverging_training_is_an_error(tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, optimizer="sgd", learning_rate=1e30, clip=0.0, warmup=0, cell="elman-relu")
    with pytest.raises(InputError, match=r"the (loss|gradient) is (nan|inf) at step \d+ .*lower --learning-rate"):
        fit(tmp_path / "run", options)


@pytest.mark.parametrize("which", range(8))
def test_a_full_disk_leaves_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    real, calls = os.fsync, iter(range(1000))

    def full(handle: int) -> None:
        if next(calls) >= which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
            fit(tmp_path / "cut")
    assert list(tmp_path.rglob("*.tmp")) == []
    if which < 2:
        assert not (tmp_path / "cut").exists()
    fit(tmp_path / "whole")
    fit(tmp_path / "cut", resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "cut")


def test_the_loss_is_finite_and_falls(tmp_path: Path) -> None:
    result = fit(tmp_path / "run", dataclasses.replace(SMALL, epochs=8, dropout=0.0))
    unigram_bits = NGram(1, 60).fit(np.array(Vocabulary.build(TEXT).encode(TEXT))).loss(
        np.array(Vocabulary.build(TEXT).encode(VALID))
    ) / math.log(2)
    assert result["validation"]["bits_per_character"] < unigram_bits


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    from tensorboardX.proto import event_pb2

    fit(tmp_path / "run")
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    data, found, at = file.read_bytes(), {}, 0
    while at < len(data):  # a record: its length (8 bytes), a checksum (4), itself, a checksum (4)
        size = int.from_bytes(data[at : at + 8], "little")
        event = vars(event_pb2)["Event"].FromString(data[at + 12 : at + 12 + size])
        found |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
        at += 16 + size
    lines = outcome(tmp_path / "run")[0]
    assert len(found) == sum(len(line) for line in lines) - len(lines) + 2  # + seconds of 2 epochs, - the steps
    for line in lines:
        for name in line.keys() - {"step"}:
            assert found[line["step"], name] == pytest.approx(line[name], rel=1e-6)


def model_of(size: int = 9, **changes: Any) -> LanguageModel:
    torch.manual_seed(1)
    return new_model(size, dataclasses.replace(SMALL, dropout=0.0, **changes)).eval()


def test_streams_hold_every_token_once() -> None:
    inputs, targets = streams(torch.arange(12), 3)  # 11 predictions in 3 streams of 4
    assert inputs.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 0]]
    assert targets.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, -100]]


@pytest.mark.parametrize("changes", [{}, {"cell": "gru", "layers": 2}, {"tied_embeddings": True, "embedding_size": 12}])
def test_evaluation_is_the_mean_log_loss_of_one_long_call(changes: dict[str, Any]) -> None:
    model, ids = model_of(**changes), torch.randint(9, (101,), generator=torch.Generator().manual_seed(0))
    logits, _ = model(ids[None, :-1])  # [1, 100, 9]
    p = logits[0].double().softmax(-1)[torch.arange(100), ids[1:]]
    expected = -p.log().mean().item()
    for chunk in (1, 7, 100, 256):
        assert evaluate(model, ids, chunk=chunk) == pytest.approx(expected, rel=1e-6)


def test_evaluation_in_streams_counts_every_token_once() -> None:
    model, ids = model_of(), torch.randint(9, (102,), generator=torch.Generator().manual_seed(0))
    parts = [ids[0:35], ids[34:69], ids[68:102]]
    expected = sum(evaluate(model, part) * (len(part) - 1) for part in parts) / 101
    assert evaluate(model, ids, count=3, chunk=10) == pytest.approx(expected, rel=1e-6)


def test_generation_is_greedy_at_temperature_zero() -> None:
    vocabulary = Vocabulary.build("abcdefgh")
    model = model_of(len(vocabulary))
    written = generate(model, vocabulary, "abc", 12, Sampler(0.0))
    ids = vocabulary.encode("abc")
    for _ in range(12):  # every time from the beginning
        logits = model(torch.tensor([ids]))[0][0, -1]
        ids.append(int(logits[1:].argmax()) + 1)
    assert written == vocabulary.decode(ids[3:])


def test_initial_scale_bounds_every_weight() -> None:
    model = model_of(initial_scale=0.05)
    assert 0.04 < max(float(p.detach().abs().max()) for p in model.parameters()) <= 0.05


def test_tied_embeddings_are_one_matrix() -> None:
    model = model_of(tied_embeddings=True, embedding_size=None)
    assert model.head.weight is model.embedding.weight
    assert model.embedding.weight.shape == (9, 12)
    with pytest.raises(InputError, match="as wide as the output, 12"):
        model_of(tied_embeddings=True, embedding_size=5)


def test_the_rate_halves_after_every_epoch_but_the_first() -> None:
    options = TrainingOptions(learning_rate=8.0, schedule="halving", hold=2, epochs=5, warmup=0)
    assert [learning_rate(options, step, 10) for step in range(10)] == [8, 8, 8, 8, 4, 4, 2, 2, 1, 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule: str) -> None:
    options = TrainingOptions(learning_rate=2.0, warmup=4, schedule=schedule)
    rates = [learning_rate(options, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.5, rel=0.02)
    assert max(rates) <= 2.0
    ends = {"constant": 1, "plateau": 1, "halving": 0.5**6}  # ten epochs, four of them whole
    assert rates[100] == pytest.approx(2.0 * ends.get(schedule, FLOOR))
    assert sorted(rates[4:], reverse=True) == rates[4:]


def test_tensors_keep_every_bit_and_show_damage(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    tensors = {"a": torch.randn(3, 5), "b": torch.tensor(7), "c": torch.zeros(0, 2, dtype=torch.float64)}
    save_tensors(path, tensors, {"x": 0.1})
    again, data = load_tensors(path)
    assert data == {"x": 0.1}
    assert all(torch.equal(again[name], value) and again[name].dtype == value.dtype for name, value in tensors.items())
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:50], b"", whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
                    whole.replace(b"0.1", b"0.2"), b"\x80\x04\x95pickle"):  # fmt: skip
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"file\.safetensors is damaged"):
            load_tensors(path)


def test_n_gram_by_hand() -> None:
    tokens = np.array([1, 2, 1, 2, 1, 1])  # a b a b a a, of a vocabulary of 3
    unigram = {1: (4 + 2 / 3) / 8, 2: (2 + 2 / 3) / 8}  # c = 6 tokens, t = 2 kinds
    assert NGram(1, 3).fit(tokens).loss(np.array([0, 2, 1])) == pytest.approx(
        -(math.log(unigram[2]) + math.log(unigram[1])) / 2
    )
    b_after_a, a_after_b = (2 + 2 * unigram[2]) / 5, (2 + 1 * unigram[1]) / 3
    assert NGram(2, 3).fit(tokens).loss(np.array([1, 2, 1])) == pytest.approx(
        -(math.log(b_after_a) + math.log(a_after_b)) / 2
    )


def test_n_grams_are_distributions() -> None:
    tokens = np.random.default_rng(0).integers(0, 4, 60)
    for order in (1, 2, 4):
        model = NGram(order, 4).fit(tokens)
        for history in ([0, 1, 2], [3, 3, 3], [2, 0, 1]):
            before = 2 * model.loss(np.array(history)) if len(history) > 1 else 0.0
            p = [math.exp(before - 3 * model.loss(np.array([*history, w]))) for w in range(4)]
            assert sum(p) == pytest.approx(1.0)


def test_n_gram_too_large() -> None:
    with pytest.raises(ValueError, match="64-bit"):
        NGram(5, 10_000)
