"""The table as a picture: cells against lags, dark where all seeds solved it; and beside it the longest lag learned."""

from __future__ import annotations

import io
from typing import Any

from ostinato.errors import InputError
from ostinato.lab.table import Place, Table

FORMATS = ("svg", "png")
BAR = "#08306b"
"""The darkest of the squares' blues."""


def draw(table: Table) -> dict[str, bytes]:
    """The picture in every format; the same table gives the same bytes.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("the picture needs matplotlib: pip install 'ostinato[lab]', or give --no-picture") from None
    with matplotlib.rc_context({"svg.hashsalt": "ostinato", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.5 + 0.8 * len(table.lags), 1.6 + 0.4 * len(table.rows)), layout="constrained")
        squares, bars = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        _squares(squares, table)
        _bars(bars, table)
        figure.suptitle(f"{table.task}: seeds with {table.goal} within {table.budget:,} sequences", fontsize=10)
        return {kind: _bytes(figure, kind) for kind in FORMATS}


def _squares(axes: Any, table: Table) -> None:
    """The share of the seeds that solved each lag; grey where none was tried."""
    shares = [[p.solved / p.tried if p.tried else float("nan") for p in row.places] for row in table.rows]
    axes.set_facecolor("0.92")
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(table.lags)), [f"{lag:,}" for lag in table.lags])
    axes.set_yticks(range(len(table.rows)), [row.cell for row in table.rows])
    axes.set_xlabel("lag in steps (grey: not tried)")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([x - 0.5 for x in range(1, len(table.lags))], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, len(table.rows))], minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    for y, row in enumerate(table.rows):
        for x, place in enumerate(row.places):
            axes.text(x, y, _label(place), ha="center", va="center", fontsize=8, color=_ink(place))


def _label(place: Place) -> str:
    return f"{place.solved}/{place.tried}" if place.tried else ""


def _ink(place: Place) -> str:
    return "white" if place.learned else "black"


def _bars(axes: Any, table: Table) -> None:
    """The longest lag learned, on a logarithmic axis that begins below the first lag: no bar where not even that."""
    low = table.lags[0] / 2
    ends = [row.longest or low for row in table.rows]
    bars = axes.barh(range(len(ends)), [end - low for end in ends], left=low, height=0.6, color=BAR)
    axes.bar_label(bars, [f"{row.longest:,}" if row.longest else "none" for row in table.rows], padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(low, table.lags[-1] * (table.lags[-1] / low) ** 0.4)  # room for the numbers
    axes.set_xticks([])
    axes.set_xticks([], minor=True)
    axes.tick_params(left=False, labelleft=False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("longest lag learned")


def _bytes(figure: Any, kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return file.getvalue()
