"""Spans of a sequence (names, chunks) as one label a step, and back.

Schemes: in ``iob1`` a span is I I I, and begins with B only where it follows another of its kind; in ``bio`` (IOB2) it
is B I I; in ``bioes`` it is B I E, or S where it is one step long. A step outside of all is O.

Source: Ramshaw and Marcus, "Text Chunking using Transformation-Based Learning", 1995 (iob1); Ratinov and Roth, "Design
Challenges and Misconceptions in Named Entity Recognition", CoNLL 2009 (bioes, there called BILOU).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ostinato.errors import InputError, unknown

SCHEMES = ("iob1", "bio", "bioes")


class Span(NamedTuple):
    """Steps ``start`` to ``stop - 1``, and what they are."""

    start: int
    stop: int
    kind: str


def split(label: str) -> tuple[str, str]:
    """The letter and the kind of a label.

    Raises:
        InputError: when it is neither O nor one of B, I, E, S with a kind.

    >>> split("B-PER"), split("O")
    (('B', 'PER'), ('O', ''))
    """
    letter, _, kind = label.partition("-")
    if (letter == "O" and label == "O") or (letter in ("B", "I", "E", "S") and kind):
        return letter, kind
    raise InputError(f"a label of spans is O, or B-, I-, E- or S- and a kind, got {label!r}")


def spans(labels: Sequence[str]) -> list[Span]:
    """The spans that labels of any scheme tell of; also of malformed ones, as the official script ``conlleval`` reads
    them: a span that does not begin rightly begins where its kind does.

    Raises:
        InputError: on a label that is none.

    >>> spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
    [Span(start=0, stop=2, kind='PER'), Span(start=3, stop=4, kind='LOC'), Span(start=4, stop=5, kind='LOC')]
    """
    found, begun, before = [], 0, ("O", "")
    for at, label in enumerate([*labels, "O"]):
        now = split(label)
        if now[0] in "OBS" or before[0] in "OES" or now[1] != before[1]:  # nothing goes on here
            if before[0] != "O":
                found.append(Span(begun, at, before[1]))
            begun = at
        before = now
    return found


def labels(spans: Iterable[Span | tuple[int, int, str]], length: int, scheme: str = "bio") -> list[str]:
    """The labels of ``length`` steps with these spans.

    Raises:
        InputError: on an unknown scheme, spans that overlap, are empty or go beyond the end.

    >>> labels([(0, 3, "PER"), (3, 4, "PER")], 5, "bioes")
    ['B-PER', 'I-PER', 'E-PER', 'S-PER', 'O']
    """
    if scheme not in SCHEMES:
        raise unknown("scheme", scheme, SCHEMES)
    out, end, last = ["O"] * length, 0, ""
    for start, stop, kind in sorted(spans):
        if not end <= start < stop <= length:
            raise InputError(f"the span {kind} from {start} to {stop} is empty, goes beyond {length}, or overlaps the "
                             f"one that ends at {end}")
        letters = ["B"] + ["I"] * (stop - start - 1)
        if scheme == "iob1" and not (start == end and kind == last):
            letters[0] = "I"
        if scheme == "bioes":
            letters[-1] = "E" if stop - start > 1 else "S"
        out[start:stop] = [f"{letter}-{kind}" for letter in letters]
        end, last = stop, kind
    return out


def convert(given: Sequence[str], scheme: str) -> list[str]:
    """Labels of any scheme, in another; what was malformed is well-formed then.

    >>> convert(["I-PER", "I-PER", "O", "I-LOC"], "bio")
    ['B-PER', 'I-PER', 'O', 'B-LOC']
    """
    return labels(spans(given), len(given), scheme)


def scheme_of(sequences: Iterable[Sequence[str]]) -> str | None:
    """The scheme in which most sequences are well-formed (of equals the first of bio, bioes, iob1); None for labels
    that are no spans.

    >>> scheme_of([["I-PER", "O"]]), scheme_of([["B-PER", "E-PER"]]), scheme_of([["NOUN"]])
    ('iob1', 'bioes', None)
    """
    formed = dict.fromkeys(("bio", "bioes", "iob1"), 0)
    try:
        for sequence in sequences:
            for scheme in formed:
                formed[scheme] += convert(sequence, scheme) == list(sequence)
    except InputError:
        return None
    return max(formed, key=lambda scheme: formed[scheme])


def follows(before: str | None, after: str | None, scheme: str) -> bool:
    """Whether a label may follow another; None is what lies before the first and after the last.

    Raises:
        InputError: on an unknown scheme, or a label that it does not have.

    >>> follows("O", "I-PER", "bio"), follows("B-PER", "I-PER", "bio"), follows("B-PER", None, "bioes")
    (False, True, False)
    """
    if scheme not in SCHEMES:
        raise unknown("scheme", scheme, SCHEMES)
    (a, kind_a), (b, kind_b) = (split(label) if label else ("O", "") for label in (before, after))
    if scheme != "bioes" and (a in "ES" or b in "ES"):
        raise InputError(f"{scheme} has no labels E- and S-, got {before!r} and {after!r}")
    inside, same = a in "BI", kind_a == kind_b
    if scheme == "bioes":
        return (b in "IE" and same) if inside else b in "OBS"
    marked = "I" if scheme == "bio" else "B"  # what needs a span of its kind before it
    return b != marked or (inside and same)
