"""What comes next in a series: one or many quantities, one or many steps ahead, with how sure that is.

    z[t]   = (y[t] - y[o]) / s                        relative to the last value that is known, o; s a scale
    c      = what a recurrence over z, covariates and the clock of the last steps ends with      (the encoder)
    d[h]   = recurrence over (known of the future [h], z one season before), beginning with c    (the decoder)
    f[h]   = V d[h] + b + sum over lags k of A[h, k] z[o - k]                                    (and a linear part)
    y[o+h] = y[o] + s f[h];   quantiles q likewise, their distances from f never negative

Without the first line a network has to learn every level anew. ``--model narx`` is the lecture's network with output
delays: it reads its own last outputs while it goes on (parallel mode), in training as afterwards; ``--model tdnn`` is a
time-delay network over the last steps. The loss is the squared or absolute error of f and the quantiles' (pinball).

Source: Hochreiter and Schmidhuber 1997, Sutskever et al. 2014 (encoder and decoder); Lin et al. 1996 (NARX); the linear
part: Lai et al., "Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks", SIGIR 2018; quantiles:
Wen et al., "A Multi-Horizon Quantile Recurrent Forecaster", 2017 (arXiv 1711.11053).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import cells
from ostinato.errors import InputError
from ostinato.layers import TDNN, Feedback, Stack
from ostinato.recurrent import Recurrent
from ostinato.tasks.common.encoder import make_cell
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.parts import Some
from ostinato.tasks.common.store import Item
from ostinato.tasks.forecast_files import Series, Window, Windows
from ostinato.training.goal import Goal
from ostinato.training.options import option

MODELS = ("lstm", "narx", "tdnn")
LOSSES = ("auto", "squared", "absolute")
ORIGINS = ("all", "last")
SMALL = 1e-8


@dataclass(frozen=True)
class ForecastOptions(TaskOptions):
    """What ``ostinato train forecast`` can be told."""

    horizon: int = option(24, "steps ahead", low=1)
    lookback: int = option(0, "steps that are read (0: seven seasons, or four horizons)", low=0)
    season: int = option(0, "steps after which a pattern repeats (0: told by the times or the values)", low=0)
    target: str | None = option(None, "column or columns (a,b) to forecast; guessed, else all")
    known: str | None = option(None, "columns whose future is known when the forecast is made")
    covariates: bool = option(False, "also read the past of the columns that are not forecast")
    time: str | None = option(None, "column of times; guessed where it is clear")
    series: str | None = option(None, "column that names the series, one below the other; guessed where it is clear")
    model: str = option("lstm", "encoder and decoder, output delays, or a time-delay network", choices=MODELS)
    cell: str = option("lstm", "of the encoder and the decoder, by name (ostinato info lists them)")
    cell_options: dict[str, Any] = field(default_factory=dict, metadata={"help": "the cell's own options, as tau=5"})
    hidden_size: int = option(32, "hidden units", low=1)
    delays: int = option(24, "narx: of its outputs, how many are read", low=1)
    linear: bool = option(True, "a linear part beside the network")
    dropout: float = option(0.4, "share of the numbers that training drops", low=0, high=0.95)
    quantiles: str = option("0.1,0.9", "which quantiles are learned beside the forecast, between 0 and 1; empty: none")
    loss: str = option("auto", "of the forecast; absolute where there are many series", choices=LOSSES)
    weight_decay: float = option(1e-3, "how strongly weights are drawn to zero", low=0)
    learning_rate: float = option(5e-4, "the highest learning rate", low=0)
    batch: int = option(64, "examples in a batch", low=1)
    origins: str = option("all", "evaluate at every origin, or at the last of each series, as M4 is", choices=ORIGINS)
    every: int = option(0, "a window begins every so many steps (0: all, or as many as make 20,000)", low=0)


class Batch(NamedTuple):
    """Windows as tensors. All values are relative to the last, in scales."""

    history: Tensor  # [B, L, C]
    extra: Tensor  # [B, L, P + K], covariates until now
    future: Tensor  # [B, H, K], what is known ahead
    season: Tensor  # [B, H, C], the value one season before each step
    targets: Tensor | None  # [B, H, C]
    weights: Tensor  # [B, 1, C]: how much a scale is, of the training data's


class Forecaster(nn.Module):
    """The forecasts ``[B, H, C, 1 + Q]``: the point first, then the quantiles."""

    def __init__(self, channels: int, extra: int, known: int, lookback: int, quantiles: Sequence[float],
                 options: ForecastOptions) -> None:  # fmt: skip
        super().__init__()
        self.channels, self.horizon, self.kind = channels, options.horizon, options.model
        self.quantiles = tuple(quantiles)
        size, read, ahead = options.hidden_size, channels + extra, known + channels
        self.encoder = Recurrent(make_cell(options, read)) if self.kind != "tdnn" else _tdnn(read, size)
        self.delays = min(options.delays, lookback)
        decoded = size
        if self.kind == "lstm":
            self.decoder: nn.Module = Recurrent(make_cell(options, ahead + size))
        elif self.kind == "narx":
            cell = cells.NARX(ahead + size, size, output_size=channels, delays=self.delays)
            self.decoder = Feedback(cell, feedback="free")
            decoded = channels
        else:
            self.decoder = nn.Sequential(nn.Linear(ahead + 2 * size, size), nn.Tanh())
            self.place = nn.Parameter(torch.randn(options.horizon, size) * 0.1)
        self.context = nn.Linear(size, size)
        self.dropout = nn.Dropout(options.dropout)
        self.point = nn.Identity() if self.kind == "narx" else nn.Linear(decoded, channels)
        self.spread = nn.Linear(decoded, channels * len(quantiles)) if quantiles else None
        self.linear = nn.Linear(lookback, options.horizon) if options.linear else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
        if isinstance(self.point, nn.Linear):
            nn.init.zeros_(self.point.weight)

    def forward(self, batch: Batch) -> Tensor:
        x = torch.cat([batch.history, batch.extra], 2)  # [B, L, C + P + K]
        ahead = torch.cat([batch.future, batch.season], 2)  # [B, H, K + C]
        h, _ = self.encoder(x)  # [B, L, N]
        c = torch.tanh(self.context(self.dropout(h[:, -1])))  # [B, N]
        steps = torch.cat([ahead, c.unsqueeze(1).expand(-1, self.horizon, -1)], 2)  # [B, H, K + C + N]
        d = self._decoded(steps, batch.history)  # [B, H, N or C]
        f = self.point(self.dropout(d) if self.kind != "narx" else d)  # [B, H, C]
        if self.linear is not None:
            f = f + self.linear(batch.history.transpose(1, 2)).transpose(1, 2)
        if self.spread is None:
            return f.unsqueeze(3)
        wide = F.softplus(self.spread(d).unflatten(2, (self.channels, -1)))  # [B, H, C, Q]
        signs = torch.tensor([-1.0 if q < 0.5 else 1.0 for q in self.quantiles])
        return torch.cat([f.unsqueeze(3), f.unsqueeze(3) + signs * wide], 3)

    def _decoded(self, steps: Tensor, history: Tensor) -> Tensor:
        if self.kind == "narx":
            return self.decoder(steps, initial=(history[:, -self.delays :],))[0]
        if self.kind == "tdnn":
            return self.decoder(torch.cat([steps, self.place.expand(len(steps), -1, -1)], 2))
        return self.decoder(steps)[0]


def _tdnn(width: int, size: int) -> Stack:
    """Windows that widen from layer to layer: 3, 9, 27 and 81 steps are seen."""
    sizes = [width, size, size, size]
    return Stack([TDNN(n, size, 3, dilation=3**i, causal=True, nonlinearity="tanh") for i, n in enumerate(sizes)])


class Forecast(Kind):
    """The task."""

    name = "forecast"
    summary = "Learn what comes next in series of numbers, and how sure that is."
    help_examples = """
      ostinato train forecast power.csv --target load --horizon 24 --out runs/power
      ostinato train forecast sales.csv --series shop --known price --horizon 28 --out runs/sales
      ostinato train forecast Hourly-train.csv --horizon 48 --season 24 --out runs/hourly     (a series a row)
    """
    options_class = ForecastOptions
    goal = Goal("loss")
    needs = ("sklearn", "matplotlib")
    options: ForecastOptions

    def read(self, path: Path, answered: bool = True) -> Windows:
        every = self.options.every or (1 if self.state else None)  # a trained model is measured at every origin
        last = bool(self.state) and self.options.origins == "last"
        return Windows(path, self.options, answered, self._lookback(path), every, last)

    def _lookback(self, path: Path) -> int:
        if self.state:
            return self.state["lookback"]
        if self.options.lookback:
            return self.options.lookback
        from ostinato.tasks.forecast_files import read_series

        every = read_series(path, self.options)
        season, shortest = self._season(every), min(len(series.targets) for series in every)
        wanted = 7 * season if season > 1 else 4 * self.options.horizon
        return max(1, min(wanted, (shortest - 2 * self.options.horizon) // 2))

    def _season(self, every: Sequence[Series]) -> int:
        from ostinato.tasks.forecast_report import season_of

        return self.options.season or season_of(every)

    def from_text(self, text: str) -> Example:
        path = Path(text)
        if not path.is_file():
            raise InputError(f"{text}: no such file; give the path of a table that ends where the forecast begins")
        return next(iter(self.read(path, answered=False)))

    def as_text(self, example: Example) -> str:
        return example.given.series.place.rpartition(":")[0]

    def split(self, examples: Any, share: float, seed: int, path: Path) -> tuple[Some, Some, int]:
        """The last share of every series validates; no window that learns sees into it."""
        ends = {id(series): len(series.targets) for series in examples.series}
        border = {key: length - max(round(share * length), self.options.horizon) for key, length in ends.items()}
        windows = [example.given for example in examples]
        learned = np.array([w.origin + w.horizon <= border[id(w.series)] for w in windows])
        held = np.array([w.origin >= border[id(w.series)] for w in windows])
        if not learned.any() or not held.any():
            raise InputError(f"{path} is too short to be divided: say --validation, or a smaller --lookback")
        return Some(examples, learned), Some(examples, held), int(held.sum())

    def prepare(self, examples: Iterable[Example]) -> None:
        every = {id(e.given.series): e.given.series for e in examples}
        until: dict[int, int] = {}  # what comes later validates
        for example in examples:
            key = id(example.given.series)
            until[key] = max(until.get(key, 0), example.given.origin + example.given.horizon)
        first = next(iter(examples)).given
        values = {key: series.targets[: until[key]] for key, series in every.items()}
        inputs = [np.concatenate([s.past[: until[k]], s.known[: until[k]]], 1) for k, s in every.items()]
        together = np.concatenate(inputs)  # [sum of T, P + K]
        deviation = together.std(0)
        season = self._season(list(every.values()))
        self.state = {
            "channels": first.series.targets.shape[1], "past": first.series.past.shape[1],
            "known": first.series.known.shape[1], "lookback": self._window_length(examples), "season": season,
            "mean": together.mean(0).tolist(), "deviation": np.where(deviation < SMALL, 1, deviation).tolist(),
            "scales": {every[key].name: np.maximum(v.std(0), SMALL).tolist() for key, v in values.items()},
            "seasonal": {every[key].name: _seasonal_error(v, season).tolist() for key, v in values.items()},
            # MASE is in units of all that was given: it measures, and nothing learns from it
            "in_sample": {s.name: _seasonal_error(s.targets, season).tolist() for s in every.values()},
            "quantiles": _quantiles(self.options.quantiles),
        }  # fmt: skip

    def _window_length(self, examples: Any) -> int:
        return self._window_length(examples.whole) if isinstance(examples, Some) else examples.lookback

    def model(self) -> nn.Module:
        s = self.state
        return Forecaster(s["channels"], s["past"] + s["known"], s["known"], s["lookback"], s["quantiles"],
                          self.options)  # fmt: skip

    def scale(self, window: Window) -> np.ndarray:
        """Of each channel ``[C]``: the deviation of one series' training part; of many series, that of the window."""
        known = self.state["scales"].get(window.series.name)
        if known is not None and len(self.state["scales"]) == 1:
            return np.array(known)
        history = window.series.targets[window.origin - self.state["lookback"] : window.origin]
        return np.maximum(history.std(0), SMALL * np.maximum(1, np.abs(history).max(0)))

    def encode(self, example: Example) -> Item:
        w, s = example.given, self.state
        shape = w.series.targets.shape[1], w.series.past.shape[1], w.series.known.shape[1]
        if shape != (s["channels"], s["past"], s["known"]):
            raise InputError(f"{w.series.place}: {shape[0]} columns to forecast, {shape[1]} and {shape[2]} covariates, "
                             f"where the model knows {s['channels']}, {s['past']} and {s['known']}")
        begin, o, end = w.origin - s["lookback"], w.origin, w.origin + w.horizon
        last, scale = w.series.targets[o - 1], self.scale(w)  # [C]
        known = self._known(w, end)  # [end - begin, K]
        extra = np.concatenate([self._standard(w.series.past[begin:o], 0), known[: o - begin]], 1)
        places = np.arange(o, end) - s["season"] * (1 + (np.arange(w.horizon) // s["season"]))
        item = {
            "history": (w.series.targets[begin:o] - last) / scale, "extra": extra, "future": known[o - begin :],
            "season": (w.series.targets[np.maximum(places, begin)] - last) / scale,
            "targets": ((example.gold - last) / scale) if example.gold is not None else np.zeros((0, len(last))),
            "weight": (scale / self._unit(w, scale))[None],
        }  # fmt: skip
        return {name: value.astype(np.float32) for name, value in item.items()}

    def _unit(self, w: Window, scale: np.ndarray) -> np.ndarray:
        """In what errors count, ``[C]``: deviations of one series; of many, their seasonal differences, as in MASE."""
        table = self.state["scales" if len(self.state["scales"]) == 1 else "seasonal"]
        return np.array(table.get(w.series.name, scale))

    def _standard(self, values: np.ndarray, first: int) -> np.ndarray:
        part = slice(first, first + values.shape[1])
        return (values - np.array(self.state["mean"])[part]) / np.array(self.state["deviation"])[part]

    def _known(self, w: Window, end: int) -> np.ndarray:
        """What is known of the steps from the window's first to ``end - 1``: ``[L + H, K]``."""
        from ostinato.tasks.forecast_files import going_on

        known = going_on(w.series, end)
        return self._standard(known[w.origin - self.state["lookback"] : end], self.state["past"])

    def length(self, item: Item) -> int:
        return 1

    def batch(self, items: Sequence[Item]) -> Batch:
        tables = {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}
        targets = tables["targets"] if tables["targets"].shape[1] else None
        return Batch(tables["history"], tables["extra"], tables["future"], tables["season"], targets, tables["weight"])

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        assert batch.targets is not None
        found = model(batch)  # [B, H, C, 1 + Q]
        off = (batch.targets.unsqueeze(3) - found) * batch.weights.unsqueeze(3)
        squared = self.options.loss == "squared" or (self.options.loss == "auto" and len(self.state["scales"]) == 1)
        point = off[..., 0].square().mean() if squared else off[..., 0].abs().mean()
        if not self.validating and self.state["quantiles"]:
            q = torch.tensor(self.state["quantiles"])
            wide = (batch.targets.unsqueeze(3) - found[..., :1].detach() - (found - found[..., :1])[..., 1:])
            point = point + (torch.maximum(q * wide, (q - 1) * wide) * batch.weights.unsqueeze(3)).mean()
        return point, len(found)

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        return list(model(batch).double().numpy())  # [H, C, 1 + Q] each

    def finish(self, example: Example, found: Any) -> Answer:
        w = example.given
        last, scale = w.series.targets[w.origin - 1], self.scale(w)  # [C]
        values = last[:, None] + scale[:, None] * found  # [H, C, 1 + Q]
        times = [w.time(step) for step in range(w.horizon)]
        names = ["", *(f"q{q:g}" for q in self.state["quantiles"])]
        lines = [",".join([time, *(f"{v:.6g}" for v in row.ravel())]) for time, row in zip(times, values, strict=True)]
        quantiles = {name: values[:, :, i].tolist() for i, name in enumerate(names) if name}
        return Answer(values[:, :, 0].tolist(), "\n".join(lines),
                      {"series": w.series.name, "times": times, "quantiles": quantiles})  # fmt: skip

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        from ostinato.tasks.forecast_report import measures

        found = [np.array(answer.value) for answer in answers]
        got = measures(examples, found, self.state)
        if self.validating:
            return got
        from ostinato.tasks.forecast_report import coverage

        return got | coverage(examples, answers)

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.forecast_report import simple_forecasts

        return simple_forecasts(list(train), list(test), self.state)

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.forecast_report import write_report

        return write_report(examples, answers, self.state, folder)


def _seasonal_error(values: np.ndarray, season: int) -> np.ndarray:
    """The mean absolute difference of values one season apart, ``[C]``: what MASE divides by."""
    apart = values[season:] - values[:-season]
    return np.maximum(np.abs(apart).mean(0), SMALL) if len(apart) else np.ones(values.shape[1])


def _quantiles(text: str) -> list[float]:
    try:
        found = sorted(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = [-1.0]
    if any(not 0 < q < 1 or q == 0.5 for q in found):
        raise InputError(f"quantiles must be numbers between 0 and 1 other than 0.5, got {text!r}")
    return found
