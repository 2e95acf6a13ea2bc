"""A training and a validation part of examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.errors import InputError


def file_and_part(path: Path) -> tuple[Path, str]:
    """``FILE:valid`` as the file and the name of its part; train where none is said."""
    name, colon, part = str(path).rpartition(":")
    return (Path(name), part) if colon and not path.exists() else (path, "train")


class Some:
    """Those of the examples whose numbers are in a set, read anew at every iteration."""

    def __init__(self, examples: Iterable[Any], chosen: np.ndarray) -> None:
        self.whole, self._chosen = examples, chosen  # [N] bool

    def __iter__(self) -> Iterator[Any]:
        return (example for example, taken in zip(self.whole, self._chosen, strict=True) if taken)


def split(
    examples: Iterable[Any], share: float, seed: int, path: Path, together: Callable[[Any], Any] | None = None
) -> tuple[Some, Some, int]:
    """A training and a validation part, drawn by the seed; and how many examples validate.

    Examples of which ``together`` says the same (other than None) come into the same part.
    """
    numbers: dict[Any, int] = {}
    group = []
    for place, example in enumerate(examples):
        key = together(example) if together else None
        group.append(numbers.setdefault(("alone", place) if key is None else ("group", key), len(numbers)))
    if len(numbers) < 2:
        many = f"{len(group)} examples that belong together" if len(group) > 1 else f"{len(group)} example"
        raise InputError(f"{path} has {many}, and 2 are needed: one to learn from, one to validate")
    held, of = max(1, round(len(group) * share)), np.array(group)  # [N]
    order = np.random.default_rng([seed, 1]).permutation(len(numbers))  # [groups]
    enough = int(np.bincount(of)[order].cumsum().searchsorted(held)) + 1
    chosen = np.isin(of, order[: min(enough, len(numbers) - 1)])  # [N]
    return Some(examples, ~chosen), Some(examples, chosen), int(chosen.sum())
