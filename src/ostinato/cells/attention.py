"""Cells that look at a memory: at each step a weighted mean of it, by weights that the step chooses.

A memory ``m [B, S, M]`` (an encoder's outputs) is a constant of the sequence, and so are its keys, which are computed
once, and ``shut [B, S]``: 0 where a memory counts, :data:`SHUT` where it is padding. :class:`ostinato.layers.Attention`
makes the three.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_choice, check_sizes
from ostinato.cells.table import output_size
from ostinato.cells.wrapper import within

SHUT = -1e30
"""What is added to the score of padding: its weight is 0."""


class AdditiveScore(nn.Module):
    """How well a query fits each memory, by a small network::

        score_s = v . tanh(W q + U m_s)

    Args:
        query_size: the width of ``q``.
        memory_size: M.
        size: A, the width of the network within.
        device, dtype: of the parameters.

    Parameters: ``W.weight [A, Q]``, ``U.weight [A, M]``, ``v [A]``.

    Source: Bahdanau, Cho and Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR
    2015.

    >>> score = AdditiveScore(2, 3, 4)
    >>> keys = score.keys(torch.ones(5, 7, 3))
    >>> score(torch.ones(5, 2), keys).shape, score(torch.ones(5, 6, 2), keys).shape
    (torch.Size([5, 7]), torch.Size([5, 6, 7]))
    """

    def __init__(self, query_size: int, memory_size: int, size: int, device: Device = None,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__()
        check_sizes(query_size=query_size, memory_size=memory_size, size=size)
        self.W = nn.Linear(query_size, size, False, device, dtype)
        self.U = nn.Linear(memory_size, size, False, device, dtype)
        self.v = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
        initialise.glorot(self.W)
        initialise.glorot(self.U)
        nn.init.uniform_(self.v, -(3 / size) ** 0.5, (3 / size) ** 0.5)

    def keys(self, memory: Tensor) -> Tensor:
        """What of the score does not depend on the query: ``[B, S, M]`` to ``[B, S, A]``."""
        return self.U(memory)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """The scores ``[B, S]`` of one query ``[B, Q]``, or ``[B, T, S]`` of several ``[B, T, Q]``."""
        keys = keys.unsqueeze(1) if query.dim() == 3 else keys
        return (self.v * torch.tanh(self.W(query).unsqueeze(-2) + keys)).sum(-1)


class DotScore(nn.Module):
    """How well a query fits each memory, by a product::

        score_s = q . (U m_s) / sqrt(Q)

    Args:
        query_size: Q, the width of ``q``.
        memory_size: M.
        size: not used: there is no network within.
        device, dtype: of the parameters.

    Parameters: ``U.weight [Q, M]``.

    Source: Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015
    ("general"); the scale: Vaswani et al., "Attention Is All You Need", NIPS 2017.

    >>> score = DotScore(2, 3)
    >>> score(torch.ones(5, 6, 2), score.keys(torch.ones(5, 7, 3))).shape
    torch.Size([5, 6, 7])
    """

    def __init__(self, query_size: int, memory_size: int, size: int = 1, device: Device = None,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__()
        check_sizes(query_size=query_size, memory_size=memory_size, size=size)
        self.U = nn.Linear(memory_size, query_size, False, device, dtype)
        initialise.glorot(self.U)

    def keys(self, memory: Tensor) -> Tensor:
        """What of the score does not depend on the query: ``[B, S, M]`` to ``[B, S, Q]``."""
        return self.U(memory) / self.U.out_features**0.5

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """The scores ``[B, S]`` of one query ``[B, Q]``, or ``[B, T, S]`` of several ``[B, T, Q]``."""
        if query.dim() == 3:
            return query @ keys.transpose(1, 2)
        return (query.unsqueeze(1) * keys).sum(-1)


SCORES = {"additive": AdditiveScore, "dot": DotScore}
"""The scores by name."""


class AttentionDecoder(Cell):
    """Any cell, made to look at a memory at every step::

        c[t] = sum over s of softmax(score(q, keys) + shut)_s m_s
        a[t] = tanh(W_a [h[t], c[t]])

        look="after":   h[t] = f(s[t-1], [x[t], a[t-1]]),  q = h[t]        what was found is read at the next step
        look="before":  h[t] = f(s[t-1], [x[t], c[t]]),    q = h[t-1]      what is found is read at once

    ``f`` is the cell and ``h`` its output. The output is ``a``. The memory's length S may differ from call to call; the
    first call of each S takes a moment, for it makes a program. :class:`ostinato.layers.AttentionDecoder` does the
    rest.

    Args:
        cell: the step ``f``; it reads x and H more ("after"), or x and M more ("before"), side by side.
        memory_size: M.
        attention: "additive" (default) or "dot".
        look: "after" (default) or "before".
        hidden_size: H, the width of the cell's output; default: that of its first state.

    Parameters: the cell's, the score's (``score``), ``W_a.weight [H, H + M]``. ``step(x, states, m, keys, shut)``: the
    cell's states, then ``q [B, H]`` and, for "after", ``a [B, H]``.

    Raises:
        TypeError: when ``cell`` is none.
        ValueError: on a size below 1, an unknown choice, or a cell with states of those names.

    Source: "after": Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation",
    EMNLP 2015, section 3.3 (input feeding); "before": Bahdanau, Cho and Bengio, ICLR 2015.

    >>> from ostinato import cells
    >>> decoder = AttentionDecoder(cells.GRU(2 + 4, 4), memory_size=3)
    >>> m = torch.ones(5, 7, 3)
    >>> h, q, a, output = decoder(torch.ones(5, 2), *decoder.initial_states(5), m, decoder.score.keys(m), m[..., 0])
    >>> output.shape
    torch.Size([5, 4])
    """

    def __init__(self, cell: Cell, memory_size: int, *, attention: str = "additive", look: str = "after",
                 hidden_size: int | None = None) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(f"AttentionDecoder repeats an ostinato.Cell, got a {type(cell).__name__}")
        size = hidden_size or output_size(cell)
        check_sizes(memory_size=memory_size, hidden_size=size)
        check_choice("attention", attention, SCORES)
        self.look = check_choice("look", look, ("after", "before"))
        self.cell = cell
        like = next(cell.parameters())
        self.score = SCORES[attention](size, memory_size, size, like.device, like.dtype)
        self.W_a = nn.Linear(size + memory_size, size, False, like.device, like.dtype)
        initialise.glorot(self.W_a)
        for s in cell.states:
            self.add_state(s.name, s.shape, s.delays, within("cell", s.initial), s.symbols)
        for name in ("q", "a") if look == "after" else ("q",):
            self.add_state(name, size)

    def step(self, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        *states, memory, keys, shut = given
        if self.look == "after":
            *states, _, a = states
            news, h = self.cell.split_result(self.cell.step(torch.cat([x, a], -1), *states))
            a = self.joined(h, self.found(h, memory, keys, shut)[0])
            return (*news, h, a, a)
        *states, q = states
        context, _ = self.found(q, memory, keys, shut)
        news, h = self.cell.split_result(self.cell.step(torch.cat([x, context], -1), *states))
        return (*news, h, self.joined(h, context))

    def found(self, query: Tensor, memory: Tensor, keys: Tensor, shut: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted mean of the memory and the weights: ``[B, M], [B, S]`` for a query ``[B, H]``, and with T
        queries ``[B, T, M], [B, T, S]``."""
        return look_up(self.score, query, memory, keys, shut)

    def joined(self, h: Tensor, context: Tensor) -> Tensor:
        """``a``."""
        return torch.tanh(self.W_a(torch.cat([h, context], -1)))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, look={self.look!r}"


def look_up(score: nn.Module, query: Tensor, memory: Tensor, keys: Tensor, shut: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean of the memory, and the weights, for one query ``[B, Q]`` or several ``[B, T, Q]``."""
    several = query.dim() == 3
    weights = torch.softmax(score(query, keys) + (shut.unsqueeze(1) if several else shut), -1)  # [B, S] or [B, T, S]
    context = weights @ memory if several else (weights.unsqueeze(-1) * memory).sum(1)
    return context, weights
