"""The lecture's named entities: who, which company, when; and a year that is found wherever it stands.

A small grammar writes sentences about people, companies and years. One model learns from them, and brackets sentences
that are not among them: people, companies and years that it never saw, at the beginning of a sentence or its end. All
steps share their weights, so that nothing has to be learned again for another position.
Takes ten seconds.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from ostinato.decoding.spans import labels
from ostinato.tasks.common import train
from ostinato.tasks.common.runs import answers_of, load
from ostinato.tasks.common.words import segment
from ostinato.tasks.tag import Tag, TagOptions
from ostinato.training.run import RunFolder

FORMS = (
    "{Person} bought {number} shares of {Organization} in {Time}", "In {Time}, {Person} sold shares of {Organization}",
    "{Person} went to {place} in {Time}", "In {Time}, {Person} went to {place}", "I saw {place} in {Time}",
    "In {Time}, I went to {place}", "I bought {number} books and went to {place} in {Time}",
    "{Organization} had {number} people when {Person} came", "{Organization} was sold to {Organization} in {Time}",
)  # fmt: skip
FIRST, SECOND = ("Zen", "Vex", "Tri", "Om", "Lum", "Quo", "Pax", "Del"), ("co", "ta", "dex", "nor", "via", "mar", "sys")
PEOPLE = ("Ann", "Bob", "Eve", "Joe", "Mia", "Tom", "Kim", "Pat", "Liz", "Ben", "Sue", "Dan", "Joan", "Ruth", "Jill")
PLACES = ("Peru", "Chad", "Fiji", "Rome", "Oslo", "Bern", "Laos", "Iran")
SENTENCES = ("Jim bought 300 shares of Acme Corp. in 2006", "I went to Nepal in 1999", "In 1999, I went to Nepal")


def sentence(draw: random.Random) -> str:
    """One sentence of the grammar as CoNLL."""
    tokens: list[str] = []
    found = []
    for piece in draw.choice(FORMS).replace("{", "\0{").replace("}", "}\0").split("\0"):
        kind = piece.strip("{}") if piece.startswith("{") else ""
        words = segment(filled(kind, draw) if kind else piece)
        if kind[:1].isupper():
            found.append((len(tokens), len(tokens) + len(words), kind))
        tokens += words
    tags = labels(found, len(tokens))
    return "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True)) + "\n"


def filled(kind: str, draw: random.Random) -> str:
    """A name, number or year."""
    company = draw.choice(FIRST) + draw.choice(SECOND)
    return {
        "Person": draw.choice(PEOPLE),
        "Organization": f"{company} {draw.choice(('Corp.', 'Inc.', 'Ltd.'))}",
        "Time": str(draw.randint(1900, 2024)),
        "number": str(draw.choice((draw.randint(2, 99), 10 * draw.randint(10, 99)))),
        "place": draw.choice(PLACES),
    }[kind]


def main() -> None:
    """Write the sentences, learn, and bracket those of the lecture."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "sentences.conll", RunFolder(Path(folder) / "run")
        data.write_text("".join(sentence(draw) for _ in range(800)), encoding="utf-8")
        options = TagOptions(hidden_size=48, embedding_size=32, epochs=12, threads=1, word_dropout=0.5)
        result = train(Tag(options), data, None, run)
        print(f"F1 on {result['validation_examples']} sentences held out: {result['validation']['f1']:.3f}")
        kind, model = load(run)
        for answer in answers_of(kind, model, [kind.from_text(text) for text in SENTENCES]):
            print(answer.text)


if __name__ == "__main__":
    main()
