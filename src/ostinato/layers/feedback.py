"""What a network reads in the place of its own past outputs: teacher forcing, free running, and what lies between.

Williams and Zipser, "A Learning Algorithm for Continually Running Fully Recurrent Neural Networks", Neural Computation
1, 1989 (teacher forcing); Bengio et al., NIPS 2015 (scheduled sampling, see ``layers.decay``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.layers.parts import Lengths, Tensors, as_layer
from ostinato.recurrent import Explanation, Recurrent

Share = str | float | Callable[[int], float]
"""``"teacher"``, ``"free"``, how often the teacher's value is taken, or that as a function of the training step."""


class Feedback(nn.Module):
    """A recurrence with a state that is its own last output, and a teacher who knows what that should have been.

    In training the state is given the targets (``"teacher"``), keeps the model's own outputs (``"free"``), or is given
    either, as is drawn for each step and each sequence (scheduled sampling). At test time (``eval()``) the true output
    is not known: the model runs free.

    With ``"teacher"`` the steps do not wait for each other through that state. In an ``OutputRecurrence`` or a ``NARX``
    nothing is left in the loop, and all steps run at once; in a decoder the cell within is left. Scheduled sampling
    needs the outputs one after the other, and costs what running free does.

    The gradient stops at a value that the teacher gave. Where the model kept its own, it flows back through it, as in
    any recurrence: through vectors (``OutputRecurrence``, ``NARX``, ``ValueDecoder``) to the steps before; through a
    symbol that a ``Decoder`` chose it does not, for choosing has no derivative.

    Args:
        cell: a cell or a ``Recurrent``.
        feedback: in training: ``"teacher"`` (default), ``"free"``, the share of steps that take the teacher's value (0
            to 1), or a schedule: a function of the training step, counted from 0 (``LinearDecay``,
            ``ExponentialDecay``, ``InverseSigmoidDecay``).
        state: the name of the state that is fed back; by default the cell's first.
        seed: of the drawing. With ``calls``, how many training steps were drawn for (saved with the parameters), it
            says all: a run that is resumed draws what it would have.
        batch_first: the layout, where ``cell`` is a cell.

    Raises:
        TypeError: when ``cell`` is neither.
        ValueError: on an unknown feedback or state, or a share outside of 0 to 1.

    >>> from ostinato import cells
    >>> model = Feedback(cells.OutputRecurrence(3, 8, output_size=2), feedback="teacher")
    >>> x, y = torch.ones(4, 7, 3), torch.ones(4, 7, 2)
    >>> outputs, (o,) = model(x, y)
    >>> outputs.shape, model.explain().engine, model.eval()(x)[0].shape
    (torch.Size([4, 7, 2]), 'none', torch.Size([4, 7, 2]))
    """

    calls: Tensor

    def __init__(self, cell: Cell | Recurrent, feedback: Share = "teacher", *, state: str | None = None, seed: int = 0,
                 batch_first: bool = True) -> None:
        super().__init__()
        if not isinstance(cell, (Cell, Recurrent)):
            raise TypeError(f"Feedback needs a cell or a Recurrent, got a {type(cell).__name__}")
        recurrent = as_layer(cell, cell.batch_first if isinstance(cell, Recurrent) else batch_first)
        assert isinstance(recurrent, Recurrent)
        self.recurrent, self.feedback, self.seed = recurrent, _known(feedback), seed
        names = [s.name for s in recurrent.cell.states]
        self.state = names[0] if state is None else state
        if self.state not in names:
            raise ValueError(f"{type(recurrent.cell).__name__} has no state {state!r}, it has {', '.join(names)}")
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    @property
    def batch_first(self) -> bool:
        """The layout of inputs, targets and outputs."""
        return self.recurrent.batch_first

    def forward(
        self,
        x: Tensors = (),
        targets: Tensor | None = None,
        initial: Tensors | None = None,
        lengths: Lengths | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        *,
        constants: Tensors = (),
        steps: int | None = None,
        batch: int | None = None,
        feedback: Share | None = None,
        return_all_states: bool = False,
    ) -> tuple[Any, ...]:
        """Run over all time steps.

        Args:
            x: as for ``Recurrent``; none for a decoder without an input.
            targets: what the state should be after each step, ``[B, T, *shape]``: for a ``Decoder`` the symbols
                ``[B, T]``. A step reads those before its own. Running free needs none.
            initial, lengths, mask, reset, constants, steps, batch, return_all_states: as for ``Recurrent``; without an
                input T and B may be those of the targets.
            feedback: for this call, in training or not.

        Returns:
            as ``Recurrent``: outputs ``[B, T, ...]`` and final states.

        Raises:
            ValueError: without targets where a teacher needs them, or as above.
        """
        own = self._own(self._chosen(feedback), targets)
        options: dict[str, Any] = {"steps": steps, "batch": batch}
        if own is not True:
            options |= {"teacher": {self.state: targets}, "own": own}
        elif isinstance(targets, Tensor) and not isinstance(x, Tensor) and not x and targets.dim() > 1:
            time = 1 if self.batch_first else 0
            options = {"steps": steps or targets.shape[time], "batch": batch or targets.shape[1 - time]}
        return self.recurrent(x, initial, lengths, mask, reset, constants=constants,
                              return_all_states=return_all_states, **options)

    def _chosen(self, feedback: Share | None) -> Share:
        if feedback is not None:
            return _known(feedback)
        return self.feedback if self.training else "free"

    def _own(self, feedback: Share, targets: Tensor | None) -> Tensor | bool | None:
        """Where the state keeps its own value: bool, True for everywhere, None for nowhere."""
        if feedback == "free":
            return True
        if targets is None:
            raise ValueError(f"feedback={feedback!r} needs the targets; without them run it free (eval(), or "
                             'feedback="free")')
        if feedback == "teacher":
            return None
        share = self._share(feedback)
        return self._drawn(share, targets)

    def _share(self, feedback: Share) -> float:
        """How often this training step takes the teacher's value."""
        share = feedback(int(self.calls)) if callable(feedback) else feedback
        if isinstance(share, str) or not 0 <= share <= 1:
            raise ValueError(f"the schedule gives {share!r} for training step {int(self.calls)}, not a share from 0 "
                             "to 1")
        return share

    def _drawn(self, share: float, targets: Tensor) -> Tensor:
        """Where the teacher's value is not taken, bool ``[B, T]`` (``[T, B]``): drawn anew in each call."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + int(self.calls)) % 2**63)
        if self.training:
            self.calls += 1
        lead = targets.shape[:2] if self.batch_first else targets.shape[:2][::-1]
        own = torch.rand(lead, generator=generator) >= share  # [B, T]
        return own if self.batch_first else own.T

    def explain(self, *args: Any, **options: Any) -> Explanation:
        """What ran in the latest call, or would: as ``Recurrent.explain``."""
        return self.recurrent.explain(*args, **options)

    def extra_repr(self) -> str:
        return f"feedback={self.feedback!r}, state={self.state!r}"


def _known(feedback: Share) -> Share:
    """The feedback, if it is one."""
    if callable(feedback) or feedback in ("teacher", "free"):
        return feedback
    if isinstance(feedback, (str, bool)) or not isinstance(feedback, (int, float)):
        raise ValueError(f'feedback must be "teacher", "free", a share from 0 to 1 or a schedule, got {feedback!r}')
    if not 0 <= feedback <= 1:
        raise ValueError(f"as a share of steps, feedback must lie from 0 to 1, got {feedback}")
    return feedback
