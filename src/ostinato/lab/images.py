"""Images of digits: scikit-learn's own, and MNIST from a folder."""

from __future__ import annotations

import gzip
import zlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from ostinato.errors import InputError
from ostinato.lab.task import SPLITS

CLASSES = 10
FILES = {"train": "train", "test": "t10k"}


class Images(NamedTuple):
    """Pixels from 0 to 1, ``[count, pixels]``, row after row; and the digits, ``[count]``."""

    pixels: Tensor
    digits: Tensor

    def part(self, rows: slice | Tensor) -> Images:
        """Some of the images."""
        return Images(self.pixels[rows], self.digits[rows])


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file, plain or compressed as ``path.gz``.

    Raises:
        InputError: missing, or no such file.
    """
    packed = path.with_name(f"{path.name}.gz")
    try:
        data = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, nor {packed.name}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    rank = data[3] if data[:3] == b"\x00\x00\x08" and len(data) > 3 else 0
    shape = np.frombuffer(data[4 : 4 + 4 * rank], ">u4").astype(int)
    if not rank or len(shape) < rank or len(data) != 4 + 4 * rank + shape.prod():
        raise InputError(f"{path} is damaged: it is no IDX file of bytes")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


@cache
def mnist(folder: Path) -> dict[str, Images]:
    """MNIST from the folder with its four files; the last twelfth of the training images validates.

    Raises:
        InputError: a file is missing or damaged, or two do not belong together.
    """
    read = {}
    for split, prefix in FILES.items():
        pixels, digits = (read_idx(folder / f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
        if pixels.ndim != 3 or digits.shape != pixels.shape[:1] or digits.max(initial=0) >= CLASSES:
            raise InputError(f"{folder}: the {split} images and labels do not belong together")
        flat = torch.from_numpy(pixels.reshape(len(pixels), -1).astype(np.float32) / 255)
        read[split] = Images(flat, torch.from_numpy(digits.astype(np.int64)))
    train, cut = read["train"], len(read["train"].digits) * 11 // 12
    return {"train": train.part(slice(cut)), "valid": train.part(slice(cut, None)), "test": read["test"]}


@cache
def bundled() -> dict[str, Images]:
    """scikit-learn's 1,797 images of 8 x 8 pixels, in a random order: 60 % to train, 20 % to validate, 20 % to test.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("the digits come with scikit-learn: pip install 'ostinato[lab]'") from None
    pixels, digits = load_digits(return_X_y=True)
    whole = Images(torch.from_numpy(pixels).float() / 16, torch.from_numpy(digits).long())
    order = torch.randperm(len(digits), generator=Generator().manual_seed(0))
    parts = order.tensor_split([len(order) * 6 // 10, len(order) * 8 // 10])
    return {split: whole.part(rows) for split, rows in zip(SPLITS, parts, strict=True)}
