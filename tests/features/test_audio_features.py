"""Features of sound: against librosa's numbers, against NumPy and SciPy, streaming against the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
from close import assert_close

from ostinato.errors import InputError
from ostinato.features.audio import AudioFeatures, AudioOptions, SpecAugment

LIBROSA: dict[str, Any] = json.loads((Path(__file__).parent / "librosa.json").read_text())["cases"]
"""What librosa 0.11.0 gave for ``sound(2000)`` at 8 kHz: every third frame, every second feature, in nine digits."""
SAME: dict[str, Any] = {"rate": 8000, "log": "none"}
CASES = {
    "spectrogram": AudioOptions(kind="spectrogram", **SAME),
    "hamming amplitude": AudioOptions(kind="spectrogram", window="hamming", centre=False, power=1, **SAME),
    "mel": AudioOptions(mels=20, **SAME),
    "htk mel": AudioOptions(mels=16, low=100, high=3500, scale="htk", **SAME),
    "mel in decibel": AudioOptions(mels=20, rate=8000, log="decibel"),
    "mfcc": AudioOptions(kind="mfcc", mels=20, mfccs=12, deltas=2, rate=8000, log="decibel"),
}


def sound(samples: int) -> torch.Tensor:
    """A chirp with something like noise: ``[1, samples]``."""
    t = np.arange(samples)
    chirp = 0.5 * np.sin(2 * np.pi * (200 * t / 8000 + 300 * (t / 8000) ** 2))
    return torch.from_numpy(chirp + 0.1 * np.sin(0.37 * t * t % 6.283)).unsqueeze(0)


@pytest.mark.parametrize("name", CASES)
def test_the_features_are_librosas(name: str) -> None:
    frames, lengths = AudioFeatures(CASES[name])(sound(2000))
    expected = LIBROSA[name]
    assert list(frames.shape[1:]) == expected["shape"] and lengths.tolist() == [frames.shape[1]]
    some = frames[0, ::3, ::2].flatten().numpy()
    np.testing.assert_allclose(some, expected["values"], rtol=1e-6, atol=1e-7)
    single, _ = AudioFeatures(CASES[name])(sound(2000).float())
    np.testing.assert_allclose(single[0, ::3, ::2].flatten().numpy(), expected["values"], rtol=1e-4, atol=1e-4)


def test_mfccs_are_those_written_with_scipy() -> None:
    options = AudioOptions(rate=8000, kind="mfcc", window="hamming", fft=300, scale="htk", mels=17, mfccs=9)
    y, corners = sound(1201).numpy()[0], 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 19) / 2595) - 1)
    window = np.pad(scipy.signal.get_window("hamming", 200), 50)
    pieces = np.lib.stride_tricks.sliding_window_view(np.pad(y, 150), 300)[::80]
    power = np.abs(np.fft.rfft(pieces * window)) ** 2
    hertz, peaks = np.arange(151) * 8000 / 300, 2 / (corners[2:] - corners[:-2])
    bands = np.stack([np.interp(hertz, corners[i : i + 3], [0, peaks[i], 0]) for i in range(17)])
    cosines = np.asarray(scipy.fft.dct(np.log(np.maximum(power @ bands.T, 1e-10)), axis=1, norm="ortho"))
    assert_close(AudioFeatures(options)(torch.from_numpy(y)[None])[0][0], cosines[:, :9])


def test_derivatives_are_savitzky_and_golays() -> None:
    base = AudioOptions(rate=8000, mels=10, log="decibel")
    options = AudioOptions(rate=8000, mels=10, log="decibel", deltas=2, delta_frames=5)
    plain = AudioFeatures(base)(sound(1000))[0][0].numpy()
    first, second = (scipy.signal.savgol_filter(plain, 5, n, deriv=n, axis=0, mode="nearest") for n in (1, 2))
    expected = np.concatenate([plain, np.asarray(first), np.asarray(second)], 1)
    assert_close(AudioFeatures(options)(sound(1000))[0][0], expected)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("kind", ["spectrogram", "mel", "mfcc"])
def test_a_ragged_batch_gives_each_recordings_frames(kind: str, centre: bool) -> None:
    options = AudioOptions(rate=8000, kind=kind, mels=20, deltas=2, centre=centre, normalise="utterance")
    features = AudioFeatures(options)
    lengths = [2000, 0, 1, 999, 256, 255]
    batch = torch.full((len(lengths), 2000), 7.0, dtype=torch.float64)  # what lies behind the ends is not read
    for row, n in zip(batch, lengths, strict=True):
        row[:n] = sound(n)[0] * (n + 1)
    frames, counts = features(batch, torch.tensor(lengths))
    for row, n, count in zip(frames, lengths, counts.tolist(), strict=True):
        alone, own = features(sound(n) * (n + 1))
        assert own.tolist() == [count] == [alone.shape[1]]
        assert_close(row[:count], alone[0])
        assert not row[count:].any()
    if centre:
        assert counts.tolist() == [26, 0, 1, 13, 4, 4]
    assert_close(frames[0].mean(0), torch.zeros(features.options.size, dtype=torch.float64))
    assert_close(frames[0].square().mean(0), torch.ones(features.options.size, dtype=torch.float64))


@pytest.mark.parametrize("deltas", [0, 2])
@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(
    "sizes", [(1000, 1000), (1,) * 30 + (1970,), (79, 80, 81, 0, 256, 7, 1497), (3,), (0,), (255, 1)]
)
def test_a_stream_gives_the_frames_of_the_whole(sizes: tuple[int, ...], centre: bool, deltas: int) -> None:
    options = AudioOptions(rate=8000, mels=20, deltas=deltas, centre=centre, normalise="global")
    features = AudioFeatures(options).fit([sound(1500)[0], sound(700)[0]])
    whole = sound(sum(sizes)).repeat(2, 1) * torch.tensor([[1.0], [0.3]])
    stream = features.stream()
    pieces = [stream.push(piece) for piece in whole.split(list(sizes), 1)] + [stream.finish()]
    assert_close(torch.cat(pieces, 1), features(whole)[0])
    if sizes[0] == 1000:
        assert pieces[0].shape[1] >= 6 and pieces[1].shape[1] >= 11  # as soon as they can be


def test_global_normalisation_measures_all_frames() -> None:
    options = AudioOptions(rate=8000, kind="mfcc", mels=20, normalise="global")
    features = AudioFeatures(options)
    with pytest.raises(InputError, match=r"fit\(recordings\)"):
        features(sound(500))
    recordings = [sound(1500)[0], sound(700)[0] * 3]
    features.fit(recordings)
    frames = torch.cat([features(r[None])[0][0] for r in recordings])
    assert_close(frames.float().mean(0), torch.zeros(13))
    assert_close(frames.float().std(0, correction=0), torch.ones(13))
    again = AudioFeatures(options)
    again.load_state_dict(features.state_dict())
    assert_close(again(sound(800))[0], features(sound(800))[0])


def test_features_have_gradients() -> None:
    samples = sound(300).requires_grad_()
    features = AudioFeatures(AudioOptions(rate=8000, kind="mfcc", mels=8, mfccs=3, deltas=1, normalise="utterance"))
    assert torch.autograd.gradcheck(lambda x: features(x)[0], samples, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mfc"}, "unknown kind 'mfc'.*mfcc"),
        ({"log": "none", "kind": "mfcc"}, "needs a logarithm"),
        ({"window_ms": 0.01}, "fewer than 2 samples"),
        ({"hop_ms": 0.0}, "less than a sample"),
        ({"hop_ms": 100.0}, "would skip sound"),
        ({"fft": 333}, "must be even"),
        ({"fft": 100}, "the window's 400 samples, got 100"),
        ({"low": 900.0, "high": 800.0}, "0 <= low < high <= 8000 Hz, got 900 and 800"),
        ({"kind": "mfcc", "mfccs": 41}, "from 1 to mels=40, got 41"),
        ({"deltas": 3}, "0, 1 or 2, got 3"),
        ({"delta_frames": 4}, "odd"),
        ({"mels": 300}, "band 0 of 300 mel bands"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AudioFeatures(AudioOptions(**options))


def test_calls_that_cannot_be_are_refused() -> None:
    features = AudioFeatures(AudioOptions(rate=8000))
    for samples, lengths, message in [
        (torch.zeros(5), None, r"\[B, S\], got \[5\]"),
        (torch.zeros(1, 5, dtype=torch.int16), None, "float32 or float64"),
        (torch.zeros(2, 5), torch.tensor([5]), "2 whole numbers"),
        (torch.zeros(2, 5), torch.tensor([5, 6]), "from 0 to 5, got 5 to 6"),
    ]:
        with pytest.raises(InputError, match=message):
            features(samples, lengths)
    with pytest.raises(InputError, match="fit is for normalise='global'"):
        features.fit([])
    with pytest.raises(InputError, match="no frame to measure"):
        AudioFeatures(AudioOptions(rate=8000, normalise="global")).fit([])
    with pytest.raises(InputError, match="cannot stream"):
        AudioFeatures(AudioOptions(rate=8000, normalise="utterance")).stream()
    stream = features.stream()
    with pytest.raises(InputError, match="nothing to finish"):
        stream.finish()
    stream.push(torch.zeros(2, 9))
    with pytest.raises(InputError, match=r"\[1, s\] of torch.float32 in a stream of \[2, s\]"):
        stream.push(torch.zeros(1, 9))
    stream.finish()
    with pytest.raises(InputError, match="is finished"):
        stream.push(torch.zeros(2, 9))


def test_masks_hide_while_training_only_and_repeat() -> None:
    frames, lengths = torch.ones(6, 100, 40), torch.tensor([100, 100, 90, 50, 10, 0])
    augment = SpecAugment(seed=5)
    one, two = augment(frames, lengths), augment(frames, lengths)
    assert not torch.equal(one, two)
    goes_on = SpecAugment(seed=5)
    goes_on.load_state_dict({"calls": torch.tensor(1)})
    assert torch.equal(goes_on(frames, lengths), two)
    assert not torch.equal(SpecAugment(seed=6)(frames, lengths), one)
    assert torch.equal(augment.eval()(frames, lengths), frames)


def test_masks_keep_their_widths() -> None:
    frames, lengths = torch.ones(400, 60, 30), torch.full((400,), 50)
    for bands, stretches in ((1, 0), (0, 1), (2, 2)):
        augment = SpecAugment(bands, 6, stretches, 20, most=0.3, seed=1)
        hidden = augment(frames, lengths) == 0
        assert not hidden[:, 50:].any()
        whole_bands, whole_steps = hidden[:, :50].all(1).sum(1), hidden.all(2).sum(1)  # [B]
        assert whole_bands.max() <= 6 * bands and whole_steps.max() <= 15 * stretches
        if bands == 1:
            assert sorted(set(whole_bands.tolist())) == list(range(7))
            assert hidden.any(0).any(0).all()  # every feature is hidden once
        if (bands, stretches) == (0, 1):
            assert sorted(set(whole_steps.tolist())) == list(range(16))
    with pytest.raises(InputError, match="most=2"):
        SpecAugment(most=2)
