"""Drawings and handwriting, pen step by pen step: learned from drawings, and written by themselves or after a text.

    x[t]  = (dx, dy, lift) of the pen, offsets divided by their deviation s over the training part
    h[t]  = Recurrent(x)[t]                                            without a text
    h[t], w[t] = a cell whose window slides along the text's letters   with one (its formula: cells.SlidingWindow)
    p(x[t+1] | x[1..t]) = sum over m of pi_m N(dx, dy; mu_m, sigma_m, rho_m)  times  p(pen: down, lifts, has ended)

The numbers of the last line are a linear map of ``[h, w]`` (two layers: of both). Teacher forcing: the network always
reads the true step. Writing draws from the density; ``--bias`` makes it neater: components by (1 + bias), deviations by
e^-bias.

Source: Graves, "Generating Sequences With Recurrent Neural Networks", arXiv 1308.0850, 2013; the end of a drawing as a
state of the pen: Ha and Eck, "A Neural Representation of Sketch Drawings", arXiv 1704.03477, 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ostinato import cells
from ostinato.decoding.mixture import MixtureDensity
from ostinato.errors import InputError
from ostinato.features.rows.manifest import find_files
from ostinato.features.stroke_sets import read_cursive, read_sketches
from ostinato.features.strokes import offset_scale, read_inkml, resample_strokes, strokes_svg, to_offsets, to_points
from ostinato.recurrent import Recurrent
from ostinato.tasks.common.encoder import make_cell
from ostinato.tasks.common.inputs import GivenOf
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.parts import file_and_part
from ostinato.tasks.common.store import Item
from ostinato.training.goal import Goal
from ostinato.training.options import option

END = 2
"""The pen's state behind the last step."""
SHOWN = 24
"""Drawings that an evaluation shows: one for each of the file's first."""
SLACK = 4
"""A drawing is cut off after so many times the steps of the longest in training, a text after so many times those that
its letters usually take."""
EIGHT = 8
"""Texts are filled up to a multiple of so many letters: each length is a program of its own."""


@dataclass(frozen=True)
class DrawOptions(TaskOptions):
    """What ``ostinato train draw`` can be told."""

    text: bool | None = option(None, "write after a text; told by the data")
    cell: str = option("lstm", "the recurrent step, by name (ostinato info lists them)")
    cell_options: dict[str, Any] = field(default_factory=dict, metadata={"help": "the cell's own options, as tau=5"})
    hidden_size: int = option(256, "hidden units in each layer", low=1)
    layers: int = option(1, "recurrent layers, one on the other; with a text one more above the window", low=1)
    components: int = option(20, "Gaussians of the mixture", low=1)
    bumps: int = option(10, "with a text: of the window", low=1)
    floor: float = option(0.25, "the least deviation of a Gaussian, in the data's units", low=0)
    spacing: float = option(0.0, "points so far apart along the line, in mean distances (0: as they are)", low=0)
    dropout: float = option(0.1, "share of the numbers that training drops", low=0, high=0.95)
    longest: int = option(800, "steps that are read of a longer drawing", low=2)
    patience: int = option(3, "stop after so many epochs that are no better on validation (0: never)", low=0)


class Batch(NamedTuple):
    """Drawings as tensors."""

    steps: Tensor  # [B, T, 3], behind the last the end
    lengths: Tensor  # [B], the end included
    letters: Tensor | None  # [B, U], 0 behind the end


class Artist(nn.Module):
    """Steps ``[B, T, 3]``, and letters, to the numbers of the density of each next step."""

    def __init__(self, letters: int, floor: float, options: DrawOptions) -> None:
        super().__init__()
        self.mixture = MixtureDensity(options.components, pen="state", floor=floor)
        self.letters, width = letters, options.hidden_size
        above = 3
        self.window: Recurrent | None = None
        if letters:
            inner = make_cell(options, above + letters)
            self.window = Recurrent(cells.SlidingWindow(inner, letters, bumps=options.bumps))
            above = 3 + cells.output_size(inner) + letters
        parts = []
        for _ in range(options.layers):
            cell = make_cell(options, above)
            parts.append(Recurrent(cell))
            above = cells.output_size(cell)
        self.layers = nn.ModuleList(parts)
        read = width * options.layers if not letters else width * options.layers + width + letters
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(read, self.mixture.size)

    def forward(self, steps: Tensor, letters: Tensor | None, states: Any = None,
                lengths: Tensor | None = None) -> tuple[Tensor, list[Any]]:  # fmt: skip
        """The numbers ``[B, T, size]``, and the states after the last step."""
        pen = torch.stack([steps[..., 0], steps[..., 1], (steps[..., 2] > 0).float()], -1)  # [B, T, 3]
        finals, outputs, x = [], [], pen
        given = iter(states or [None] * (len(self.layers) + 1))
        if self.window is not None:
            assert letters is not None
            memory = nn.functional.one_hot(letters, self.letters + 1)[..., 1:].float()  # [B, U, M]
            places = torch.arange(letters.shape[1], dtype=torch.float).repeat(len(letters), 1)  # [B, U]
            h, final = self.window(x, next(given), lengths, constants=(memory, places))  # [B, T, H + M]
            finals.append(final)
            outputs.append(h)
            x = torch.cat([pen, h], 2)
        for layer in self.layers:
            h, final = layer(self.dropout(x) if finals else x, next(given), lengths)  # [B, T, H]
            finals.append(final)
            outputs.append(h)
            x = h
        return self.head(self.dropout(torch.cat(outputs, 2))), finals


class Draw(Kind):
    """The task."""

    name = "draw"
    summary = "Learn to draw and to write by hand, from pen strokes."
    help_examples = """
      ostinato train draw sheep.npz:train --validation sheep.npz:valid --out runs/sheep
      ostinato predict runs/sheep 7 --picture sheep.svg                        (drawing number 7)
      ostinato train draw handwriting.json.zip --out runs/hand
      ostinato predict runs/hand "hello there" --bias 1 --picture hello.svg
    """
    options_class = DrawOptions
    goal = Goal("loss")
    needs = ("sklearn",)
    options: DrawOptions

    def read(self, path: Path, answered: bool = True) -> Iterable[Example]:
        return Drawings(path, self.state.get("letters") is not None if self.state else self.options.text)

    def from_text(self, text: str) -> Example:
        if not self.state["letters"]:
            if not text.isdigit():
                raise InputError(f"this model draws without a text: give the drawing a number, got {text[:40]!r}")
            return Example(text, (None, None, int(text)))
        unknown = sorted(set(text) - set(self.state["letters"]))
        if unknown or not text:
            what = f"letters that training never saw: {', '.join(map(repr, unknown))}" if unknown else "no letters"
            raise InputError(f"the text has {what}")
        return Example(text, (text, None, 0))

    def as_text(self, example: Example) -> str:
        return example.given[0] or "0"

    def prepare(self, examples: Iterable[Example]) -> None:
        self.state = {"unit": offset_scale([to_offsets(s) for s in map(_strokes, GivenOf(examples)) if s is not None])
                      if self.options.spacing else 1.0}  # fmt: skip
        offsets = [self._offsets(given) for given in GivenOf(examples)]
        texts = [given[0] for given in GivenOf(examples)]
        letters = sorted({letter for text in texts for letter in text}) if all(texts) else []
        steps = [len(o) for o in offsets]
        self.state |= {
            "scale": offset_scale(offsets), "letters": letters, "longest": max(steps),
            "per_letter": float(np.median([n / len(t) for n, t in zip(steps, texts, strict=True)])) if letters else 0.0,
        }  # fmt: skip

    def _offsets(self, given: tuple[str | None, Any, int]) -> Tensor:
        """``[T, 3]``, in the data's units."""
        strokes = _strokes(given)
        if strokes is None:
            return given[1]
        if self.options.spacing:
            strokes = resample_strokes(strokes, self.options.spacing * self.state["unit"])
        return to_offsets(strokes)

    def model(self) -> nn.Module:
        return Artist(len(self.state["letters"]), self.options.floor / self.state["scale"], self.options)

    def encode(self, example: Example) -> Item:
        text, drawing, number = example.given
        letters = {letter: i for i, letter in enumerate(self.state["letters"], start=1)}
        steps = np.zeros((0, 3), np.float32)
        if drawing is not None:
            offsets = self._offsets(example.given)[: self.options.longest]  # [T, 3]
            scaled = offsets / torch.tensor([self.state["scale"], self.state["scale"], 1.0])
            steps = torch.cat([scaled, torch.tensor([[0.0, 0.0, float(END)]])]).numpy()  # [T + 1, 3]
        known = [letters.get(letter, 0) for letter in text or ""] if letters else []
        return {"steps": steps, "letters": np.array([n for n in known if n], np.int32),
                "number": np.array([number], np.int64)}  # fmt: skip

    def length(self, item: Item) -> int:
        return len(item["steps"])

    def batch(self, items: Sequence[Item]) -> Batch:
        rows = [torch.from_numpy(np.array(item["steps"])) for item in items]
        lengths = torch.tensor([len(row) for row in rows])  # [B]
        steps = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # [B, T, 3]
        if not self.state["letters"]:
            return Batch(steps, lengths, None)
        size = -(-max(len(item["letters"]) for item in items) // EIGHT) * EIGHT
        letters = torch.zeros(len(items), size, dtype=torch.long)  # [B, U]
        for row, item in enumerate(items):
            letters[row, : len(item["letters"])] = torch.from_numpy(item["letters"].astype(np.int64))
        return Batch(steps, lengths, letters)

    def _nats(self, model: Any, batch: Batch) -> Tensor:
        """Of each drawing, the nats of all of its steps and of its end: ``[B]``."""
        before = nn.functional.pad(batch.steps[:, :-1], (0, 0, 1, 0))  # [B, T, 3]
        numbers, _ = model(before, batch.letters, lengths=batch.lengths)  # [B, T, size]
        each = model.mixture.loss(numbers, batch.steps)  # [B, T]
        live = torch.arange(each.shape[1]) < batch.lengths.unsqueeze(1)
        return each.masked_fill(~live, 0).sum(1)

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        count = int((batch.lengths - 1).sum())  # the end is no step of the pen
        return self._nats(model, batch).sum() / count, count

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        if not batch.steps.shape[1]:
            return [(0.0, 0, drawing) for drawing in self._drawn(model, items)]
        shown = [] if self.validating else [i for i, item in enumerate(items) if int(item["number"][0]) < SHOWN]
        drawn = dict(zip(shown, self._drawn(model, [items[i] for i in shown]), strict=True)) if shown else {}
        nats = self._nats(model, batch).tolist()
        return [(n, len(item["steps"]) - 1, drawn.get(i)) for i, (n, item) in enumerate(zip(nats, items, strict=True))]

    def _drawn(self, model: Any, items: Sequence[Item]) -> list[np.ndarray]:
        """A drawing for each item, offsets ``[T, 3]`` in the data's units; for the same number and text the same."""
        letters, seed = self.batch(items).letters, int(self.writing.get("seed") or 0)
        generators = [torch.Generator().manual_seed(seed + int(item["number"][0])) for item in items]
        most, bias = SLACK * self.state["longest"], float(self.writing.get("bias") or 0.0)
        if letters is not None:
            most = SLACK * self.state["per_letter"] * int((letters > 0).sum(1).max())
        x, states = torch.zeros(len(items), 1, 3), None
        live, drawn = set(range(len(items))), [[] for _ in items]
        for _ in range(int(min(most, SLACK * self.options.longest))):
            numbers, states = model(x, letters, states)  # [B, 1, size]
            for row in sorted(live):  # each by chances of its own, whatever is beside it
                x[row] = model.mixture.sample(numbers[row], generators[row], bias)  # [1, 3]
                if x[row, 0, 2] == END:
                    live.discard(row)
                else:
                    drawn[row].append(x[row, 0].clone())
            if not live:
                break
        scale = torch.tensor([self.state["scale"], self.state["scale"], 1.0])
        return [(torch.stack(row) * scale if row else torch.zeros(1, 3)).numpy() for row in drawn]

    def finish(self, example: Example, found: Any) -> Answer:
        nats, steps, drawing = found
        if drawing is None:
            return Answer((nats, steps), "", {})
        points = [stroke.round(3).tolist() for stroke in to_points(torch.from_numpy(drawing))]
        shown = " ".join(f"{dx:.4g},{dy:.4g},{int(lift)}" for dx, dy, lift in drawing)
        return Answer((nats, steps), shown, {"strokes": points})

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        steps = sum(answer.value[1] for answer in answers)
        return {"nats_per_step": sum(answer.value[0] for answer in answers) / max(steps, 1)}

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.draw_report import one_mixture

        learned, met = (np.concatenate([self.encode(e)["steps"] for e in part]) for part in (train, test))
        floor = self.options.floor / self.state["scale"]
        return one_mixture(learned, met, self.options.components, floor, self.options.seed)

    def picture(self, example: Example, answer: Answer) -> str:
        return strokes_svg([np.array(stroke) for stroke in answer.details["strokes"]])

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.draw_report import write_report

        return write_report(examples, answers, folder)


class Drawings:
    """The drawings of a file, read anew at every iteration: sketch-rnn's ``.npz`` (``FILE.npz:valid`` is a part of it,
    train where none is said), the Cursive Transformer's ``.json.zip`` with its texts, or InkML by manifest or folder.

    Raises:
        InputError: missing, damaged, or a part that is not there.
    """

    def __init__(self, path: Path, text: bool | None) -> None:
        self.path, self._text, self.bad = path, text, 0
        self._file, self._part = file_and_part(path)

    def __iter__(self) -> Iterator[Example]:
        if self._file.suffix == ".npz":
            parts = read_sketches(self._file)
            if self._part not in parts:
                raise InputError(f"{self._file} has no part {self._part!r}; it has: {', '.join(parts)}")
            drawings: Iterable[tuple[str | None, Any]] = ((None, offsets) for offsets in parts[self._part])
        elif self._file.name.endswith((".json.zip", ".json")):
            drawings = read_cursive(self._file)
        else:
            entries = find_files(self._file, (".inkml",), None, "drawings")
            drawings = ((_text_of(entry.values), entry.path) for entry in entries)
        for number, (text, drawing) in enumerate(drawings):
            yield Example(f"{self.path}: drawing {number}", (None if self._text is False else text, drawing, number))


def _strokes(given: tuple[str | None, Any, int]) -> Any:
    """The strokes of a drawing; None where it comes as offsets."""
    drawing = given[1]
    if isinstance(drawing, Tensor):
        return None
    return read_inkml(drawing) if isinstance(drawing, Path) else drawing


def _text_of(values: Any) -> str | None:
    return str(values["text"]) if values.get("text") else None
