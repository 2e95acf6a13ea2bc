"""Streams of layers: sequences that arrive in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ostinato.layers.stack import Stack
    from ostinato.layers.tdnn import TDNN


class TDNNStream:
    """Feed chunks of any size to a causal layer, one after another; a chunk may have no output. No gradients.

    >>> from ostinato.layers import TDNN
    >>> stream = TDNN(3, 5, 4, causal=True, stride=2).stream()
    >>> [stream(torch.ones(1, n, 3)).shape[1] for n in (1, 1, 0, 5)]
    [1, 0, 0, 3]
    """

    def __init__(self, layer: TDNN) -> None:
        if layer.right:
            raise ValueError(f"a TDNN that reads {layer.right} steps ahead cannot stream: its context is "
                             f"{layer.context}")
        self.layer = layer
        self.reset()

    def reset(self) -> None:
        """Start again before the first step."""
        self._kept: Tensor | None = None
        self._skipped = 0

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The outputs ``[B, T', K]`` that the next chunk ``[B, T, N]`` completes."""
        layer = self.layer
        x = layer.checked(x)
        if self._kept is None:
            self._kept = x.new_zeros(x.shape[0], layer.left if layer.edges == "zero" else 0, x.shape[2])
        skip = min(self._skipped, x.shape[1])  # a stride that is longer than the window
        x = torch.cat([self._kept, x[:, skip:]], 1)
        output = layer.windows(x)
        done = output.shape[1] * layer.stride
        self._skipped += max(0, done - x.shape[1]) - skip
        self._kept = x[:, done:]
        return output if layer.batch_first else output.transpose(0, 1)


class StackStream:
    """Feed chunks of any size to a stack, one after another; each layer streams. No gradients.

    >>> from ostinato import cells
    >>> from ostinato.layers import TDNN, Stack
    >>> stream = Stack([TDNN(3, 5, 4, causal=True, stride=2), cells.GRU(5, 2)]).stream()
    >>> [stream(torch.ones(1, n, 3)).shape[1] for n in (1, 1, 0, 5)]
    [1, 0, 0, 3]
    """

    def __init__(self, stack: Stack) -> None:
        self._parts: list[Any] = []
        for layer in stack.layers:
            stream: Any = getattr(layer, "stream", None)
            if stream is None:
                raise ValueError(f"a stack with a {type(layer).__name__} in it cannot stream")
            self._parts.append(stream())

    def reset(self) -> None:
        """Start again before the first step."""
        for part in self._parts:
            part.reset()

    def __call__(self, x: Any) -> Tensor:
        """The outputs ``[B, T', ...]`` of the next chunk ``[B, T, ...]``."""
        for part in self._parts:
            x = part(x)
        return x
