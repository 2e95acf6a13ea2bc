"""How near captions are to those of people, what one caption for all would give, and a picture of some."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato.features.images import read_image
from ostinato.files import write_atomic
from ostinato.tasks.caption import pieces
from ostinato.tasks.common.kind import Answer, Example, Measures

SHOWN, PICTURES, TRIED = 50, 12, 200
ORDERS, SIGMA = 4, 6.0


def measures(examples: Sequence[Example], said: Sequence[str]) -> Measures:
    """BLEU-4 (sacrebleu, against all captions of an image), CIDEr-D, and the share of images whose caption is none of
    those that people gave, word by word."""
    from sacrebleu.metrics.bleu import BLEU

    right, answers = by_image(examples), dict(zip((str(e.given) for e in examples), said, strict=True))
    hypotheses = [" ".join(pieces(answers[image])) for image in right]
    golds = [[" ".join(pieces(text)) for text in texts] for texts in right.values()]
    most = max(map(len, golds))
    references = [[texts[i] if i < len(texts) else None for texts in golds] for i in range(most)]
    bleu = BLEU(tokenize="none", force=True).corpus_score(hypotheses, references).score  # type: ignore[arg-type]
    wrong = sum(found not in texts for found, texts in zip(hypotheses, golds, strict=True))
    return {"cider": cider(hypotheses, golds), "bleu": bleu, "error_rate": wrong / len(golds)}


def by_image(examples: Sequence[Example]) -> dict[str, list[str]]:
    """All captions of each image."""
    found: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        found[str(example.given)].append(example.gold)
    return found


def cider(said: Sequence[str], right: Sequence[Sequence[str]]) -> float:
    """CIDEr-D of captions, each against those of people for the same image: 0 to 10, the mean over images.

    Each caption is four vectors, the counts of its word n-grams, n = 1 to 4, weighted by how few of the images have the
    n-gram in a caption; the score is ten times the mean of their clipped cosines, less where lengths differ.

    Source: Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015, section 4
    and 5 (CIDEr-D, sigma = 6).

    >>> cider(["a dog runs"], [["a dog runs", "the dog is running"]])  # one image: every n-gram is in all of them
    0.0
    >>> round(cider(["a dog runs", "two men sit on it"], [["a dog runs"], ["two men sit on it"]]), 3)
    8.75
    """
    in_images = Counter(gram for texts in right for gram in {g for text in texts for g in _grams(text)})
    total = math.log(len(right))

    def vector(text: str) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        parts: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDERS)]
        for gram, count in _grams(text).items():
            parts[len(gram) - 1][gram] = count * (total - math.log(max(1, in_images[gram])))
        return parts, [math.sqrt(sum(v * v for v in part.values())) for part in parts], len(text.split())

    scores = []
    for text, texts in zip(said, right, strict=True):
        mine, norms, length = vector(text)
        score = 0.0
        for theirs, their_norms, their_length in map(vector, texts):
            near = math.exp(-((length - their_length) ** 2) / (2 * SIGMA**2))
            for a, b, norm, their_norm in zip(mine, theirs, norms, their_norms, strict=True):
                if norm and their_norm:
                    product = sum(min(value, b[gram]) * b[gram] for gram, value in a.items() if gram in b)
                    score += near * product / (norm * their_norm)
        scores.append(10 * score / ORDERS / len(texts))
    return float(np.mean(scores))


def _grams(text: str) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1))


def instead(train: Sequence[Example], test: Sequence[Example]) -> Measures:
    """What one gets by one caption for all images (that of the training, of some hundred, which is nearest to the
    others), and by the caption of the training image with the most similar colours."""
    known = by_image(train)
    texts = sorted({text for some in known.values() for text in some})
    some = [texts[int(i)] for i in np.random.default_rng(0).permutation(len(texts))[:TRIED]]
    golds = [[" ".join(pieces(text)) for text in texts] for texts in known.values()][:TRIED]
    best = max(some, key=lambda text: cider([" ".join(pieces(text))] * len(golds), golds))
    found = {f"best constant caption, {n}": v for n, v in measures(test, [best] * len(test)).items()}
    names = list(known)
    table = np.stack([_colours(name) for name in names])  # [N, F]
    near = {image: names[int(np.abs(table - _colours(image)).sum(1).argmin())] for image in by_image(test)}
    said = [known[near[str(example.given)]][0] for example in test]
    return found | {f"nearest by colour, {n}": v for n, v in measures(test, said).items()}


def _colours(path: str) -> NDArray[np.float64]:
    """The histogram of an image's colours, eight steps each, ``[512]``."""
    image = (read_image(path, 64, colour=True) * 7.999).astype(np.int64).reshape(-1, 3)  # [pixels, 3]
    counts = np.bincount(image @ np.array([64, 8, 1]), minlength=512)
    return counts / counts.sum()


def write_report(examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
    """``mistakes.tsv``, the captions farthest from those of people first, and ``captions.png``."""
    right, said = by_image(examples), {str(e.given): a.text for e, a in zip(examples, answers, strict=True)}
    golds = {image: [" ".join(pieces(text)) for text in texts] for image, texts in right.items()}
    order = list(golds)
    scores = {image: _overlap(said[image], golds[image]) for image in order}
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t")
    table.writerow(["image", "overlap", "said", "right"])
    for image in sorted(order, key=lambda one: (scores[one], one))[:SHOWN]:
        table.writerow([image, f"{scores[image]:.3f}", said[image], right[image][0]])
    mistakes, picture = folder / "mistakes.tsv", folder / "captions.png"
    write_atomic(mistakes, text.getvalue().encode())
    write_atomic(picture, captions_picture([(image, said[image]) for image in order[:PICTURES]]))
    return [mistakes, picture]


def _overlap(said: str, golds: Sequence[str]) -> float:
    """The largest share of words that a caption has in common with one of people (F1)."""
    mine = Counter(pieces(said))
    return max(2 * (mine & Counter(gold.split())).total() / max(1, mine.total() + len(gold.split())) for gold in golds)


def captions_picture(found: Sequence[tuple[str, str]]) -> bytes:
    """Images with what is said of them, as a PNG."""
    import textwrap

    from matplotlib.figure import Figure

    images = [read_image(image, colour=True) for image, _ in found]
    tallest = max((image.shape[0] / image.shape[1] for image in images), default=1.0)
    rows = max(1, -(-len(found) // 4))
    figure = Figure(figsize=(13, (3.2 * min(tallest, 1.5) + 0.5) * rows), layout="constrained")
    for number, (image, (_, text)) in enumerate(zip(images, found, strict=True), start=1):
        axes = figure.add_subplot(rows, 4, number)
        axes.imshow(image)
        axes.set_title("\n".join(textwrap.wrap(text, 34)), fontsize=9)
        axes.axis("off")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()
