"""What the user can put right: the command prints such an error as one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A file, an option or a run folder that cannot be used; the message says why and what to do."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among the known ones, with the nearest of them.

    >>> unknown("cell", "lstn", ["gru", "lstm"])
    InputError("unknown cell 'lstn' (did you mean 'lstm'?); known: gru, lstm")
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return InputError(f"unknown {kind} {name!r}{hint}; known: {', '.join(names)}")
