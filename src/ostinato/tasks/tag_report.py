"""How good tags are, what mere memory of the training words reaches, and the mistakes to look at."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from ostinato.decoding.spans import convert, labels, spans
from ostinato.files import write_atomic
from ostinato.tasks.common.confusion import confusion_png
from ostinato.tasks.common.kind import Answer, Example, Measures

SHOWN = 50
"""Mistakes that are written down."""
Tags = Sequence[str]


def measures(examples: Sequence[Example], found: Sequence[Tags], scheme: str | None,
             known: Collection[str]) -> Measures:  # fmt: skip
    """The share of right tags, and that among words that training never saw; of spans, precision, recall and F1 of
    whole ones, as the script ``conlleval`` counts them."""
    gold = [example.gold for example in examples]
    if scheme:
        return _of_spans(gold, found)
    pairs = [(a == b, token.lower() in known) for example, said in zip(examples, found, strict=True)
             for token, a, b in zip(example.given.tokens, example.gold, said, strict=True)]  # fmt: skip
    new = [right for right, seen in pairs if not seen]
    accuracy = sum(right for right, _ in pairs) / len(pairs)
    return {"accuracy": accuracy} | ({"accuracy_unseen_words": sum(new) / len(new)} if new else {})


def _of_spans(gold: Sequence[Tags], found: Sequence[Tags]) -> Measures:
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    both = [[convert(tags, "bio") for tags in side] for side in (gold, found)]
    if not any(tag != "O" for side in both for tags in side for tag in tags):
        return {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    precision, recall, f1, _ = precision_recall_fscore_support(*both, average="micro", zero_division=0)  # type: ignore[arg-type]
    return {"f1": float(f1), "precision": float(precision), "recall": float(recall)}  # type: ignore[arg-type]


def remembered(train: Sequence[Example], test: Sequence[Example], scheme: str | None) -> Measures:
    """Each word's most frequent tag; of spans, those texts that were most often a span in training, longest first."""
    if not scheme:
        tags: dict[str, Counter[str]] = defaultdict(Counter)
        for example in train:
            for token, tag in zip(example.given.tokens, example.gold, strict=True):
                tags[token][tag] += 1
        usual = sum(tags.values(), Counter[str]()).most_common(1)[0][0]
        best = {token: count.most_common(1)[0][0] for token, count in tags.items()}
        found = [[best.get(token, usual) for token in example.given.tokens] for example in test]
        return {"most frequent tag: accuracy": measures(test, found, None, ())["accuracy"]}
    kinds: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for example in train:
        for span in spans(example.gold):
            kinds[tuple(example.given.tokens[span.start : span.stop])][span.kind] += 1
    best_kind = {words: count.most_common(1)[0][0] for words, count in kinds.items()}
    longest = max(map(len, best_kind), default=1)
    found = [_looked_up(example.given.tokens, best_kind, longest) for example in test]
    return {"list of names: f1": _of_spans([example.gold for example in test], found)["f1"]}


def _looked_up(tokens: tuple[str, ...], kinds: dict[tuple[str, ...], str], longest: int) -> list[str]:
    found, at = [], 0
    while at < len(tokens):
        sizes = range(min(longest, len(tokens) - at), 0, -1)
        size = next((n for n in sizes if tokens[at : at + n] in kinds), 0)
        if size:
            found.append((at, at + size, kinds[tokens[at : at + size]]))
        at += max(size, 1)
    return labels(found, len(tokens))


def write_report(examples: Sequence[Example], answers: Sequence[Answer], scheme: str | None,
                 folder: Path) -> list[Path]:  # fmt: skip
    """``kinds.tsv``, how well each is found, ``mistakes.tsv``, and ``confusion.png``, of words."""
    gold, found = [e.gold for e in examples], [a.value for a in answers]
    if scheme:
        sides = [[[tag.partition("-")[2] or tag for tag in tags] for tags in side] for side in (gold, found)]
    else:
        sides = [gold, found]
    right, said = ([tag for tags in side for tag in tags] for side in sides)
    files = {
        "kinds.tsv": _kinds(gold, found, scheme).encode(),
        "mistakes.tsv": _mistakes(examples, answers, scheme).encode(),
        "confusion.png": confusion_png(sorted({*right, *said}), right, said),
    }
    for name, content in files.items():
        write_atomic(folder / name, content)
    return [folder / name for name in files]


def _kinds(gold: Sequence[Tags], found: Sequence[Tags], scheme: str | None) -> str:
    """A line for each tag or kind of span: how many there are, recall, precision."""
    right, said, both = Counter[str](), Counter[str](), Counter[str]()
    for a, b in zip(gold, found, strict=True):
        one, other = (set(spans(tags)) if scheme else {(i, 0, tag) for i, tag in enumerate(tags)} for tags in (a, b))
        for counts, some in ((right, one), (said, other), (both, one & other)):
            counts.update(kind for _, _, kind in some)
    rows = [f"{kind}\t{right[kind]}\t{both[kind] / max(right[kind], 1):.3f}\t{both[kind] / max(said[kind], 1):.3f}"
            for kind in sorted(right | said, key=lambda kind: (-right[kind], kind))]  # fmt: skip
    return "\n".join(["kind\tcount\trecall\tprecision", *rows, ""])


def _mistakes(examples: Sequence[Example], answers: Sequence[Answer], scheme: str | None) -> str:
    """The sentences with most wrong tags: as they should be, and as they were tagged."""
    worst = [(sum(a != b for a, b in zip(e.gold, answer.value, strict=True)), e, answer.value)
             for e, answer in zip(examples, answers, strict=True)]  # fmt: skip
    worst.sort(key=lambda mistake: (-mistake[0], mistake[1].place))
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
    table.writerow(["place", "wrong", "right", "said"])
    for wrong, example, said in worst[:SHOWN]:
        if wrong:
            table.writerow([example.place, wrong, *(_shown(example, tags, scheme) for tags in (example.gold, said))])
    return text.getvalue()


def _shown(example: Example, tags: Tags, scheme: str | None) -> str:
    from dataclasses import replace

    words = replace(example.given, file=None)
    return words.bracketed(tags) if scheme else words.tagged(tags)
