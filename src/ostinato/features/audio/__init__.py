"""Sound to numbers: reading recordings, and spectrograms, mel bands and MFCCs of them, also while the sound arrives."""

from ostinato.features.audio.augment import SpecAugment
from ostinato.features.audio.features import AudioFeatures, AudioStream
from ostinato.features.audio.options import AudioOptions
from ostinato.features.audio.reading import Sound, read_audio, resample
from ostinato.features.audio.recordings import Recording, find_recordings

__all__ = [
    "AudioFeatures",
    "AudioOptions",
    "AudioStream",
    "Recording",
    "Sound",
    "SpecAugment",
    "find_recordings",
    "read_audio",
    "resample",
]
