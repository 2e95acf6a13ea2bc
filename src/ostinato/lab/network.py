"""The network that a run trains: one cell over the sequence, and a linear read-out at the steps that ask."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from ostinato import cells
from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.errors import InputError, unknown
from ostinato.lab.options import parse_cell
from ostinato.lab.task import Batch
from ostinato.recurrent import Recurrent

PIECE = 2**22
"""Numbers in the outputs of one piece, when a large batch is only measured."""


class Network(nn.Module):
    """``o[t] = c + V y[t]`` of a cell's outputs y, where the batch asks.

    Args:
        cell: any cell.
        input_size: N, the width of the inputs.
        output_size: K, the width of the answers.

    >>> from ostinato.lab import find
    >>> batch = find("adding").draw(3, 20, torch.Generator().manual_seed(0))
    >>> Network(cells.create("gru", 2, 8), 2, 1)(batch).shape
    torch.Size([3, 1])
    """

    def __init__(self, cell: Cell, input_size: int, output_size: int) -> None:
        super().__init__()
        self.recurrent = Recurrent(cell)
        with torch.no_grad():
            outputs, _ = self.recurrent(torch.zeros(1, 1, input_size))  # its width is the cell's own affair
        self.readout = nn.Linear(outputs.shape[-1], output_size)

    def forward(self, batch: Batch) -> Tensor:
        """The answers ``[M, K]``."""
        outputs, _ = self.recurrent(batch.x, lengths=batch.lengths)  # [B, T, H]
        return self.readout(outputs[batch.answer])

    @torch.no_grad()
    def answers(self, batch: Batch) -> Tensor:
        """The same without a gradient, some sequences at a time."""
        count = max(1, PIECE // (batch.x.shape[1] * self.readout.in_features))
        pieces = zip(batch.x.split(count), batch.answer.split(count), _split(batch.lengths, count), strict=False)
        return torch.cat([self(Batch(x, answer, batch.target, lengths)) for x, answer, lengths in pieces])


def _split(lengths: Tensor | None, count: int) -> Any:
    return itertools.repeat(None) if lengths is None else lengths.split(count)


def new_network(cell: str, hidden_size: int, sizes: tuple[int, int], span: int = 0) -> Network:
    """A network around the cell that ``cell`` names, with its options (:func:`ostinato.lab.options.parse_cell`).

    The lag is known here, so a gated cell is told it: a ``span`` above 2 spreads the time constants of its units up to
    so many steps (:func:`ostinato.cells.initialise.chrono`).

    Raises:
        InputError: an unknown cell or option, a value that the cell refuses, or a span for a gated cell without biases.
    """
    name, given = parse_cell(cell)
    known = cells.names("vectors")
    if name not in known:
        raise unknown("cell", name, known)
    try:
        made = cells.create(name, sizes[0], hidden_size, **given)
        if span > 2 and (getattr(made, "keep", None) or getattr(made, "write", None)):
            initialise.chrono(made, span)
    except (TypeError, ValueError) as error:
        raise InputError(f"cell {cell!r}: {error}") from None
    return Network(made, *sizes)
