"""Sentences and their trees, from CoNLL-U or from plain text, a sentence a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ostinato.errors import InputError, unknown
from ostinato.features.conll import ConlluFile, Sentence, Word
from ostinato.features.rows import read_lines
from ostinato.tasks.common.kind import Example, TaskOptions
from ostinato.tasks.common.words import segment

FORMATS = ("conllu", "lines")


class Tree(NamedTuple):
    """What a parser says of a sentence, a value for each word."""

    heads: Sequence[int]
    """The number of the word that each depends on, from 1; 0 is the root."""
    relations: Sequence[str]
    """How: DEPREL."""
    tags: Sequence[str]
    """The parts of speech, UPOS; ``_`` is none."""


def universal(relation: str) -> str:
    """A relation without its subtype.

    >>> universal("nmod:poss")
    'nmod'
    """
    return relation.partition(":")[0]


def forms(sentence: Sentence) -> list[str]:
    """The words as they are written."""
    return [word.form for word in sentence.words]


def tree_of(sentence: Sentence) -> Tree:
    """The tree in a file.

    Raises:
        InputError: a word without a head or relation, no root or several, or a cycle.
    """
    tree = Tree(sentence.heads, [w.deprel for w in sentence.words], [w.upos for w in sentence.words])
    for word in sentence.words:
        if word.deprel == "_":
            raise InputError(f"{sentence.place}: word {word.id} ({word.form!r}) has no DEPREL")
    if tree.heads.count(0) != 1:
        raise InputError(f"{sentence.place}: {tree.heads.count(0)} words have HEAD 0, expected one root")
    for first in range(1, len(tree.heads) + 1):
        if not _reaches_root(tree.heads, first):
            raise InputError(f"{sentence.place}: the heads above word {first} go round in a circle")
    return tree


def _reaches_root(heads: Sequence[int], word: int) -> bool:
    steps = 0
    while word and steps <= len(heads):
        word, steps = heads[word - 1], steps + 1
    return not word


def with_tree(sentence: Sentence, tree: Tree) -> str:
    """The sentence as CoNLL-U with this tree and these tags; what else the file said stays, but for DEPS."""
    new = sentence.given("head", tree.heads).given("deprel", tree.relations).given("upos", tree.tags)
    return new.given("deps", ["_"] * len(tree.heads)).text()


def from_line(text: str, place: str) -> Sentence:
    """A plain text, cut into words and punctuation.

    Raises:
        InputError: there is no word in it.

    >>> print(from_line("It's new.", "here").text().replace("\\t_", "").replace("\\t", " "), end="")
    # text = It's new.
    1 It SpaceAfter=No
    2 's
    3 new SpaceAfter=No
    4 . SpaceAfter=No
    <BLANKLINE>
    """
    text = " ".join(text.split())
    pieces, end = segment(text), 0
    if not pieces:
        raise InputError(f"{place}: there is no word in it" if text else f"{place}: the text is empty")
    lines = []
    for number, piece in enumerate(pieces, start=1):
        end = text.index(piece, end) + len(piece)
        misc = "_" if text[end : end + 1] == " " else "SpaceAfter=No"
        lines.append(Word(str(number), piece, misc=misc))
    return Sentence(place, (f"# text = {text}",), tuple(lines))


class Sentences:
    """The examples of a file, read anew at every iteration.

    Args:
        answered: each must have its tree; else no tree is read.

    Raises:
        InputError: an unknown format; while it is read: anything wrong with the file, with its line.
    """

    def __init__(self, path: Path, options: TaskOptions, answered: bool) -> None:
        by_name = "conllu" if answered or {".conllu", ".conll"} & set(path.suffixes) else "lines"
        self.format = options.format or by_name
        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS)
        self.path, self.answered, self._options, self.bad = path, answered, options, 0

    def __iter__(self) -> Iterator[Example]:
        return self._conllu() if self.format == "conllu" else self._lines()

    def _conllu(self) -> Iterator[Example]:
        file = ConlluFile(self.path, self._options.encoding, self._options.skip_bad_lines)
        wrong = used = 0
        for sentence in file:
            try:
                gold = tree_of(sentence) if self.answered else None
            except InputError:
                if not self._options.skip_bad_lines:
                    raise
                wrong += 1
                continue
            used += 1
            yield Example(sentence.place, sentence, gold)
        self.bad = file.bad + wrong
        if not used:
            raise InputError(f"{self.path} has no sentences that can be used")

    def _lines(self) -> Iterator[Example]:
        for number, line in read_lines(self.path, self._options.encoding):
            if line.strip():
                place = f"{self.path}:{number}"
                yield Example(place, from_line(line, place))
