"""Recordings from files: WAV, FLAC, OGG, one channel, at the rate that is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".oga")
SILENCE = 2.0**-15
"""Samples that differ by no more than this, one step of 16 bits, are silence."""
_TAIL = 1 << 17
"""An Ogg page is at most 65,307 bytes long."""


class Sound(NamedTuple):
    """A recording: samples ``[S]`` from -1 to 1, float32, and how many a second."""

    samples: Tensor
    rate: int


def read_audio(path: str | Path, rate: int | None = None, channel: int | None = None, silent: bool = False) -> Sound:
    """Read WAV, FLAC or OGG.

    Args:
        path: the file.
        rate: samples a second wanted; resampled by soxr at its high quality. Default: as the file has it.
        channel: one of the file's, from 0 on; default: their mean.
        silent: let silence through.

    Raises:
        InputError: soundfile or soxr is not installed; the file is missing, a folder, not audio, cut short, empty,
            silent, holds values that are no numbers, or has no such channel.
    """
    path = Path(path)
    _require_file(path)
    samples, found = _decoded(path)  # [S, channels]
    if not len(samples):
        raise InputError(f"{path} is empty: it has no samples")
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: sample {int((~np.isfinite(samples)).any(1).argmax())} is not a number")
    mono = _one_channel(path, samples, channel)  # [S]
    if not silent and np.ptp(mono) <= SILENCE:
        raise InputError(f"{path} is silent: all of its {len(mono)} samples are {mono[0]:.2g} or next to it")
    if rate is not None and rate != found:
        mono, found = resample(mono, found, rate), rate
    return Sound(torch.from_numpy(np.ascontiguousarray(mono)), found)


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples ``[S]`` at another rate, band-limited.

    Raises:
        InputError: soxr is not installed, or a rate is below 1.
    """
    if min(rate, wanted) < 1:
        raise InputError(f"a rate is 1 or more samples a second, got {rate} and {wanted}")
    try:
        import soxr
    except ImportError:
        raise InputError("resampling needs soxr: pip install 'ostinato[audio]'") from None
    return soxr.resample(samples, rate, wanted, quality="HQ")


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a recording")
    if not path.exists():
        raise InputError(f"{path}: no such file")


def _decoded(path: Path) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except ImportError:
        raise InputError("reading recordings needs soundfile: pip install 'ostinato[audio]'") from None
    try:
        with soundfile.SoundFile(path) as file:
            promised, kind = file.frames, file.format
            samples = file.read(dtype="float32", always_2d=True)  # [S, channels]
            rate = file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise InputError(f"{path} cannot be read as WAV, FLAC or OGG: {reason.strip().rstrip('.')}") from None
    if len(samples) < promised or _CUT.get(kind, lambda path: False)(path):
        raise InputError(f"{path} is cut short: its end is missing (after {len(samples)} samples)")
    return samples, rate


def _wav_is_cut(path: Path) -> bool:
    """Whether the file is shorter than its header says; a writer to a pipe leaves 0 or the largest number there."""
    with open(path, "rb") as file:
        promised = int.from_bytes(file.read(8)[4:], "little")
    return promised not in (0, 2**32 - 1) and promised + 8 > os.path.getsize(path) + 1


def _ogg_is_cut(path: Path) -> bool:
    """Whether the last page is not marked as the last."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _TAIL))
        tail = file.read()
    last = tail.rfind(b"OggS")
    return last < 0 or len(tail) < last + 6 or not tail[last + 5] & 4


_CUT: dict[str, Callable[[Path], bool]] = {"WAV": _wav_is_cut, "OGG": _ogg_is_cut}
"""What the library does not notice, by its name of the format."""


def _one_channel(path: Path, samples: np.ndarray, channel: int | None) -> np.ndarray:
    channels = samples.shape[1]
    if channel is None:
        return samples.mean(1)
    if not 0 <= channel < channels:
        raise InputError(f"{path} has {channels} channel{'s' * (channels > 1)}, from 0 on: there is no {channel}")
    return samples[:, channel]
