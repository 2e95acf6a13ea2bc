"""What a task reads, text or signals, as vectors: one interface for both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

from torch import nn

from ostinato.features.text import SUBWORDS, Subwords, train_subwords
from ostinato.tasks.common.kind import Example
from ostinato.tasks.common.store import Item
from ostinato.tasks.common.words import Lexicon, WordBatch, WordVectors, segment, word_batch


class Input(ABC):
    """Turns what is given into arrays, and these into vectors ``[B, T, E]``.

    ``state`` is what it learned from the training data before the training: a value for JSON, with the ``kind``.
    """

    kind: ClassVar[str]

    def __init__(self, options: Any, state: dict[str, Any] | None = None) -> None:
        self.options = options
        self.state: dict[str, Any] = state if state is not None else {"kind": self.kind}

    @abstractmethod
    def prepare(self, given: Iterable[Any]) -> None:
        """Make ``state`` from the training part."""

    @abstractmethod
    def item(self, given: Any) -> Item:
        """What is given as arrays."""

    @abstractmethod
    def length(self, item: Item) -> int:
        """Steps."""

    @abstractmethod
    def batch(self, items: Sequence[Item]) -> Any:
        """Items as tensors, which have ``lengths`` ``[B]``."""

    @abstractmethod
    def module(self) -> nn.Module:
        """Fresh weights that make vectors ``[B, T, size]`` of a batch."""

    @abstractmethod
    def from_text(self, text: str) -> Any:
        """What one argument of the command gives.

        Raises:
            InputError: it cannot be understood.
        """

    def shown(self, given: Any) -> str:
        """What is given as :meth:`from_text` takes it."""
        return str(given)


class TextInput(Input):
    """Words or characters, by :class:`~ostinato.tasks.common.words.WordVectors`."""

    kind = "text"

    def prepare(self, given: Iterable[str]) -> None:
        self.state = {"kind": self.kind, "level": self._level(given)}
        level, size = self.state["level"], self.options.vocabulary_size
        if level == SUBWORDS:
            self.state["subwords"] = train_subwords(given, size=size, lower=True).to_json()
        self.lexicon = Lexicon.build(map(self._pieces, given), self.options, ngrams=level == "words",
                                     least=1 if level == SUBWORDS else 2)  # fmt: skip
        self.state |= self.lexicon.to_json()

    def _level(self, given: Iterable[str]) -> str:
        if self.options.level != "auto":
            return self.options.level
        words = [len(text.split()) for _, text in zip(range(1000), given, strict=False)]
        return "characters" if sum(words) < 2 * len(words) else "words"

    def _lexicon(self) -> Lexicon:
        if "lexicon" not in self.__dict__:
            self.lexicon = Lexicon.from_json(self.state)
        return self.lexicon

    def _pieces(self, text: str) -> Sequence[str]:
        """What a step reads each."""
        level = self.state["level"]
        if level == SUBWORDS:
            return self._subwords.pieces(text) or [text]
        return list(text) if level == "characters" else segment(text) or [text]

    @cached_property
    def _subwords(self) -> Subwords:
        return Subwords.from_json(self.state["subwords"])

    def item(self, given: str) -> Item:
        return self._lexicon().item(self._pieces(given)[: self.options.longest])

    def length(self, item: Item) -> int:
        return len(item["words"])

    def batch(self, items: Sequence[Item]) -> WordBatch:
        return word_batch(items)

    def module(self) -> nn.Module:
        return WordVectors(self._lexicon(), self.options, self.options.dropout)

    def from_text(self, text: str) -> str:
        return text


class GivenOf:
    """What is given of examples, read anew at every iteration."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self._examples = examples

    def __iter__(self) -> Iterator[Any]:
        return (example.given for example in self._examples)
