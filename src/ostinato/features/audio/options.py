"""What is computed from a waveform: one frozen record, which a run can save and compare."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ostinato.errors import InputError, unknown

KINDS = ("spectrogram", "mel", "mfcc")
CHOICES = {
    "kind": KINDS,
    "window": ("hann", "hamming", "rectangle"),
    "scale": ("slaney", "htk"),
    "log": ("none", "natural", "decibel"),
    "normalise": ("none", "utterance", "global"),
}


@dataclass(frozen=True)
class AudioOptions:
    """The options of :class:`~ostinato.features.audio.AudioFeatures`.

    Raises:
        InputError: a value that cannot be, with what it may be.

    >>> options = AudioOptions(rate=8000, kind="mfcc", deltas=2)
    >>> options.window_samples, options.hop_samples, options.fft_size, options.size
    (200, 80, 256, 39)
    """

    rate: int = 16_000
    """Samples a second."""
    kind: str = "mel"
    """``"spectrogram"``: every frequency; ``"mel"``: bands as the ear has them; ``"mfcc"``: the cosine transform of
    their logarithms."""
    window_ms: float = 25.0
    """How long a piece of sound is that one frame describes."""
    hop_ms: float = 10.0
    """From one frame to the next."""
    window: str = "hann"
    """How the piece fades at its ends: ``"hann"``, ``"hamming"``, ``"rectangle"``."""
    fft: int | None = None
    """Length of the Fourier transform, even; default: the next power of two from the window on."""
    centre: bool = True
    """Frame t is about sample ``t * hop``, with silence assumed before and after; else it begins there."""
    power: float = 2.0
    """1: amplitude, 2: power."""
    mels: int = 40
    """Mel bands."""
    low: float = 0.0
    """The lowest frequency of the bands, in Hz."""
    high: float | None = None
    """The highest; default: half the rate."""
    scale: str = "slaney"
    """Which mel scale: ``"slaney"`` (linear to 1 kHz) or ``"htk"``."""
    mfccs: int = 13
    """How many coefficients of the cosine transform are kept."""
    log: str = "natural"
    """``"natural"``, ``"decibel"`` (10 log10) or ``"none"``."""
    floor: float = 1e-10
    """What is smaller counts as this before the logarithm."""
    deltas: int = 0
    """How many derivatives over time are added: 0, 1 or 2; each as wide as the features."""
    delta_frames: int = 9
    """Over how many frames a derivative is fitted, odd."""
    normalise: str = "none"
    """``"utterance"``: mean 0 and deviation 1 over each recording; ``"global"``: by what ``fit`` measured."""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        for wrong, message in self._complaints():
            if wrong:
                raise InputError(message)

    def _complaints(self) -> list[tuple[bool, str]]:
        high, half = self.highest, self.rate / 2
        return [
            (self.rate < 1, f"rate must be 1 or more samples a second, got {self.rate}"),
            (self.window_samples < 2, f"a window of {self.window_ms} ms has fewer than 2 samples at {self.rate} Hz"),
            (self.hop_samples < 1, f"a hop of {self.hop_ms} ms is less than a sample at {self.rate} Hz"),
            (self.fft_size % 2 != 0 or self.fft_size < self.window_samples,
             f"fft must be even and at least the window's {self.window_samples} samples, got {self.fft_size}"),
            (self.hop_samples > self.fft_size,
             f"a hop of {self.hop_samples} samples would skip sound between windows of {self.fft_size}"),
            (not 0 <= self.low < high <= half,
             f"low and high must hold 0 <= low < high <= {half:g} Hz, got {self.low:g} and {high:g}"),
            (self.mels < 1, f"mels must be 1 or more, got {self.mels}"),
            (self.kind == "mfcc" and not 1 <= self.mfccs <= self.mels,
             f"mfccs must be from 1 to mels={self.mels}, got {self.mfccs}"),
            (self.kind == "mfcc" and self.log == "none", "kind='mfcc' needs a logarithm: log='natural' or 'decibel'"),
            (not self.power > 0, f"power must be above 0, got {self.power}"),
            (not self.floor > 0, f"floor must be above 0, got {self.floor}"),
            (self.deltas not in (0, 1, 2), f"deltas must be 0, 1 or 2, got {self.deltas}"),
            (self.delta_frames < 3 or self.delta_frames % 2 == 0,
             f"delta_frames must be odd and 3 or more, got {self.delta_frames}"),
        ]  # fmt: skip

    @property
    def window_samples(self) -> int:
        """The window in samples."""
        return round(self.rate * self.window_ms / 1000)

    @property
    def hop_samples(self) -> int:
        """The hop in samples."""
        return round(self.rate * self.hop_ms / 1000)

    @property
    def fft_size(self) -> int:
        """The length of the Fourier transform in samples."""
        return 2 ** math.ceil(math.log2(max(self.window_samples, 2))) if self.fft is None else self.fft

    @property
    def highest(self) -> float:
        """The highest frequency of the bands, in Hz."""
        return self.rate / 2 if self.high is None else self.high

    @property
    def base_size(self) -> int:
        """Features of a frame, without derivatives."""
        return {"spectrogram": self.fft_size // 2 + 1, "mel": self.mels, "mfcc": self.mfccs}[self.kind]

    @property
    def size(self) -> int:
        """F: features of a frame."""
        return self.base_size * (1 + self.deltas)

    def frames(self, samples: Any) -> Any:
        """How many frames so many samples give; an integer, or a tensor of integers. None give none."""
        room = samples if self.centre else samples - self.fft_size
        return (room // self.hop_samples + 1) * (samples > 0) * (room >= 0)
