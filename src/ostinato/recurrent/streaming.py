"""Streams: sequences that arrive in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ostinato.recurrent.arguments import Tensors, listed

if TYPE_CHECKING:
    from ostinato.recurrent.module import Recurrent


class Stream:
    """Feed chunks of any size, one after another; together they equal one long call. No gradients.

    Args:
        recurrent: what runs.
        initial: the states to begin with.
        constants: per-sequence constants.

    >>> from ostinato import Recurrent, cells
    >>> stream = Recurrent(cells.Elman(3, 4)).stream()
    >>> stream(torch.zeros(1, 5, 3)).shape, stream(torch.zeros(1, 2, 3)).shape
    (torch.Size([1, 5, 4]), torch.Size([1, 2, 4]))
    """

    def __init__(self, recurrent: Recurrent, initial: Tensors | None = None, constants: Tensors = ()) -> None:
        if recurrent.reverse:
            raise ValueError("a reversed Recurrent cannot stream: it begins with the last time step")
        self.recurrent, self.constants = recurrent, constants
        self.states: tuple[Tensor, ...] | None = None if initial is None else tuple(listed(initial, "initial"))

    @torch.no_grad()
    def __call__(self, x: Tensors, reset: Tensor | None = None) -> Tensor:
        """The outputs of the next chunk ``[B, T, ...]``; ``reset`` as in a call of :class:`Recurrent`."""
        time = 1 if self.recurrent.batch_first else 0
        xs = listed(x, "x")
        if xs[0].dim() >= 2 and xs[0].shape[time] == 0:
            return self._nothing(xs, time)
        outputs, self.states = self.recurrent(xs, self.states, reset=reset, constants=self.constants)
        return outputs

    def _nothing(self, xs: list[Tensor], time: int) -> Tensor:
        """No steps: no outputs, and the states stay; the shape is that of one step's output."""
        shape = list(xs[0].shape)
        shape[time] = 1
        probe = [torch.zeros([*shape[:2], *v.shape[2:]], dtype=v.dtype, device=v.device) for v in xs]
        outputs, _ = self.recurrent(probe, self.states, constants=self.constants)
        return outputs.narrow(time, 0, 0)

    def reset(self, rows: Tensor | None = None) -> None:
        """Start again from the declared initial values: all sequences, or those where ``rows`` (bool ``[B]``) is true.

        Raises:
            TypeError: when ``rows`` is not bool.
            ValueError: when it is not one flag for each sequence.
        """
        if rows is not None and (not isinstance(rows, Tensor) or rows.dtype != torch.bool):
            found = rows.dtype if isinstance(rows, Tensor) else f"a {type(rows).__name__}"
            raise TypeError(f"rows must be a bool tensor [B], got {found}")
        if rows is None or self.states is None:
            self.states = None if rows is None else self.states
            return
        batch = self.states[0].shape[0]
        if tuple(rows.shape) != (batch,):
            raise ValueError(f"rows must be [B] = [{batch}], got {list(rows.shape)}")
        fresh = self.recurrent.initial_states(batch)
        self.states = tuple(torch.where(rows.reshape(-1, *[1] * (old.dim() - 1)), new, old)
                            for old, new in zip(self.states, fresh, strict=True))
