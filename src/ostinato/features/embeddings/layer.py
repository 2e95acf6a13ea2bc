"""The embedding as a layer: learned or given, with padding, whole words dropped, and its matrix as an output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.features.embeddings.vectors import Coverage, Vectors


class Embedding(nn.Module):
    """``e[t] = E x[t]``: a row of a matrix for every number.

    Args:
        count: numbers that there are.
        size: numbers that each becomes.
        padding: one number whose row is zero and stays so; None: there is none. Default: 0.
        dropout: probability of dropping a *word*, in the whole batch at once, in training (Gal and Ghahramani, 2016,
            as in Merity et al., 2018, "embedding dropout"). The others are scaled up.
        frozen: the matrix is not trained.
        std: of the random numbers that it begins with. Default: 0.1.

    Raises:
        ValueError: a dropout that is no probability below 1, or a padding that is no such number.

    >>> e = Embedding(5, 3)
    >>> e(torch.tensor([[4, 2, 0]])).shape, e(torch.tensor([0])).abs().sum().item()
    (torch.Size([1, 3, 3]), 0.0)
    """

    def __init__(self, count: int, size: int, padding: int | None = 0, dropout: float = 0.0, frozen: bool = False,
                 std: float = 0.1) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        if padding is not None and not 0 <= padding < count:
            raise ValueError(f"padding must be a number below {count}, got {padding}")
        self.padding, self.dropout = padding, dropout
        self.weight = nn.Parameter(torch.empty(count, size).normal_(std=std), requires_grad=not frozen)  # [V, E]
        if padding is not None:
            with torch.no_grad():
                self.weight[padding] = 0
        self.coverage: Coverage | None = None
        """How many words the pretrained vectors had, where there were any."""

    @classmethod
    def from_vectors(cls, vectors: Vectors, words: Sequence[str], first: int = 1, padding: int | None = 0,
                     dropout: float = 0.0, frozen: bool = False) -> Embedding:  # fmt: skip
        """One whose rows ``first, first + 1, ...`` are those of ``words``; a word without a vector gets random numbers
        of the same spread as the others. The rows before ``first`` are for padding, unknown words and the like."""
        matrix, coverage = vectors.for_words(words)  # [V, E]
        have = matrix.abs().sum(1) > 0  # [V]
        std = float(matrix[have].std()) if int(have.sum()) > 1 else 0.1
        layer = cls(first + len(words), vectors.size, padding, dropout, frozen, std)
        with torch.no_grad():
            layer.weight[first:][have] = matrix[have]
        layer.coverage = coverage
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """Numbers ``[...]`` to vectors ``[..., E]``."""
        weight = self.weight
        if self.training and self.dropout:
            keep = torch.empty(len(weight), 1, device=weight.device).bernoulli_(1 - self.dropout)  # [V, 1]
            weight = weight * keep / (1 - self.dropout)  # [V, E]
        return F.embedding(x, weight, self.padding)

    def as_output(self, input_size: int | None = None) -> TiedLinear:
        """A layer to the logits of the words that shares this matrix."""
        return TiedLinear(self, input_size)

    def vectors(self, words: Sequence[str], first: int = 1) -> Vectors:
        """What was learned of words, to look at or save."""
        return Vectors(words, self.weight.detach()[first : first + len(words)].clone())

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, padding={self.padding}, dropout={self.dropout}"


class TiedLinear(nn.Module):
    """``o = E P h + c``: the logits of all words by the matrix of an embedding, which is the same parameter.

    ``P`` is there where h is not as wide as the vectors.

    Source: Press and Wolf, "Using the Output Embedding to Improve Language Models", 2017 (arXiv 1608.05859).
    """

    def __init__(self, embedding: Embedding, input_size: int | None = None) -> None:
        super().__init__()
        count, size = embedding.weight.shape
        self.weight = embedding.weight  # [V, E]
        self.bias = nn.Parameter(torch.zeros(count))
        wide = input_size is not None and input_size != size
        self.projection = nn.Linear(input_size or size, size, bias=False) if wide else nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        """``[..., H]`` to logits ``[..., V]``."""
        return F.linear(self.projection(h), self.weight, self.bias)
