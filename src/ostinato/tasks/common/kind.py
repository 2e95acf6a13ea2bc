"""A task, described once: what it reads, how that becomes numbers, the model, the loss, and how answers are measured.

Everything else, the loop, the run folder, the commands, is the same for all and lives beside this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from ostinato.errors import InputError
from ostinato.tasks.common.parts import split
from ostinato.tasks.common.store import Item
from ostinato.training.goal import Goal
from ostinato.training.options import TrainingOptions, option

Measures = dict[str, float]


@dataclass(frozen=True)
class TaskOptions(TrainingOptions):
    """What every task can be told, beside the training loop's own options."""

    epochs: int = option(20, "how often the training data is read (little data several times in each)", low=1)
    patience: int = option(5, "stop after so many epochs that are no better on validation (0: never)", low=0)
    learning_rate: float = option(3e-3, "the highest learning rate", low=0)
    schedule: str = option(
        "linear", "how the rate changes: plateau halves it when validation does not improve",
        choices=("constant", "linear", "cosine", "plateau"),
    )  # fmt: skip
    average: float = option(0.998, "keep a running average of the weights, this slow (0: none)", low=0, high=0.99999)
    batch: int = option(32, "examples in a batch", low=1)
    held_out: float = option(0.1, "share that validates, drawn by the seed, where no --validation is given", low=0.001,
                             high=0.9)  # fmt: skip
    format: str | None = option(None, "of the files: csv, tsv, jsonl, parquet, label-first, lines, folder (by name)")
    encoding: str = option("utf-8", "of text files")
    skip_bad_lines: bool = option(False, "leave out lines that cannot be read, and count them")


@dataclass(frozen=True)
class Example:
    """One example as it is in a file.

    Tasks add to it what they read; ``gold`` is the right answer, None where the file has none.
    """

    place: str
    """File and line, for messages."""
    given: Any
    """What is read: a text, tokens, a story and its question."""
    gold: Any = None


@dataclass(frozen=True)
class Answer:
    """What a model says of one example."""

    value: Any
    """The answer, comparable with ``Example.gold``."""
    text: str
    """The answer as one line."""
    details: Mapping[str, Any]
    """Scores and the like, for ``--json``."""


class Kind(ABC):
    """A task with its options and, once prepared or restored, its vocabularies.

    ``state`` is all that it learned from the training data before the training: a value for JSON.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for the help."""
    help_examples: ClassVar[str]
    options_class: ClassVar[type[Any]]
    goal: ClassVar[Goal]
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules of the extra ``ostinato[tasks]`` that it measures and draws with."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.state: dict[str, Any] = {}
        self.writing: Mapping[str, Any] = {}
        """What ``predict`` was told of how to draw answers, where they are drawn: ``seed``, ``bias``."""

    @abstractmethod
    def read(self, path: Path, answered: bool = True) -> Iterable[Example]:
        """The examples of a file, read anew at every iteration.

        Args:
            answered: each must have its right answer; else it is not read.

        Raises:
            InputError: anything wrong with the file, with its line.
        """

    @abstractmethod
    def from_text(self, text: str) -> Example:
        """The example in one argument or one line of standard input.

        Raises:
            InputError: it cannot be understood.
        """

    def as_text(self, example: Example) -> str:
        """An example as :meth:`from_text` takes it."""
        return str(example.given)

    def together(self, example: Example) -> Any:
        """What examples have in common that must not be divided between training and validation; None: nothing."""
        return None

    def split(self, examples: Any, share: float, seed: int, path: Path) -> tuple[Any, Any, int]:
        """A training and a validation part of what was read, and how many examples validate."""
        return split(examples, share, seed, path, self.together)

    @abstractmethod
    def prepare(self, examples: Iterable[Example]) -> None:
        """Make ``state`` from the training part: vocabularies, labels."""

    @abstractmethod
    def model(self) -> nn.Module:
        """A model with fresh weights, for this state."""

    @abstractmethod
    def encode(self, example: Example) -> Item:
        """An example as arrays, its right answer among them where it has one.

        Raises:
            InputError: an answer that training never saw.
        """

    @abstractmethod
    def length(self, item: Item) -> int:
        """What the time of a batch depends on: steps."""

    @abstractmethod
    def batch(self, items: Sequence[Item]) -> Any:
        """Items of like length as tensors."""

    @abstractmethod
    def loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """The mean loss of a batch, and over how many things it is the mean."""

    @abstractmethod
    def answer(self, model: Any, batch: Any, items: Sequence[Item]) -> list[Any]:
        """For each item, what :meth:`finish` needs: a small value, no tensor."""

    @abstractmethod
    def finish(self, example: Example, found: Any) -> Answer:
        """The answer to an example, from what :meth:`answer` found."""

    @abstractmethod
    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        """How good the answers are; has ``goal.measure`` unless that is ``loss``."""

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        """What a user would pick instead, fitted to the same data; nothing where there is no such method."""
        return {}

    def picture(self, example: Example, answer: Answer) -> str:
        """An answer drawn, as SVG.

        Raises:
            InputError: there is nothing to draw.
        """
        raise InputError(f"{self.name} draws no picture of an answer")

    def verify(self, model: Any, examples: Sequence[Example]) -> Measures:
        """How well the model tells whether two examples are of the same kind, kinds that it never saw among them.

        Raises:
            InputError: this task has no such question.
        """
        raise InputError(f"{self.name} has nothing to verify: that is for classify")

    def stream(self, model: Any, source: str) -> Iterator[str]:
        """What a model says, piece by piece, while its input arrives: from a file, or from standard input (``-``).

        Raises:
            InputError: this task or this model needs the whole.
        """
        raise InputError(f"{self.name} needs the whole input: it cannot stream")

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        """Pictures and tables of the mistakes, written to a folder."""
        return []

    validating = False
    """True while the training validates: answers may be found in a quicker way."""

    def progress(self, model: Any, share: float) -> None:  # noqa: B027 # most have nothing
        """Told before each training step which share of the training is done."""

    def calibrate(self, examples: Sequence[Example], found: Sequence[Any]) -> None:  # noqa: B027 # most have nothing
        """Set, on validation, what the probabilities need to be true; kept in ``state``."""
