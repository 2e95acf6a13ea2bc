"""Pen strokes to numbers and back: points, offsets (dx, dy, lift), InkML in, SVG out.

A drawing is a list of strokes, each of points ``[n, 2]``, float64. A sequence is ``[T, 3]``, float32: from the point
before to this one, and 1 where the pen lifts after it. The first offset leads from the first point to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ostinato.errors import InputError

Strokes = list[np.ndarray]


def to_offsets(strokes: Sequence[ArrayLike]) -> Tensor:
    """Strokes of points ``[n, 2]`` as offsets ``[T, 3]``.

    Raises:
        InputError: no strokes, one of another shape or without points, or a coordinate that is not a number.

    >>> to_offsets([[[1, 1], [2, 1]], [[5, 4]]])
    tensor([[0., 0., 0.],
            [1., 0., 1.],
            [3., 3., 1.]])
    """
    arrays = [np.asarray(stroke, np.float64) for stroke in strokes]
    if not arrays:
        raise InputError("a drawing has one stroke or more, got none")
    for number, points in enumerate(arrays):
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise InputError(f"stroke {number} must be points [n, 2], got {list(points.shape)}")
        if not np.isfinite(points).all():
            raise InputError(f"stroke {number} has a coordinate that is not a number")
    points = np.concatenate(arrays)
    lifts = np.zeros(len(points))
    lifts[np.cumsum([len(stroke) for stroke in arrays]) - 1] = 1
    moved = np.diff(points, axis=0, prepend=points[:1])
    return torch.from_numpy(np.column_stack([moved, lifts])).float()  # [T, 3]


def to_points(offsets: Tensor) -> Strokes:
    """Offsets ``[T, 3]`` as strokes of points, from (0, 0) on; the last stroke ends with the sequence.

    Raises:
        InputError: another shape.

    >>> [stroke.tolist() for stroke in to_points(torch.tensor([[0.0, 0, 0], [1, 0, 1], [3, 3, 1]]))]
    [[[0.0, 0.0], [1.0, 0.0]], [[4.0, 3.0]]]
    """
    if offsets.ndim != 2 or offsets.shape[1] != 3:
        raise InputError(f"offsets must be [T, 3], got {list(offsets.shape)}")
    values = offsets.detach().cpu().double().numpy()
    ends = np.flatnonzero(values[:, 2] >= 0.5) + 1
    return [stroke for stroke in np.split(np.cumsum(values[:, :2], 0), ends) if len(stroke)]


def resample_strokes(strokes: Sequence[ArrayLike], spacing: float) -> Strokes:
    """Strokes with points about ``spacing`` apart along the line; both ends of each stay where they are.

    Raises:
        InputError: a spacing that is not above 0.
    """
    if not spacing > 0:
        raise InputError(f"the spacing must be above 0, got {spacing}")
    return [_resampled(np.asarray(stroke, np.float64), spacing) for stroke in strokes]


def _resampled(points: np.ndarray, spacing: float) -> np.ndarray:
    along = np.concatenate([[0.0], np.hypot(*np.diff(points, axis=0).T).cumsum()])  # [n]
    count = max(1, round(along[-1] / spacing)) + 1 if along[-1] else 1
    at = np.linspace(0, along[-1], count)
    return np.column_stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)])


def offset_scale(sequences: Sequence[Tensor]) -> float:
    """The deviation of all offsets of sequences ``[T, 3]``, both directions together: to divide by.

    Measure the training part only.

    Raises:
        InputError: there are no offsets, or the pen never moves.
    """
    if not sequences:
        raise InputError("there are no sequences to measure")
    scale = torch.cat([sequence[:, :2] for sequence in sequences]).double().std(correction=0).item()
    if not scale > 0:
        raise InputError("the pen never moves: there is no scale to measure")
    return scale


def read_inkml(path: str | Path) -> Strokes:
    """The traces of an InkML file: its first two channels, X and Y, as plain numbers.

    Raises:
        InputError: missing, no XML, without traces, or a trace that is no list of points.

    Source: W3C, Ink Markup Language (2011). Differences (``'`` and ``"``) are refused, not guessed.
    """
    path = Path(path)
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is not InkML: {error}") from None
    traces = [node.text or "" for node in root.iter() if node.tag.rpartition("}")[2] == "trace"]
    if not traces:
        raise InputError(f"{path} has no traces")
    return [_trace(text, f"{path}: trace {number}") for number, text in enumerate(traces)]


def _trace(text: str, place: str) -> np.ndarray:
    try:
        rows = [[float(number) for number in point.split()[:2]] for point in text.strip().strip(",").split(",")]
        points = np.array(rows, np.float64)
    except ValueError as error:
        raise InputError(f"{place} is no list of points: {error}") from None
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise InputError(f"{place} is no list of points with X and Y")
    return points


def strokes_svg(strokes: Sequence[ArrayLike], height: float = 100.0) -> str:
    """An SVG picture of strokes, y downwards; a stroke of one point is a dot.

    Raises:
        InputError: as :func:`to_offsets`.
    """
    to_offsets(strokes)  # complains
    points = np.concatenate([np.asarray(s, np.float64) for s in strokes])
    low, size = points.min(0), np.ptp(points, axis=0)
    scale = height / (size[1] or size[0] or 1.0)
    width, tall = size * scale + 10
    lines = [" ".join(f"{x:.2f},{y:.2f}" for x, y in (np.asarray(s, np.float64) - low) * scale + 5) for s in strokes]
    drawn = "".join(f'<polyline points="{line} {line.split()[-1]}"/>\n' for line in lines)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.2f}" height="{tall:.2f}">\n'
            f'<g fill="none" stroke="black" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">\n'
            f"{drawn}</g>\n</svg>\n")
