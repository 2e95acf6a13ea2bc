"""Signals as a task reads them: sound, series of numbers, pen strokes, images, each a sequence of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.errors import InputError
from ostinato.features import images
from ostinato.features.audio import AudioFeatures, AudioOptions, SpecAugment, read_audio
from ostinato.features.audio.reading import SUFFIXES as AUDIO
from ostinato.features.rows.manifest import PATHS, find_files, path_column
from ostinato.features.rows.table import open_table
from ostinato.features.series import read_series, read_ts
from ostinato.features.stroke_sets import read_cursive
from ostinato.features.strokes import offset_scale, read_inkml, resample_strokes, to_offsets
from ostinato.tasks.common.inputs import Input
from ostinato.tasks.common.kind import Example
from ostinato.tasks.common.store import Item
from ostinato.training.options import option

Frames = NDArray[np.float32]
"""``[T, F]``."""
MEASURED = 2000
"""Examples that are measured to normalise all."""
_NAMES = {"audio": "recordings", "series": "series", "strokes": "drawings", "images": "images"}
SUFFIXES = {"audio": AUDIO, "series": (".csv", ".tsv"), "strokes": (".inkml",), "images": images.SUFFIXES}


@dataclass(frozen=True)
class SignalOptions:
    """How signals become frames."""

    input: str = option("auto", "what is read; told by the files", choices=("auto", "text", *SUFFIXES))
    pattern: str | None = option(None, "of a folder's file names, a regular expression; its named groups are columns")
    rate: int | None = option(None, "sound: samples a second, others are resampled (of the first recording)", low=1)
    mels: int = option(40, "sound: mel bands", low=4)
    hop_ms: float = option(10.0, "sound: milliseconds from frame to frame", low=1)
    spacing: float = option(0.0, "strokes: points so far apart, in mean distances (0: as they are)", low=0)
    scan: str = option("rows", "images: what a step reads", choices=images.SCANS)
    height: int = option(32, "images from files: scaled to so many rows", low=4)
    normalise: bool = option(True, "every feature to mean 0 and deviation 1, measured on the training part")
    augment: bool = option(True, "hide bands and stretches of sound while training")
    noise: float = option(0.1, "noise added while training, in deviations", low=0)


class Given(NamedTuple):
    """One signal as a file has it."""

    kind: str
    place: str
    """The file, with its line or number."""
    value: Any
    """A path; of series an array ``[T, F]``, of strokes a list of points, of images ``[H, W]``."""


def kind_of(path: Path, options: Any) -> str:
    """What DATA holds: "text", or a kind of signals."""
    if options.input != "auto":
        return options.input
    if path.suffix == ".ts":
        return "series"
    if "idx3" in path.name:
        return "images"
    if path.name.endswith(".json.zip"):
        return "strokes"
    if path.is_dir():
        names = [file.name for entry in sorted(path.iterdir())[:20]
                 for file in (sorted(entry.iterdir())[:5] if entry.is_dir() else [entry])]  # fmt: skip
        return _by_suffix(names)
    if not path.exists():
        return "text"
    values = open_table(path, options.format, encoding=options.encoding, names=PATHS).sample()[0].values
    column = path_column(values)
    return _by_suffix([str(values[column])]) if column else "text"


def _by_suffix(names: Sequence[str]) -> str:
    for name in names:
        for kind, suffixes in SUFFIXES.items():
            if name.lower().endswith(suffixes):
                return kind
    return "text"


def signals(path: Path, kind: str, options: Any) -> Iterator[tuple[Given, dict[str, Any]]]:
    """The signals of DATA with what is known of each: the manifest's columns, or ``label`` or ``text``.

    Raises:
        InputError: anything wrong with a file, with its name.
    """
    if path.suffix == ".ts":
        for place, values, label in read_ts(path, options.encoding):
            yield Given(kind, place, values), {} if label is None else {"label": label}
    elif "idx3" in path.name:
        labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        known = images.read_idx(labels) if labels.exists() and labels != path else None
        for number, image in enumerate(images.read_idx(path)):
            values = {} if known is None else {"label": str(known[number])}
            yield Given(kind, f"{path}: image {number}", image.astype(np.float32) / 255), values
    elif path.name.endswith(".json.zip"):
        for number, (text, strokes) in enumerate(read_cursive(path)):
            yield Given(kind, f"{path}: entry {number}", strokes), {"text": text}
    else:
        for entry in find_files(path, SUFFIXES[kind], options.pattern, _NAMES[kind]):
            yield Given(kind, str(entry.path), entry.path), dict(entry.values)


class SignalBatch(NamedTuple):
    """Frames side by side."""

    frames: Tensor  # [B, T, F]
    lengths: Tensor  # [B]


class FrameVectors(nn.Module):
    """Frames ``[B, T, F]`` to vectors of the same width; in training with noise, and with parts of sound hidden."""

    def __init__(self, size: int, options: Any, sound: bool) -> None:
        super().__init__()
        self.size, self.noise = size, options.noise
        self.hide = SpecAugment(2, max(1, size // 6), 2, 15, seed=options.seed) if sound and options.augment else None

    def forward(self, batch: SignalBatch) -> Tensor:
        """The vectors ``[B, T, size]``."""
        x = batch.frames  # [B, T, F]
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        return x if self.hide is None else self.hide(x, batch.lengths)


class SignalInput(Input):
    """Signals of one kind as frames."""

    kind = "signals"

    def prepare(self, given: Iterable[Given]) -> None:
        first = next(iter(given))
        self.state = {"kind": first.kind}
        measure = {"audio": self._measure_sound, "strokes": self._measure_strokes}.get(first.kind)
        if measure is not None:
            measure(given)
        count, total, squares = 0, np.zeros(1), np.zeros(1)
        for _, one in zip(range(MEASURED), given, strict=False):
            frames = self._frames(one).astype(np.float64)  # [T, F]
            if count and frames.shape[1:] != total.shape:
                raise InputError(f"{one.place}: {frames.shape[1]} features a step, where others have {len(total)}")
            count, total, squares = count + len(frames), total + frames.sum(0), squares + np.square(frames).sum(0)
        mean = total / count  # [F]
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
        self.state |= {"size": len(mean), "mean": mean.round(7).tolist(),
                       "deviation": np.where(deviation < 1e-5, 1, deviation).round(7).tolist()}  # fmt: skip

    def _measure_sound(self, given: Iterable[Given]) -> None:
        self.state["rate"] = self.options.rate or read_audio(next(iter(given)).value).rate

    def _measure_strokes(self, given: Iterable[Given]) -> None:
        some = [to_offsets(self._strokes(one)) for _, one in zip(range(MEASURED), given, strict=False)]
        self.state["scale"] = offset_scale(some)

    @cached_property
    def sound(self) -> AudioFeatures:
        """From samples to frames."""
        return AudioFeatures(AudioOptions(rate=self.state["rate"], mels=self.options.mels, hop_ms=self.options.hop_ms))

    def _strokes(self, one: Given) -> Any:
        return read_inkml(one.value) if isinstance(one.value, Path) else one.value

    def _frames(self, one: Given) -> Frames:
        return getattr(self, f"_{one.kind}_frames")(one)

    def _audio_frames(self, one: Given) -> Frames:
        with torch.no_grad():
            return self.sound(read_audio(one.value, self.state["rate"]).samples.unsqueeze(0))[0][0].numpy()

    def _series_frames(self, one: Given) -> Frames:
        return read_series(one.value, self.options.encoding) if isinstance(one.value, Path) else one.value

    def _strokes_frames(self, one: Given) -> Frames:
        strokes, scale = self._strokes(one), self.state["scale"]
        if self.options.spacing:
            strokes = resample_strokes(strokes, self.options.spacing * scale)
        offsets = to_offsets(strokes).numpy()  # [T, 3]
        return (offsets / np.array([scale, scale, 1])).astype(np.float32)

    def _images_frames(self, one: Given) -> Frames:
        image = one.value
        if isinstance(image, Path):
            image = images.read_image(image, self.options.height)
        return images.scan(image, self.options.scan)

    def frames(self, one: Given) -> Frames:
        """The normalised frames of a signal.

        Raises:
            InputError: it has other features than those that were trained with, or none.
        """
        frames = self._frames(one)
        if not len(frames) or frames.shape[1] != self.state["size"]:
            raise InputError(f"{one.place}: {list(frames.shape)} steps and features, where the model reads "
                             f"{self.state['size']} features a step")  # fmt: skip
        return self.normalised(frames)

    def normalised(self, frames: Frames) -> Frames:
        """Frames with every feature to mean 0 and deviation 1 over the training part."""
        if not self.options.normalise:
            return frames.astype(np.float32)
        return ((frames - self._table("mean")) / self._table("deviation")).astype(np.float32)

    def _table(self, name: str) -> NDArray[np.float32]:
        return np.array(self.state[name], np.float32)  # [F]

    def item(self, given: Given) -> Item:
        return {"frames": self.frames(given)}

    def length(self, item: Item) -> int:
        return len(item["frames"])

    def batch(self, items: Sequence[Item]) -> SignalBatch:
        rows = [torch.from_numpy(np.array(item["frames"])) for item in items]
        lengths = torch.tensor([len(row) for row in rows])  # [B]
        return SignalBatch(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)

    def module(self) -> nn.Module:
        return FrameVectors(self.state["size"], self.options, self.state["kind"] == "audio")

    def from_text(self, text: str) -> Given:
        path, kind = Path(text), self.state["kind"]
        if not path.is_file():
            raise InputError(f"{text}: no such file; the model reads {kind}: give the path of a file")
        return Given(kind, text, path)

    def shown(self, given: Given) -> str:
        return str(given.value) if isinstance(given.value, Path) else f"FILE ({given.place})"



class Signals:
    """The examples of DATA, each signal with the column that plays a role; read anew at every iteration.

    Args:
        role: of the column that is the answer: "label" or "text".
        column: its name, where it is another.
        answered: each must have its answer; else it is not read.

    With ``skip_bad_lines`` every file is tried first, and what cannot be read is left out and counted in ``bad``.
    """

    def __init__(self, path: Path, kind: str, options: Any, role: str, column: str | None, answered: bool) -> None:
        self.path, self.kind, self.options, self.role = path, kind, options, role
        self.column, self.answered, self.bad = column or role, answered, 0

    def __iter__(self) -> Iterator[Example]:
        self.bad, count = 0, 0
        for given, values in signals(self.path, self.kind, self.options):
            try:
                gold = self._gold(given.place, values) if self.answered else None
                if self.options.skip_bad_lines:
                    _try(given)
            except InputError:
                if not self.options.skip_bad_lines:
                    raise
                self.bad += 1
                continue
            count += 1
            yield Example(given.place, given, gold)
        if not count:
            raise InputError(f"{self.path} has no signals that can be used")

    def _gold(self, place: str, values: dict[str, Any]) -> str:
        value = values.get(self.column)
        if value is None or str(value).strip() == "":
            state = "is empty" if self.column in values else "is missing"
            known = f"; there are: {', '.join(values)}" if values and self.column not in values else ""
            raise InputError(f"{place}: the {self.role} (column {self.column!r}) {state}{known}")
        return str(value).strip()


def _try(given: Given) -> None:
    """Read a file, for the error that it may raise."""
    readers = {"audio": read_audio, "series": read_series, "strokes": read_inkml, "images": images.read_image}
    if isinstance(given.value, Path):
        readers[given.kind](given.value)
