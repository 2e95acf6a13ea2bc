"""The pictures of what was found, by matplotlib; imported only when one is asked for."""

from __future__ import annotations

import io
import math
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ostinato.errors import InputError
from ostinato.files import write_atomic

if TYPE_CHECKING:
    from ostinato.inspect.flow import GradientFlow
    from ostinato.inspect.gates import Traces
    from ostinato.inspect.jacobians import Jacobians
    from ostinato.inspect.saliency import Saliency
    from ostinato.inspect.spectrum import Spectrum

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#64748b"
TINY = 1e-30
"""What is shown on a logarithmic axis where there is less."""
STYLE: dict[Any, Any] = {"svg.hashsalt": "ostinato", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
         "axes.spines.right": False, "axes.titlesize": 10}


class Shown(ABC):
    """What shows its picture in a notebook."""

    @abstractmethod
    def plot(self, path: str | Path) -> None:
        """Draw it into a file."""

    def _repr_svg_(self) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "shown.svg"
            try:
                self.plot(path)
            except InputError:  # without matplotlib a notebook shows the words
                return None
            return path.read_text(encoding="utf-8")


def picture(path: str | Path, width: float, height: float, draw: Callable[[Any], None]) -> None:
    """A figure that is drawn by ``draw`` and written whole; the ending says how: .svg, .png or .pdf.

    Raises:
        InputError: when matplotlib is not installed, or does not know the ending.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("pictures need matplotlib: pip install 'ostinato[lab]'") from None
    path = Path(path)
    kind = path.suffix.removeprefix(".")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        if kind not in figure.canvas.get_supported_filetypes():
            raise InputError(f"a picture ends in .svg, .png or .pdf, got {path.name!r}")
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_atomic(path, file.getvalue())


def gradient_flow(flow: GradientFlow, path: str | Path) -> None:
    """A row for each state: the norms over (t, k), and over the lag."""

    def draw(figure: Any) -> None:
        rows = figure.subplots(len(flow.flows), 2, squeeze=False, width_ratios=(1, 1.3))
        for (name, found), (square, line) in zip(flow.flows.items(), rows, strict=True):
            mean = found.mean.cpu()
            _log_image(figure, square, mean, f"‖dL[t] / d{name}[k]‖")
            square.set_xlabel("k")
            square.set_ylabel("t")
            lags = found.by_lag.cpu()
            line.semilogy(range(len(lags)), lags.clamp(min=TINY).tolist(), color=BLUE, marker=".", markersize=4)
            there = (lags > 0).nonzero().flatten()
            if len(there) > 1:
                slope = math.log(found.rate)
                middle = float((lags[there].double().log() - there * slope).mean())
                line.semilogy(there.tolist(), (middle + there * slope).exp().tolist(), "--", color=ORANGE, linewidth=1)
            line.set_title(f"{name}: {found.verdict}, × {found.rate:.3g} a step", color=_ink(found.verdict))
            line.set_xlabel("lag t − k" if not found.reverse else "lag k − t")
            line.grid(alpha=0.25)

    picture(path, 8.0, 0.4 + 2.7 * len(flow.flows), draw)


def _ink(verdict: str) -> str:
    return "#1f2933" if verdict == "steady" else "#b91c1c"


def _log_image(figure: Any, axes: Any, values: Tensor, title: str) -> None:
    """Values over two times, by their magnitude; nothing where they are zero."""
    from matplotlib.colors import LogNorm

    shown = values.masked_fill(values <= 0, float("nan"))
    high = float(shown[~shown.isnan()].max()) if bool((~shown.isnan()).any()) else 1.0
    low = max(float(shown[~shown.isnan()].min()), high * 1e-8) if high and bool((~shown.isnan()).any()) else 1e-8
    axes.set_facecolor("#f1f5f9")
    image = axes.imshow(shown.numpy(), norm=LogNorm(low, max(high, low * 1.001)), cmap="viridis", aspect="equal",
                        interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.85)
    axes.set_title(title)


def spectrum(found: Spectrum, path: str | Path, steps: int) -> None:
    """The eigenvalues with the unit circle, and the norms of the powers."""

    def draw(figure: Any) -> None:
        plane, line = figure.subplots(1, 2, width_ratios=(1, 1.3))
        turn = torch.linspace(0, 2 * torch.pi, 200)
        plane.plot(turn.cos().tolist(), turn.sin().tolist(), color=GREY, linewidth=1)
        outside = found.values.abs() > 1
        for there, colour in ((~outside, BLUE), (outside, ORANGE)):
            points = found.values[there]
            plane.scatter(points.real.tolist(), points.imag.tolist(), s=16, color=colour, alpha=0.8)
        plane.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        plane.axvline(0, color="0.85", linewidth=0.8, zorder=0)
        plane.set_aspect("equal")
        plane.set_title(f"eigenvalues, radius {found.radius:.3g}")
        plane.set_xlabel("real")
        plane.set_ylabel("imaginary")
        line.semilogy(range(steps + 1), found.norms(steps).clamp(min=TINY).tolist(), color=BLUE, label="‖Wᵗ‖")
        line.semilogy(range(steps + 1), [max(found.radius**t, TINY) for t in range(steps + 1)], "--", color=ORANGE,
                      label="radiusᵗ")
        line.set_xlabel("t")
        line.set_title(f"W by itself: a vector {found.verdict if found.verdict != 'keeps' else 'stays'}")
        line.legend(frameon=False)
        line.grid(alpha=0.25)

    picture(path, 8.0, 3.3, draw)


def jacobians(found: Jacobians, path: str | Path) -> None:
    """The singular values of every step (mean over the batch), and the Lyapunov exponents."""

    def draw(figure: Any) -> None:
        line, bars = figure.subplots(1, 2, width_ratios=(1.6, 1))
        values = found.singular_values.mean(0).cpu()  # [T, S]
        for j in range(values.shape[1]):
            line.semilogy(values[:, j].clamp(min=TINY).tolist(), color=BLUE, alpha=0.25 + 0.6 * (j == 0), linewidth=1)
        line.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
        line.set_xlabel("step")
        line.set_title("singular values of ds[t] / ds[t−1]")
        exponents = found.lyapunov().mean(0).cpu()
        colours = [ORANGE if e > 0 else BLUE for e in exponents.tolist()]
        bars.bar(range(len(exponents)), exponents.clamp(min=-30).tolist(), color=colours)
        bars.axhline(0, color=GREY, linewidth=0.8)
        bars.set_title(f"Lyapunov exponents, the largest {float(exponents[0]):.3g}")
        bars.set_xlabel("direction")

    picture(path, 8.0, 3.2, draw)


def traces(found: Traces, path: str | Path, sequence: int) -> None:
    """Units against steps, a panel for each name."""
    values = {name: v[sequence].flatten(1).cpu() for name, v in found.values.items()}  # [T, H]
    steps = len(next(iter(values.values())))

    def draw(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        panels = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, value) in zip(panels, values.items(), strict=True):
            image = axes.imshow(value.T.numpy(), aspect="auto", interpolation="nearest", **_colours(value))
            figure.colorbar(image, ax=axes, pad=0.01)
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylabel(f"{name}\nunit", rotation=0, ha="right", va="center")
            axes.tick_params(length=2)
        _steps(panels[-1], found.tokens, steps)

    picture(path, max(5.0, min(16.0, 2.0 + 0.24 * steps)), 0.8 + 1.25 * len(values), draw)


def _colours(value: Tensor) -> dict[str, Any]:
    """From 0 to 1 for gates; by magnitude for what is positive and spread; else the same on both sides of 0."""
    from matplotlib.colors import LogNorm

    there = value[value.isfinite()]
    if not len(there) or bool((there >= 0).all() and (there <= 1).all()):
        return {"cmap": "viridis", "vmin": 0, "vmax": 1}
    low, high = float(there.min()), float(there.abs().max())
    if low > 0:
        return {"cmap": "viridis", "norm": LogNorm(low, max(high, low * 1.001))}
    return {"cmap": "RdBu_r", "vmin": -high, "vmax": high}


def _steps(axes: Any, tokens: Sequence[str] | None, steps: int) -> None:
    if tokens is None:
        axes.set_xlabel("step")
        return
    longest = max(map(len, tokens))
    axes.set_xticks(range(steps), [t.replace(" ", "␣") if len(t) == 1 else t for t in tokens],
                    rotation=60 if longest > 2 else 0, ha="right" if longest > 2 else "center")


def saliency(found: Saliency, path: str | Path, sequence: int) -> None:
    """The norm and the contribution of each step."""
    norms, parts = found.norms[sequence].cpu(), found.contributions[sequence].cpu()

    def draw(figure: Any) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        above.bar(range(len(norms)), norms.tolist(), color=BLUE)
        above.set_ylabel("‖d score / dx[t]‖")
        below.bar(range(len(parts)), parts.tolist(), color=[ORANGE if p > 0 else GREY for p in parts.tolist()])
        below.axhline(0, color=GREY, linewidth=0.8)
        below.set_ylabel("contribution")
        _steps(below, found.tokens, len(norms))

    picture(path, max(5.0, min(16.0, 2.0 + 0.24 * len(norms))), 3.6, draw)


def curves(found: Mapping[str, Sequence[tuple[float, float]]], path: str | Path) -> None:
    """Curves side by side, those with a common last name in one panel."""
    groups: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    for name, points in found.items():
        groups.setdefault(name.rsplit("/", 1)[-1], {})[name] = points

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(groups), squeeze=False)[0]
        for axes, (title, lines) in zip(panels, groups.items(), strict=True):
            for (name, points), colour in zip(lines.items(), (BLUE, ORANGE, GREY), strict=False):
                axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, label=name,
                          marker="." if len(points) < 30 else "")
            axes.set_title(title.replace("_", " "))
            axes.set_xlabel("step")
            axes.grid(alpha=0.25)
            if len(lines) > 1:
                axes.legend(frameon=False)

    picture(path, 8.0, 3.0, draw)
