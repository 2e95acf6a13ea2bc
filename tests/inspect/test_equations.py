"""Equations are those of the step."""

from __future__ import annotations

import re

import pytest
import torch
from catalogue import NAMES, build
from torch import nn

from ostinato import Cell, cells
from ostinato.inspect import equations

PUBLISHED = {
    "elman": ["h[t] = tanh(W x[t] + U h[t-1] + b)"],
    "leaky-learned": ["h[t] = (1 - σ(rho)) h[t-1] + σ(rho) tanh(W x[t] + U h[t-1] + b)"],
    "output": ["h[t] = tanh(W x[t] + U o[t-1] + b)", "o[t] = V h[t] + c"],
    "lstm": ["i[t] = σ(W_i x[t] + U_i h[t-1] + b_i)", "f[t] = σ(W_f x[t] + U_f h[t-1] + b_f)",
             "o[t] = σ(W_o x[t] + U_o h[t-1] + b_o)", "C~[t] = tanh(W_C x[t] + U_C h[t-1] + b_C)",
             "C[t] = f[t] C[t-1] + i[t] C~[t]", "h[t] = o[t] tanh(C[t])"],
    "gru": ["r[t] = σ(W_r x[t] + U_r h[t-1] + b_r + b_Ur)", "z[t] = σ(W_z x[t] + U_z h[t-1] + b_z + b_Uz)",
            "n[t] = tanh(W_n x[t] + r[t] (U_n h[t-1] + b_Un) + b_n)", "h[t] = (1 - z[t]) n[t] + z[t] h[t-1]"],
    "slstm": ["log_i[t] = W_i x[t] + U_i h[t-1] + b_i", "log_f[t] = log σ(W_f x[t] + U_f h[t-1] + b_f)",
              "z[t] = tanh(W_z x[t] + U_z h[t-1] + b_z)", "o[t] = σ(W_o x[t] + U_o h[t-1] + b_o)",
              "kept[t] = log_f[t] + m[t-1]", "m[t] = max(kept[t], log_i[t])", "i[t] = exp(log_i[t] - m[t])",
              "f[t] = exp(kept[t] - m[t])", "c[t] = f[t] c[t-1] + i[t] z[t]", "n[t] = f[t] n[t-1] + i[t]",
              "h[t] = o[t] (c[t] / n[t])"],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_form(name: str) -> None:
    assert [" = ".join(line) for line in equations(cells.create(name, 3, 4)).lines] == PUBLISHED[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_defined_before_it_is_used(name: str) -> None:
    x = torch.zeros(2, 1, 3, 3, 2, dtype=torch.float64) if name == "convlstm" else None
    cell = build(name)
    found = equations(cell, x)
    known = {"x"}
    for left, right in found.lines:
        used = set(re.findall(r"([\w~']+)\[t\]", right))
        assert used <= known, (left, right)
        known.add(left.removesuffix("[t]"))
    assert {s.name for s in cell.states} <= known
    assert found.latex.count("{") == found.latex.count("}") and "\\begin{aligned}" in found.latex


class Own(Cell):
    """Everything that a formula must set in parentheses."""

    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Linear(3, 3, bias=False)
        self.p = nn.Parameter(torch.ones(3))
        self.add_state("s", 3, delays=(1, 4))

    def step(self, x, s, old):
        gate = torch.sigmoid(self.p * (x - s))
        return gate * (self.A(old) * 2 + s) / (1 + s**2) - (x - (s - old))


def test_parentheses_and_latex() -> None:
    found = equations(Own())
    assert found.text.splitlines() == [
        "gate[t] = σ(p (x[t] - s[t-1]))",
        "s[t]    = gate[t] (2 (A s[t-4]) + s[t-1]) / (1 + s[t-1]^2) + s[t-1] - x[t] - s[t-4]",
    ]
    assert "\\mathrm{gate}_{t} \\odot" in found.latex and "s_{t-1}^{2}" in found.latex and "\\frac{" in found.latex
    assert str(found) == found.text


def test_latex_of_gates() -> None:
    lines = dict(equations(cells.LSTM(3, 4)).latex_lines)
    assert lines["C_{t}"] == "f_{t} \\odot C_{t-1} + i_{t} \\odot \\tilde{C}_{t}"
    assert lines["\\tilde{C}_{t}"] == "\\tanh\\left(W_{C} x_{t} + U_{C} h_{t-1} + b_{C}\\right)"
