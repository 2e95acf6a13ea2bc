"""Recurrent: the module that repeats a cell over a batch of sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.engines import eager

Tensors = Tensor | Sequence[Tensor]


class Recurrent(nn.Module):
    """Repeat ``cell`` over the time steps of a batch of sequences."""

    def __init__(self, cell: Cell, *, batch_first: bool = True, reverse: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.batch_first = batch_first
        self.reverse = reverse

    def forward(self, x: Tensors, initial: Tensors | None = None, lengths: Tensor | None = None,
                mask: Tensor | None = None, reset: Tensor | None = None, *, constants: Tensors = (),
                return_all_states: bool = False):
        xs = [x] if isinstance(x, Tensor) else list(x)
        if self.batch_first:
            xs = [v.transpose(0, 1) for v in xs]
        steps, batch = xs[0].shape[:2]
        if initial is None:
            initial = self.cell.initial_states(batch)
        initial = [initial] if isinstance(initial, Tensor) else list(initial)
        starts = [v.transpose(0, 1) if s.depth > 1 else v.unsqueeze(0)
                  for s, v in zip(self.cell.states, initial, strict=True)]
        constants = [constants] if isinstance(constants, Tensor) else list(constants)
        live = None
        if lengths is not None:
            live = torch.arange(steps, device=xs[0].device)[:, None] < lengths.to(xs[0].device)[None]
        elif mask is not None:
            live = mask.transpose(0, 1) if self.batch_first else mask
        if reset is not None and self.batch_first:
            reset = reset.transpose(0, 1)
        outputs, values, finals = eager.run(self.cell, xs, constants, starts, live, reset, self.reverse)
        if live is not None:
            outputs = torch.where(live.reshape(*live.shape, *[1] * (outputs.dim() - 2)), outputs, 0)
        ends = tuple(f.transpose(0, 1) if s.depth > 1 else f[-1] for s, f in zip(self.cell.states, finals, strict=True))
        outputs = outputs.transpose(0, 1) if self.batch_first else outputs
        return outputs, ends
