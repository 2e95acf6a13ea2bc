"""Frames for methods that need as many numbers of every example."""

from __future__ import annotations

from typing import Any

import numpy as np

STEPS = 32
"""To which frames are stretched."""


def stretched(frames: Any) -> Any:
    """``[T, F]`` to ``[STEPS F]``, by the straight line between steps."""
    at, places = np.linspace(0, len(frames) - 1, STEPS), np.arange(len(frames))
    return np.stack([np.interp(at, places, column) for column in np.asarray(frames).T], 1).ravel()
