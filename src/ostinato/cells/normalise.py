"""Layer normalisation around a cell."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells.wrapper import Wrapper, like_parameters

ENDS = ("input", "output")
"""What is normalised that is no state."""


class LayerNorm(Wrapper):
    """Layer normalisation of what goes into a cell, of its states, or of what comes out::

        LN(v) = gain (v - mean(v)) / sqrt(var(v) + eps) + shift     over the features of v
        s[t] = cell(LN(x[t]), s[t-1])                               of="input"
        s[t] = LN(cell(x[t], s[t-1]))                               of="h", a state's name: the next step reads it
        y[t] = LN(output[t])                                        of="output": the states stay as they are

    For normalisation inside of the gates see :class:`~ostinato.cells.LayerNormLSTM`.

    Args:
        cell: any cell.
        of: "output" (default), "input", a state's name, or several of these.
        size: the width of the input or of an output of the cell's own; by default that of its first state.
        eps: added to the variance, by default 1e-5.
        bias: whether there is a shift.

    Parameters: ``norm_NAME.weight`` (gain) and ``norm_NAME.bias`` (shift) for each of ``of``.

    Raises:
        TypeError: when ``cell`` is not a cell.
        ValueError: on what is neither an end nor a state, or an eps that is not positive.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016 (arXiv 1607.06450), equations 3 and 4.

    >>> import torch
    >>> from ostinato import cells
    >>> LayerNorm(cells.GRU(3, 5), of=("input", "h"), size=3)(torch.ones(2, 3), torch.zeros(2, 5))[0].shape
    torch.Size([2, 5])
    """

    def __init__(self, cell: Cell, of: str | Sequence[str] = "output", *, size: int | None = None, eps: float = 1e-5,
                 bias: bool = True) -> None:
        super().__init__(cell)
        shapes = {s.name: s.shape for s in self.states}
        self.of = (of,) if isinstance(of, str) else tuple(of)
        for name in self.of:
            if name not in shapes and name not in ENDS:
                raise ValueError(f"of must be {', '.join((*ENDS, *shapes))}, or several of these, got {name!r}")
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps!r}")
        for name in self.of:
            width = (size or self.states[0].shape[-1]) if name in ENDS else shapes[name][-1]
            norm = nn.LayerNorm(width, eps, bias=bias, **like_parameters(cell))
            self.add_module(f"norm_{name}", norm)

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        inputs, past, constants = self.split(args)
        new, output = self.inside([self._normal("input", inputs[0]), *inputs[1:]], past, constants)
        states = [self._normal(s.name, value) for s, value in zip(self.states, new, strict=True)]
        return (*states, self._normal("output", states[0] if output is new[0] else output))

    def _normal(self, name: str, value: Tensor) -> Tensor:
        return getattr(self, f"norm_{name}")(value) if name in self.of else value

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, of={self.of}"
