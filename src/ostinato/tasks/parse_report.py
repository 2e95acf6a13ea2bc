"""How good trees are, what two rules without any learning reach, and the mistakes to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ostinato.files import write_atomic
from ostinato.tasks.common.kind import Answer, Example, Measures
from ostinato.tasks.parse_files import Tree, forms, universal
from ostinato.tasks.parse_tree import draw

SHOWN, LONGEST = 20, 25
"""Trees that are drawn, and how many words they have at most."""


def measures(gold: Sequence[Tree], found: Sequence[Tree]) -> Measures:
    """Shares of all words, punctuation among them: with the right head (UAS), also with the right relation (LAS), with
    the right part of speech.

    As in the official script of the CoNLL 2018 shared task, relations are compared without their subtypes (``nmod``
    for ``nmod:poss``). ``las_subtypes`` compares them whole.

    >>> right = Tree([2, 0], ["nmod:poss", "root"], ["PRON", "NOUN"])
    >>> measures([right], [Tree([2, 0], ["nmod", "root"], ["X", "NOUN"])])
    {'uas': 1.0, 'las': 1.0, 'las_subtypes': 0.5, 'upos': 0.5}
    """
    counts: Counter[str] = Counter()
    for right, said in zip(gold, found, strict=True):
        for i, head in enumerate(right.heads):
            same = head == said.heads[i]
            counts["words"] += 1
            counts["uas"] += same
            counts["las"] += same and universal(right.relations[i]) == universal(said.relations[i])
            counts["las_subtypes"] += same and right.relations[i] == said.relations[i]
            counts["upos"] += right.tags[i] == said.tags[i]
    return {name: counts[name] / counts["words"] for name in ("uas", "las", "las_subtypes", "upos")}


def neighbours(train: Sequence[Tree], test: Sequence[Tree]) -> Measures:
    """What "the next word is the head" and "the word before is the head" reach, with the relation most frequent so."""
    result = {}
    for name, step in (("next", 1), ("previous", -1)):
        seen = Counter(universal(relation) for tree in train
                       for i, (head, relation) in enumerate(zip(tree.heads, tree.relations, strict=True), start=1)
                       if head == i + step)  # fmt: skip
        relation = max(seen, key=lambda r: seen[r], default="dep")
        found = [_chain(len(tree.heads), step, relation) for tree in test]
        scores = measures(test, found)
        result |= {f"head is the {name} word: {key}": scores[key] for key in ("uas", "las")}
    return result


def _chain(count: int, step: int, relation: str) -> Tree:
    heads = [head if 1 <= head <= count else 0 for head in range(1 + step, count + 1 + step)]
    return Tree(heads, [relation if head else "root" for head in heads], ["_"] * count)


def write_report(examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
    """``relations.tsv``, how well each is found, and ``trees/``, the worst of the shorter sentences drawn."""
    found = [Tree(**answer.value) for answer in answers]
    table, drawn = folder / "relations.tsv", folder / "trees"
    write_atomic(table, _relations([example.gold for example in examples], found).encode())
    drawn.mkdir(exist_ok=True)
    pairs = [(_mistakes(e.gold, tree), e, tree) for e, tree in zip(examples, found, strict=True)
             if len(e.gold.heads) <= LONGEST]  # fmt: skip
    pairs.sort(key=lambda pair: (-pair[0], pair[1].place))
    files = [table]
    for number, (wrong, example, tree) in enumerate(pairs[:SHOWN], start=1):
        files.append(drawn / f"{number:02}.svg")
        title = f"{example.place}: {wrong} of {len(tree.heads)} wrong (red above, right below)"
        picture = draw(forms(example.given), [tree, example.gold], title)
        write_atomic(files[-1], picture.encode())
    return files


def _mistakes(right: Tree, said: Tree) -> int:
    return sum(
        a != b or universal(c) != universal(d)
        for a, b, c, d in zip(right.heads, said.heads, right.relations, said.relations, strict=True)
    )


def _relations(gold: Sequence[Tree], found: Sequence[Tree]) -> str:
    """A line for each relation: how many there are, the share found (recall), and right of those said (precision)."""
    right, said, both = Counter[str](), Counter[str](), Counter[str]()
    for a, b in zip(gold, found, strict=True):
        for head, other, name, told in zip(a.heads, b.heads, map(universal, a.relations), map(universal, b.relations),
                                           strict=True):  # fmt: skip
            right[name] += 1
            said[told] += 1
            both[name] += head == other and name == told
    rows = [f"{name}\t{right[name]}\t{both[name] / max(right[name], 1):.3f}\t{both[name] / max(said[name], 1):.3f}"
            for name, _ in sorted((right + said).items(), key=lambda item: (-right[item[0]], item[0]))]  # fmt: skip
    return "\n".join(["relation\tcount\trecall\tprecision", *rows, ""])
