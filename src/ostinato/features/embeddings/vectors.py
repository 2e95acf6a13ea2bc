"""Words and their vectors: look them up, find neighbours, solve analogies, keep them in a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ostinato.errors import InputError, unknown
from ostinato.files import save_tensors, write_atomic


@dataclass(frozen=True)
class Coverage:
    """How many words of a vocabulary have a vector."""

    words: int
    exact: int
    lowered: int
    """Found only by their lower-case form."""

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return (self.exact + self.lowered) / max(self.words, 1)

    def __str__(self) -> str:
        lowered = f" ({self.lowered:,} of them in lower case)" if self.lowered else ""
        return f"{self.exact + self.lowered:,} of {self.words:,} words have a vector{lowered}: {self.share:.1%}"


class Vectors:
    """A word a row.

    Args:
        words: each once.
        matrix: ``[N, E]``.

    Raises:
        ValueError: as many words as rows are needed, and each once.

    >>> v = Vectors(["man", "king", "woman", "queen"], torch.tensor([[1., 0.], [1., 1.], [-1., 0.], [-1., 1.]]))
    >>> [word for word, cosine in v.analogy("man", "king", "woman", 1)]
    ['queen']
    """

    def __init__(self, words: Sequence[str], matrix: Tensor) -> None:
        if matrix.dim() != 2 or len(words) != len(matrix):
            raise ValueError(f"{len(words)} words and a matrix {tuple(matrix.shape)}: a row for each word is expected")
        self.words, self.matrix = list(words), matrix  # [N, E]
        self._index = {word: row for row, word in enumerate(self.words)}
        if len(self._index) != len(self.words):
            raise ValueError("a word is there more than once")

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._index

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return self.matrix.shape[1]

    def __getitem__(self, word: str) -> Tensor:
        """The vector of a word, ``[E]``.

        Raises:
            InputError: there is none.
        """
        if word not in self._index:
            near = [w for w in self.words if w[:2] == word[:2]][:2000]
            error = unknown("word", word, near)
            raise InputError(str(error).split("; known")[0])
        return self.matrix[self._index[word]]

    def for_words(self, words: Iterable[str]) -> tuple[Tensor, Coverage]:
        """The rows of a vocabulary ``[V, E]``, by the word or else by its lower case, zero where there is neither."""
        words = list(words)
        exact = [self._index.get(word, -1) for word in words]
        found = [row if row >= 0 else self._index.get(word.lower(), -1) for row, word in zip(exact, words, strict=True)]
        rows = torch.tensor(found, dtype=torch.long)  # [V]
        matrix = torch.zeros(len(words), self.size, dtype=self.matrix.dtype)  # [V, E]
        matrix[rows >= 0] = self.matrix[rows[rows >= 0]]
        hits = sum(row >= 0 for row in exact)
        return matrix, Coverage(len(words), hits, int((rows >= 0).sum()) - hits)

    def neighbours(self, of: str | Tensor, count: int = 10) -> list[tuple[str, float]]:
        """The words whose vectors have the largest cosine with a word's or with a vector ``[E]``, itself left out."""
        return self._nearest(self[of] if isinstance(of, str) else of, count, [of] if isinstance(of, str) else [])

    def analogy(self, a: str, b: str, c: str, count: int = 5) -> list[tuple[str, float]]:
        """``a`` is to ``b`` as ``c`` is to what? The words nearest to ``b - a + c``, all of unit length.

        Source: Mikolov et al., "Linguistic Regularities in Continuous Space Word Representations", 2013 (3CosAdd).
        """
        unit = [self[word] / self[word].norm().clamp(min=1e-12) for word in (a, b, c)]
        return self._nearest(unit[1] - unit[0] + unit[2], count, [a, b, c])

    def _nearest(self, vector: Tensor, count: int, without: Sequence[str]) -> list[tuple[str, float]]:
        lengths = self.matrix.norm(dim=1).clamp(min=1e-12)  # [N]
        cosine = (self.matrix @ vector) / (lengths * vector.norm().clamp(min=1e-12))  # [N]
        cosine[[self._index[word] for word in without]] = -torch.inf
        best = cosine.topk(min(count, len(self) - len(without)))
        return [(self.words[row], round(value, 6))
                for value, row in zip(best.values.tolist(), best.indices.tolist(), strict=True)]  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write a file that :func:`read_vectors` reads: ``.safetensors``, or else the text of word2vec.

        Raises:
            InputError: the file cannot be written, or a word has a blank in it and the format is text.
        """
        path = Path(path)
        if path.suffix == ".safetensors":
            return save_tensors(path, {"vectors": self.matrix}, {"words": self.words})
        blank = next((word for word in self.words if any(c.isspace() for c in word)), None)
        if blank is not None:
            raise InputError(f"{path}: the word {blank!r} has a blank in it, which a text file cannot hold")
        rows = (f"{w} {' '.join(map(repr, row))}" for w, row in zip(self.words, self.matrix.tolist(), strict=True))
        write_atomic(path, "\n".join([f"{len(self)} {self.size}", *rows, ""]).encode())
        return None
