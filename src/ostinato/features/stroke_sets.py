"""Sets of drawings as they are handed round: the Cursive Transformer's handwriting, sketch-rnn's sketches."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.errors import InputError
from ostinato.features.strokes import Strokes

# What NumPy's arrays are made of, in the names of NumPy 1 and 2. Nothing else in a file is called.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


def read_cursive(path: str | Path) -> list[tuple[str, Strokes]]:
    """Texts and their strokes from the Cursive Transformer's ``bigbank`` file, JSON or zipped; y points downwards.

    A point whose pen is up ends a stroke; where it repeats the one before, it is left out.

    Raises:
        InputError: missing, damaged, or of another form, with the number of the entry.

    Source: Greydanus and Wimpee, The Cursive Transformer (2025).
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as pack:
                names = [n for n in pack.namelist() if n.endswith(".json") and not n.startswith("__MACOSX")]
                data = pack.read(names[0]) if names else b""
        entries = json.loads(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no JSON: {error}") from None
    return [_cursive(entry, f"{path}: entry {number}") for number, entry in enumerate(_listed(entries, path))]


def _listed(entries: Any, path: Path) -> list[Any]:
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path} must be a list of drawings with metadata and points")
    return entries


def _cursive(entry: Any, place: str) -> tuple[str, Strokes]:
    try:
        text, points = str(entry["metadata"]["asciiSequence"]), np.array(entry["points"], np.float64)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{place} must have metadata with asciiSequence, and points [x, y, pen]") from None
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise InputError(f"{place}: its points must be numbers [x, y, pen]")
    strokes = np.split(points, np.flatnonzero(points[:, 2] == 0) + 1)
    return text, [_without_repeat(stroke) for stroke in strokes if len(stroke)]


def _without_repeat(stroke: np.ndarray) -> np.ndarray:
    repeats = len(stroke) > 1 and stroke[-1, 2] == 0 and np.array_equal(stroke[-1, :2], stroke[-2, :2])
    return stroke[: len(stroke) - repeats, :2]


class _Arrays(pickle.Unpickler):
    """Reads pickled arrays, and refuses whatever else a pickle could call."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, where only arrays are expected")
        return super().find_class(module, name)


def read_sketches(path: str | Path) -> dict[str, list[Tensor]]:
    """sketch-rnn's ``.npz`` files: for each part (train, valid, test) offsets ``[T, 3]`` (dx, dy, lift), float32.

    The files hold pickles. Only arrays are read from them; a pickle that would call anything else is refused.

    Raises:
        InputError: missing, damaged, or of another form.

    Source: Ha and Eck (2017), arXiv 1704.03477.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as pack:
            parts = pack.namelist()
            return {part.removesuffix(".npy"): _sketches(pack.read(part), f"{path}: {part}") for part in parts}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is no .npz file: {error}") from None


def _sketches(data: bytes, place: str) -> list[Tensor]:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read(file)
        if not dtype.hasobject:
            raise InputError(f"{place} holds {dtype}, where a list of sketches is expected")
        drawings = list(_Arrays(file, encoding="latin1").load())
    except InputError:
        raise
    except Exception as error:  # whatever a damaged pickle may raise
        raise InputError(f"{place} is damaged or no list of sketches: {error}") from None
    for number, drawing in enumerate(drawings):
        if not isinstance(drawing, np.ndarray) or drawing.ndim != 2 or drawing.shape[1] != 3 or drawing.dtype.hasobject:
            raise InputError(f"{place}: sketch {number} must be offsets [T, 3]")
    return [torch.from_numpy(drawing.astype(np.float32)) for drawing in drawings]
