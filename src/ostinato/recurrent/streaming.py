"""Streams: sequences that arrive in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ostinato.engines.choice import FallbackError, candidates
from ostinato.engines.differentiable import compiling
from ostinato.recurrent.arguments import Tensors, autocasting, listed
from ostinato.recurrent.masks import Kept
from ostinato.recurrent.stepper import Stepper
from ostinato.recurrent.watch import Watch

if TYPE_CHECKING:
    from ostinato.recurrent.module import Recurrent


class Stream:
    """Feed chunks of any size, one after another; together they equal one long call. No gradients.

    Random masks, in training mode, are drawn with the first chunk for each sequence and for the call, and stay the same
    until all is :meth:`reset`; those of each step are drawn with each chunk.

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
        self._states: tuple[Tensor, ...] | None = None if initial is None else tuple(listed(initial, "initial"))
        self._stepper: Stepper | None = None
        self._stepping = False
        """Whether the stepper has the states."""
        self._refused: Watch | None = None
        self._drawn = Kept()

    @property
    def states(self) -> tuple[Tensor, ...] | None:
        """The states after the last chunk, as ``initial`` takes them; None before the first."""
        return self._stepper.states if self._stepper and self._stepping else self._states

    @states.setter
    def states(self, states: tuple[Tensor, ...] | None) -> None:
        self._states, self._stepping = states, False

    @torch.no_grad()
    def __call__(self, x: Tensors = (), reset: Tensor | None = None, *, steps: int | None = None,
                 batch: int | None = None) -> Tensor:
        """The outputs of the next chunk ``[B, T, ...]``; the arguments are as in a call of :class:`Recurrent`. An
        autonomous cell is asked for a number of ``steps``, at first for a ``batch`` of sequences too."""
        time = 1 if self.recurrent.batch_first else 0
        xs = listed(x, "x")
        if xs and (steps, batch) != (None, None):
            raise ValueError("steps and batch are for a cell without inputs")
        if not xs:
            return self._autonomous(reset, steps, batch)
        if xs[0].dim() >= 2 and xs[0].shape[time] == 0:
            return self._nothing(xs, time)
        if reset is None and all(v.dim() >= 2 and v.shape[time] == 1 for v in xs):
            now = [v.select(time, 0) for v in xs]
            if (stepper := self._ready(now)) is not None:
                return stepper(*now).clone().unsqueeze(time)
        outputs, self.states = self.recurrent(xs, self.states, reset=reset, constants=self.constants,
                                              drawn=self._drawn)
        return outputs

    def _autonomous(self, reset: Tensor | None, steps: int | None, batch: int | None) -> Tensor:
        states = self.states
        single = steps == 1 and reset is None and states and batch in (None, len(states[0]))
        if single and (stepper := self._ready([])) is not None:
            return stepper().clone().unsqueeze(1 if self.recurrent.batch_first else 0)
        outputs, self.states = self.recurrent((), self.states, reset=reset, constants=self.constants, steps=steps,
                                              batch=batch, drawn=self._drawn)
        return outputs

    def _ready(self, steps: list[Tensor]) -> Stepper | None:
        """What runs single steps like these, if anything does: made again when the cell was changed."""
        cell, stepper = self.recurrent.cell, self._stepper
        if candidates()[0].name != "cpu" or compiling(steps) or any(autocasting(v.device) for v in steps):
            return None
        if stepper is None or not stepper.takes(steps) or not self._watch.unchanged(cell):
            stepper = self._made(steps)
            if stepper is None:
                return None
        elif not self._stepping:
            stepper.load(self._states)
        self._stepping = True
        return stepper

    def _made(self, steps: list[Tensor]) -> Stepper | None:
        cell, states = self.recurrent.cell, self.states
        if self._refused is not None and self._refused.unchanged(cell):
            return None
        try:
            stepper = self.recurrent.stepper(steps, states, constants=self.constants, drawn=self._drawn)
        except FallbackError:
            self._refused = Watch(cell)
            return None
        if not stepper.takes(steps):
            return None
        self._stepper, self._watch, self._states = stepper, Watch(cell), None
        return stepper

    def _nothing(self, xs: list[Tensor], time: int) -> Tensor:
        """No steps: no outputs, and the states stay; the shape is that of one step's output."""
        shape = list(xs[0].shape)
        shape[time] = 1
        probe = [torch.zeros([*shape[:2], *v.shape[2:]], dtype=v.dtype, device=v.device) for v in xs]
        outputs, _ = self.recurrent(probe, self.states, constants=self.constants, drawn=self._drawn)
        return outputs.narrow(time, 0, 0)

    @torch.no_grad()
    def reset(self, rows: Tensor | None = None) -> None:
        """Start again from the declared initial values: all sequences, or those where ``rows`` (bool ``[B]``) is true.
        With all sequences, random masks are drawn anew.

        Raises:
            TypeError: when ``rows`` is not bool.
            ValueError: when it is not one flag for each sequence.
        """
        if rows is not None and (not isinstance(rows, Tensor) or rows.dtype != torch.bool):
            found = rows.dtype if isinstance(rows, Tensor) else f"a {type(rows).__name__}"
            raise TypeError(f"rows must be a bool tensor [B], got {found}")
        if rows is None:
            self._drawn, self._stepper = Kept(), None if self._drawn else self._stepper
        if rows is None or self.states is None:
            self.states = None if rows is None else self.states
            return
        batch = self.states[0].shape[0]
        if tuple(rows.shape) != (batch,):
            raise ValueError(f"rows must be [B] = [{batch}], got {list(rows.shape)}")
        fresh = self.recurrent.initial_states(batch)
        self.states = tuple(torch.where(rows.reshape(-1, *[1] * (old.dim() - 1)), new, old)
                            for old, new in zip(self.states, fresh, strict=True))
