"""What stands beside the answers: two simple methods, the mistakes, and the attention to sentences as a picture."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ostinato.files import write_atomic
from ostinato.tasks.answer import same
from ostinato.tasks.answer_read import Story
from ostinato.tasks.common.kind import Answer, Example, Measures

MISTAKES = 50
"""Mistakes that are written down."""
PICTURES = 4
"""Examples whose attention is drawn."""
SENTENCES = 16
"""Sentences that are drawn of a longer story, the last ones."""


def baselines(train: Sequence[Example], test: Sequence[Example]) -> Measures:
    """The accuracy of the most frequent answer to each question word, and of logistic regression on bags of words."""
    frequent, bags = _by_question_word(train, test), _bags(train, test)
    return {"most frequent answer accuracy": frequent, "bag of words accuracy": bags}


def _by_question_word(train: Sequence[Example], test: Sequence[Example]) -> float:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for word in (_question_word(example.given), ""):  # "" is for words that training never saw
            counts[word][example.gold] += 1
    said = [counts.get(_question_word(e.given), counts[""]).most_common(1)[0][0] for e in test]
    return float(np.mean([same(example.gold, answer) for example, answer in zip(test, said, strict=True)]))


def _question_word(story: Story) -> str:
    return story.question.lower().split()[0]


def _bags(train: Sequence[Example], test: Sequence[Example]) -> float:
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    gold = [example.gold for example in train]
    if len(set(gold)) < 2:
        return float(np.mean([same(example.gold, gold[0]) for example in test]))
    parts = [(CountVectorizer(binary=True, token_pattern=r"(?u)\b\w+\b"), place) for place in (0, 1)]
    model = make_pipeline(make_column_transformer(*parts), LogisticRegression(max_iter=300))
    model.fit(_table(train), gold)
    said = model.predict(_table(test))
    return float(np.mean([same(example.gold, answer) for example, answer in zip(test, said, strict=True)]))


def _table(examples: Sequence[Example]) -> np.ndarray:
    """Story and question, ``[N, 2]``."""
    return np.array([[" ".join(e.given.sentences), e.given.question] for e in examples], dtype=object)


def write_report(examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
    """``mistakes.tsv``, the surest first, and ``attention.png``: mistakes first, then what is right."""
    pairs = list(zip(examples, answers, strict=True))
    wrong = [pair for pair in pairs if not same(pair[0].gold, pair[1].value)]
    wrong.sort(key=lambda pair: (-pair[1].details["probability"], pair[0].place))
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
    table.writerow(["place", "right", "said", "probability", "question", "story"])
    for example, answer in wrong[:MISTAKES]:
        row = [example.place, example.gold, answer.text, f"{answer.details['probability']:.3f}"]
        table.writerow([*row, example.given.question, " ".join(example.given.sentences)])
    mistakes, picture = folder / "mistakes.tsv", folder / "attention.png"
    write_atomic(mistakes, text.getvalue().encode())
    right = [pair for pair in pairs if same(pair[0].gold, pair[1].value)]
    half = PICTURES // 2
    drawn = (wrong[:half] + right[-(PICTURES - min(half, len(wrong))) :])[:PICTURES]
    write_atomic(picture, _attention(drawn))
    return [mistakes, picture]


def _attention(pairs: Sequence[tuple[Example, Answer]]) -> bytes:
    """A PNG: for each example a row for each sentence and a column for each hop."""
    from matplotlib.figure import Figure

    shown = [answer.details["attention"][-SENTENCES:] for _, answer in pairs]
    heights = [len(rows) + 3 for rows in shown]
    figure = Figure(figsize=(8, 0.26 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(pairs), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for ax, rows, (example, answer) in zip(axes, shown, pairs, strict=True):
        weights = np.array([row["hops"] for row in rows])  # [T, hops]
        ax.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        ax.set_xticks(range(weights.shape[1]), [f"hop {hop + 1}" for hop in range(weights.shape[1])])
        ax.set_yticks(range(len(rows)), [row["sentence"][:60] for row in rows])
        ax.set_title(f"{example.given.question[:70]} {answer.text} (right: {example.gold})", loc="left", fontsize=10)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
