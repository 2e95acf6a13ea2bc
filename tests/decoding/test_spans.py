"""Spans and labels: there and back for everything that fits, and malformed labels read as conlleval reads them."""

from __future__ import annotations

from itertools import product

import pytest

from ostinato.decoding.spans import SCHEMES, Span, convert, follows, labels, scheme_of, spans
from ostinato.errors import InputError

LETTERS = {"iob1": "BI", "bio": "BI", "bioes": "BIES"}
SHARED = [Span(0, 2, "X"), Span(2, 3, "X"), Span(3, 4, "Y"), Span(5, 8, "X")]
WRITTEN = {
    "iob1": "I-X I-X B-X I-Y O I-X I-X I-X",
    "bio": "B-X I-X B-X B-Y O B-X I-X I-X",
    "bioes": "B-X E-X S-X S-Y O B-X I-X E-X",
}


def partitions(length: int, at: int = 0) -> list[list[Span]]:
    """All sets of spans of the kinds X and Y in ``length`` steps."""
    if at >= length:
        return [[]]
    found = partitions(length, at + 1)
    for stop, kind in product(range(at + 1, length + 1), "XY"):
        found += [[Span(at, stop, kind), *rest] for rest in partitions(length, stop)]
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_by_hand(scheme: str) -> None:
    assert labels(SHARED, 8, scheme) == WRITTEN[scheme].split()
    assert spans(WRITTEN[scheme].split()) == SHARED


@pytest.mark.parametrize("scheme", SCHEMES)
def test_there_and_back_for_all_spans_of_five_steps(scheme: str) -> None:
    every = partitions(5)
    assert len(every) > 400
    for one in every:
        assert spans(labels(one, 5, scheme)) == one


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_may_follow_is_what_can_be_written(scheme: str) -> None:
    """Of all sequences of labels, those in which all may follow are those that spans are written as."""
    names = ["O", *(f"{letter}-{kind}" for letter in LETTERS[scheme] for kind in "XY")]
    written = {tuple(labels(one, 4, scheme)) for one in partitions(4)}
    allowed = {given for given in product(names, repeat=4)
               if all(follows(a, b, scheme) for a, b in zip((None, *given), (*given, None), strict=True))}
    assert allowed == written


@pytest.mark.parametrize(("given", "wanted"), [
    ("I-X I-X O I-Y", [(0, 2, "X"), (3, 4, "Y")]),
    ("B-X I-Y", [(0, 1, "X"), (1, 2, "Y")]),
    ("E-X E-X", [(0, 1, "X"), (1, 2, "X")]),
    ("S-X I-X O B-X", [(0, 1, "X"), (1, 2, "X"), (3, 4, "X")]),
    ("O B-X E-X I-X", [(1, 3, "X"), (3, 4, "X")]),
    ("I-X-Y I-X-Y", [(0, 2, "X-Y")]),
    ("", []),
])
def test_malformed_labels(given: str, wanted: list[tuple[int, int, str]]) -> None:
    assert spans(given.split()) == wanted


def test_schemes_are_told_apart() -> None:
    for scheme in SCHEMES:
        assert scheme_of([WRITTEN[scheme].split(), ["O"]]) == scheme
        assert convert(WRITTEN["iob1"].split(), scheme) == WRITTEN[scheme].split()
    assert scheme_of([["NOUN", "VERB"]]) is None
    assert scheme_of([["B-X", "I-Y"], ["I-X", "O"], ["O", "I-Y", "I-Y"], ["B-X", "I-X"]]) == "iob1", "most of them"


def test_errors() -> None:
    with pytest.raises(InputError, match=r"the span X from 1 to 3 is empty, goes beyond 4, or overlaps"):
        labels([(0, 2, "X"), (1, 3, "X")], 4)
    with pytest.raises(InputError, match=r"from 2 to 5 is empty, goes beyond 4"):
        labels([(2, 5, "X")], 4)
    with pytest.raises(InputError, match=r"got 'NOUN'"):
        spans(["NOUN"])
    with pytest.raises(InputError, match=r"unknown scheme 'bilou'"):
        labels([], 1, "bilou")
