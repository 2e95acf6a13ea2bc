"""What a density without memory reaches, and a page of drawings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.features.strokes import strokes_svg
from ostinato.files import write_atomic
from ostinato.tasks.common.kind import Answer, Example, Measures

COLUMNS, CELL, MARGIN = 6, 120, 12
"""Drawings side by side on the page, their size and their distance in pixels."""


def one_mixture(train: Any, test: Any, components: int, floor: float, seed: int) -> Measures:
    """The nats of a step under one mixture for all steps, and the pen's states by their shares; steps ``[N, 3]``."""
    from sklearn.mixture import GaussianMixture

    moves = [part[part[:, 2] < 2, :2] for part in (train, test)]
    few = moves[0][np.random.default_rng(seed).permutation(len(moves[0]))[:50_000]]
    model = GaussianMixture(components, reg_covar=max(floor**2, 1e-6), random_state=seed, max_iter=50, tol=1e-2)
    model.fit(few.astype(np.float64))
    shares = np.bincount(train[:, 2].astype(int), minlength=3) / len(train)
    pen = -np.log(np.maximum(shares, 1e-12))[test[:, 2].astype(int)].sum()
    return {"one mixture for all: nats_per_step": float((pen - model.score_samples(moves[1]).sum()) / len(moves[1]))}


def write_report(examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
    """``drawings.svg``, a page of the model's own, with their texts where there are such."""
    page = folder / "drawings.svg"
    shown = [(example.given[0], answer.details["strokes"]) for example, answer in zip(examples, answers, strict=True)
             if answer.details]  # fmt: skip
    write_atomic(page, drawings_page(shown).encode())
    return [page]


def drawings_page(drawings: Sequence[tuple[str | None, Any]]) -> str:
    """Drawings side by side in one SVG, under their texts."""
    rows = -(-len(drawings) // COLUMNS) if drawings else 1
    size = CELL + MARGIN
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * size + MARGIN}" '
             f'height="{rows * size + MARGIN}" font-family="sans-serif" font-size="11">']  # fmt: skip
    for i, (text, strokes) in enumerate(drawings):
        x, y = MARGIN + i % COLUMNS * size, MARGIN + i // COLUMNS * size
        one = strokes_svg([np.array(stroke) for stroke in strokes])
        found = re.match(r'<svg xmlns="[^"]*" width="([\d.]+)" height="([\d.]+)">\n(.*)</svg>\n', one, re.DOTALL)
        assert found is not None
        if text:
            parts.append(f'<text x="{x}" y="{y + 9}" fill="#666">{escape(text)}</text>')
        box = f'width="{CELL}" height="{CELL - 12}" viewBox="0 0 {found[1]} {found[2]}"'
        parts.append(f'<svg x="{x}" y="{y + 12}" {box}>{found[3]}</svg>')
    return "\n".join([*parts, "</svg>", ""])
