"""How near translations are, what the nearest example of the training would give, and pictures of the attention."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ostinato.files import write_atomic
from ostinato.tasks.common.kind import Answer, Example, Measures

SHOWN = 50
PICTURES = 4


def measures(kind: Any, examples: Sequence[Example], said: Sequence[str]) -> Measures:
    """BLEU (sacrebleu, of prose only, both sides segmented as the task segments), the share of exact answers, and the
    edit distance in tokens over the tokens of the right answers.

    A source that is there several times with different targets has several right answers: the nearest counts, once.
    """
    from rapidfuzz.distance import Levenshtein

    level = kind.state["target_level"]
    right: dict[str, list[list[str]]] = defaultdict(list)
    answered: dict[str, list[str]] = {}
    for example, text in zip(examples, said, strict=True):
        right[example.given].append(kind.pieces(example.gold, level))
        answered[example.given] = kind.pieces(text, level)
    errors = tokens = exact = 0
    for source, golds in right.items():
        distances = [Levenshtein.distance(answered[source], gold) for gold in golds]
        best = min(range(len(golds)), key=distances.__getitem__)
        errors, tokens = errors + distances[best], tokens + len(golds[best])
        exact += distances[best] == 0
    result = {"token_error_rate": errors / max(tokens, 1), "error_rate": 1 - exact / len(right)}
    if kind.state["prose"]:
        from sacrebleu.metrics.bleu import BLEU

        join = [" ".join(kind.pieces(text, level)) for text in said]
        gold = [" ".join(kind.pieces(example.gold, level)) for example in examples]
        result = {"bleu": BLEU(tokenize="none", force=True).corpus_score(join, [gold]).score, **result}
    return result


def nearest(kind: Any, train: Sequence[Example], test: Sequence[Example]) -> Measures:
    """What one gets by giving the target of the most similar source of training (tf-idf of character n-grams)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    bag = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
    known = bag.fit_transform([example.given for example in train])
    said = []
    for start in range(0, len(test), 200):
        asked = bag.transform([example.given for example in test[start : start + 200]])
        best = (asked @ known.T).toarray().argmax(1)
        said += [train[int(i)].gold for i in best]
    return {f"nearest example, {name}": value for name, value in measures(kind, test, said).items()}


def write_report(kind: Any, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
    """``mistakes.tsv``, the farthest first, and ``attention.png``."""
    from rapidfuzz.distance import Levenshtein

    level = kind.state["target_level"]
    wrong = []
    for example, answer in zip(examples, answers, strict=True):
        gold = kind.pieces(example.gold, level)
        distance = Levenshtein.distance(kind.pieces(answer.text, level), gold) / max(1, len(gold))
        if distance:
            wrong.append((distance, example, answer))
    wrong.sort(key=lambda mistake: (-mistake[0], mistake[1].place))
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t")
    table.writerow(["place", "error", "source", "right", "said"])
    for distance, example, answer in wrong[:SHOWN]:
        table.writerow([example.place, f"{distance:.3f}", example.given, example.gold, answer.text])
    mistakes, picture = folder / "mistakes.tsv", folder / "attention.png"
    write_atomic(mistakes, text.getvalue().encode())
    write_atomic(picture, attention_picture([answer for answer in answers if answer.text][:PICTURES]))
    return [mistakes, picture]


def attention_picture(answers: Sequence[Answer]) -> bytes:
    """Where each written token looked, as a PNG: a row a token written, a column a token read."""
    import numpy as np
    from matplotlib.figure import Figure

    rows = (len(answers) + 1) // 2
    figure = Figure(figsize=(12, 5.5 * max(rows, 1)), layout="constrained")
    for number, answer in enumerate(answers, start=1):
        axes = figure.add_subplot(rows, 2, number)
        source, target = answer.details["source"], answer.details["target"]
        axes.imshow(np.array(answer.details["attention"]), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(source)), source, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(target)), target)
        axes.set(xlabel="read", ylabel="written")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
