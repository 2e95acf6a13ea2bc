"""What a run calls of the native library, noted once and called again for other tensors of the same layout.

Most of the time of a small run goes into finding out what is the same for every run: shapes, strides, the order of
calls. So a run is done once with *stand-ins*, tensors of the given layout without memory (on the device meta), while a
:class:`Tape` notes each native call, and in which tensor each of its addresses lies. A :class:`Replay` then only fills
in where the tensors are. What PyTorch computes leaves no note, but makes memory that the tape does not know: a run in
which a call or a result refers to such memory is not replayed.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ostinato.engines.cpu import memory
from ostinato.engines.cpu.layout import dense, is_dense
from ostinato.engines.cpu.library import library
from ostinato.program.ir import Shape

CPU = torch.device("cpu")
KEPT = 2**16
"""Bytes of scratch that a thread keeps."""
ALIGNED = 64
"""Bytes to which what a run needs for itself is aligned."""
Tensors = Sequence[Tensor | None]
Call = tuple[Callable[..., int], int | None, int]
"""A native function, the handle of its plan, if it takes one, and where its words begin, in bytes."""

Maker = tuple[Shape, torch.dtype, int, int, Shape]
"""Of a result: its shape and dtype; where there is room beside it, the size of the memory, where it begins, strides."""


class CannotReplay(Exception):
    """A run does more than call the library."""


class Spot(NamedTuple):
    """An address: so many bytes from the first element of a tensor that is given, or of memory that the run makes."""

    base: int
    offset: int


class Inner(NamedTuple):
    """The address of a word of the same call."""

    word: int


class Tape:
    """Notes the native calls of a run with stand-ins for these tensors; None stands for itself."""

    def __init__(self, given: Tensors) -> None:
        self.given = [None if t is None else _stand_in(t) for t in given]
        self.begins = {_memory(t): (k, int(t.storage_offset())) for k, t in enumerate(self.given) if t is not None}
        self.made: list[Tensor] = []
        self.fixed: dict[int, Tensor] = {}
        """By base: what is the same for all runs."""
        self.calls: list[tuple[Callable[..., int], int | None, list[Any], object]] = []

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A stand-in for new memory."""
        value = torch.empty(tuple(shape), dtype=dtype, device="meta")
        self.begins[_memory(value)] = len(self.given) + len(self.made), 0
        self.made.append(value)
        return value

    def same(self, value: Tensor) -> Tensor:
        """A stand-in for a tensor that is the same for all runs, and to which nobody writes."""
        stand_in = self.empty(value.shape, value.dtype)
        self.fixed[self.address(stand_in).base] = value
        return stand_in

    def address(self, value: Tensor) -> Spot:
        """Where a stand-in will be.

        Raises:
            CannotReplay: when PyTorch computed it.
        """
        found = self.begins.get(_memory(value))
        if found is None:
            raise CannotReplay
        return Spot(found[0], (int(value.storage_offset()) - found[1]) * value.element_size())

    def call(self, function: Callable[..., int], handle: int | None, words: list[Any], owner: object = None) -> None:
        """Note a call; ``owner`` keeps the handle valid."""
        self.calls.append((function, handle, words, owner))


class _Noting(threading.local):
    tape: Tape | None = None


noting = _Noting()
"""What notes this thread's calls, while something does."""


def _memory(value: Tensor) -> int:
    return value.untyped_storage()._cdata


def _stand_in(value: Tensor) -> Tensor:
    """The same layout, with what lies beside it in memory."""
    whole = torch.empty(value.untyped_storage().nbytes(), dtype=torch.uint8, device="meta").untyped_storage()
    empty = torch.empty(0, dtype=value.dtype, device="meta")
    return empty.set_(whole, value.storage_offset(), value.shape, value.stride())


def note(run: Callable[[list[Tensor | None]], Tensors], given: Tensors) -> Replay | None:
    """What ``run`` calls for tensors like these, or None where it does more than that."""
    tape = noting.tape = Tape(given)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # what is drawn now is drawn again in earnest
            return Replay(tape, run(tape.given))
    except CannotReplay:
        return None
    finally:
        noting.tape = None


class Replay:
    """The calls of a run, ready for tensors of the layout that was noted. Its results are new at every run."""

    def __init__(self, tape: Tape, results: Tensors) -> None:
        n = len(tape.given)
        self.given = [k for k, t in enumerate(tape.given) if t is not None]
        places = {k: (i, 0) for i, k in enumerate(self.given)}
        self.alive = tape.fixed, [owner for *_, owner in tape.calls]
        self.makers: list[Maker] = []
        self.results: list[int | None] = []
        known: dict[int, int] = {}
        for value in results:
            if value is not None and id(value) not in known:
                base = tape.address(value).base
                if base in places or base in tape.fixed:
                    raise CannotReplay
                known[id(value)] = len(self.makers)
                places[base] = len(self.given) + len(self.makers), -int(value.storage_offset()) * value.element_size()
                self.makers.append(_maker(value, tape.made[base - n]))
            self.results.append(None if value is None else known[id(value)])
        self.scratch = 0
        for base, part in enumerate(tape.made, n):
            if base not in places and base not in tape.fixed:
                places[base] = len(self.given) + len(self.makers), self.scratch
                self.scratch += -(-part.numel() * part.element_size() // ALIGNED) * ALIGNED
        self._fill(tape, places)

    def _fill(self, tape: Tape, places: dict[int, tuple[int, int]]) -> None:
        """All words, those that are addresses to be filled in at each run."""
        words: list[int] = []
        self.patches: list[tuple[int, int, int]] = []
        self.inner: list[tuple[int, int]] = []
        self.calls: list[Call] = []
        for function, handle, call, _ in tape.calls:
            begin = len(words)
            self.calls.append((function, handle, 8 * begin))
            for at, word in enumerate(call, begin):
                if isinstance(word, Inner):
                    self.inner.append((at, 8 * (begin + word.word)))
                elif isinstance(word, Spot) and word.base not in tape.fixed:
                    index, offset = places[word.base]
                    self.patches.append((at, index, offset + word.offset))
                elif isinstance(word, Spot):
                    word = tape.fixed[word.base].data_ptr() + word.offset
                words.append(word if isinstance(word, int) else 0)
        self.words = array("q", words)
        self.spare: list[tuple[array[int], int]] = []
        """Copies of the words, with the addresses of the last run: as many as there are runs at once."""

    def __call__(self, given: Tensors) -> list[Tensor | None]:
        """The results for these tensors."""
        made = []
        bases = [given[k].data_ptr() for k in self.given]  # pyright: ignore[reportOptionalMemberAccess]
        for shape, dtype, size, begin, strides in self.makers:
            value = memory.empty(shape, dtype, begin, max(0, size - begin - prod(shape)), strides)
            made.append(value)
            bases.append(value.data_ptr())
        scratch = _scratch(self.scratch)
        bases.append(scratch.data_ptr())
        try:
            words, here = self.spare.pop()
        except IndexError:
            words, here = self._words()
        for at, base, offset in self.patches:
            words[at] = bases[base] + offset
        for function, handle, begin in self.calls:
            code = function(here + begin) if handle is None else function(handle, here + begin)
            if code:
                library().check(code)
        self.spare.append((words, here))
        return [None if k is None else made[k] for k in self.results]

    def _words(self) -> tuple[array[int], int]:
        """The words in memory of their own, and where that is."""
        words = self.words[:]
        here = words.buffer_info()[0]
        for at, offset in self.inner:
            words[at] = here + offset
        return words, here


class _Spare(threading.local):
    bytes = torch.empty(0, dtype=torch.uint8, device=CPU)


_spare = _Spare()


def _scratch(size: int) -> Tensor:
    """So many bytes at least, of which nobody else makes use in this thread until the next call."""
    if size > KEPT:
        return memory.empty((size,), torch.uint8)
    if _spare.bytes.numel() < size:
        _spare.bytes = torch.empty(KEPT, dtype=torch.uint8, device=CPU)
    return _spare.bytes


def _maker(value: Tensor, whole: Tensor) -> Maker:
    """How to make a result that fills new memory, or all of it but room before or after it.

    Raises:
        CannotReplay: when it is a part of the memory in another way.
    """
    shape, size, begin = tuple(value.shape), whole.numel(), int(value.storage_offset())
    if value.dtype != whole.dtype or not is_dense(shape, value.stride()):
        raise CannotReplay
    if value.numel() == size:
        return shape, value.dtype, 0, 0, value.stride()
    if value.numel() == 0 or begin not in (0, size - value.numel()):
        raise CannotReplay
    return shape, value.dtype, size, begin, value.stride()


def address(value: Tensor) -> Any:
    """Where a tensor is, or, while this thread's calls are noted, a :class:`Spot`."""
    return value.data_ptr() if noting.tape is None else noting.tape.address(value)


def new(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory, or a stand-in for it."""
    return memory.empty(shape, dtype) if noting.tape is None else noting.tape.empty(shape, dtype)


def beside(size: int, begin: int, shape: Shape, dtype: torch.dtype) -> Tensor:
    """A tensor in memory of ``size`` elements, from ``begin`` on; it is no view for autograd."""
    if noting.tape is None:
        return memory.empty(shape, dtype, begin, size - begin - prod(shape))
    whole = noting.tape.empty((size,), dtype).untyped_storage()
    return torch.empty(0, dtype=dtype, device="meta").set_(whole, begin, shape, dense(shape))
