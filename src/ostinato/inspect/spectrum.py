"""What a recurrent matrix does when it is applied again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.errors import InputError
from ostinato.inspect import pictures
from ostinato.recurrent import Recurrent

EDGE = 1e-3
"""How near to 1 a spectral radius counts as 1."""


@dataclass(frozen=True)
class Spectrum(pictures.Shown):
    """A square matrix W, and its eigenvalues: ``W = V diag(lambda) V^-1``.

    Attributes:
        matrix: W, ``[H, H]``, in float64.
        values: lambda, complex ``[H]``, the largest first.
        vectors: V, complex ``[H, H]``.
    """

    matrix: Tensor
    values: Tensor
    vectors: Tensor

    @property
    def radius(self) -> float:
        """The largest absolute value of an eigenvalue."""
        return float(self.values.abs().max())

    @property
    def norm(self) -> float:
        """The largest singular value: how much one application can lengthen a vector."""
        return float(torch.linalg.matrix_norm(self.matrix, 2))

    @property
    def condition(self) -> float:
        """Of V: where it is large, ``V diag(lambda)^t V^-1`` is not accurate, and powers may grow before they fade."""
        return float(torch.linalg.cond(self.vectors))

    def norms(self, steps: int) -> Tensor:
        """``||W^t||`` for t = 0 .. ``steps``, the largest singular value of each power, ``[steps + 1]``."""
        power, found = torch.eye(len(self.matrix), dtype=self.matrix.dtype), []
        for _ in range(steps + 1):
            found.append(torch.linalg.matrix_norm(power, 2))
            power = power @ self.matrix
        return torch.stack(found)

    def power(self, t: int) -> Tensor:
        """``W^t`` as ``V diag(lambda)^t V^-1``, ``[H, H]``."""
        return torch.linalg.solve(self.vectors.mT, (self.vectors * self.values**t).mT).mT.real

    @property
    def verdict(self) -> str:
        """What repeated application does to a vector: ``"vanishes"``, ``"explodes"`` or ``"keeps"``."""
        return "keeps" if abs(self.radius - 1) < EDGE else "vanishes" if self.radius < 1 else "explodes"

    def __str__(self) -> str:
        return (f"radius {self.radius:.4g} ({self.verdict}), norm {self.norm:.4g}, eigenvectors' condition "
                f"{self.condition:.3g}")

    def plot(self, path: str | Path, steps: int = 50) -> None:
        """The eigenvalues with the unit circle, and ``||W^t||`` with ``radius^t``."""
        pictures.spectrum(self, path, steps)


def spectrum(matrix: Tensor) -> Spectrum:
    """The spectrum of a square matrix, computed in float64.

    Raises:
        InputError: when it is not square.

    >>> found = spectrum(torch.tensor([[0.0, 0.5], [-0.5, 0.0]]))
    >>> round(found.radius, 6), found.verdict, found.norms(2).tolist()
    (0.5, 'vanishes', [1.0, 0.5, 0.25])
    """
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"a spectrum is that of a square matrix, got {list(matrix.shape)}")
    wide = matrix.detach().double().cpu()
    values, vectors = torch.linalg.eig(wide)
    order = values.abs().argsort(descending=True)
    return Spectrum(wide, values[order], vectors[:, order])


def spectra(cell: Cell | Recurrent) -> Mapping[str, Spectrum]:
    """The spectra of a cell's recurrent matrices; one that holds those of several gates is taken apart.

    Raises:
        InputError: when the cell has no square one.

    >>> from ostinato import cells
    >>> list(spectra(cells.LSTM(3, 4))), list(spectra(cells.Skip(3, 4, delays=5)))
    (['U_i', 'U_f', 'U_C~', 'U_o'], ['U', 'S.0'])
    """
    cell = cell.cell if isinstance(cell, Recurrent) else cell
    found: dict[str, Spectrum] = {}
    for name, parameter in cell.named_parameters():
        if name.split(".")[0] in cell.recurrent and parameter.dim() == 2:
            found |= _blocks(cell, name.removesuffix(".weight"), parameter)
    if not found:
        raise InputError(f"{type(cell).__name__} has no square recurrent matrix among {', '.join(cell.recurrent)}")
    return found


def _blocks(cell: Cell, name: str, parameter: nn.Parameter) -> dict[str, Spectrum]:
    rows, columns = parameter.shape
    if rows % columns:
        return {}
    count = rows // columns
    gates = getattr(cell, "gates", ())
    labels = gates if len(gates) == count else range(1, count + 1)
    names = [name] if count == 1 else [f"{name}_{label}" for label in labels]
    return {n: spectrum(block) for n, block in zip(names, parameter.chunk(count), strict=True)}
