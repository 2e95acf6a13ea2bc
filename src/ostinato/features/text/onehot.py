"""One-hot vectors: a token's number i as N numbers that are all zero but for the i-th, which is 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ostinato.features.text.vocabulary import Vocabulary


def one_hot_vectors(numbers: Tensor | Sequence[int], size: int, sparse: bool = False) -> Tensor:
    """One-hot vectors ``[..., N]`` of numbers ``[...]``, each from 0 to N - 1.

    Args:
        numbers: whole numbers, of any shape.
        size: N.
        sparse: as a sparse tensor, which keeps the ones alone.

    Returns:
        float32.

    Raises:
        ValueError: a number below 0 or from N on.

    >>> one_hot_vectors([2, 0], 3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    index = torch.as_tensor(numbers, dtype=torch.int64)  # [...]
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
        raise ValueError(f"numbers must be from 0 to {size - 1}, got {int(index.min())} to {int(index.max())}")
    shape = (*index.shape, size)
    if sparse:
        places = torch.stack([*torch.ones_like(index).nonzero().T, index.flatten()])  # [dimensions, count]
        return torch.sparse_coo_tensor(places, torch.ones(index.numel()), shape, is_coalesced=True,
                                       check_invariants=True)
    return torch.zeros(shape).scatter_(-1, index.unsqueeze(-1), 1.0)  # [..., N]


class OneHot:
    """The words or characters of a text as one-hot vectors, by a vocabulary.

    Args:
        vocabulary: gives each token its number; what it does not list is number 0.

    Source: the lecture, "One-hot Encoding of Words and Characters".

    >>> OneHot(Vocabulary.build("abba", "characters"))("ab")
    tensor([[0., 1., 0.],
            [0., 0., 1.]])
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def __call__(self, text: str, sparse: bool = False) -> Tensor:
        """``[T, N]`` for a text of T tokens."""
        return one_hot_vectors(self.vocabulary.encode(text), len(self.vocabulary), sparse)

    def decode(self, vectors: Tensor) -> str:
        """The text of vectors ``[T, N]``, each taken for its largest number."""
        dense = vectors.to_dense() if vectors.is_sparse else vectors
        return self.vocabulary.decode(dense.argmax(-1).tolist())
