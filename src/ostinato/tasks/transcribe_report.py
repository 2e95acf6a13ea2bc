"""How good transcriptions are, what the most similar training example would give, and the mistakes to look at."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.files import write_atomic
from ostinato.tasks.common.frames import stretched
from ostinato.tasks.common.kind import Answer, Example, Measures

SHOWN = 50
"""Mistakes that are written down."""


def measures(gold: Sequence[str], found: Sequence[str]) -> Measures:
    """Character and word error rate over all texts, and the share of texts that are not exact."""
    import jiwer

    wrong = sum(a != b for a, b in zip(gold, found, strict=True)) / len(gold)
    return {
        "character_error_rate": float(jiwer.cer(list(gold), list(found))),  # type: ignore[arg-type]
        "word_error_rate": float(jiwer.wer(list(gold), list(found))),
        "not_exact": wrong,
    }


def nearest(train: Sequence[tuple[Any, str]], test: Sequence[tuple[Any, str]]) -> Measures:
    """What the text of the nearest training example would give, on frames stretched to as many steps each."""
    from sklearn.neighbors import NearestNeighbors

    features = [np.array([stretched(frames) for frames, _ in part]) for part in (train, test)]  # [N, STEPS F]
    found = NearestNeighbors(n_neighbors=1).fit(features[0]).kneighbors(features[1], return_distance=False)
    texts = [train[int(place)][1] for place in found[:, 0]]
    got = measures([text for _, text in test], texts)
    return {f"nearest neighbour, {name}": value for name, value in got.items()}


def write_report(examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
    """``mistakes.tsv``, the worst first, and ``confusions.tsv``: which letter was read as which, how often."""
    import jiwer

    rows = []
    counts: Counter[tuple[str, str]] = Counter()
    for example, answer in zip(examples, answers, strict=True):
        if answer.value == example.gold:
            continue
        aligned = jiwer.process_characters(example.gold, answer.value)
        rows.append((float(aligned.cer), example.place, example.gold, answer.value))
        for part in aligned.alignments[0]:
            if part.type != "equal":
                right = example.gold[part.ref_start_idx : part.ref_end_idx]
                said = answer.value[part.hyp_start_idx : part.hyp_end_idx]
                pairs = zip(right, said, strict=True) if part.type == "substitute" else [(right, said)]
                counts.update(pairs)
    rows.sort(key=lambda row: (-row[0], row[1]))
    tables = {
        "mistakes.tsv": [("error", "place", "right", "said"), *((f"{e:.3f}", *rest) for e, *rest in rows[:SHOWN])],
        "confusions.tsv": [("count", "right", "said"), *((n, *pair) for pair, n in counts.most_common())],
    }
    for name, lines in tables.items():
        text = io.StringIO()
        csv.writer(text, delimiter="\t").writerows(lines)
        write_atomic(folder / name, text.getvalue().encode())
    return [folder / name for name in tables]
