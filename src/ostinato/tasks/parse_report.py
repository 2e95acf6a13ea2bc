"""How good trees are, by the rules of the CoNLL 2018 shared task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ostinato.tasks.common.kind import Measures
from ostinato.tasks.parse_files import Tree


def measures(gold: Sequence[Tree], found: Sequence[Tree]) -> Measures:
    words = heads = both = tags = 0
    for right, said in zip(gold, found, strict=True):
        for i in range(len(right.heads)):
            words += 1
            same = right.heads[i] == said.heads[i]
            heads += same
            both += same and right.relations[i].split(":")[0] == said.relations[i].split(":")[0]
            tags += right.tags[i] == said.tags[i]
    return {"uas": heads / words, "las": both / words, "upos": tags / words}


def neighbours(train: Sequence[Tree], test: Sequence[Tree]) -> Measures:
    return {}
