"""Every result can be drawn; a picture is written whole or not at all."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import pytest
import torch
from catalogue import build

from ostinato import Recurrent
from ostinato.errors import InputError
from ostinato.inspect import gates, gradient_flow, jacobians, saliency, spectra, spectrum, states, timescales

X = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
WORDS = ["the", "clouds", "are", "in", "the", "sky"]


def lstm() -> Recurrent:
    return Recurrent(build("lstm"))


RESULTS = {
    "gradient flow": lambda: gradient_flow(lstm(), X),
    "gradient flow of none": lambda: gradient_flow(lstm(), X, lambda o: o.sum(-1) * 0),
    "spectrum": lambda: spectra(lstm())["U_f"],
    "jacobians": lambda: jacobians(lstm(), X),
    "gates": lambda: gates(lstm(), X, tokens=WORDS),
    "states at padding": lambda: states(lstm(), X, lengths=[3, 6]),
    "time scales": lambda: timescales(lstm(), X, tokens=list("clouds")),
    "saliency": lambda: saliency(lstm(), X, lambda result: result[0].sum(), tokens=WORDS),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_picture_of_every_result(name: str, tmp_path) -> None:
    result = RESULTS[name]()
    result.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    for file in ("b.svg", "c.svg"):
        result.plot(str(tmp_path / file))
    assert (tmp_path / "b.svg").read_bytes() == (tmp_path / "c.svg").read_bytes()


def test_an_unknown_ending_and_no_matplotlib(tmp_path, monkeypatch) -> None:
    result = states(lstm(), X)
    with pytest.raises(InputError, match=r"ends in .svg, .png or .pdf, got 'a.doc'"):
        result.plot(tmp_path / "a.doc")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'ostinato\[lab\]'"):
        result.plot(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_what_can_be_drawn() -> None:
    shown = spectrum(torch.eye(3))._repr_svg_()
    assert shown is not None and ET.fromstring(shown).tag.endswith("svg")
