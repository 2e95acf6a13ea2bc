"""Waveforms to frames of features, a batch at a time or as the sound arrives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from ostinato.errors import InputError
from ostinato.features.audio.options import AudioOptions
from ostinato.features.audio.tables import table

_SMALL = 1e-5
"""A feature that varies less than this is only centred."""


class AudioFeatures(nn.Module):
    """A spectrogram, mel bands or MFCCs of waveforms, by Fourier transform: ``[B, S]`` to ``[B, T, F]``.

    With ``log="decibel"`` they are librosa's, to rounding: of ``stft`` with ``pad_mode="constant"``,
    ``melspectrogram``, ``power_to_db`` with ``top_db=None``, ``mfcc`` of that, and ``delta`` with ``mode="nearest"``.
    It is differentiable, and runs where its input lies.

    Args:
        options: what is computed. Default: 40 logarithmic mel bands, 25 ms every 10 ms, at 16 kHz.

    Raises:
        InputError: mel bands too narrow for the transform.

    Source: the lecture, "A spectrogram, by Fourier transform, from the waveform"; Davis and Mermelstein (1980).

    >>> features = AudioFeatures(AudioOptions(rate=8000, kind="mfcc", deltas=1))
    >>> frames, lengths = features(torch.rand(2, 8000), torch.tensor([8000, 4000]))
    >>> frames.shape, lengths.tolist()
    (torch.Size([2, 101, 26]), [101, 51])
    """

    mean: Tensor
    deviation: Tensor
    measured: Tensor

    def __init__(self, options: AudioOptions | None = None) -> None:
        super().__init__()
        self.options = options = AudioOptions() if options is None else options
        if options.kind != "spectrogram":
            table("mel_filters", options, torch.float64, torch.device("cpu"))  # complains now rather than later
        if options.normalise == "global":
            self.register_buffer("mean", torch.zeros(options.size))
            self.register_buffer("deviation", torch.ones(options.size))
            self.register_buffer("measured", torch.zeros((), dtype=torch.int64))

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames ``[B, T, F]`` and how many each recording has ``[B]``.

        Args:
            samples: ``[B, S]``, floating, from -1 to 1. What lies behind a recording's end is not read.
            lengths: ``[B]``, samples of each recording; default: all S.

        Returns:
            T is that of the longest; frames behind the end are zero. A recording without samples has no frames.

        Raises:
            InputError: another shape or dtype, lengths beyond the samples, or global normalisation without ``fit``.
        """
        self._check(samples)
        counts = _checked_lengths(samples, lengths)
        frames, counts = self._unscaled(samples, counts)
        live = (torch.arange(frames.shape[1], device=frames.device) < counts.unsqueeze(1)).unsqueeze(2)  # [B, T, 1]
        if self.options.normalise == "utterance":
            frames = _normalised(frames, live, counts)
        return self._scaled(frames) * live, counts  # [B, T, F]

    def fit(self, recordings: Iterable[Tensor]) -> AudioFeatures:
        """Measure mean and deviation of every feature over recordings ``[S]``: those to train with, and no others.

        Raises:
            InputError: the options say no global normalisation, or there is no frame.
        """
        if self.options.normalise != "global":
            raise InputError(f"fit is for normalise='global', these features have {self.options.normalise!r}")
        count, total, squares = 0, 0.0, 0.0
        for samples in recordings:
            batch = samples.unsqueeze(0)
            self._check(batch)
            frames, _ = self._unscaled(batch.detach(), _checked_lengths(batch, None))
            frames = frames[0].double()  # [T, F]
            count, total, squares = count + len(frames), total + frames.sum(0), squares + frames.square().sum(0)
        if not count:
            raise InputError("there is no frame to measure: no recordings, or empty ones")
        mean = cast(Tensor, total) / count
        deviation = (cast(Tensor, squares) / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation < _SMALL, 1.0, deviation))
        self.measured.fill_(count)
        return self

    def stream(self) -> AudioStream:
        """A reader of sound that arrives in pieces; see :class:`AudioStream`."""
        return AudioStream(self)

    def base(self, framed: Tensor) -> Tensor:
        """Pieces of sound ``[B, T, fft]`` to features ``[B, T, base]``, without derivatives."""
        o, place = self.options, (framed.dtype, framed.device)
        if not framed.numel():  # which MKL's transform refuses
            return framed.new_zeros(*framed.shape[:2], o.base_size)
        spectrum = torch.fft.rfft(framed * table("window", o, *place))  # [B, T, fft / 2 + 1]
        value = spectrum.real.square() + spectrum.imag.square() if o.power == 2 else spectrum.abs() ** o.power
        if o.kind != "spectrogram":
            value = value @ table("mel_filters", o, *place)  # [B, T, mels]
        if o.log != "none":
            value = value.clamp(min=o.floor)
            value = value.log() if o.log == "natural" else 10 * value.log10()
        return value @ table("cosines", o, *place) if o.kind == "mfcc" else value

    def with_derivatives(self, base: Tensor, counts: Tensor) -> Tensor:
        """``[B, T, base]`` to ``[B, T, F]``; before the first frame and behind the last of ``counts`` they repeat."""
        weights = table("derivatives", self.options, base.dtype, base.device)  # [deltas, delta_frames]
        if not len(weights):
            return base
        half, steps = weights.shape[1] // 2, torch.arange(base.shape[1], device=base.device)
        last = (counts - 1).clamp(min=0).unsqueeze(1)  # [B, 1]
        derived = base.new_zeros(len(weights), *base.shape)  # [deltas, B, T, base]
        for offset in range(-half, half + 1):
            place = torch.minimum((steps + offset).clamp(min=0), last)  # [B, T]
            moved = base.gather(1, place.unsqueeze(2).expand_as(base))  # [B, T, base]
            derived = derived + weights[:, half + offset, None, None, None] * moved
        return torch.cat([base, *derived], 2)

    def _unscaled(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        o = self.options
        behind = torch.arange(samples.shape[1], device=samples.device) >= lengths.unsqueeze(1)  # [B, S]
        samples = samples.masked_fill(behind, 0)
        counts = o.frames(lengths)
        longest = int(counts.max()) if len(counts) else 0
        margin = o.fft_size // 2 if o.centre else 0
        padded = nn.functional.pad(samples, (margin, margin + o.fft_size))  # [B, S + ...]
        framed = padded.unfold(1, o.fft_size, o.hop_samples)[:, :longest]  # [B, T, fft]
        return self.with_derivatives(self.base(framed), counts), counts

    def _scaled(self, frames: Tensor) -> Tensor:
        if self.options.normalise != "global":
            return frames
        if not self.measured.item():
            raise InputError("normalise='global' needs the training recordings first: features.fit(recordings)")
        return (frames - self.mean.to(frames)) / self.deviation.to(frames)

    def _check(self, samples: Tensor) -> None:
        if samples.ndim != 2:
            raise InputError(f"samples must be [B, S], got {list(samples.shape)}")
        if samples.dtype not in (torch.float32, torch.float64):
            raise InputError(f"samples must be float32 or float64, from -1 to 1, got {samples.dtype}")


class AudioStream:
    """Features of sound that arrives in pieces of any length: all pieces together give the frames of the whole.

    A frame comes as soon as its window is full (and with derivatives, the frames after it); :meth:`finish` gives the
    last.

    Raises:
        InputError: normalisation by utterance, which needs the whole.

    >>> stream = AudioFeatures(AudioOptions(rate=8000)).stream()
    >>> [stream.push(torch.rand(1, 400)).shape[1] for _ in range(3)], stream.finish().shape[1]
    ([4, 5, 5], 2)
    """

    def __init__(self, features: AudioFeatures) -> None:
        if features.options.normalise == "utterance":
            raise InputError("normalise='utterance' needs the whole recording, so it cannot stream: use 'global'")
        self.features = features
        self._samples: Tensor | None = None  # [B, ...] from the next frame's beginning on
        self._frames: Tensor | None = None  # [B, ...] that a derivative may still need
        self._heard = self._made = self._given = 0  # samples read, frames computed, frames handed out

    def push(self, samples: Tensor) -> Tensor:
        """The frames ``[B, t, F]`` that samples ``[B, s]`` complete; t may be 0.

        Raises:
            InputError: another shape, batch or dtype than before, or the stream is finished.
        """
        self.features._check(samples)
        if self._heard < 0:
            raise InputError("this stream is finished: begin another with features.stream()")
        o = self.features.options
        if self._samples is None:
            self._samples = samples.new_zeros(len(samples), o.fft_size // 2 if o.centre else 0)
            self._frames = samples.new_zeros(len(samples), 0, o.base_size)
        if len(samples) != len(self._samples) or samples.dtype != self._samples.dtype:
            raise InputError(f"a piece [{len(samples)}, s] of {samples.dtype} in a stream of "
                             f"[{len(self._samples)}, s] of {self._samples.dtype}")
        self._heard += samples.shape[1]
        self._samples = torch.cat([self._samples, samples], 1)
        ready = max(0, (self._samples.shape[1] - o.fft_size) // o.hop_samples + 1)
        return self._next(ready, last=False)

    def finish(self) -> Tensor:
        """The frames that are left, ``[B, t, F]``.

        Raises:
            InputError: nothing was pushed, or it is finished already.
        """
        if self._samples is None or self._heard < 0:
            raise InputError("there is nothing to finish: push samples first")
        o = self.features.options
        missing = int(o.frames(self._heard)) - self._made
        self._samples = nn.functional.pad(self._samples, (0, o.fft_size))
        self._heard = -1
        return self._next(missing, last=True)

    def _next(self, count: int, last: bool) -> Tensor:
        o = self.features.options
        assert self._samples is not None and self._frames is not None
        if count:
            framed = self._samples.unfold(1, o.fft_size, o.hop_samples)[:, :count]  # [B, count, fft]
            self._frames = torch.cat([self._frames, self.features.base(framed)], 1)
            self._samples = self._samples[:, count * o.hop_samples :]
            self._made += count
        half = o.delta_frames // 2 if o.deltas else 0
        ready = self._made if last else max(self._given, self._made - half)
        start = self._made - self._frames.shape[1]  # the number of the first frame that is kept
        counts = torch.full((len(self._frames),), self._frames.shape[1], device=self._frames.device)
        derived = self.features.with_derivatives(self._frames, counts)[:, self._given - start : ready - start]
        self._given = ready
        self._frames = self._frames[:, max(0, ready - half - start) :]
        return self.features._scaled(derived)


def _checked_lengths(samples: Tensor, lengths: Tensor | None) -> Tensor:
    batch, most = samples.shape
    if lengths is None:
        return torch.full((batch,), most, device=samples.device)
    if lengths.shape != (batch,) or lengths.dtype.is_floating_point:
        raise InputError(f"lengths must be {batch} whole numbers [B], got {lengths.dtype} {list(lengths.shape)}")
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= most:
        raise InputError(f"lengths must be from 0 to {most}, got {int(lengths.min())} to {int(lengths.max())}")
    return lengths.to(samples.device, torch.int64)


def _normalised(frames: Tensor, live: Tensor, counts: Tensor) -> Tensor:
    count = counts.clamp(min=1)[:, None, None]
    centred = (frames - (frames * live).sum(1, keepdim=True) / count) * live  # [B, T, F]
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()  # [B, 1, F]
    return centred / torch.where(deviation < _SMALL, 1.0, deviation)
