"""Which label is taken for which."""

from __future__ import annotations

import io
from collections.abc import Sequence


def confusion_png(labels: Sequence[str], gold: Sequence[str], found: Sequence[str]) -> bytes:
    """The confusion matrix as a PNG: a row for each right label, shares of the row."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    side = 3 + 0.45 * len(labels)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    matrix = confusion_matrix(gold, found, labels=list(labels), normalize="true")
    display = ConfusionMatrixDisplay(matrix, display_labels=labels)
    display.plot(ax=figure.subplots(), cmap="Blues", values_format=".2f", include_values=len(labels) <= 12)
    display.ax_.set(xlabel="said", ylabel="right")
    display.ax_.tick_params(axis="x", rotation=45)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()
