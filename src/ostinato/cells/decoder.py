"""Steps that read their own last output: what writes sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import check_choice, check_sizes
from ostinato.cells.table import output_size
from ostinato.cells.wrapper import within


def likeliest(o: Tensor) -> Tensor:
    """The number of the largest in each row ``[B, K]``, of equals the first: floats ``[B]``."""
    K = o.shape[-1]
    before = K - torch.arange(K, dtype=o.dtype, device=o.device)  # [K]: the earlier, the larger
    return K - torch.where(o >= o.amax(-1, keepdim=True), before, 0).amax(-1)


def drawn(o: Tensor) -> Tensor:
    """A number drawn from ``softmax(o)`` in each row ``[B, K]``, by the largest of ``o`` plus Gumbel noise: ``[B]``."""
    return likeliest(o - torch.log(-torch.log(torch.rand_like(o))))


CHOICES: dict[str, Callable[[Tensor], Tensor]] = {"argmax": likeliest, "sample": drawn}
"""How a symbol follows from the logits."""


class OwnOutput(Cell):
    """What the decoders share: a cell that reads a state ``y``, an input and a constant side by side, and a read-out
    of which ``y`` is made.

    Args:
        cell: the step.
        outputs: the width of the read-out.
        shape: that of ``y``.
        input_size, context_size: the widths of the input and the constant; 0 for none.
        start: what every element of ``y`` is before the first step.
        symbols: how many there are, where ``y`` is one.

    Raises:
        TypeError: when ``cell`` is none.
        ValueError: on a size below 1, or a cell with a state ``y`` of its own.
    """

    def __init__(self, cell: Cell, outputs: int, shape: tuple[int, ...], input_size: int, context_size: int,
                 start: float, symbols: int | None = None) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(f"{type(self).__name__} repeats an ostinato.Cell, got a {type(cell).__name__}")
        check_sizes(**{name: size for name, size in (("input_size", input_size), ("context_size", context_size))
                       if size != 0})
        self.cell, self.input_size, self.context_size = cell, input_size, context_size
        like = next(cell.parameters(), torch.empty(0))
        self.V = nn.Linear(output_size(cell), outputs, device=like.device, dtype=like.dtype)
        self.add_state("y", shape, initial=start, symbols=symbols)
        for s in cell.states:
            if s.name == "y":
                raise ValueError(f"{type(cell).__name__} has a state 'y', which is what the decoder calls its output")
            self.add_state(s.name, s.shape, s.delays, within("cell", s.initial), s.symbols)
        initialise.glorot(self.V)

    def step(self, *given: Tensor) -> Any:
        """``step(x, y, states, q)``; without ``x`` or ``q`` where their sizes are 0."""
        given, q = (given[:-1], given[-1:]) if self.context_size else (given, ())
        x, (y, *states) = (given[:1], given[1:]) if self.input_size else ((), given)
        read = torch.cat([self.embedded(y), *x, *q], -1)  # [B, E + N + Q]
        news, h = self.cell.split_result(self.cell.step(read, *states))
        o = self.V(h)  # [B, K]
        return self.written(o), *news, o

    def embedded(self, y: Tensor) -> Tensor:
        """What the cell reads of the last output: ``[B, *shape]`` to ``[B, E]``."""
        return y

    def written(self, o: Tensor) -> Tensor:
        """What the output is made to: ``[B, K]`` to ``[B, *shape]``."""
        return o


class ValueDecoder(OwnOutput):
    """Any cell, made to read its own last output, a vector ``y``::

        s[t] = f(s[t-1], [y[t-1], x[t], q])
        y[t] = c + V h[t]

    ``f`` is the cell and ``h[t]`` its output. ``x[t]`` and ``q``, which may be missing, are an input and what the whole
    sequence is conditioned on, a constant. ``y`` is the first state and the output; a teacher can give it
    (``Recurrent(decoder)(teacher={"y": targets})``, or ``layers.Feedback``). Where it reads its own, the gradient flows
    back through ``y``.

    Args:
        cell: the step ``f``; it reads y's width, x's and q's, side by side.
        output_size: K, the width of ``y``.
        input_size: the width of ``x[t]``; 0 (default) for no input.
        context_size: the width of ``q``; 0 (default) for none.
        start: what every element of ``y`` is before the first step, by default 0.

    Parameters: ``V.weight [K, H]``, ``V.bias [K]``, and the cell's. ``step(x, y, ..., q)``: ``y`` is ``[B, K]``; then
    come the cell's own states.

    Raises:
        TypeError: when ``cell`` is none.
        ValueError: on a size below 1, or a cell with a state ``y`` of its own.

    Source: the lecture, "Illustration of Teacher Forcing"; Graves, "Generating Sequences With Recurrent Neural
    Networks", arXiv:1308.0850, 2013.

    >>> from ostinato import cells
    >>> decoder = ValueDecoder(cells.Elman(2 + 3, 5), output_size=2, input_size=3)
    >>> y, h, o = decoder(torch.ones(4, 3), torch.zeros(4, 2), torch.zeros(4, 5))
    >>> y.shape, h.shape
    (torch.Size([4, 2]), torch.Size([4, 5]))
    """

    def __init__(self, cell: Cell, output_size: int, *, input_size: int = 0, context_size: int = 0,
                 start: float = 0.0) -> None:
        check_sizes(output_size=output_size)
        super().__init__(cell, output_size, (output_size,), input_size, context_size, start)


class Decoder(OwnOutput):
    """Any cell, made to read its own last output, a symbol ``y``, one of K::

        e[t] = E y[t-1]
        s[t] = f(s[t-1], [e[t], x[t], q])
        o[t] = c + V h[t]
        y[t] = argmax o[t]

    ``f`` is the cell and ``h[t]`` its output. ``x[t]`` and ``q``, which may be missing, are an input and what the whole
    sequence is conditioned on (a source sentence, an image), a constant; the other way to condition it is by the first
    states, ``initial``. ``y`` is the first state, so that a teacher can give it (``Recurrent(decoder)(teacher={"y":
    targets})``, or ``layers.Feedback``); the output is ``o``, the logits. Choosing a symbol has no derivative: no
    gradient flows through a ``y`` that the decoder chose.

    Args:
        cell: the step ``f``; it reads e's width, x's and q's, side by side.
        symbols: K, how many symbols there are.
        embedding_size: the width of ``e``.
        input_size: the width of ``x[t]``; 0 (default) for no input.
        context_size: the width of ``q``; 0 (default) for none.
        start: the symbol before the first step, by default 0.
        choice: how ``y`` follows from ``o``: "argmax" (default), or "sample", which draws it from ``softmax(o)``.

    Parameters: ``E.weight [K, width]``, ``V.weight [K, H]``, ``V.bias [K]``, and the cell's. ``step(x, y, ..., q)``:
    ``y`` is ``[B]``, a whole number in a float; then come the cell's own states.

    Raises:
        TypeError: when ``cell`` is none.
        ValueError: on a size below 1, a start that is no symbol, an unknown choice, a cell with a state ``y`` of its
            own; in ``step``, on a dtype that cannot count to K; in a call, on targets or first states that are none.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
    EMNLP 2014; Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks", NIPS 2014.

    >>> from ostinato import cells
    >>> decoder = Decoder(cells.GRU(4, 5), symbols=7, embedding_size=4, start=1)
    >>> y, h, o = decoder(torch.ones(2), torch.zeros(2, 5))
    >>> y.shape, h.shape, o.shape
    (torch.Size([2]), torch.Size([2, 5]), torch.Size([2, 7]))
    """

    def __init__(self, cell: Cell, symbols: int, embedding_size: int, *, input_size: int = 0, context_size: int = 0,
                 start: int = 0, choice: str = "argmax") -> None:
        check_sizes(symbols=symbols, embedding_size=embedding_size)
        if not 0 <= start < symbols:
            raise ValueError(f"start must be one of the {symbols} symbols, 0 to {symbols - 1}, got {start}")
        check_choice("choice", choice, CHOICES)
        super().__init__(cell, symbols, (), input_size, context_size, float(start), symbols)
        self.symbols, self.choice = symbols, choice
        self.E = nn.Embedding(symbols, embedding_size, device=self.V.weight.device, dtype=self.V.weight.dtype)

    def embedded(self, y: Tensor) -> Tensor:
        """``E y``: ``[B]`` to ``[B, E]``."""
        if self.symbols > 2 / torch.finfo(y.dtype).eps:
            raise ValueError(f"{y.dtype} cannot tell {self.symbols} symbols apart: use float32")
        one_hot = y.unsqueeze(-1) == torch.arange(self.symbols, dtype=y.dtype, device=y.device)  # [B, K]
        return one_hot.to(y.dtype) @ self.E.weight

    def written(self, o: Tensor) -> Tensor:
        """The symbol chosen: ``[B, K]`` to ``[B]``."""
        return CHOICES[self.choice](o)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, symbols={self.symbols}, choice={self.choice!r}"
