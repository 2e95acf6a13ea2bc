"""The lines of a text file, decoded strictly, each with its number."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ostinato.errors import InputError

Bad = Callable[[str], None]
"""Told of a line that cannot be used: raises, or counts it."""


def refuse(message: str) -> None:
    """The strict way with a bad line.

    Raises:
        InputError: always.
    """
    raise InputError(message)


def open_bytes(path: Path) -> IO[bytes]:
    """A file to read, unpacked where its name ends in ``.gz``.

    Raises:
        InputError: missing, a folder, or not readable.
    """
    try:
        file = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # noqa: SIM115 # the caller closes it
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return file  # type: ignore[return-value] # gzip's file is one of bytes


def read_lines(path: Path, encoding: str = "utf-8", bad: Bad = refuse) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of every line, with its end as ``\\n`` or nothing; a byte order mark is dropped.

    Raises:
        InputError: the file cannot be opened, is empty or damaged; by default also a line that is not in the encoding.
    """
    number = 0
    with open_bytes(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                try:
                    text = line.decode(encoding)
                except UnicodeDecodeError as error:
                    hint = "; if it is in another encoding, say --encoding latin-1" if encoding == "utf-8" else ""
                    what = f"byte 0x{line[error.start]:02x} is not {encoding.upper()}"
                    bad(f"{path}:{number}: {what}{hint}")
                    continue
                if "\0" in text:
                    bad(f"{path}:{number}: a zero byte: this is no text")
                    continue
                yield number, text.replace("\r\n", "\n")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{path} is damaged after line {number}: {error}") from None
    if number == 0:
        raise InputError(f"{path} is empty")
