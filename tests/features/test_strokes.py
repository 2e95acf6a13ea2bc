"""Pen strokes: there and back, resampled, from InkML, as SVG."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from close import assert_close

from ostinato.errors import InputError
from ostinato.features.strokes import (
    offset_scale,
    read_inkml,
    resample_strokes,
    strokes_svg,
    to_offsets,
    to_points,
)

DRAWING = [np.array([[3.0, 1.0], [4.0, 1.5], [4.0, 7.0]]), np.array([[9.0, 2.0]]), np.array([[1.0, 1.0], [2.0, 8.0]])]


def test_there_and_back() -> None:
    offsets = to_offsets(DRAWING)
    assert offsets[:, 2].tolist() == [0, 0, 1, 1, 0, 1]
    for found, stroke in zip(to_points(offsets), DRAWING, strict=True):
        np.testing.assert_allclose(found, stroke - DRAWING[0][0], atol=1e-6)
    assert len(to_points(offsets[:5])) == 3  # the last stroke is not lifted


def test_resampled_points_lie_even_and_keep_the_ends() -> None:
    line, dot, _ = resample_strokes(DRAWING, 0.5)
    assert np.array_equal(line[[0, -1]], DRAWING[0][[0, -1]]) and np.array_equal(dot, DRAWING[1])
    steps = np.hypot(*np.diff(line, axis=0).T)
    assert len(line) == 14 and steps.max() < 0.52 and np.median(steps) > 0.5
    with pytest.raises(InputError, match="above 0, got 0"):
        resample_strokes(DRAWING, 0)


def test_the_scale_is_the_deviation() -> None:
    sequences = [to_offsets(DRAWING), 3 * to_offsets(DRAWING[:1])]
    scale = offset_scale(sequences)
    scaled = torch.cat([s[:, :2] for s in sequences]).double() / scale
    assert_close(scaled.std(correction=0), torch.tensor(1.0, dtype=torch.float64))
    with pytest.raises(InputError, match="no sequences"):
        offset_scale([])
    with pytest.raises(InputError, match="never moves"):
        offset_scale([torch.zeros(3, 3)])


def test_inkml(tmp_path: Path) -> None:
    path = tmp_path / "a.inkml"
    traces = "<trace>3 1 9, 4 1.5 9, 4 7 8</trace><trace>9 2</trace>"
    path.write_text(f'<ink xmlns="http://www.w3.org/2003/InkML">{traces}</ink>')
    for found, stroke in zip(read_inkml(path), DRAWING[:2], strict=True):
        assert np.array_equal(found, stroke)
    for text, message in {
        "<ink>": "a.inkml is not InkML",
        "<ink/>": "has no traces",
        "<ink><trace>1 2, 3</trace></ink>": "trace 0 is no list of points",
        "<ink><trace>1 2</trace><trace>'1 2</trace></ink>": "trace 1 is no list of points",
        "<ink><trace/></ink>": "trace 0 is no list of points",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_inkml(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_inkml(tmp_path / "absent.inkml")


def test_svg_draws_every_stroke_inside() -> None:
    root = ElementTree.fromstring(strokes_svg(DRAWING))
    lines = [node.attrib["points"].split() for node in root.iter() if node.tag.endswith("polyline")]
    assert [len(line) - 1 for line in lines] == [3, 1, 2]
    places = np.array([[float(v) for v in point.split(",")] for line in lines for point in line])
    assert places.min() == 5 and places[:, 1].max() == 105 and places[:, 0].max() <= float(root.attrib["width"]) - 4.9


def test_what_is_no_drawing_is_refused() -> None:
    for strokes, message in [([], "got none"), ([np.zeros((2, 3))], r"stroke 0 .* got \[2, 3\]"),
                             ([np.zeros((1, 2)), np.zeros((0, 2))], "stroke 1"),
                             ([np.array([[np.nan, 0]])], "not a number")]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            to_offsets(strokes)
    with pytest.raises(InputError, match=r"\[T, 3\], got \[2, 2\]"):
        to_points(torch.zeros(2, 2))
