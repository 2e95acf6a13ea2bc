"""The constant tables of the features: windows, mel filters, the cosine transform, the filters of derivatives.

Each is computed in double precision and kept for every dtype and device that asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from ostinato.errors import InputError
from ostinato.features.audio.options import AudioOptions

_LINEAR = 200 / 3
"""Slaney's scale: so many Hz a mel up to 1 kHz, from where on 27 mels multiply the frequency by 6.4."""
_STEP = math.log(6.4) / 27


def hertz_to_mel(hertz: Tensor, scale: str) -> Tensor:
    """Frequencies in mel. Source: Slaney (1998); for HTK, O'Shaughnessy (1987): 2595 log10(1 + f/700)."""
    if scale == "htk":
        return 2595 * torch.log10(1 + hertz / 700)
    return torch.where(hertz < 1000, hertz / _LINEAR, 15 + torch.log(hertz.clamp(min=1000) / 1000) / _STEP)


def mel_to_hertz(mel: Tensor, scale: str) -> Tensor:
    """Frequencies in Hz."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return torch.where(mel < 15, mel * _LINEAR, 1000 * torch.exp(_STEP * (mel - 15)))


def _window(options: AudioOptions) -> Tensor:
    """``[fft]``: the periodic window, with zeros around it."""
    n, size = options.window_samples, options.fft_size
    t = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    window = {"hann": 0.5 - 0.5 * t.cos(), "hamming": 0.54 - 0.46 * t.cos(), "rectangle": torch.ones_like(t)}
    left = (size - n) // 2
    return torch.nn.functional.pad(window[options.window], (left, size - n - left))


def _mel_filters(options: AudioOptions) -> Tensor:
    """``[frequencies, mels]``: triangles of equal area, even on the mel scale.

    Raises:
        InputError: a triangle falls between two frequencies of the transform: it would always be silent.
    """
    edges = torch.tensor([options.low, options.highest], dtype=torch.float64)
    low, high = hertz_to_mel(edges, options.scale).tolist()
    corners = mel_to_hertz(torch.linspace(low, high, options.mels + 2, dtype=torch.float64), options.scale)
    left, middle, right = (corners[i : options.mels + i] for i in range(3))  # [mels]
    bins = torch.arange(options.fft_size // 2 + 1, dtype=torch.float64).unsqueeze(1)  # [frequencies, 1]
    frequencies = bins * (options.rate / options.fft_size)
    rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
    filters = torch.minimum(rising, falling).clamp(min=0) * (2 / (right - left))  # [frequencies, mels]
    empty = (filters.sum(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise InputError(f"band {empty[0]} of {options.mels} mel bands lies between two frequencies of a transform of "
                         f"{options.fft_size} samples: ask for fewer bands, or for a longer window or fft")
    return filters


def _cosines(options: AudioOptions) -> Tensor:
    """``[mels, mfccs]``: the orthonormal cosine transform, type II."""
    n, k = torch.arange(options.mels, dtype=torch.float64), torch.arange(options.mfccs, dtype=torch.float64)
    table = torch.cos(math.pi / options.mels * (n.unsqueeze(1) + 0.5) * k) * math.sqrt(2 / options.mels)
    table[:, 0] = 1 / math.sqrt(options.mels)
    return table


def _derivatives(options: AudioOptions) -> Tensor:
    """``[deltas, delta_frames]``: weights of the frames around one. The d-th fits a polynomial of degree d, and
    differentiates it d times (Savitzky and Golay, 1964)."""
    half = options.delta_frames // 2
    t = torch.arange(-half, half + 1, dtype=torch.float64)
    rows = [math.factorial(d) * torch.linalg.pinv(torch.stack([t**n for n in range(d + 1)], 1))[d]
            for d in range(1, options.deltas + 1)]
    return torch.stack(rows) if rows else t.new_zeros(0, len(t))


TABLES: dict[str, Callable[[AudioOptions], Tensor]] = {
    "window": _window,
    "mel_filters": _mel_filters,
    "cosines": _cosines,
    "derivatives": _derivatives,
}


@cache
def table(name: str, options: AudioOptions, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One of ``TABLES``."""
    return TABLES[name](options).to(device, dtype)
