"""What the tasks' models are made of: a stack of recurrences by options, pooling over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ostinato import cells
from ostinato.errors import InputError, unknown
from ostinato.layers import Bidirectional, Stack
from ostinato.recurrent import Recurrent
from ostinato.training.options import option


@dataclass(frozen=True)
class RecurrentOptions:
    """Which recurrence, how wide, how deep."""

    cell: str = option("lstm", "the recurrent step, by name (ostinato info lists them)")
    cell_options: dict[str, Any] = field(default_factory=dict, metadata={"help": "the cell's own options, as tau=5"})
    layers: int = option(1, "recurrent layers, one on the other", low=1)
    hidden_size: int = option(128, "hidden units in each layer and direction", low=1)
    bidirectional: bool = option(True, "read both ways")
    dropout: float = option(0.5, "share of the numbers that training drops before and after the recurrence", low=0,
                            high=0.95)  # fmt: skip


def make_cell(options: Any, input_size: int) -> Any:
    """The cell that the options name, its own options checked.

    Raises:
        InputError: an unknown cell, an option that it has not, or a value that it refuses.
    """
    if options.cell not in cells.names("vectors"):
        raise unknown("cell", options.cell, cells.names("vectors"))
    known = sorted(set(cells.options(options.cell)) - {"device", "dtype"})
    for name in options.cell_options:
        if name not in known:
            raise unknown(f"option of cell {options.cell!r}", name, known)
    try:
        return cells.create(options.cell, input_size, options.hidden_size, **options.cell_options)
    except (ValueError, TypeError) as error:
        raise InputError(f"cell {options.cell!r}: {error}") from None


class Encoder(nn.Module):
    """Layers of one cell over vectors ``[B, T, E]``: outputs ``[B, T, size]`` and the last states of the top layer."""

    def __init__(self, input_size: int, options: Any) -> None:
        super().__init__()
        width = cells.output_size(make_cell(options, 1))
        self.size = width * (2 if options.bidirectional else 1)
        widths = [input_size] + [self.size] * (options.layers - 1)
        self.stack = Stack([self._layer(w, options) for w in widths], dropout=options.dropout)

    def _layer(self, width: int, options: Any) -> nn.Module:
        if options.bidirectional:
            return Bidirectional(make_cell(options, width), make_cell(options, width))
        return Recurrent(make_cell(options, width))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Vectors ``[B, T, E]`` to outputs ``[B, T, size]``, zero in the padding."""
        return self.stack(x, lengths=lengths)[0]


class Pool(nn.Module):
    """Outputs of all steps to one vector: of the last step each way, their maximum, mean, or a weighted mean.

    The weights of ``attention`` are ``softmax_t(u . tanh(W h_t + b))`` (Yang et al., "Hierarchical Attention Networks",
    2016). ``all`` puts maximum, mean and attention side by side.
    """

    KINDS = ("all", "last", "max", "mean", "attention")

    def __init__(self, size: int, kind: str, bidirectional: bool) -> None:
        super().__init__()
        self.kind, self.bidirectional = kind, bidirectional
        self.size = size * (3 if kind == "all" else 1)
        if kind in ("all", "attention"):
            self.W, self.u = nn.Linear(size, size), nn.Linear(size, 1, bias=False)

    def forward(self, h: Tensor, lengths: Tensor) -> Tensor:
        """``[B, T, H]`` and ``[B]`` to ``[B, size]``."""
        live = (torch.arange(h.shape[1], device=h.device) < lengths.unsqueeze(1)).unsqueeze(2)  # [B, T, 1]
        parts = {
            "last": lambda: self._last(h, lengths),
            "max": lambda: h.masked_fill(~live, -torch.inf).amax(1),
            "mean": lambda: h.sum(1) / lengths.unsqueeze(1),  # padding is zero
            "attention": lambda: (self.weights(h, live) * h).sum(1),
        }
        if self.kind != "all":
            return parts[self.kind]()
        return torch.cat([parts[kind]() for kind in ("max", "mean", "attention")], 1)  # [B, 3 H]

    def weights(self, h: Tensor, live: Tensor) -> Tensor:
        """How much each step counts, ``[B, T, 1]``."""
        return self.u(torch.tanh(self.W(h))).masked_fill(~live, -torch.inf).softmax(1)

    def _last(self, h: Tensor, lengths: Tensor) -> Tensor:
        end = h[torch.arange(len(h)), lengths - 1]  # [B, H]
        if not self.bidirectional:
            return end
        half = h.shape[2] // 2
        return torch.cat([end[:, :half], h[:, 0, half:]], 1)  # [B, H]: each way's own last step
