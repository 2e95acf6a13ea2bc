"""Forecasts: learned, kept, made in a fresh process; nothing of the future leaks; gaps are named; M4's own numbers."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from close import assert_close
from corpus import DATA
from tasks.commands import Capture, complaint, in_fresh_process, said, same_weights

from ostinato.tasks.common.kind import Example
from ostinato.tasks.common.runs import load
from ostinato.tasks.forecast import ForecastOptions
from ostinato.tasks.forecast_files import Window, read_series
from ostinato.tasks.forecast_report import measures, naive2, season_of, seasonal_naive
from ostinato.training.run import RunFolder

SMALL = ["--horizon", 6, "--threads", 1, "--epochs", 6, "--hidden-size", 16, "--learning-rate", "0.01"]


def power(count: int, seed: int = 0) -> list[list[Any]]:
    """Hours of a day that comes again, with a slow drift, a price that is known ahead, and noise."""
    draw = np.random.default_rng(seed)
    hours, price = np.arange(count), draw.integers(0, 2, count)
    load_ = 20 + 5 * np.sin(2 * np.pi * hours / 24) + 0.002 * hours - 3 * price + 0.3 * draw.normal(size=count)
    begin = datetime(2024, 1, 1)
    return [[(begin + timedelta(hours=int(h))).isoformat(" "), f"{load_[h]:.4f}", int(price[h])] for h in hours]


def written(path: Path, rows: list[list[Any]], head: tuple[str, ...] = ("date", "load", "price")) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ostinato.cli import run_command

    folder = tmp_path_factory.mktemp("forecast")
    rows = power(900)
    written(folder / "train.csv", rows[:700])
    written(folder / "test.csv", rows[500:])
    words = ["train", "forecast", folder / "train.csv", "--target", "load", "--known", "price", "--out", folder / "run",
             "--lookback", 48, *SMALL]  # fmt: skip
    assert run_command([str(word) for word in words]) == 0
    return folder


def test_learns_and_reports(trained: Path, capsys: Capture) -> None:
    result = json.loads(said(capsys, "evaluate", trained / "run", trained / "test.csv", "--json"))
    got, instead = result["measures"], result["instead"]
    assert got["mse"] < 0.5 * min(value for name, value in instead.items() if name.endswith("mse"))  # by the price
    assert got["below_q0.1"] < 0.4 < 0.6 < got["below_q0.9"]
    assert {name.split(",")[0] for name in instead} == {"seasonal naive", "last value", "naive 2", "ridge"}
    folder = trained / "run" / "evaluation"
    assert (folder / "forecasts.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "steps.tsv").read_text().splitlines()) == 7


def test_what_comes_next_in_a_fresh_process(trained: Path) -> None:
    future = [[date, "", price] for date, _, price in power(706)[700:]]
    file = written(trained / "now.csv", power(700) + future)
    (found,) = in_fresh_process("predict", trained / "run", "--file", file, "--json")
    assert found["times"][0] == "2024-01-30 04:00:00" and len(found["answer"]) == 6
    true = [float(row[1]) for row in power(706)[700:]]
    assert np.abs(np.array(found["answer"])[:, 0] - true).max() < 3
    low, high = (np.array(found["quantiles"][name]) for name in ("q0.1", "q0.9"))
    assert (low <= np.array(found["answer"])).all() and (high >= np.array(found["answer"])).all()
    (by_path,) = in_fresh_process("predict", trained / "run", file, "--json")
    assert by_path == found


@pytest.mark.parametrize("model", ["lstm", "narx", "tdnn"])
def test_the_future_does_not_leak(model: str, trained: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    words = ["train", "forecast", trained / "train.csv", "--target", "load", "--covariates", "--model", model]
    said(capsys, *words, *SMALL, "--epochs", 1, "--lookback", 24, "--every", 5, "--out", out)
    kind, network = load(RunFolder(out))
    rows = power(300)
    draw = np.random.default_rng(1)
    others = draw.permutation(rows[200:]).tolist()
    shuffled = [row[:1] + other[1:] for row, other in zip(rows[200:], others, strict=True)]
    found = []
    for number, some in enumerate((rows, rows[:200] + shuffled)):
        (series,) = read_series(written(tmp_path / f"{number}.csv", some), kind.options)
        example = Example("", Window(series, 200, 6), series.targets[200:206])
        with torch.no_grad():
            batch = kind.batch([kind.encode(example)])
            found.append(network(batch))
            loss = kind.loss(network, batch)[0]
        assert torch.isfinite(loss)
    assert_close(found[0], found[1])


def test_what_learns_does_not_see_what_validates(trained: Path) -> None:
    kind, _ = load(RunFolder(trained / "run"))
    kind.state = {}
    examples: Any = kind.read(trained / "train.csv")
    learned, held, count = kind.split(examples, 0.2, 0, trained)
    ends = [e.given.origin + e.given.horizon for e in learned]
    begins = [e.given.origin for e in held]
    assert max(ends) <= min(begins) and count == len(begins) > 0


def test_resume_gives_the_same_numbers(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "forecast", trained / "train.csv", *SMALL, "--every", 4, "--schedule", "constant"]
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "whole")
    said(capsys, *words, "--epochs", 1, "--out", tmp_path / "parts")
    said(capsys, *words, "--epochs", 2, "--out", tmp_path / "parts", "--resume")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_many_series_in_both_layouts(tmp_path: Path, capsys: Capture) -> None:
    draw = np.random.default_rng(0)
    values = [[f"{10 * (i + 1) + 3 * np.sin(2 * np.pi * t / 8) + draw.normal() * 0.2:.3f}" for t in range(90 + i)]
              for i in range(4)]  # fmt: skip
    longest = max(map(len, values))
    rows = [[f"s{i}", *row, *[""] * (longest - len(row))] for i, row in enumerate(values)]
    wide = written(tmp_path / "wide.csv", rows, tuple(f"V{i + 1}" for i in range(longest + 1)))
    long = written(tmp_path / "long.csv", [[f"s{i}", v] for i, row in enumerate(values) for v in row], ("series", "y"))
    for file in (wide, long):
        said(capsys, "train", "forecast", file, *SMALL, "--out", tmp_path / file.stem)
        result = json.loads(said(capsys, "evaluate", tmp_path / file.stem, file, "--json"))
        assert result["measures"]["mase"] < result["instead"]["last value, mase"]
        assert json.loads((tmp_path / file.stem / "vocabulary.json").read_text())["season"] == 8
    assert same_weights(tmp_path / "wide", tmp_path / "long")
    lines = said(capsys, "predict", tmp_path / "wide", "--file", wide, "--json").splitlines()
    assert [json.loads(line)["series"] for line in lines] == ["s0", "s1", "s2", "s3"]


@pytest.mark.parametrize(("change", "words", "message"), [
    (lambda rows: rows[10].__setitem__(1, ""), [], "x.csv:12: the column 'load' is empty: a gap must be filled"),
    (lambda rows: rows[10].__setitem__(1, "high"), [], "x.csv:12: the column 'load' must be a number, got 'high'"),
    (lambda rows: rows.pop(10), [], "x.csv:12: 2024-01-01 11:00:00 comes 2:00:00 after 2024-01-01 09:00:00, where"),
    (lambda rows: rows[5].__setitem__(0, "soon"), [], "x.csv:7: 'soon' is no time"),
    (lambda rows: rows.__delitem__(slice(8, None)), [], "too short"),
    (lambda rows: None, ["--target", "power"], "has no column 'power'; it has: date, load, price"),
    (lambda rows: None, ["--quantiles", "0.5,2"], "quantiles must be numbers between 0 and 1"),
    (lambda rows: None, ["--model", "arima"], "'arima'"),
])  # fmt: skip
def test_bad_data(change: Any, words: list[str], message: str, tmp_path: Path, capsys: Capture) -> None:
    rows = power(200)
    change(rows)
    file = written(tmp_path / "x.csv", rows)
    assert message in complaint(capsys, "train", "forecast", file, "--out", tmp_path / "run", *SMALL, *words)
    assert not (tmp_path / "run").exists()


def test_the_future_of_what_is_known_must_be_there(trained: Path, capsys: Capture) -> None:
    line = complaint(capsys, "predict", trained / "run", trained / "train.csv")
    assert "add rows with an empty target" in line
    assert "no such file" in complaint(capsys, "predict", trained / "run", "nowhere.csv")


def test_the_benchmarks_of_m4() -> None:
    """Naive 2 and seasonal naive on the hourly series: sMAPE 18.383 and 13.912, MASE 2.395 and 1.193 (Makridakis et al.
    2020, supplement)."""
    folder = DATA / "m4_hourly"
    if not folder.exists():
        rows = np.tile([1.0, 2.0, 4.0], 20)
        assert season_of([_series(rows)]) == 3
        window = Window(_series(rows), 60, 3)
        assert_close(torch.tensor(naive2(window, 3)), torch.tensor(seasonal_naive(window, 3)))
        return
    options = ForecastOptions(horizon=48)
    train, test = (read_series(folder / f"Hourly-{part}.csv", options) for part in ("train", "test"))
    examples, state = [], {"season": 24, "scales": {}, "in_sample": {}}
    for one, other in zip(train, test, strict=True):
        apart = np.abs(one.targets[24:] - one.targets[:-24]).mean(0)
        state["in_sample"][one.name], state["scales"][one.name] = apart.tolist(), one.targets.std(0).tolist()
        examples.append(Example(one.place, Window(one, len(one.targets), 48), other.targets))
    for method, smape, mase in ((naive2, 18.383, 2.395), (seasonal_naive, 13.912, 1.193)):
        got = measures(examples, [method(e.given, 24) for e in examples], state)
        assert (100 * got["smape"], got["mase"]) == (pytest.approx(smape, abs=5e-3), pytest.approx(mase, abs=5e-3))


def _series(values: np.ndarray) -> Any:
    from ostinato.tasks.forecast_files import Series

    nothing = np.zeros((len(values), 0))
    return Series("x", "x", values[:, None], nothing, nothing, None)
