"""Sequences of numbers as arrays: padding and truncating, multi-hot vectors, windows of a series, word pairs.

``pad_sequences``, ``skipgrams``, ``make_sampling_table`` and ``timeseries_dataset_from_array`` are those of Keras.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Side = Literal["pre", "post"]


def vectorize_sequences(sequences: Sequence[Sequence[int]], dimension: int = 10_000) -> np.ndarray:
    """Sequences of numbers as vectors ``[N, dimension]``, float64: 1 where a number occurs, else 0.

    Raises:
        ValueError: a number below 0 or from ``dimension`` on, with the sequence it is in.

    Source: the lecture, "Vectorize a Sequence".

    >>> vectorize_sequences([[3, 5], [0, 3, 3]], dimension=6)
    array([[0., 0., 0., 1., 0., 1.],
           [1., 0., 0., 1., 0., 0.]])
    """
    results = np.zeros((len(sequences), dimension))
    for i, sequence in enumerate(sequences):
        index = np.asarray(sequence, dtype=np.int64)
        if index.size and not 0 <= index.min() <= index.max() < dimension:
            raise ValueError(f"sequence {i} has numbers from {index.min()} to {index.max()}: "
                             f"they must be from 0 to {dimension - 1}")
        results[i, index] = 1.0
    return results


def pad_sequences(sequences: Sequence[Any], maxlen: int | None = None, dtype: Any = "int32", padding: Side = "pre",
                  truncating: Side = "pre", value: Any = 0.0) -> np.ndarray:
    """Sequences of different lengths as one array ``[N, maxlen, ...]``: short ones filled up, long ones cut.

    Args:
        sequences: of numbers, or of arrays of one shape.
        maxlen: the length. Default: that of the longest.
        dtype: of the result.
        padding: fill up before (``"pre"``) or after (``"post"``) what there is.
        truncating: cut off the beginning (``"pre"``) or the end (``"post"``).
        value: what is filled in.

    Raises:
        ValueError: something that is no sequence, elements of different shapes, or another side.

    >>> pad_sequences([[1, 2, 3, 4], [5]], maxlen=3)
    array([[2, 3, 4],
           [0, 0, 5]], dtype=int32)
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            raise ValueError(f"{name} must be 'pre' or 'post', got {side!r}")
    if not hasattr(sequences, "__len__"):
        raise ValueError(f"sequences must be a list of sequences, got {type(sequences).__name__}")
    for number, sequence in enumerate(sequences):
        if not hasattr(sequence, "__len__"):
            raise ValueError(f"sequence {number} is no sequence: {sequence!r}")
    is_text = isinstance(value, str) and not (dtype is object or np.issubdtype(dtype, np.str_)
                                              or np.issubdtype(dtype, np.bytes_))
    if is_text:
        raise ValueError(f"a filling of text, {value!r}, needs dtype=object or a dtype of text, not {dtype!r}")
    longest = max(map(len, sequences), default=0) if maxlen is None else maxlen
    kept = [len(s) if len(s) < longest else longest for s in sequences]
    arrays = [np.asarray(s[len(s) - n :] if truncating == "pre" else s[:n], dtype=dtype)
              for s, n in zip(sequences, kept, strict=True) if n]
    shape = arrays[0].shape[1:] if arrays else ()
    for array in arrays:
        if array.shape[1:] != shape:
            raise ValueError(f"the elements of all sequences have one shape: {list(shape)} and {list(array.shape[1:])}")
    padded = np.full((len(kept), longest, *shape), value, dtype=dtype)
    if arrays:
        count, place = np.array(kept)[:, None], np.arange(longest)  # [N, 1], [maxlen]
        padded[place >= longest - count if padding == "pre" else place < count] = np.concatenate(arrays)
    return padded


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> np.ndarray:
    """With what probability :func:`skipgrams` keeps the word of each rank ``[size]``: the more frequent, the less.

    Frequencies are taken to follow Zipf's law. Source: Mikolov et al. (2013), arXiv 1310.4546, section 2.3, as Keras
    has it.

    >>> make_sampling_table(3).round(5)
    array([0.00315, 0.00315, 0.00548])
    """
    gamma = 0.577  # Euler's, in so many places as Keras has
    rank = np.arange(size)
    rank[:1] = 1
    rarity = sampling_factor * (rank * (np.log(rank) + gamma) + 0.5 - 1.0 / (12.0 * rank))
    return np.minimum(1.0, rarity / np.sqrt(rarity))


def skipgrams(sequence: Sequence[int], vocabulary_size: int, window_size: int = 4, negative_samples: float = 1.0,
              shuffle: bool = True, categorical: bool = False, sampling_table: Any = None,
              seed: int | None = None) -> tuple[list[list[int]], list[Any]]:
    """Pairs of words: one and another from its window, labelled 1, and one and any other, labelled 0.

    Args:
        sequence: numbers; 0 is no word.
        vocabulary_size: one more than the largest number.
        window_size: how far away the second word may be.
        negative_samples: how many pairs with a random word there are for each true one.
        shuffle: whether the pairs are shuffled.
        categorical: labels as ``[0, 1]`` and ``[1, 0]`` instead of 1 and 0.
        sampling_table: ``[vocabulary_size]``, with what probability a word is taken at all.
        seed: of the shuffle. Default: at random. What is drawn besides comes from Python's ``random``.

    Returns:
        The pairs and their labels.

    >>> skipgrams([1, 2, 3], 4, window_size=1, negative_samples=0, shuffle=False)
    ([[1, 2], [2, 1], [2, 3], [3, 2]], [1, 1, 1, 1])
    """
    true, false = ([0, 1], [1, 0]) if categorical else (1, 0)
    couples: list[list[int]] = []
    for i, word in enumerate(sequence):
        if not word or (sampling_table is not None and sampling_table[word] < random.random()):
            continue
        near = range(max(0, i - window_size), min(len(sequence), i + window_size + 1))
        couples += [[word, sequence[j]] for j in near if j != i and sequence[j]]
    labels: list[Any] = [true] * len(couples)
    if negative_samples > 0:
        count, words = int(len(labels) * negative_samples), [couple[0] for couple in couples]
        random.shuffle(words)
        couples += [[words[i % len(words)], random.randint(1, vocabulary_size - 1)] for i in range(count)]
        labels += [false] * count
    if shuffle:
        seed = random.randint(0, 10_000_000) if seed is None else seed
        for both in (couples, labels):  # from the same seed: alike
            random.seed(seed)
            random.shuffle(both)
    return couples, labels


class _Windows(Dataset):
    """Windows of a series, several at a time: ``[B, length, ...]``, and the targets of their first steps."""

    def __init__(self, data: Tensor, targets: Tensor | None, starts: Tensor, offsets: Tensor) -> None:
        self.data, self.targets, self.starts, self.offsets = data, targets, starts, offsets

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, chosen: list[int]) -> Any:
        starts = self.starts[chosen]  # [B]
        windows = self.data[starts[:, None] + self.offsets]  # [B, length, ...]
        return windows if self.targets is None else (windows, self.targets[starts])

    def __getitem__(self, chosen: int) -> Any:
        found = self.__getitems__([chosen])
        return found[0] if self.targets is None else (found[0][0], found[1][0])


def _whole(batch: Any) -> Any:
    return batch


def timeseries_dataset_from_array(data: Any, targets: Any, sequence_length: int, sequence_stride: int = 1,
                                  sampling_rate: int = 1, batch_size: int | None = 128, shuffle: bool = False,
                                  seed: int | None = None, start_index: int | None = None,
                                  end_index: int | None = None) -> DataLoader:
    """Windows of a series, each with a target: where Keras gives a dataset of TensorFlow, this gives one of PyTorch.

    Args:
        data: ``[T, ...]``.
        targets: ``[T, ...]``, one for each window, by its first step; None for windows alone.
        sequence_length: steps in a window.
        sequence_stride: steps from one window to the next.
        sampling_rate: steps from one element of a window to the next.
        batch_size: windows in a batch; the last may have fewer. None: one window at a time.
        shuffle, seed: whether the windows are shuffled (once), and by what.
        start_index, end_index: the part of the data that is used, ``end_index`` not included.

    Returns:
        A ``DataLoader``, which Keras's ``fit`` takes, of ``[B, length, ...]`` and ``[B, ...]``.

    Raises:
        ValueError: an index, a rate or a stride out of range.

    >>> loader = timeseries_dataset_from_array(torch.arange(6), torch.arange(6) + 10, sequence_length=3, batch_size=2)
    >>> next(iter(loader))
    (tensor([[0, 1, 2],
            [1, 2, 3]]), tensor([10, 11]))
    """
    series = torch.as_tensor(data)
    count = len(series)
    for name, given, low, high in (("start_index", start_index or None, 0, count - 1),
                                   ("end_index", end_index or None, (start_index or 0) + 1, count - 1),
                                   ("sampling_rate", sampling_rate, 1, count - 1),
                                   ("sequence_stride", sequence_stride, 1, count - 1)):
        if given is not None and not low <= given <= high:
            raise ValueError(f"{name} must be from {low} to {high} for a series of {count} steps, got {given}")
    series = series[start_index or 0 : end_index or count]
    known = None if targets is None else torch.as_tensor(targets)[start_index or 0 : end_index or count]
    windows = len(series) - (sequence_length - 1) * sampling_rate
    if targets is not None:
        windows = min(windows, len(targets))
    starts = np.arange(0, max(windows, 0), sequence_stride)
    if shuffle:
        np.random.RandomState(np.random.randint(10**6) if seed is None else seed).shuffle(starts)
    offsets = torch.arange(0, sequence_length * sampling_rate, sampling_rate)
    dataset = _Windows(series, known, torch.from_numpy(starts), offsets)
    return DataLoader(dataset, batch_size=batch_size, collate_fn=_whole if batch_size else None)
