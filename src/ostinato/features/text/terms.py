"""Texts as vectors over words, characters or their n-grams: what occurs, how often, its share, tf-idf."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from ostinato.errors import InputError, unknown
from ostinato.features.text.ngrams import ngram_list

FORMAT = 1
MODES = ("binary", "count", "freq", "tfidf")


class TermVectors:
    """Texts as vectors ``[V]``, a number for each n-gram that was seen in the texts it was fitted on.

    Args:
        n: groups of ``n`` or fewer consecutive words or characters (:func:`ngram_list`); 1: single ones.
        level: ``"words"`` or ``"characters"``.
        lower: whether texts are lower-cased first.
        size: keep the most frequent alone, so many. Default: all.

    Attributes:
        terms: the n-grams, the most frequent first; of two as frequent, the one that came first.
        documents: in how many texts each occurred.
        document_count: how many texts there were.

    Raises:
        ValueError: n or size below 1, or another level.

    >>> vectors = TermVectors(n=2).fit(["The cat sat.", "The cat ate."])
    >>> vectors.terms
    ('the', 'the cat', 'cat', 'cat sat', 'sat', 'cat ate', 'ate')
    >>> vectors(["The cat sat on the cat."], "count")
    tensor([[2., 2., 2., 1., 1., 0., 0.]])
    """

    def __init__(self, n: int = 1, level: str = "words", lower: bool = True, size: int | None = None) -> None:
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        ngram_list("", n, level)  # refuses what it would refuse later
        self.n, self.level, self.lower, self.size = n, level, lower, size
        self.terms: tuple[str, ...] = ()
        self.documents: tuple[int, ...] = ()
        self.document_count = 0

    def _cut(self, text: str) -> list[str]:
        return ngram_list(text.lower() if self.lower else text, self.n, self.level)

    def fit(self, texts: Iterable[str]) -> TermVectors:
        """Count the n-grams of texts, of any iterator, and forget what was counted before."""
        counts: Counter[str] = Counter()
        documents: Counter[str] = Counter()
        self.document_count = 0
        for text in texts:
            terms = self._cut(text)
            counts.update(terms)
            documents.update(set(terms))
            self.document_count += 1
        self.terms = tuple(term for term, _ in counts.most_common(self.size))
        self.documents = tuple(documents[term] for term in self.terms)
        self._places = {term: place for place, term in enumerate(self.terms)}
        return self

    def __call__(self, texts: Iterable[str], mode: str = "tfidf", sparse: bool = False) -> Tensor:
        """Texts as vectors ``[N, V]`` of float32; n-grams that were not seen before are left out.

        Args:
            texts: N of them.
            mode: ``"binary"``: 1 for what occurs; ``"count"``: how often; ``"freq"``: its share of the text's;
                ``"tfidf"``: (1 + ln count) ln(1 + documents / (1 + documents with it)), as the Tokenizer has it.
            sparse: as a sparse tensor, which keeps what is not zero alone.

        Raises:
            ValueError: another mode, or nothing was counted before.
        """
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        if not self.terms:
            raise ValueError("fit it on texts that have words before it makes vectors")
        rows, places, values = [0], [], []  # the row's ends, and its numbers by place
        for text in texts:
            counts = Counter(place for term in self._cut(text) if (place := self._places.get(term)) is not None)
            for place in sorted(counts):
                places.append(place)
                values.append(self._value(counts[place], counts.total(), place, mode))
            rows.append(len(places))
        counted = torch.tensor(rows).diff()  # [N]
        index = torch.stack([torch.arange(len(counted)).repeat_interleave(counted),
                             torch.tensor(places, dtype=torch.int64)])  # [2, count]
        made = torch.sparse_coo_tensor(index, torch.tensor(values, dtype=torch.float32),
                                       (len(counted), len(self.terms)), is_coalesced=True, check_invariants=True)
        return made if sparse else made.to_dense()

    def to_json(self) -> str:
        """All that it is, as JSON; :meth:`from_json` reads it."""
        names = ("n", "level", "lower", "size", "terms", "documents", "document_count")
        return json.dumps({"format": FORMAT, **{name: getattr(self, name) for name in names}}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TermVectors:
        """Read what :meth:`to_json` wrote.

        Raises:
            InputError: not JSON, another format, or damaged.

        >>> vectors = TermVectors(n=2).fit(["The cat sat.", "The cat ate."])
        >>> torch.equal(TermVectors.from_json(vectors.to_json())(["a cat"]), vectors(["a cat"]))
        True
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise InputError(f"term vectors of format {data['format']!r}: this version reads {FORMAT}")
            made = cls(data["n"], data["level"], data["lower"], data["size"])
            made.terms, made.documents = tuple(data["terms"]), tuple(data["documents"])
            made.document_count = int(data["document_count"])
            if len(made.terms) != len(made.documents) or not all(isinstance(n, int) for n in made.documents):
                raise ValueError("a count for each term is needed")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"no term vectors, or damaged: {error}") from None
        made._places = {term: place for place, term in enumerate(made.terms)}
        return made

    def _value(self, count: int, total: int, place: int, mode: str) -> float:
        if mode == "tfidf":
            return (1 + math.log(count)) * math.log(1 + self.document_count / (1 + self.documents[place]))
        return {"binary": 1.0, "count": count, "freq": count / total}[mode]
