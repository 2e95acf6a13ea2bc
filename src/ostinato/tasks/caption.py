"""An image into words: what is in a picture, said in a sentence.

    g[i, j] = the image, through convolutions that halve it or through a two-dimensional recurrence over its patches
    m[s] = both directions of a recurrence over the places of g, column by column        the memory

from which the caption is written word by word (:mod:`ostinato.tasks.common.writer`: decoder, attention, teacher
forcing), as in Xu et al., "Show, Attend and Tell", 2015. ``--encoder conv`` learns its convolutions, ``--encoder
recurrent`` reads with an LSTM over both dimensions from two corners (Graves, Fernández and Schmidhuber, 2007), and
``--encoder FILE.onnx`` takes a network that was trained elsewhere: from images ``[1, 3, H, W]`` to ``[1, C, h, w]``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import cells
from ostinato.errors import InputError
from ostinato.features.images import SUFFIXES, read_image
from ostinato.features.rows.manifest import find_files
from ostinato.layers import Recurrent2d
from ostinato.tasks.common.encoder import Encoder
from ostinato.tasks.common.kind import Answer, Example, Measures, TaskOptions
from ostinato.tasks.common.pairs import Pairs
from ostinato.tasks.common.store import Item
from ostinato.tasks.common.writer import FIRST, UNKNOWN, Memory, Writer, WriterOptions, Writes, taught, vocabulary
from ostinato.training.goal import Goal
from ostinato.training.options import option

COLUMNS = ("caption", "text", "description", "sentence", "title")
"""Names of the column of captions."""
LONGEST = 60
_WORDS = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True)
class CaptionOptions(WriterOptions, TaskOptions):
    """What ``ostinato train caption`` can be told."""

    caption: str | None = option(None, "column of the captions (of these names: caption, text, description, ...)")
    images: str | None = option(None, "folder that the column of images counts from (the folder of DATA)")
    encoder: str = option("conv", "what reads the image: conv, recurrent, or a FILE.onnx that was trained elsewhere")
    height: int = option(64, "images are scaled to so many rows", low=16)
    channels: int = option(32, "features of the first convolution; every further one has twice as many", low=1)
    words: int = option(10_000, "keep so many of the most frequent words", low=1)
    flip: bool = option(False, "mirror every second image while training, left to right")
    hidden_size: int = option(192, "hidden units in each layer and direction", low=1)
    embedding_size: int = option(128, "numbers that a word becomes", low=1)
    dropout: float = option(0.4, "share of the numbers that training drops", low=0, high=0.95)
    batch: int = option(32, "examples in a batch", low=1)


class Batch(NamedTuple):
    """Images and their captions as tensors."""

    images: Tensor  # [B, H, W, C], from 0 to 1, or what another network found, [B, h, w, C]
    widths: Tensor  # [B], columns that are not padding
    lengths: Tensor  # [B], places of the memory
    given: Tensor  # [B, T], the start and the caption
    wanted: Tensor  # [B, T], the caption and the end; PAD behind


class Convolutions(nn.Module):
    """Halve an image until it has about four rows: ``[B, H, W, 3]`` to ``[B, h, w, size]``."""

    def __init__(self, options: CaptionOptions) -> None:
        super().__init__()
        widths = [3, *(options.channels * 2**i for i in range(halvings(options.height)))]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(b) for b in widths[1:])
        self.size = widths[-1]

    def forward(self, x: Tensor, widths: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            widths = (widths + 1) // 2
            x = F.relu(norm(layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)))  # [B, H / 2, W / 2, C]
            x = x * inside(x, widths)  # what is beyond an image's own columns is zero, whatever stands beside it
        return x


class Patches(nn.Module):
    """Square patches, read in both dimensions from two corners: ``[B, H, W, 3]`` to ``[B, h, w, size]``."""

    def __init__(self, options: CaptionOptions) -> None:
        super().__init__()
        self.side = 2 ** halvings(options.height)
        self.patch = nn.Linear(3 * self.side**2, options.hidden_size)
        parts = [cells.LSTM2d(options.hidden_size, options.hidden_size) for _ in range(2)]
        self.layer = Recurrent2d(parts, directions=("top-left", "bottom-right"))
        self.size = 2 * options.hidden_size

    def forward(self, x: Tensor, widths: Tensor) -> Tensor:
        n = self.side
        x = F.pad(x, (0, 0, 0, -x.shape[2] % n, 0, -x.shape[1] % n))
        x = x.unfold(1, n, n).unfold(2, n, n).flatten(3)  # [B, h, w, 3 n n]
        sizes = torch.stack([torch.full_like(widths, x.shape[1]), -(-widths // n)], 1)  # [B, 2]
        return self.layer(torch.relu(self.patch(x)), lengths=sizes)[0]  # [B, h, w, 2 H]


class Found(nn.Module):
    """What another network has found stays as it is."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor, widths: Tensor) -> Tensor:
        return x


def inside(x: Tensor, widths: Tensor) -> Tensor:
    """Which columns of images ``[B, H, W, C]`` are their own: ``[B, 1, W, 1]``."""
    return (torch.arange(x.shape[2]) < widths.unsqueeze(1))[:, None, :, None]


def halvings(height: int) -> int:
    """How often an image is halved to have about four rows."""
    return max(2, round(np.log2(height / 4)))


class Captioner(Writer):
    """Image encoder, a recurrence over its places, decoder, attention."""

    def __init__(self, words: int, found: int | None, options: CaptionOptions) -> None:
        kinds = {"conv": Convolutions, "recurrent": Patches}
        look = kinds[options.encoder](options) if found is None else Found(found)
        order = Encoder(look.size, options)
        super().__init__(words, order.size, options)
        self.look, self.order, self.flip, self.shift = look, order, options.flip, found is None

    def remember(self, batch: Batch) -> tuple[Memory, Any]:
        """Look at images ``[B, H, W, 3]``."""
        x = (batch.images - 0.5) / 0.25 if self.shift else batch.images
        if self.training and self.shift:
            x = self.moved(x, batch.widths)
        g = self.look(x * inside(x, batch.widths), batch.widths)  # [B, h, w, C]
        places = F.dropout(g.transpose(1, 2).flatten(1, 2), self.p, self.training)  # [B, w h, C], column by column
        return self.remembered(self.order(places, batch.lengths), batch.lengths)

    def moved(self, x: Tensor, widths: Tensor) -> Tensor:
        """Images a little higher or lower, brighter or darker, and where it is wanted every second one mirrored."""
        step = int(torch.randint(-(x.shape[1] // 16), x.shape[1] // 16 + 1, ()))
        x = torch.roll(x, step, 1) * (1 + 0.1 * torch.randn(len(x), 1, 1, 1))
        if self.flip:
            column = torch.arange(x.shape[2]).expand(len(x), -1)  # [B, W]
            back = (widths.unsqueeze(1) - 1 - column).where(column < widths.unsqueeze(1), column)
            back = back.where(torch.rand(len(x), 1) < 0.5, column)
            x = x.gather(2, back[:, None, :, None].expand_as(x))
        return x


class Images(Pairs):
    """The examples of DATA, one for each caption of an image."""

    def examples(self) -> Iterator[Example]:
        for entry in find_files(self.path, SUFFIXES, None, "images", self.options.images):
            try:
                gold = self._caption(entry.place, entry.values) if self.answered else None
                if self.options.skip_bad_lines:
                    read_image(entry.path)
            except InputError as error:
                self.complain(str(error))
                continue
            yield Example(entry.place, entry.path, gold)

    def _caption(self, place: str, values: Any) -> str:
        column = self.options.caption or next((name for name in COLUMNS if name in values), None)
        if column is None or column not in values:
            known = ", ".join(values) or "none"
            raise InputError(f"{place}: no column of captions {column or ''}; beside the image there are: {known}")
        text = str(values[column] or "").strip()
        if not pieces(text):
            raise InputError(f"{place}: the caption is empty or has no words: {text!r}")
        return text


def pieces(text: str) -> list[str]:
    """The words of a caption, in small letters, without punctuation."""
    return _WORDS.findall(text.lower())


class Caption(Writes):
    """The task."""

    name = "caption"
    summary = "Learn to say in words what an image shows."
    help_examples = """
      ostinato train caption captions.csv --images images --out runs/captions
      ostinato train caption strips.csv --height 32 --out runs/digits
    """
    options_class = CaptionOptions
    needs = ("PIL", "sacrebleu", "sklearn", "matplotlib")
    options: CaptionOptions

    @property
    def goal(self) -> Goal:  # type: ignore[override] # known when the data is
        return Goal("cider", more=True) if self.state.get("prose") else Goal("error_rate")

    def read(self, path: Path, answered: bool = True) -> Images:
        return Images(path, self.options, answered)

    def from_text(self, text: str) -> Example:
        path = Path(text.strip())
        if not path.is_file():
            raise InputError(f"{text}: no such file; give the path of an image")
        return Example(text, path)

    def together(self, example: Example) -> Any:
        return str(example.given)

    def prepare(self, examples: Iterable[Example]) -> None:
        if self.options.encoder not in ("conv", "recurrent") and not self.options.encoder.endswith(".onnx"):
            raise InputError(f"--encoder must be conv, recurrent or a FILE.onnx, got {self.options.encoder!r}")
        counts: Counter[str] = Counter()
        last = None
        for last in examples:
            counts.update(pieces(last.gold))
        words = vocabulary(counts, self.options.words, least=2 if len(counts) > 500 else 1)
        self.state = {"words": words, "prose": len(words) > 100}
        if self.options.encoder.endswith(".onnx") and last is not None:
            self.state["features"] = int(self.image(last.given).shape[2])

    @cached_property
    def network(self) -> Any:
        """A network from a file, run by ONNX Runtime."""
        try:
            import onnxruntime
        except ImportError:
            raise InputError("an encoder from a file needs onnxruntime: pip install 'ostinato[onnx]'") from None
        try:
            return onnxruntime.InferenceSession(self.options.encoder, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise InputError(f"{self.options.encoder} cannot be read as a network: {error}") from error

    def image(self, path: Path) -> np.ndarray:
        """An image ``[H, W, 3]``, or what a network from elsewhere finds in it, ``[h, w, C]``."""
        image = read_image(path, self.options.height, colour=True)  # [H, W, 3]
        if not self.options.encoder.endswith(".onnx"):
            return image
        network, given = self.network, image.transpose(2, 0, 1)[None]  # [1, 3, H, W]
        try:
            found = network.run(None, {network.get_inputs()[0].name: given})[0]
        except Exception as error:  # as above
            raise InputError(f"{self.options.encoder} does not take {path} as {list(given.shape)}: {error}") from error
        if found.ndim != 4 or len(found) != 1:
            raise InputError(f"{self.options.encoder} gives {list(found.shape)}, and [1, C, h, w] is needed")
        return found[0].transpose(1, 2, 0)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.state["words"], FIRST)}

    def model(self) -> nn.Module:
        return Captioner(len(self.state["words"]) + FIRST, self.state.get("features"), self.options)

    def encode(self, example: Example) -> Item:
        image = self.image(example.given)
        if "features" not in self.state:
            image = (image * 255).round().astype(np.uint8)
        words = pieces(example.gold or "")[:LONGEST]
        columns = np.ascontiguousarray(image.swapaxes(0, 1))  # [W, H, C]
        return {"image": columns, "target": np.array([self._index.get(word, UNKNOWN) for word in words], np.int32)}

    def length(self, item: Item) -> int:
        return 100 * len(item["target"]) + len(item["image"])  # batches of like captions, then of like images

    def batch(self, items: Sequence[Item]) -> Batch:
        widths = torch.tensor([len(item["image"]) for item in items])  # [B]
        columns = [torch.from_numpy(np.array(item["image"])) for item in items]
        images = nn.utils.rnn.pad_sequence(columns, batch_first=True).transpose(1, 2)  # [B, H, W, C]
        images = images / 255 if images.dtype == torch.uint8 else images
        given, wanted = taught([item["target"] for item in items])  # [B, T] each
        scale = 1 if "features" in self.state else 2 ** halvings(self.options.height)
        places = -(-images.shape[1] // scale) * -(-widths // scale)  # [B]
        return Batch(images, widths, places, given, wanted)

    def longest(self, batch: Batch) -> int:
        return LONGEST

    def finish(self, example: Example, found: Any) -> Answer:
        numbers, weights, log_p = found
        words = [self.state["words"][n - FIRST] for n in numbers if n >= FIRST]
        details = {"log_p": round(log_p, 5), "attention": [[round(float(x), 3) for x in row] for row in weights]}
        return Answer(" ".join(words), " ".join(words), details)

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        from ostinato.tasks.caption_report import measures

        return measures(examples, [answer.text for answer in answers])

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.caption_report import instead

        return instead(list(train), list(test))

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.caption_report import write_report

        return write_report(examples, answers, folder)
