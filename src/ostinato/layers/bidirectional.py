"""Both directions: one recurrence reads the past of every step, another its future (Schuster and Paliwal, 1997)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.layers.parts import Lengths, Tensors, as_layer, check_merge, first_layout, merged, one_each
from ostinato.recurrent import Recurrent


class Bidirectional(nn.Module):
    """Run one recurrence from the first step to the last, another from the last to the first, and merge their outputs.

    Args:
        forward_layer: a cell or a ``Recurrent``.
        backward_layer: a cell or a ``Recurrent(..., reverse=True)``.
        merge: ``"concat"`` (default; features side by side), ``"sum"``, ``"average"``, ``"mul"``, or None for the pair.

    Raises:
        ValueError: an unknown merge, a direction or a layout (``batch_first``) that does not fit.
        TypeError: a part that is no cell and no recurrence.

    >>> from ostinato import cells
    >>> layer = Bidirectional(cells.GRU(3, 5), cells.GRU(3, 5), merge="sum")
    >>> output, (ahead, back) = layer(torch.ones(2, 7, 3), lengths=torch.tensor([7, 4]))
    >>> output.shape, ahead[0].shape
    (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    def __init__(self, forward_layer: nn.Module, backward_layer: nn.Module, merge: str | None = "concat") -> None:
        super().__init__()
        for part, reverse in ((forward_layer, False), (backward_layer, True)):
            if isinstance(part, Recurrent) and part.reverse != reverse:
                which = "backward" if reverse else "forward"
                raise ValueError(f"the {which} half must be a Recurrent with reverse={reverse}")
        if forward_layer is backward_layer:
            raise ValueError("the two halves must be two cells: each has its own weights")
        self.batch_first = first_layout([forward_layer, backward_layer])
        self.forward_layer = as_layer(forward_layer, self.batch_first)
        self.backward_layer = as_layer(backward_layer, self.batch_first, reverse=True)
        self.merge = check_merge(merge)

    def forward(
        self,
        x: Tensors,
        initial: Any = None,
        lengths: Lengths | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        *,
        constants: Any = None,
    ) -> tuple[Any, tuple[Any, Any]]:
        """Run both halves.

        Args:
            x: ``[B, T, ...]``, or several such inputs.
            initial: the pair (forward states, backward states); None, or None for a half: each state's initial value.
            lengths: ``[B]``; padding is never read, so the backward half starts at each sequence's own last step.
            mask: bool ``[B, T]``, true where there is a step.
            reset: bool ``[B, T]``, true at the first step of every sub-sequence. The halves respect the same borders.
            constants: the pair (forward constants, backward constants).

        Returns:
            (output, (forward states, backward states)). Outputs are aligned in time: the backward half's output at a
            step has seen that step and its future, and its final states are those at step 0.
        """
        ahead, back = one_each(initial, 2, "initial", None)
        ahead_constants, back_constants = one_each(constants, 2, "constants", ())
        past, ahead = self.forward_layer(x, ahead, lengths, mask, reset, constants=ahead_constants)
        borders = None if reset is None else self._borders(reset, lengths, mask)
        future, back = self.backward_layer(x, back, lengths, mask, borders, constants=back_constants)
        return merged(self.merge, (past, future)), (ahead, back)

    def _borders(self, reset: Tensor, lengths: Lengths | None, mask: Tensor | None) -> Tensor:
        if self.batch_first:
            return _borders_from_behind(reset, lengths, mask)
        return _borders_from_behind(reset.t(), lengths, None if mask is None else mask.t()).t()

    def extra_repr(self) -> str:
        return f"merge={self.merge!r}"


def _borders_from_behind(reset: Tensor, lengths: Lengths | None, mask: Tensor | None) -> Tensor:
    """Backwards in time, the first step of a sub-sequence is the last one before the next border: ``[B, T]``."""
    steps, device = reset.shape[1], reset.device
    at = torch.arange(steps, device=device).expand(reset.shape)  # [B, T]
    if lengths is not None:
        mask = at < torch.as_tensor(lengths, device=device).unsqueeze(1)
    if mask is not None:
        at = at.masked_fill(~mask.to(device), steps)
    at = F.pad(at, (0, 1), value=steps)  # [B, T + 1]: each step's number, T where there is none
    following = at.flip(1).cummin(1).values.flip(1)[:, 1:]  # [B, T]: the next step of the sequence after each
    return F.pad(reset, (0, 1)).gather(1, following)
