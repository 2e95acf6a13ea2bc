"""What cells with gates share: one map of the input and one of the state, with the rows of every gate."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes


class Gated(Cell):
    """A cell with ``W [G H, N]``, which has the bias, and ``U [G H, H]``: G blocks of rows, one for each gate.

    A subclass names them. One with an ``__init__`` of its own ends it with ``self.reset_parameters()``.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of every state: ``[B, H]``.
        width: that of the first state, where it is another.
        state_bias: whether ``U`` has a bias too.
        bias: whether there is a bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Raises:
        ValueError: on a size below 1.
    """

    gates: ClassVar[tuple[str, ...]] = ()
    """The blocks of rows, in order."""
    keep: ClassVar[str | None] = None
    """The gate by which the state is multiplied: its bias says for how long a new network remembers."""
    write: ClassVar[str | None] = None
    """The gate by which what is new is multiplied."""
    memory: ClassVar[tuple[str, ...]] = ("h",)
    """The states, the output first."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        width: int | None = None,
        state_bias: bool = False,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.hidden_size = hidden_size
        first = hidden_size if width is None else width
        rows = len(self.gates) * hidden_size
        self.W = nn.Linear(input_size, rows, bias, device, dtype)
        self.U = nn.Linear(first, rows, state_bias, device, dtype)
        for name in self.memory:
            self.add_state(name, first if name == self.memory[0] else hidden_size)
        if type(self).__init__ is Gated.__init__:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal, gate by gate; ``b`` is zero."""
        initialise.glorot(self.W, len(self.gates))
        initialise.orthogonal(self.U, len(self.gates))

    @property
    def shift(self) -> Tensor | None:
        """The bias of all gates, ``[G H]``."""
        return self.W.bias


class ForgetGated(Gated):
    """A :class:`Gated` cell whose forget gate starts open.

    Args:
        forget_bias: what the forget gate's bias starts from, by default 1: remember.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        width: int | None = None,
        *,
        forget_bias: float = 1.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, width, bias=bias, device=device, dtype=dtype)
        self.forget_bias = forget_bias
        if type(self).__init__ is ForgetGated.__init__:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal, gate by gate; ``b`` is zero, for the forget gate 1."""
        super().reset_parameters()
        if self.shift is not None:
            initialise.forget_bias(self, self.forget_bias)
