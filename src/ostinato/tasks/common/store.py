"""Encoded examples, kept in temporary files that are mapped into memory: data may be larger than memory."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Item = Mapping[str, NDArray[Any]]
"""One example as numbers: arrays by name. A name has the same dtype and the same trailing shape in all examples."""


class _Field:
    """One array of every example, end to end in a file."""

    def __init__(self, like: NDArray[Any]) -> None:
        self.dtype, self.trailing = like.dtype, like.shape[1:]
        self.width = int(np.prod(self.trailing, dtype=np.int64))
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 # closed when it is mapped
        self.starts = array("q", [0])

    def add(self, value: NDArray[Any]) -> None:
        if value.dtype != self.dtype or value.shape[1:] != self.trailing:
            raise ValueError(f"{value.dtype} {value.shape[1:]} after {self.dtype} {self.trailing}")
        self.file.write(np.ascontiguousarray(value).data)
        self.starts.append(self.starts[-1] + len(value))

    def mapped(self) -> NDArray[Any]:
        """All values, ``[N, ...]``; the file is gone when they are."""
        shape = (self.starts[-1], *self.trailing)
        with self.file:
            self.file.flush()
            empty = not self.starts[-1] * self.width
            return np.empty(shape, self.dtype) if empty else np.memmap(self.file, self.dtype, "r", shape=shape)


class Store(Sequence[Item]):
    """Items by number.

    >>> store = Store([{"ids": np.array([4, 5])}, {"ids": np.array([6])}])
    >>> len(store), store[1]["ids"].tolist(), store.lengths("ids").tolist()
    (2, [6], [2, 1])
    """

    def __init__(self, items: Iterable[Item]) -> None:
        fields: dict[str, _Field] = {}
        count = 0
        for item in items:
            fields = fields or {name: _Field(value) for name, value in item.items()}
            for name, field in fields.items():
                field.add(item[name])
            count += 1
        self._count = count
        self._starts = {name: np.frombuffer(field.starts, np.int64) for name, field in fields.items()}
        self._values = {name: field.mapped() for name, field in fields.items()}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        return {
            name: values[self._starts[name][place] : self._starts[name][place + 1]]
            for name, values in self._values.items()
        }

    def lengths(self, name: str) -> NDArray[np.int64]:
        """How long an array is in each item, ``[N]``."""
        return np.diff(self._starts[name])
