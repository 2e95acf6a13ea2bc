"""How good forecasts are, what simple methods reach, and pictures.

MASE and OWA have no well-kept library among those that are used here (each is a line of arithmetic); they are as in
Makridakis, Spiliotis and Assimakopoulos, "The M4 Competition: 100,000 time series and 61 forecasting methods",
International Journal of Forecasting 36, 2020: MASE divides by the training part's seasonal differences, OWA by
"Naive 2", the last value with the season taken out and put back.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.files import write_atomic
from ostinato.tasks.common.kind import Answer, Example, Measures
from ostinato.tasks.forecast_files import Series, Window

Values = NDArray[np.float64]
SEASONS = {timedelta(hours=1): 24, timedelta(minutes=30): 48, timedelta(minutes=15): 96, timedelta(days=1): 7,
           timedelta(days=7): 52}  # fmt: skip
"""What repeats, by the step between times."""
SHOWN, PICTURED, TRAINED = 6, 4, 8000
"""Forecasts in a picture, seasons of history before each, windows that a ridge regression is fitted to."""


def season_of(every: Sequence[Series]) -> int:
    """Steps after which values repeat: told by the times, or the lag at which their changes agree best; 1: none."""
    times = every[0].times
    if times and len(times) > 1:
        step = times[1] - times[0]
        if step >= timedelta(days=28):
            return max(1, round(timedelta(days=365.25) / step))
        if step in SEASONS:
            return SEASONS[step]
    total: Values = np.zeros(0)
    for series in every[:100]:
        changes = np.diff(series.targets[:, 0])
        changes = changes - changes.mean()
        longest = min(len(changes) // 3, 400)
        agree = np.array([changes[lag:] @ changes[:-lag] for lag in range(1, longest + 1)])
        agree = agree / max(float(changes @ changes), 1e-12)
        size = min(len(total), len(agree)) if len(total) else len(agree)
        total = agree[:size] + (total[:size] if len(total) else 0)
    if len(total) < 2 or total[1:].max() < 0.3 * min(len(every), 100):
        return 1
    return int(total[1:].argmax()) + 2


def measures(examples: Sequence[Example], found: Sequence[Values], state: dict[str, Any]) -> Measures:
    """Over all forecasts: squared and absolute error in deviations of the training part, sMAPE, MASE, OWA.

    sMAPE is a share, 0 to 2. Each of ``found`` is ``[H, C]``.
    """
    errors = [e.gold - f for e, f in zip(examples, found, strict=True)]  # [H, C] each
    scales = [_of(state["scales"], e.given) for e in examples]
    smape, mase = _smape(examples, found), _mase(examples, errors, state)
    result = {
        "mse": float(np.mean([np.square(error / scale).mean() for error, scale in zip(errors, scales, strict=True)])),
        "mae": float(np.mean([np.abs(error / scale).mean() for error, scale in zip(errors, scales, strict=True)])),
        "smape": smape, "mase": mase,
    }  # fmt: skip
    plain = [naive2(e.given, state["season"]) for e in examples]
    off = [e.gold - p for e, p in zip(examples, plain, strict=True)]
    by_smape, by_mase = _smape(examples, plain), _mase(examples, off, state)
    return result | {"owa": 0.5 * (smape / max(by_smape, 1e-12) + mase / max(by_mase, 1e-12))}


def _of(table: dict[str, list[float]], window: Window) -> Values:
    """What is known of a series from training; of one that is new, its history's deviation."""
    if window.series.name in table:
        return np.array(table[window.series.name])
    return np.maximum(window.series.targets[: window.origin].std(0), 1e-8)


def _smape(examples: Sequence[Example], found: Sequence[Values]) -> float:
    each = [np.mean(2 * np.abs(e.gold - f) / np.maximum(np.abs(e.gold) + np.abs(f), 1e-12))
            for e, f in zip(examples, found, strict=True)]  # fmt: skip
    return float(np.mean(each))


def _mase(examples: Sequence[Example], errors: Sequence[Values], state: dict[str, Any]) -> float:
    return float(np.mean([(np.abs(error) / _of(state["in_sample"], e.given)).mean()
                          for e, error in zip(examples, errors, strict=True)]))  # fmt: skip


def coverage(examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
    """For each quantile, the share of true values below it: to be near its name."""
    result = {}
    for name in answers[0].details["quantiles"]:
        below = [np.mean(e.gold <= np.array(a.details["quantiles"][name]))
                 for e, a in zip(examples, answers, strict=True)]  # fmt: skip
        result[f"below_{name}"] = float(np.mean(below))
    return result


def naive2(window: Window, season: int) -> Values:
    """The last value, the season taken out before and put back after where there is one: ``[H, C]``."""
    history = window.series.targets[: window.origin]  # [T, C]
    return np.stack([_naive2(column, season, window.horizon) for column in history.T], 1)


def _naive2(y: Values, season: int, horizon: int) -> Values:
    if season > 1 and _is_seasonal(y, season) and y.min() > 0:
        factors = _factors(y, season)  # [season]
        return y[-1] / factors[(len(y) - 1) % season] * factors[(len(y) + np.arange(horizon)) % season]
    return np.full(horizon, y[-1])


def _is_seasonal(y: Values, season: int) -> bool:
    """At 90% by the autocorrelation at the season's lag, as M4's benchmarks test it."""
    if len(y) < 3 * season:
        return False
    centred = y - y.mean()
    total = max(float(centred @ centred), 1e-12)
    acf = np.array([centred[lag:] @ centred[:-lag] / total for lag in range(1, season + 1)])
    return bool(abs(acf[-1]) > 1.645 * np.sqrt((1 + 2 * np.square(acf[:-1]).sum()) / len(y)))


def _factors(y: Values, season: int) -> Values:
    """Multiplicative factors of the classical decomposition, ``[season]``, their mean 1."""
    width = np.ones(season) if season % 2 else np.array([0.5, *np.ones(season - 1), 0.5])
    half = len(width) // 2
    trend = np.convolve(y, width / season, "valid")  # [T - 2 half]
    ratio = y[half : len(y) - half] / np.where(np.abs(trend) < 1e-12, 1e-12, trend)
    places = (np.arange(len(ratio)) + half) % season
    factors = np.array([ratio[places == place].mean() for place in range(season)])
    return factors / factors.mean()


def seasonal_naive(window: Window, season: int) -> Values:
    """What was one season before: ``[H, C]``."""
    history = window.series.targets[: window.origin]
    season = min(season, len(history))
    return history[len(history) - season + np.arange(window.horizon) % season]


def last_value(window: Window, season: int) -> Values:
    """The last value again: ``[H, C]``."""
    return np.repeat(window.series.targets[window.origin - 1 : window.origin], window.horizon, 0)


def simple_forecasts(train: Sequence[Example], test: Sequence[Example], state: dict[str, Any]) -> Measures:
    """What seasonal naive, the last value, Naive 2 and a ridge regression on the last steps reach."""
    season = state["season"]
    methods: dict[str, Callable[[Window, int], Values]] = {
        "seasonal naive": seasonal_naive, "last value": last_value, "naive 2": naive2}  # fmt: skip
    result = {}
    found = {name: [method(e.given, season) for e in test] for name, method in methods.items()}
    found["ridge"] = _ridge(train, test, state["lookback"])
    for name, forecasts in found.items():
        got = measures(test, forecasts, state)
        result |= {f"{name}, {key}": got[key] for key in ("mse", "mase", "owa")}
    return result


def _ridge(train: Sequence[Example], test: Sequence[Example], lookback: int) -> list[Values]:
    """Linear in the last steps, relative to the last value and in the window's deviations; one map for all channels."""
    from sklearn.linear_model import RidgeCV

    some = train[:: max(1, len(train) // TRAINED)]
    x, y = _relative(some, lookback)
    model = RidgeCV(alphas=np.logspace(-2, 3, 6)).fit(x, y)
    found = []
    for example in test:
        last, scale, history = _window(example, lookback)
        found.append(last + scale * model.predict(history.T).T)
    return found


def _window(example: Example, lookback: int) -> tuple[Values, Values, Values]:
    history = example.given.series.targets[example.given.origin - lookback : example.given.origin]  # [L, C]
    last, scale = history[-1], np.maximum(history.std(0), 1e-8)
    return last, scale, (history - last) / scale


def _relative(examples: Sequence[Example], lookback: int) -> tuple[Values, Values]:
    inputs, outputs = [], []
    for example in examples:
        last, scale, history = _window(example, lookback)
        inputs.append(history.T)
        outputs.append(((example.gold - last) / scale).T)
    return np.concatenate(inputs), np.concatenate(outputs)


def write_report(examples: Sequence[Example], answers: Sequence[Answer], state: dict[str, Any],
                 folder: Path) -> list[Path]:  # fmt: skip
    """``forecasts.png``, some with their intervals, and ``steps.tsv``, the error of every step ahead."""
    files = {"forecasts.png": _pictures(examples, answers, state), "steps.tsv": _steps(examples, answers, state)}
    for name, content in files.items():
        write_atomic(folder / name, content)
    return [folder / name for name in files]


def _steps(examples: Sequence[Example], answers: Sequence[Answer], state: dict[str, Any]) -> bytes:
    plain = [seasonal_naive(example.given, state["season"]) for example in examples]
    sides = [[np.array(answer.value) for answer in answers], plain]
    squares, naive = (
        np.mean([np.square((e.gold - said) / _of(state["scales"], e.given)).mean(1)
                 for e, said in zip(examples, side, strict=True)], 0)
        for side in sides
    )  # [H] each # fmt: skip
    rows = [f"{i}\t{a:.6g}\t{b:.6g}" for i, (a, b) in enumerate(zip(squares, naive, strict=True), start=1)]
    return "\n".join(["step\tmse\tmse of seasonal naive", *rows, ""]).encode()


def _pictures(examples: Sequence[Example], answers: Sequence[Answer], state: dict[str, Any]) -> bytes:
    """Forecasts from the first to the last, of the first channel: history, truth, forecast, the outermost quantiles."""
    from matplotlib.figure import Figure

    in_time = sorted(range(len(examples)), key=lambda i: (examples[i].given.series.name, examples[i].given.origin))
    chosen = [in_time[i] for i in np.unique(np.linspace(0, len(examples) - 1, SHOWN).astype(int))]
    figure = Figure(figsize=(9, 2.2 * len(chosen)), layout="constrained")
    for axis, place in zip(np.atleast_1d(figure.subplots(len(chosen), 1)), chosen, strict=True):
        window, answer = examples[place].given, answers[place]
        begin = max(0, window.origin - max(PICTURED * state["season"], 2 * window.horizon))
        ahead = np.arange(window.origin, window.origin + window.horizon)
        axis.plot(np.arange(begin, window.origin), window.series.targets[begin : window.origin, 0], color="0.4")
        axis.plot(ahead, examples[place].gold[:, 0], color="0.4", linestyle=":", label="what came")
        axis.plot(ahead, np.array(answer.value)[:, 0], color="C0", label="forecast")
        bands = list(answer.details["quantiles"].items())
        if len(bands) > 1:
            low, high = (np.array(values)[:, 0] for _, values in (bands[0], bands[-1]))
            named = f"{bands[0][0]} to {bands[-1][0]}"
            axis.fill_between(ahead, low, high, color="C0", alpha=0.2, linewidth=0, label=named)
        axis.set_title(f"{window.series.name}, from {window.time(0)}", fontsize=9, loc="left")
    figure.axes[0].legend(loc="upper left", fontsize=8, ncols=3)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()
