"""The native library: found, loaded and called through ctypes (native/include/ostinato.h is its interface)."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import weakref
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ostinato.engines.cpu.opcodes import OPCODES, VERSION

NAME = "libostinato_cpu" + {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
OK, INVALID, MEMORY, UNSUPPORTED = range(4)
Address = ctypes.c_void_p


class Unavailable(RuntimeError):
    """The native library is not there, or does not run here; the message says why."""


class Library:
    """The loaded library.

    Raises:
        Unavailable: when there is none at ``path``, or it is of another version, or this machine cannot run it.
    """

    def __init__(self, path: Path) -> None:
        if struct.calcsize("P") != 8:
            raise Unavailable("it needs a 64-bit Python")
        if not path.exists():
            raise Unavailable(_missing(path))
        try:
            self._native = ctypes.CDLL(str(path))
            self._declare()
        except (OSError, AttributeError) as error:
            raise Unavailable(f"it does not load: {error}") from None
        self.path = path
        self.isa = self._native.ost_isa().decode()
        self.isas = self._native.ost_isas().decode().split()
        if not self.isa:
            wanted = os.environ.get("OSTINATO_ISA")
            raise Unavailable(f"OSTINATO_ISA={wanted} does not run here; there are: {', '.join(self.isas)}")
        if self._native.ost_version() != VERSION or self._opcodes() != OPCODES:
            raise Unavailable("it is of another version than the rest of Ostinato: build it again")
        self.parallel = _parallel()
        """The address of the function that runs a task on PyTorch's own threads; 0 where there is none."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _declare(self) -> None:
        native, count = self._native, ctypes.c_int64
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "ost_message": (ctypes.c_char_p, []), "ost_isa": (ctypes.c_char_p, []), "ost_isas": (ctypes.c_char_p, []),
            "ost_opcode": (ctypes.c_char_p, [count]), "ost_version": (count, []),
            "ost_plan_make": (ctypes.c_int, [Address, count, Address, count, Address]),
            "ost_plan_free": (None, [Address]), "ost_pack": (ctypes.c_int, [Address, Address, count, Address]),
            "ost_packed_free": (None, [Address]), "ost_run": (ctypes.c_int, [Address, Address]),
            "ost_multiply": (ctypes.c_int, [Address]),
            "ost_lexicon_make": (ctypes.c_int, [Address]), "ost_lexicon_free": (None, [Address]),
            "ost_lexicon_count": (ctypes.c_int, [Address, Address, Address, count, count, Address]),
            "ost_lexicon_size": (count, [Address]), "ost_lexicon_bytes": (count, [Address]),
            "ost_lexicon_read": (None, [Address] * 5),
            "ost_lexicon_encode": (ctypes.c_int, [Address, Address, Address, count, count, Address, Address, count,
                                                  Address, Address]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(native, name)
            function.restype, function.argtypes = result, arguments
        self.native = native
        self.run = native.ost_run
        self.multiply = native.ost_multiply

    def _opcodes(self) -> tuple[str, ...]:
        names = []
        while (name := self._native.ost_opcode(len(names))) is not None:
            names.append(name.decode())
        return tuple(names)

    def _forked(self) -> None:
        """The threads of the parent are not there in the child, and waiting for them would never end."""
        self.parallel = 0

    def plan(self, words: Sequence[int], constants: Sequence[float]) -> NativePlan:
        """A plan from its words.

        Raises:
            RuntimeError: when the library does not accept them.
        """
        return NativePlan(self, words, constants)

    def check(self, code: int) -> None:
        """Turn a function's code into an exception.

        Raises:
            MemoryError: when there was too little memory.
            RuntimeError: on any other failure.
        """
        if code:
            message = self._native.ost_message().decode(errors="replace")
            raise (MemoryError if code == MEMORY else RuntimeError)(f"the CPU engine: {message}")


class NativePlan:
    """A plan in the library, for as long as this object lives."""

    def __init__(self, library: Library, words: Sequence[int], constants: Sequence[float]) -> None:
        whole, numbers, made = array("q", words), array("d", constants), ctypes.c_void_p()
        library.check(library._native.ost_plan_make(
            whole.buffer_info()[0], len(whole), numbers.buffer_info()[0], len(numbers), ctypes.byref(made)))
        assert made.value
        self.library, self.handle = library, made.value
        weakref.finalize(self, library._native.ost_plan_free, made.value)


class PackedWeights:
    """A plan's weights laid out for the kernels, for as long as this object lives; ``matrices`` as ``ost_matrix``.
    With ``halves`` they are rounded to bfloat16."""

    def __init__(self, plan: NativePlan, matrices: Sequence[int], halves: bool = False) -> None:
        native, given, made = plan.library._native, array("q", matrices), ctypes.c_void_p()
        plan.library.check(native.ost_pack(plan.handle, given.buffer_info()[0], halves, ctypes.byref(made)))
        assert made.value
        self.handle = made.value
        weakref.finalize(self, native.ost_packed_free, made.value)


def _missing(path: Path) -> str:
    """Why there is no library where it should be, and what to do: in a checkout, or installed without a compiler."""
    checkout = Path(*path.parts[:-5])
    if (checkout / "native" / "CMakeLists.txt").exists():
        return f"it is not compiled: run `make native` in {checkout}"
    again = "pip install --force-reinstall --no-deps --no-cache-dir ostinato"
    return f"it was not compiled when Ostinato was installed: with GCC or Clang, `{again}` compiles it"


def _parallel() -> int:
    """GOMP_parallel of the OpenMP runtime that PyTorch itself uses: found through what PyTorch is linked to."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        if (folder / name).exists():
            function = getattr(ctypes.CDLL(str(folder / name)), "GOMP_parallel", None)
            return ctypes.cast(function, Address).value or 0 if function else 0
    return 0


@cache
def _found() -> Library | str:
    try:
        return Library(Path(__file__).parent / NAME)
    except Unavailable as error:
        return str(error)


def library() -> Library:
    """The library.

    Raises:
        Unavailable: where it cannot be used.
    """
    found = _found()
    if isinstance(found, str):
        raise Unavailable(found)
    return found


def unavailable() -> str | None:
    """Why there is no library, or None where there is one."""
    found = _found()
    return found if isinstance(found, str) else None
