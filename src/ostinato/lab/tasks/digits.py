"""Sequential digits: an image read pixel by pixel, in rows or in one random order; the end asks which digit it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Generator

from ostinato.errors import InputError
from ostinato.lab.draws import last_step
from ostinato.lab.images import CLASSES, Images, bundled, mnist
from ostinato.lab.task import Batch, Draw, Goal, Published, Settings, Task

ORDER_SEED = 1
"""One order of the pixels for every run."""


def batch_of(images: Images, permuted: bool) -> Batch:
    """Pixel after pixel: ``[B, pixels, 1]``."""
    count, pixels = images.pixels.shape
    order = torch.randperm(pixels, generator=Generator().manual_seed(ORDER_SEED)) if permuted else torch.arange(pixels)
    return Batch(images.pixels[:, order, None], last_step(count, pixels), images.digits)


def some(images: Images, permuted: bool, count: int, lag: int, generator: Generator) -> Batch:
    """So many images at random, each as likely every time."""
    return batch_of(images.part(torch.randint(len(images.digits), (count,), generator=generator)), permuted)


def first(images: Images, permuted: bool, count: int, lag: int, generator: Generator) -> Batch:
    """The first so many."""
    return batch_of(images.part(slice(count)), permuted)


def splits(read: Mapping[str, Images], permuted: bool) -> dict[str, Draw]:
    """At random from the training images; of the others always the first."""
    return {split: partial(some if split == "train" else first, part, permuted) for split, part in read.items()}


def from_sklearn(path: Path | None, permuted: bool) -> dict[str, Draw]:
    """scikit-learn's digits, which need no data."""
    if path is not None:
        raise InputError(f"the small digits are scikit-learn's own: they read no data (got {path})")
    return splits(bundled(), permuted)


def from_folder(path: Path | None, permuted: bool) -> dict[str, Draw]:
    """MNIST, from the folder with its four files."""
    if path is None:
        raise InputError("MNIST comes from a folder with its four files: give --data FOLDER")
    return splits(mnist(path), permuted)


def _unread(count: int, lag: int, generator: Generator) -> Batch:
    raise RuntimeError("these sequences are read, not drawn")


DIGITS = Task(
    name="digits",
    summary="which of scikit-learn's digits, read pixel by pixel (64 steps)",
    source="after Le, Jaitly and Hinton, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units, 2015 "
    "(arXiv 1504.00941)",
    loss="class",
    sizes=lambda lag: (1, CLASSES),
    draw=_unread,
    goal=Goal("right", 0.95, "at least"),
    lag=None,
    settings=Settings(hidden_size=64, learning_rate=0.01, sequences=128_000, schedule="cosine", held_out=360, span=8),
    data=partial(from_sklearn, permuted=False),
)
DIGITS_PERMUTED = replace(
    DIGITS,
    name="digits-permuted",
    summary="which of scikit-learn's digits, its 64 pixels in one random order",
    goal=Goal("right", 0.9, "at least"),
    data=partial(from_sklearn, permuted=True),
)
MNIST = replace(
    DIGITS,
    name="mnist",
    summary="which digit of MNIST (--data FOLDER), read pixel by pixel (784 steps)",
    goal=Goal("right", 0.97, "at least"),
    settings=Settings(hidden_size=128, batch=64, learning_rate=0.004, sequences=260_000, check=1000,
                      schedule="cosine", held_out=10_000, span=100, threads=None),
    published=(
        Published("0.8769 (LSTM, epoch 5), 0.2304 (simple RNN)", "267,786 parameters; orthogonal simple RNN",
                  "TristanTorchet/LearningJAX, validation"),
        Published("0.93 (IRNN, 900 epochs)", "100 units, RMSprop 1e-6", "Keras example mnist_irnn"),
        Published("0.989 (IndRNN, 60,000 steps)", "two days of training", "batzner/indrnn"),
    ),
    data=partial(from_folder, permuted=False),
)  # fmt: skip
MNIST_PERMUTED = replace(
    MNIST,
    name="mnist-permuted",
    summary="which digit of MNIST (--data FOLDER), its 784 pixels in one random order",
    goal=Goal("right", 0.88, "at least"),
    published=(),
    data=partial(from_folder, permuted=True),
)
