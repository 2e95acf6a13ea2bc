"""Back-propagation through time for long sequences: truncated, or in segments that end in a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Tensors = Tensor | Sequence[Tensor]


class Truncated:
    """Truncated back-propagation through time: every ``k1`` steps, the gradient of their losses, ``k2`` steps back.

    Iterating runs the model piece by piece. The states go on from piece to piece, the gradient does not; the parameters
    may be changed between two pieces. With ``k2 = k1`` each step is run once. With more, each piece begins with the
    ``k2 - k1`` steps before it, run again with the present parameters from the state that was there. With k2 >= T and
    parameters that stay, the pieces' gradients add up to that of the whole.

    Args:
        model: what is called as ``model(x, states)`` and returns (outputs, states): a ``Recurrent``, a ``Stack``, a
            drop-in for torch.nn, or a module of one's own. Time is the second dimension, or the first where the model
            says ``batch_first = False``.
        x: one input or several.
        k1: how many steps there are in a piece; the last may have fewer.
        k2: how many steps the gradient goes back, from the end of a piece. Default: k1.
        initial: the states before the first step, such as the ``states`` of the walk before (state carried).
        lengths, mask, reset: as a ``Recurrent`` takes them; given on where they are given.

    Attributes:
        states: after the last piece so far, without a gradient.

    Raises:
        ValueError: k1 below 1, k2 below k1, or a model that runs backwards in time.

    Source: Williams and Peng (1990), "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories", BPTT(h; h') with h = k2 and h' = k1; the names are those of Sutskever (2013), section 2.8.6.

    >>> from ostinato import Recurrent, cells
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator ...>
    >>> rnn, x = Recurrent(cells.GRU(3, 5)), torch.randn(2, 10, 3)
    >>> walk = Truncated(rnn, x, k1=4, k2=6)
    >>> for outputs, steps in walk:
    ...     outputs.square().mean().backward()
    ...     print(steps, tuple(outputs.shape))
    slice(0, 4, None) (2, 4, 5)
    slice(4, 8, None) (2, 4, 5)
    slice(8, 10, None) (2, 2, 5)
    >>> walk.states[0].shape, walk.states[0].requires_grad
    (torch.Size([2, 5]), False)
    """

    def __init__(self, model: Callable[..., tuple[Any, Any]], x: Tensors, k1: int, k2: int | None = None, *,
                 initial: Any = None, lengths: Tensor | Sequence[int] | None = None, mask: Tensor | None = None,
                 reset: Tensor | None = None) -> None:
        self.k1, self.k2 = k1, k1 if k2 is None else k2
        if self.k1 < 1 or self.k2 < self.k1:
            raise ValueError(f"k1 must be at least 1 and k2 at least k1, got k1={k1} and k2={k2}")
        if isinstance(model, nn.Module) and any(map(_runs_backwards, model.modules())):
            raise ValueError("truncated back-propagation goes forwards in time; a part of this model runs backwards")
        self.model, self.xs, self.single = model, [x] if isinstance(x, Tensor) else list(x), isinstance(x, Tensor)
        self.time = 1 if getattr(model, "batch_first", True) else 0
        self.steps = self.xs[0].shape[self.time]
        self.states, self.flags = initial, {"mask": mask, "reset": reset}
        self.lengths = None if lengths is None else torch.as_tensor(lengths)

    def __iter__(self) -> Iterator[tuple[Any, slice]]:
        """For each piece its outputs and which steps these are; ``states`` are those after it."""
        begun, done, before = 0, 0, detached(self.states)
        while done < self.steps:
            end = min(done + self.k1, self.steps)
            following = max(0, min(end + self.k1, self.steps) - self.k2)  # where the next piece begins
            states, found = before, []
            for a, b in pairwise(sorted({begun, done, end, following})):
                outputs, states = self._run(a, b, states)
                found += [outputs] if a >= done else []
                before = detached(states) if b == following else before
            self.states = detached(states)
            yield found[0] if len(found) == 1 else torch.cat(found, self.time), slice(done, end)
            begun, done = following, end

    def _run(self, begin: int, end: int, states: Any) -> tuple[Any, Any]:
        """The model over some steps."""
        cut = [x.narrow(self.time, begin, end - begin) for x in self.xs]
        more: dict[str, Any] = {k: v.narrow(self.time, begin, end - begin) for k, v in self.flags.items()
                                if v is not None}
        if self.lengths is not None:
            more["lengths"] = (self.lengths - begin).clamp(0, end - begin)
        return self.model(cut[0] if self.single else cut, states, **more)


def _runs_backwards(module: nn.Module) -> bool:
    return getattr(module, "reverse", False) is True or getattr(module, "bidirectional", False) is True


def detached(states: Any) -> Any:
    """States, in any nest of tuples, lists and dicts, cut off from what they were made of."""
    return _each(states, Tensor.detach)


def _each(states: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A nest of tensors, each of them changed."""
    if isinstance(states, Tensor):
        return change(states)
    if isinstance(states, dict):
        return {key: _each(value, change) for key, value in states.items()}
    return type(states)(_each(v, change) for v in states) if isinstance(states, (tuple, list)) else states


def checkpointed_loss(step: Callable[..., tuple[Tensor, Any]], sequences: Sequence[Tensor], states: Any = None,
                      steps: int | str = "sqrt", batch_first: bool = True) -> tuple[Tensor, Any]:
    """The sum of a loss over segments of time, of which no outputs are kept: only the states between them are.

    For what ``Recurrent(checkpoint=...)`` does not reach: the outputs ``[B, T, H]``, the layers above and their losses
    exist for one segment at a time, forwards and again on the way back. The gradient is that of the whole.

    Args:
        step: ``step(*pieces, states)`` returns the loss of a segment, to be summed, and the states after it.
        sequences: ``[B, T, ...]`` each (``[T, B, ...]`` without ``batch_first``): inputs, targets.
        states: before the first segment.
        steps: of a segment; ``"sqrt"``: about sqrt(T).

    Returns:
        the sum of the losses, and the states after the last segment.

    Raises:
        ValueError: no sequences, or sequences of different lengths.

    >>> from ostinato import Recurrent, cells
    >>> rnn, x, y = Recurrent(cells.GRU(3, 5)), torch.ones(2, 100, 3), torch.ones(2, 100, 5)
    >>> def step(x, y, states):
    ...     outputs, states = rnn(x, states)
    ...     return (outputs - y).square().sum(), states
    >>> loss, states = checkpointed_loss(step, [x, y])
    >>> torch.allclose(loss, step(x, y, None)[0])
    True
    """
    time = 1 if batch_first else 0
    lengths = {s.shape[time] for s in sequences}
    if len(lengths) != 1:
        raise ValueError(f"the sequences must have one length, got {[list(s.shape) for s in sequences]}")
    total, (length,) = torch.zeros(()), lengths
    size = isqrt(length - 1) + 1 if isinstance(steps, str) else steps
    for begin in range(0, length, size):
        pieces = [s.narrow(time, begin, min(size, length - begin)) for s in sequences]
        loss, states = checkpoint(step, *pieces, states, use_reentrant=False)
        # What stays, made after what goes: else it would keep the memory of this from being used again.
        states = _each(states, Tensor.clone)
        total = total.to(loss) + loss
    return total, states
