"""SpecAugment: bands and stretches of the features are hidden while training."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from ostinato.errors import InputError


class SpecAugment(nn.Module):
    """Hide bands of features and stretches of time, ``[B, T, F]`` to ``[B, T, F]``; while training only.

    Every recording draws its own masks, each from 0 to its widest, as the paper has it. Time warping, which the paper
    found to help least, is left out. The masks follow from the seed and the number of calls, which the state dict
    holds: a run that goes on draws what it would have drawn.

    Args:
        bands: how many bands of features are hidden.
        band_width: the widest of them, in features.
        stretches: how many stretches of time are hidden.
        stretch_width: the longest of them, in frames.
        most: no stretch is longer than this share of its recording.
        value: what is put in place; 0 is the mean of normalised features.
        seed: the same seed draws the same masks.

    Raises:
        InputError: a number below 0, or a share that is not from 0 to 1.

    Source: Park et al. (2019), arXiv 1904.08779.

    >>> SpecAugment(bands=1, band_width=8)(torch.ones(1, 50, 40)).shape
    torch.Size([1, 50, 40])
    """

    calls: Tensor

    def __init__(self, bands: int = 2, band_width: int = 8, stretches: int = 2, stretch_width: int = 20,
                 most: float = 0.2, value: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        if min(bands, band_width, stretches, stretch_width) < 0 or not 0 <= most <= 1:
            raise InputError(f"SpecAugment needs numbers from 0 on and most from 0 to 1, got bands={bands}, band_width="
                             f"{band_width}, stretches={stretches}, stretch_width={stretch_width}, most={most}")
        self.bands, self.band_width, self.value, self.seed = bands, band_width, value, seed
        self.stretches, self.stretch_width, self.most = stretches, stretch_width, most
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Frames ``[B, T, F]`` with some hidden; ``lengths`` ``[B]``, default all T."""
        if not self.training:
            return frames
        batch, steps, size = frames.shape
        draw = Generator().manual_seed(self.seed * 1_000_003 + int(self.calls))
        self.calls += 1
        counts = torch.full((batch,), steps) if lengths is None else lengths.cpu()  # [B]
        longest = (counts * self.most).long().clamp(max=self.stretch_width)  # [B]
        widest = torch.full((batch,), min(self.band_width, size))
        bands = _hidden(self.bands, torch.full((batch,), size), widest, size, draw)  # [B, F]
        stretches = _hidden(self.stretches, counts, longest, steps, draw)  # [B, T]
        hidden = bands.unsqueeze(1) | stretches.unsqueeze(2)  # [B, T, F]
        if lengths is not None:
            hidden &= (torch.arange(steps) < counts.unsqueeze(1)).unsqueeze(2)
        return frames.masked_fill(hidden.to(frames.device), self.value)


def _hidden(count: int, room: Tensor, widest: Tensor, size: int, draw: Generator) -> Tensor:
    """``[B, size]``: true inside of ``count`` intervals, each up to ``widest`` ``[B]``, within ``room`` ``[B]``."""
    chance = torch.rand(2, count, len(room), generator=draw)  # [2, count, B]
    width = (chance[0] * (widest + 1)).long().minimum(widest)  # [count, B]
    start = (chance[1] * (room - width + 1)).long()
    at = torch.arange(size)
    inside = (at >= start.unsqueeze(2)) & (at < (start + width).unsqueeze(2))  # [count, B, size]
    return inside.any(0)
