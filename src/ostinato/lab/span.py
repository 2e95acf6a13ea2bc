"""How long a new network's gates keep what they hold: the lag is known here, so a gated cell is told it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ostinato import cells
from ostinato.cell import Cell

GATES: Mapping[type[Cell], tuple[int, int | None, int | None]] = {
    cells.LSTM: (4, 1, 0),
    cells.PeepholeLSTM: (4, 1, 0),
    cells.GRU: (3, 1, None),
    cells.MinimalGRU: (2, None, 0),
}
"""How many gates a map has, which of them keeps the state, and which writes."""


@torch.no_grad()
def remember(cell: Cell, span: int) -> None:
    """Spread the units' time constants from 2 to ``span`` steps; a cell without gates or biases is left as it is::

        b_keep = log(u),  b_write = -b_keep,  u uniform from 1 to span - 1, one for each unit

    Source: Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018 (arXiv 1804.11188), equation 16.
    """
    bias = getattr(getattr(cell, "W", None), "bias", None)
    if type(cell) not in GATES or bias is None:
        return
    count, keep, write = GATES[type(cell)]
    blocks = bias.chunk(count)
    drawn = torch.empty_like(blocks[0]).uniform_(1, span - 1).log_()
    if keep is not None:
        blocks[keep].copy_(drawn)
    if write is not None:
        blocks[write].copy_(-drawn)
