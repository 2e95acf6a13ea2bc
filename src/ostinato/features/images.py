"""Images to sequences: rows, columns, or both, one a step; from picture files and from MNIST's ``idx`` files."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError, unknown

Image = NDArray[np.float32]
"""``[H, W]``, or with colours ``[H, W, 3]``, from 0 to 1."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
SCANS = ("rows", "columns", "both")


def read_image(path: str | Path, height: int | None = None, colour: bool = False) -> Image:
    """A picture as shades of grey ``[H, W]``, or as red, green and blue ``[H, W, 3]``.

    Args:
        height: scaled to so many rows, its shape kept. Default: as it is.

    Raises:
        InputError: Pillow is not installed; the file is missing or damaged.
    """
    try:
        from PIL import Image as Pillow
    except ImportError:
        raise InputError("reading images needs Pillow: pip install 'ostinato[tasks]'") from None
    try:
        with Pillow.open(path) as picture:
            read = picture.convert("RGB" if colour else "L")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an image: {str(error).rstrip('.')}") from None
    if height is not None and read.height != height:
        read = read.resize((max(1, round(read.width * height / read.height)), height))
    return np.asarray(read, np.float32) / np.float32(255)


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """The array of an ``idx`` file of bytes, packed (``.gz``) or not: images ``[N, H, W]``, labels ``[N]``.

    Raises:
        InputError: missing, of another form, or cut short.

    Source: yann.lecun.com/exdb/mnist, "The IDX file format".
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise InputError(f"{path} is no idx file of bytes")
    count = data[3]
    if len(data) < 4 + 4 * count:
        raise InputError(f"{path} is cut short: its sizes are missing")
    shape = struct.unpack(f">{count}I", data[4 : 4 + 4 * count])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * count)
    if len(values) != math.prod(shape):
        raise InputError(f"{path} is cut short or damaged: {len(values)} bytes, expected {math.prod(shape)}")
    return values.reshape(shape)


def scan(image: Image, how: str = "rows") -> NDArray[np.float32]:
    """An image ``[H, W]`` as a sequence: ``[H, W]`` of its rows, ``[W, H]`` of its columns, or both side by side.

    Raises:
        InputError: an unknown way, or an image that is no ``[H, W]``; "both" of one that is not square.

    >>> scan(np.array([[0, 1], [2, 3]], np.float32), "both").tolist()
    [[0.0, 1.0, 0.0, 2.0], [2.0, 3.0, 1.0, 3.0]]
    """
    if image.ndim != 2 or not image.size:
        raise InputError(f"an image must be [H, W], got {list(image.shape)}")
    if how not in SCANS:
        raise unknown("scan", how, SCANS)
    if how == "both":
        if image.shape[0] != image.shape[1]:
            raise InputError(f"rows and columns side by side need a square image, got {list(image.shape)}")
        return np.hstack([image, image.T])
    return image if how == "rows" else np.ascontiguousarray(image.T)
