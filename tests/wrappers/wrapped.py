# pyright: reportMissingImports=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalSubscript=false
"""Cells in wrappers, in the variants that the tests run over, and a wrapped call written by hand in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import catalogue
import numpy as np
import published
import torch
from torch import Tensor

from ostinato import Cell, cells

WIDTH = HIDDEN = 5
Arrays = dict[str, np.ndarray]

WRAPPERS: dict[str, Callable[[Cell], Cell]] = {
    "zoneout": lambda c: cells.Zoneout(c, 0.3),
    "zoneout-one": lambda c: cells.Zoneout(c, {c.states[-1].name: 0.6}),
    "recurrent-dropout": lambda c: cells.RecurrentDropout(c, 0.4),
    "both-dropouts": lambda c: cells.RecurrentDropout(c, 0.4, input_p=0.3),
    "weight-dropout": lambda c: cells.WeightDropout(c, 0.5),
    "norm-output": lambda c: cells.LayerNorm(c),
    "norm-input": lambda c: cells.LayerNorm(c, "input", size=WIDTH, bias=False),
    "norm-state": lambda c: cells.LayerNorm(c, c.states[0].name),
    "residual": cells.Residual,
    "highway": cells.Highway,
    "learned": cells.LearnedInitial,
    "stacked": lambda c: cells.StackedCells([c, catalogue.build("gru", input_size=HIDDEN, hidden_size=HIDDEN)]),
}
COMBINED: dict[str, Callable[[], Cell]] = {
    "all-dropouts": lambda: cells.Zoneout(
        cells.RecurrentDropout(cells.WeightDropout(_build("lstm"), 0.5), 0.25, input_p=0.25), {"h": 0.2, "C": 0.4}),
    "deep": lambda: cells.LearnedInitial(cells.StackedCells([
        cells.Residual(cells.RecurrentDropout(_build("gru-before"), 0.3)),
        cells.LayerNorm(cells.Zoneout(_build("skip-two"), 0.3), ("input", "h"))])),
    "dropout-of-a-stack": lambda: cells.RecurrentDropout(
        cells.StackedCells([_build("leaky"), cells.LearnedInitial(_build("lstm"))]), 0.4, input_p=0.2),
    "learned-in-the-middle": lambda: cells.Highway(cells.WeightDropout(cells.LearnedInitial(_build("mgu")), 0.3)),
    "norm-of-all": lambda: cells.LayerNorm(_build("lstm"), ("input", "h", "C", "output")),
}
INSIDE = ("lstm", "gru", "gru-before", "leaky", "skip-two", "indrnn", "slstm", "lstm-projected", "lstm-layernorm",
          "mgu")


def _build(name: str, dtype: torch.dtype = torch.float64) -> Cell:
    return catalogue.build(name, dtype, WIDTH, HIDDEN)


def usable(wrapper: str, name: str) -> bool:
    """Whether a wrapper goes around a cell: a shortcut wants an output as wide as the input."""
    return not (name == "lstm-projected" and wrapper in ("residual", "highway", "stacked"))


def wrap(wrapper: str, name: str) -> Cell:
    """A wrapped cell in float64, whose own parameters no symmetry hides in."""
    return spread(COMBINED[name]() if wrapper == "combined" else WRAPPERS[wrapper](_build(name)))


def spread(cell: Cell) -> Cell:
    """Parameters of wrappers get values of their own."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for key, p in cell.named_parameters():
            if any(part.startswith(("norm_", "initial_", "G")) for part in key.split(".")) and "norm_W" not in key:
                p.add_(0.4 * torch.rand(p.shape, generator=generator, dtype=torch.float64))
    return cell.double()


CASES = [(w, n) for w in WRAPPERS for n in INSIDE if usable(w, n)] + [("combined", n) for n in COMBINED]
FEW = [(w, n) for w in WRAPPERS for n in ("lstm", "skip-two")] + [("combined", n) for n in COMBINED]


class ByHand:
    """One sequence of a wrapped cell: ``[T, N]`` to outputs ``[T, H]`` and, by state, all values from the first on."""

    def __init__(self, wrapper: str, name: str, cell: Any, masks: Mapping[str, Tensor], training: bool) -> None:
        self.wrapper, self.cell, self.training = wrapper, cell, training
        self.step = published.steps(HIDDEN)[name]
        self.masks = {key: value.numpy() for key, value in masks.items()}
        inside = cell.cells[0] if wrapper == "stacked" else cell.cell
        self.inside, self.states = inside, inside.states
        self.own = {k: p.detach().numpy() for k, p in cell.named_parameters()}

    def parameters(self, b: int) -> Arrays:
        """Those of the cell inside, with the masks of one sequence on its recurrent weights."""
        p = {k: v.detach().numpy() for k, v in self.inside.named_parameters()}
        for key, mask in self.masks.items():
            kind, _, weight = key.partition(".")
            if kind == "state":
                p[weight] = p[weight] * mask[b] / (1 - 0.4)
            if kind == "weight":
                p[weight] = p[weight] * mask / (1 - 0.5)
        return p

    def run(self, x: np.ndarray, starts: list[np.ndarray], b: int) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """``starts``: each state's last D values, oldest first."""
        p, outputs = self.parameters(b), []
        past = [list(v) for v in starts[: len(self.states)]]
        above = [np.zeros(HIDDEN)]
        for t, given in enumerate(x):
            if "input" in self.masks:
                given = given * self.masks["input"][b] / (1 - 0.3)
            if self.wrapper == "norm-input":
                given = published.layer_norm(given, self.own["norm_input.weight"], 0.0)
            reads = [v[-d] for s, v in zip(self.states, past, strict=True) for d in s.delays]
            new = list(self.step(p, given, *reads))
            for k, s in enumerate(self.states):
                new[k] = self._kept(s.name, k, past[k][-1], new[k], b, t)
            outputs.append(self._output(x[t], new[0], above))
            for values, value in zip(past, new, strict=True):
                values.append(value)
        return np.stack(outputs), past

    def _kept(self, name: str, k: int, old: np.ndarray, new: np.ndarray, b: int, t: int) -> np.ndarray:
        if self.wrapper.startswith("zoneout"):
            p = 0.3 if self.wrapper == "zoneout" else 0.6 * (k == len(self.states) - 1)
            mask = self.masks[name][b, t] if self.training and p else p
            return mask * old + (1 - mask) * new
        if self.wrapper == "norm-state" and k == 0:
            return published.layer_norm(new, self.own[f"norm_{name}.weight"], self.own[f"norm_{name}.bias"])
        return new

    def _output(self, x: np.ndarray, y: np.ndarray, above: list[np.ndarray]) -> np.ndarray:
        if self.wrapper == "norm-output":
            return published.layer_norm(y, self.own["norm_output.weight"], self.own["norm_output.bias"])
        if self.wrapper == "residual":
            return x + y
        if self.wrapper == "highway":
            g = published.sigmoid(self.own["G.weight"] @ x + self.own["G.bias"])
            return g * y + (1 - g) * x
        if self.wrapper == "stacked":
            upper = {k.removeprefix("cells.1."): v for k, v in self.own.items() if k.startswith("cells.1.")}
            (above[0],) = published.gru_after(upper, y, above[0])
            return above[0]
        return y
