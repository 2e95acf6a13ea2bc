"""Music of many voices: which notes sound next, frame by frame.

    x[t] in {0, 1}^P                                    the notes that sound in frame t
    h[t] = Recurrent(W x[t-1])[t],  x[0] = 0            one or more recurrent layers, any cell
    p(x[t] | x[1..t-1]) = product over the notes of Bernoulli(sigmoid(V h[t] + c))

Trained with teacher forcing; a loss is the nats of a frame, all of its notes together (Boulanger-Lewandowski, Bengio
and Vincent, "Modeling Temporal Dependencies in High-Dimensional Sequences", 2012). Pieces are moved up and down by some
semitones while training, since a melody is the same in every key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import cells
from ostinato.errors import InputError
from ostinato.features.scores import PITCHES, Piece, piano_roll, piece, read_scores
from ostinato.files import write_atomic
from ostinato.recurrent import Recurrent
from ostinato.tasks.common.encoder import make_cell
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.parts import file_and_part
from ostinato.tasks.common.store import Item
from ostinato.training.goal import Goal
from ostinato.training.options import option

SHOWN = 6
"""Pieces of the report's page."""


@dataclass(frozen=True)
class ComposeOptions(TaskOptions):
    """What ``ostinato train compose`` can be told."""

    cell: str = option("lstm", "the recurrent step, by name (ostinato info lists them)")
    cell_options: dict[str, Any] = field(default_factory=dict, metadata={"help": "the cell's own options, as tau=5"})
    layers: int = option(1, "recurrent layers, one on the other", low=1)
    hidden_size: int = option(200, "hidden units in each layer", low=1)
    dropout: float = option(0.4, "share of the numbers that training drops", low=0, high=0.95)
    transpose: int = option(5, "semitones that pieces are moved up or down at most while training", low=0, high=24)
    batch: int = option(16, "examples in a batch", low=1)
    epochs: int = option(40, "how often the training data is read (little data several times in each)", low=1)


class Batch(NamedTuple):
    """Pieces side by side."""

    notes: Tensor  # [B, T, P]
    lengths: Tensor  # [B]


class Composer(nn.Module):
    """The logits of the notes of every frame, from the frames before it."""

    def __init__(self, shares: Tensor, options: ComposeOptions) -> None:
        super().__init__()
        self.transpose = options.transpose
        width = cells.output_size(make_cell(options, 1))
        self.W = nn.Linear(PITCHES, options.hidden_size)
        widths = [options.hidden_size] + [width] * (options.layers - 1)
        self.layers = nn.ModuleList(Recurrent(make_cell(options, w)) for w in widths)
        self.dropout = nn.Dropout(options.dropout)
        self.V = nn.Linear(width, PITCHES)
        with torch.no_grad():
            self.V.bias.copy_(torch.logit(shares, 1e-4))

    def forward(self, before: Tensor, states: Any = None) -> tuple[Tensor, Any]:
        """Frames ``[B, T, P]`` to the logits of what follows each ``[B, T, P]``, and the states."""
        h, finals = self.dropout(self.W(before)), []  # [B, T, H]
        for number, layer in enumerate(self.layers):
            h, final = layer(h, None if states is None else states[number])  # [B, T, H]
            h = self.dropout(h)
            finals.append(final)
        return self.V(h), finals

    def nats(self, batch: Batch) -> Tensor:
        """Of each piece, the nats of all of its frames: ``[B]``."""
        notes = self.moved(batch.notes) if self.training and self.transpose else batch.notes
        logits, _ = self(F.pad(notes[:, :-1], (0, 0, 1, 0)))
        each = F.binary_cross_entropy_with_logits(logits, notes, reduction="none").sum(2)  # [B, T]
        live = torch.arange(each.shape[1]) < batch.lengths.unsqueeze(1)
        return each.masked_fill(~live, 0).sum(1)

    def moved(self, notes: Tensor) -> Tensor:
        """Every piece in another key, as far as its notes stay on the scale."""
        there = notes.amax(1)  # [B, P]
        places = torch.arange(PITCHES)
        lowest = torch.where(there > 0, places, PITCHES - 1).amin(1)  # [B]
        highest = torch.where(there > 0, places, 0).amax(1)
        shift = torch.randint(-self.transpose, self.transpose + 1, (len(notes),))
        shift = torch.minimum(torch.maximum(shift, -lowest), PITCHES - 1 - highest)
        index = (places - shift.unsqueeze(1)) % PITCHES  # [B, P]
        return notes.gather(2, index.unsqueeze(1).expand_as(notes))


class Pieces:
    """The pieces of a file, read anew at every iteration; ``FILE.json:valid`` is a part of it, train where none is."""

    def __init__(self, path: Path) -> None:
        self.path, self.bad = path, 0
        self._file, self._part = file_and_part(path)

    def __iter__(self) -> Iterator[Example]:
        parts = read_scores(self._file)
        if self._part not in parts:
            raise InputError(f"{self._file} has no part {self._part!r}; it has: {', '.join(parts)}")
        if not parts[self._part]:
            raise InputError(f"{self.path} has no pieces")
        for number, one in enumerate(parts[self._part]):
            yield Example(f"{self.path}: piece {number}", one, one)


class Compose(Kind):
    """The task."""

    name = "compose"
    summary = "Learn which notes sound next, in music of many voices."
    help_examples = """
      ostinato train compose chorales.json:train --validation chorales.json:valid --out runs/bach
      ostinato predict runs/bach 7 --picture seven.svg             (piece number 7)
      ostinato predict runs/bach "[[48, 64, 67, 72], [47, 62, 67, 74]]"    (goes on from these)
    """
    options_class = ComposeOptions
    goal = Goal("loss")
    options: ComposeOptions

    def read(self, path: Path, answered: bool = True) -> Pieces:
        return Pieces(path)

    def from_text(self, text: str) -> Example:
        if text.strip().isdigit():
            return Example(text, int(text))
        try:
            return Example("the beginning", piece(json.loads(text), "the beginning"))
        except json.JSONDecodeError:
            raise InputError(f"give the piece a number, or a beginning as JSON: a list of lists of pitches, got "
                             f"{text[:40]!r}") from None  # fmt: skip

    def as_text(self, example: Example) -> str:
        return "0"

    def prepare(self, examples: Iterable[Example]) -> None:
        counts, frames, lengths = np.zeros(PITCHES), 0, []
        for example in examples:
            notes = _notes(example.given)
            counts, frames = counts + notes.sum(0), frames + len(notes)
            lengths.append(len(notes))
        self.state = {"shares": (counts / frames).round(6).tolist(), "usual": int(np.median(lengths))}

    def model(self) -> nn.Module:
        return Composer(torch.tensor(self.state["shares"]), self.options)

    def encode(self, example: Example) -> Item:
        number, given = (example.given, []) if isinstance(example.given, int) else (0, example.given)
        return {"notes": _notes(given), "number": np.array([number], np.int64)}

    def length(self, item: Item) -> int:
        return len(item["notes"])

    def batch(self, items: Sequence[Item]) -> Batch:
        rows = [torch.from_numpy(item["notes"].astype(np.float32)) for item in items]
        lengths = torch.tensor([len(row) for row in rows])  # [B]
        return Batch(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        count = int(batch.lengths.sum())
        return model.nats(batch).sum() / count, count

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        nats = model.nats(batch).tolist() if batch.notes.shape[1] else [0.0] * len(items)
        written = [] if self.validating else [self._written(model, item) for item in items]
        return [(n, len(item["notes"]), written[i] if written else [])
                for i, (n, item) in enumerate(zip(nats, items, strict=True))]  # fmt: skip

    def _written(self, model: Any, item: Item) -> Piece:
        """A piece of the usual length after the given frames; for the same number and seed the same."""
        generator = torch.Generator().manual_seed(int(self.writing.get("seed") or 0) + int(item["number"][0]))
        x = F.pad(torch.from_numpy(item["notes"].astype(np.float32))[None], (0, 0, 1, 0))  # [1, T + 1, P]
        frames, states = [], None
        for _ in range(self.state["usual"]):
            logits, states = model(x, states)
            x = torch.bernoulli(logits[:, -1:].sigmoid(), generator=generator)  # [1, 1, P]
            frames.append(x[0, 0].nonzero().flatten().tolist())
        return frames

    def finish(self, example: Example, found: Any) -> Answer:
        nats, frames, written = found
        text = " | ".join(",".join(map(str, frame)) or "-" for frame in written)
        return Answer((nats, frames), text, {"frames": written})

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        frames = sum(answer.value[1] for answer in answers)
        return {"nats_per_frame": sum(answer.value[0] for answer in answers) / max(frames, 1)}

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        """Each note by how often it sounds; and by how often it does where it did, or did not, the frame before."""
        seen, stays = np.zeros((2, PITCHES)), np.zeros((2, PITCHES))  # by whether it sounded before
        for example in train:
            notes = _notes(example.given)
            before = np.pad(notes[:-1], ((1, 0), (0, 0)))
            for was in (0, 1):
                seen[was] += (before == was).sum(0)
                stays[was] += ((before == was) & (notes > 0)).sum(0)
        always = np.clip(stays.sum(0) / seen.sum(0), 1e-4, 1 - 1e-4)
        after = np.clip((stays + 0.5) / (seen + 1), 1e-4, 1 - 1e-4)
        total, frames = np.zeros(2), 0
        for example in test:
            notes = _notes(example.given)
            before = np.pad(notes[:-1], ((1, 0), (0, 0)))
            for i, p in enumerate((np.broadcast_to(always, notes.shape), np.where(before > 0, after[1], after[0]))):
                total[i] -= np.log(np.where(notes > 0, p, 1 - p)).sum()
            frames += len(notes)
        return dict(zip(("each note by its share: nats_per_frame", "by the frame before: nats_per_frame"),
                        (total / frames).tolist(), strict=True))  # fmt: skip

    def picture(self, example: Example, answer: Answer) -> str:
        begun = [] if isinstance(example.given, int) else example.given
        return piano_roll([*begun, *answer.details["frames"]], example.place)

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        files = []
        for number, answer in enumerate(answers[:SHOWN]):
            files.append(folder / f"piece-{number}.svg")
            write_atomic(files[-1], piano_roll(answer.details["frames"], f"after piece {number}").encode())
        return files


def _notes(frames: Piece) -> np.ndarray:
    """Frames as 0 and 1, ``[T, P]``."""
    notes = np.zeros((len(frames), PITCHES), np.uint8)
    for t, frame in enumerate(frames):
        notes[t, frame] = 1
    return notes
