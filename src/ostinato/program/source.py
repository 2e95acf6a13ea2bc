"""Where in the user's step an operation stands, and the error that says so."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType

import torch

_OURS = os.path.dirname(os.path.abspath(__file__))
_TORCH = os.path.dirname(os.path.abspath(torch.__file__))


class CannotTrace(ValueError):
    """A step does something that a program cannot express; names the operation and the line of the step."""

    def __init__(self, what: str, source: str = "") -> None:
        super().__init__(f"{what} ({source})" if source else what)
        self.what, self.source = what, source


def user_line(frame: FrameType | None = None) -> str:
    """``file:line: code`` of the nearest frame that is neither torch's nor of this package."""
    frame = frame or sys._getframe(1)
    while frame is not None:
        if _is_users(frame):
            return _described(frame, frame.f_lineno)
        frame = frame.f_back
    return ""


def line_of(error: BaseException) -> str:
    """The same, of the last such frame that an error came through."""
    lines = [_described(t.tb_frame, t.tb_lineno) for t in _tracebacks(error) if _is_users(t.tb_frame)]
    return lines[-1] if lines else ""


def _tracebacks(error: BaseException) -> Iterator[TracebackType]:
    at = error.__traceback__
    while at is not None:
        yield at
        at = at.tb_next


def _is_users(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith((_TORCH + os.sep, _OURS + os.sep)) and not name.startswith("<frozen")


def _described(frame: FrameType, line: int) -> str:
    name = frame.f_code.co_filename
    code = linecache.getline(name, line).strip()
    return f"{os.path.basename(name)}:{line}" + (f": {code}" if code else "")


def refuse_custom_function() -> None:
    """Inside a custom autograd.Function only its forward can be seen, never its derivative."""
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS + os.sep + "trace"):
        if frame.f_code.co_name == "apply" and frame.f_code.co_filename.endswith("autograd/function.py"):
            raise CannotTrace("a custom autograd.Function hides its derivative", user_line(frame))
        frame = frame.f_back
