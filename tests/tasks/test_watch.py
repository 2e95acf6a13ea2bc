"""A training that is watched: what is measured, said once, and that it changes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import some_text
from tasks.commands import Capture, complaint, said, same_weights
from torch import nn

from ostinato import Recurrent, cells
from ostinato.inspect import gradient_flow
from ostinato.layers import Bidirectional, Stack
from ostinato.tasks.common import watch
from ostinato.tasks.common.watch import Watcher

X = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0))


def loss_of(model: nn.Module) -> Any:
    return lambda: model(X, lengths=torch.tensor([20, 12, 5]))[0].square().sum()


def test_vanishing_is_said_once_and_measured() -> None:
    cell = cells.RunningAverage(4, 5, alpha=0.5)
    model = Recurrent(cell)
    watcher = Watcher(model)
    looks = [watcher.look(loss_of(model)) for _ in range(watch.AGAIN + 2)]
    numbers = looks[0][0]
    assert numbers["watch/recurrence/gradient per step"] == pytest.approx(0.5, rel=1e-4)
    assert numbers["watch/recurrence/gradient per step"] == pytest.approx(gradient_flow(model, X)["mu"].rate, rel=1e-3)
    warnings = [warning for _, some in looks for warning in some]
    assert looks[watch.AGAIN - 1][1] == warnings and len(warnings) == 1
    assert "times 0.5 a step back" in warnings[0] and "vanishes" in warnings[0]


def test_exploding_and_steady() -> None:
    model: Any = Stack([cells.Elman(4, 4), cells.Elman(4, 4)])
    with torch.no_grad():
        for layer, size in zip(model.layers, (0.1, 1.6), strict=True):
            layer.cell.U.weight.copy_(torch.eye(4) * size)
            layer.cell.W.weight.mul_(0.05)
    watcher = Watcher(model)
    found = [watcher.look(loss_of(model)) for _ in range(watch.AGAIN)][-1]
    assert found[0]["watch/layers.0/gradient per step"] < 0.2
    assert "layers.0" in found[1][0] and "vanishes" in found[1][0]


def test_stuck_gates_in_both_directions() -> None:
    model: Any = Bidirectional(cells.LSTM(4, 5), cells.LSTM(4, 5))
    with torch.no_grad():
        model.backward_layer.cell.W.bias[5:10] = 50.0  # one gate of the four
    watcher = Watcher(model)
    numbers, warnings = [watcher.look(loss_of(model)) for _ in range(watch.AGAIN)][-1]
    gates = [name for name in numbers if name.endswith("above 0.95")]
    assert len(gates) == 6
    assert max(numbers[name] for name in gates) == 1.0
    assert any("backward_layer: 5 of 5 units of gate" in w and "stuck" in w for w in warnings)


def test_where_a_nan_comes_from() -> None:
    model = Recurrent(cells.RunningAverage(4, 5, alpha=0.5))
    watcher = Watcher(model)
    assert watcher.not_finite(loss_of(model)) == ""
    bad = X.clone()
    bad[1, 3] = float("nan")
    assert watcher.not_finite(lambda: model(bad)[0].sum()) == "the inputs of recurrence are not finite"

    class Grows(cells.Elman):
        def step(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return torch.exp(4 * (h + 1 + 0 * self.W(x).sum(-1, keepdim=True)))

    model = Recurrent(Grows(4, 3))
    found = Watcher(model).not_finite(lambda: model(X)[0].sum())
    assert found.startswith("first in recurrence, at step 1: "), found
    with torch.no_grad():
        next(iter(model.cell.parameters()))[0] = float("nan")
    assert "is not finite" in Watcher(model).not_finite(lambda: model(X)[0].sum())


def test_watching_changes_no_number(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SHARE", 1.0)  # look at every step
    text = tmp_path / "text.txt"
    text.write_text(some_text(12_000))
    words = ["train", "generate", text, "--hidden-size", "8", "--epochs", "1", "--threads", "1", "--dropout", "0.2"]
    said(capsys, *words, "--out", tmp_path / "plain")
    said(capsys, *words, "--out", tmp_path / "watched", "--watch")
    assert same_weights(tmp_path / "plain", tmp_path / "watched")
    lines = [json.loads(line) for line in (tmp_path / "watched" / "metrics.jsonl").read_text().splitlines()]
    seen = [line for line in lines if any(key.startswith("watch/layers.0/") for key in line)]
    assert len(seen) >= 2 and all(0 < line["watch/layers.0/gradient per step"] < 2 for line in seen)


def test_the_first_bad_number_is_in_the_error(tmp_path: Path, capsys: Capture) -> None:
    text = tmp_path / "text.txt"
    text.write_text(some_text(4000))
    words = ["train", "generate", text, "--out", tmp_path / "run", "--hidden-size", "8", "--threads", "1", "--watch",
             "--learning-rate", "1e38", "--warmup", "0", "--clip", "0", "--optimizer", "sgd", "--cell",
             "elman"]  # fmt: skip
    # Whether the product overflows or the sum after it depends on the order in which a processor's kernel adds.
    assert re.search(r"; first in layers\.0, at step 0: (p|h)\)", complaint(capsys, *words))
