"""How good labels are, what a bag of n-grams reaches on the same data, and the mistakes to look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.errors import InputError
from ostinato.files import write_atomic
from ostinato.tasks.common.confusion import confusion_png
from ostinato.tasks.common.frames import stretched
from ostinato.tasks.common.kind import Answer, Example, Measures

SHOWN = 50
"""Mistakes that are written down."""


def measures(labels: Sequence[str], gold: Sequence[Any], answers: Sequence[Answer], several: bool) -> Measures:
    """Accuracy (with several labels: all of them right), F1 over labels (macro; micro with several), mean -log p."""
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    found = [answer.value for answer in answers]
    p = np.array([[answer.details["scores"][label] for label in labels] for answer in answers])  # [N, K]
    p = p.clip(1e-6, 1 - 1e-6)
    if several:
        binarizer = MultiLabelBinarizer(classes=labels)
        right, said = binarizer.fit_transform(gold), binarizer.transform(found)
        log_loss = -(right * np.log(p) + (1 - right) * np.log(1 - p)).sum(1).mean()
        micro = f1_score(right, said, average="micro", zero_division=0.0)  # type: ignore[arg-type]
        macro = f1_score(right, said, average="macro", zero_division=0.0)  # type: ignore[arg-type]
        return {"accuracy": float(accuracy_score(right, said)), "micro_f1": float(micro), "macro_f1": float(macro),
                "log_loss": float(log_loss)}  # fmt: skip
    place = {label: i for i, label in enumerate(labels)}
    log_loss = -np.log(p[np.arange(len(gold)), [place[label] for label in gold]]).mean()
    macro = f1_score(gold, found, average="macro", zero_division=0.0)  # type: ignore[arg-type]
    return {"accuracy": float(accuracy_score(gold, found)), "macro_f1": float(macro), "log_loss": float(log_loss)}


def bags_of_ngrams(train: Sequence[Example], test: Sequence[Example]) -> Measures:
    """The accuracy of logistic regression on tf-idf of words and word pairs, and of character 2- to 5-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    bags = {
        "words": TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        "characters": TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    }
    result = {}
    for name, bag in bags.items():
        model = make_pipeline(bag, LogisticRegression(C=10, max_iter=300))
        model.fit([example.given for example in train], [example.gold for example in train])
        right = model.predict([example.given for example in test]) == np.array([example.gold for example in test])
        result[f"bag of {name} accuracy"] = float(right.mean())
    return result


def simple_classifiers(train: Sequence[tuple[Any, str]], test: Sequence[tuple[Any, str]]) -> Measures:
    """The accuracy of the nearest neighbour and of logistic regression, on frames stretched to as many steps each."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = [np.array([stretched(frames) for frames, _ in part]) for part in (train, test)]  # [N, STEPS F]
    gold = [np.array([label for _, label in part]) for part in (train, test)]
    models = {
        "nearest neighbour": KNeighborsClassifier(1),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200)),
    }
    result = {}
    for name, model in models.items():
        right = model.fit(features[0], gold[0]).predict(features[1]) == gold[1]
        result[f"{name} accuracy"] = float(right.mean())
    return result


def equal_error_rate(vectors: Any, gold: Sequence[Any]) -> Measures:
    """Are two examples of the same label? Asked of all pairs of vectors ``[N, S]`` of length 1, by their cosine.

    At the threshold where as many pairs of one label are refused as pairs of two are taken, that share is the equal
    error rate. What is asked need not have been a label in training.

    Raises:
        InputError: no pair of one label, or none of two.
    """
    from sklearn.metrics import roc_curve

    first, second = np.triu_indices(len(gold), 1)
    labels = np.array(gold, dtype=object)  # [N]
    same = (labels[first] == labels[second]).astype(bool)  # [N (N - 1) / 2]
    if not same.any() or same.all():
        raise InputError("to verify, examples are needed that share a label, and others that do not")
    taken, right, thresholds = roc_curve(same, (vectors @ vectors.T)[first, second])
    at = int(np.argmin(np.abs(taken - (1 - right))))
    return {"equal_error_rate": float((taken[at] + 1 - right[at]) / 2), "threshold": float(thresholds[at])}


def write_report(labels: Sequence[str], examples: Sequence[Example], answers: Sequence[Answer],
                 folder: Path) -> list[Path]:  # fmt: skip
    """``mistakes.tsv``, the surest first, and with single labels ``confusion.png``."""
    worst = [(_surety(answer), example, answer) for example, answer in zip(examples, answers, strict=True)
             if answer.value != example.gold]  # fmt: skip
    worst.sort(key=lambda mistake: (-mistake[0], mistake[1].place))
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
    table.writerow(["place", "right", "said", "probability", "text"])
    for surety, example, answer in worst[:SHOWN]:
        right = "|".join(example.gold) if isinstance(example.gold, tuple) else example.gold
        table.writerow([example.place, right, answer.text, f"{surety:.3f}", _shown(example.given)])
    mistakes = folder / "mistakes.tsv"
    write_atomic(mistakes, text.getvalue().encode())
    if any(isinstance(example.gold, tuple) for example in examples):
        return [mistakes]
    picture = folder / "confusion.png"
    write_atomic(picture, confusion_png(labels, [e.gold for e in examples], [a.value for a in answers]))
    return [mistakes, picture]


def _shown(given: Any) -> str:
    """A text, or where a signal is."""
    return given if isinstance(given, str) else given.place


def _surety(answer: Answer) -> float:
    return max(answer.details["scores"].values())
