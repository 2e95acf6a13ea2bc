"""Attention: what a network looks at, of a memory of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato import cells
from ostinato.cell import Cell
from ostinato.cells.arguments import check_choice, check_sizes
from ostinato.cells.attention import SCORES, SHUT, look_up
from ostinato.layers.parts import Lengths, live_steps
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import whole_lengths

EIGHT = 8
"""Memories of a fused loop are padded to a multiple of this, so that there are few programs."""


class Memory(NamedTuple):
    """What is looked at, made ready once: :meth:`Attention.remember`. Padding is zero."""

    values: Tensor
    """``[B, S, M]``."""
    keys: Tensor
    """``[B, S, A]``: what of the scores does not depend on the query."""
    shut: Tensor
    """``[B, S]``: 0, or in padding what makes a weight 0."""

    def repeated(self, times: int) -> Memory:
        """Each sequence's several times, side by side: for a beam of hypotheses."""
        return Memory(*(value.repeat_interleave(times, 0) for value in self))

    def padded(self, multiple: int) -> Memory:
        """The same, S a multiple of a number."""
        missing = -self.values.shape[1] % multiple
        values, keys = (nn.functional.pad(value, (0, 0, 0, missing)) for value in (self.values, self.keys))
        return Memory(values, keys, nn.functional.pad(self.shut, (0, missing), value=SHUT))


class Attention(nn.Module):
    """Look at a memory, with all queries at once::

        weight[t, s] = softmax over s of score(q[t], m[s])
        c[t] = sum over s of weight[t, s] m[s]

    Args:
        query_size: Q.
        memory_size: M.
        score: "dot" (default, scaled, :class:`~ostinato.cells.DotScore`) or "additive"
            (:class:`~ostinato.cells.AdditiveScore`), which takes room for ``B * T * S * A`` numbers.
        size: A, of the additive score; default: Q.

    Parameters: those of the score (``score``).

    Raises:
        ValueError: on a size below 1 or an unknown score.

    Source: Bahdanau, Cho and Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR
    2015; Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015.

    >>> attention = Attention(query_size=4, memory_size=3)
    >>> memory = attention.remember(torch.ones(2, 7, 3), lengths=[7, 5])
    >>> context, weights = attention(torch.ones(2, 6, 4), memory)
    >>> context.shape, weights.shape, round(float(weights.sum(-1).detach().mean()), 5), float(weights[1, 0, 5].detach())
    (torch.Size([2, 6, 3]), torch.Size([2, 6, 7]), 1.0, 0.0)
    """

    def __init__(self, query_size: int, memory_size: int, score: str = "dot", size: int | None = None) -> None:
        super().__init__()
        check_sizes(query_size=query_size, memory_size=memory_size)
        check_choice("score", score, SCORES)
        self.query_size, self.memory_size = query_size, memory_size
        self.score = SCORES[score](query_size, memory_size, size or query_size)

    def remember(self, memory: Tensor, lengths: Lengths | None = None) -> Memory:
        """A memory ``[B, S, M]`` made ready; behind the lengths ``[B]`` it is not looked at. One of no steps gives 0.

        Raises:
            ValueError: naming what was expected and what came.
        """
        return remember(self.score, memory, lengths, self.memory_size)

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """What is found and the weights: ``[B, T, M]`` and ``[B, T, S]`` for queries ``[B, T, Q]``, or without T."""
        if query.dim() not in (2, 3) or query.shape[-1] != self.query_size:
            raise ValueError(f"query must be [B, T, Q] or [B, Q] with Q={self.query_size}, got {list(query.shape)}")
        return look_up(self.score, query, *memory)


class AttentionDecoder(nn.Module):
    """A recurrence that looks at a memory at every step, with an output of what it knows and what it found::

        c[t] = sum over s of softmax(score(q[t], m))_s m_s
        a[t] = tanh(W_a [h[t], c[t]])

        look="last":    h[t] = f(s[t-1], x[t]),            q[t] = h[t]
        look="after":   h[t] = f(s[t-1], [x[t], a[t-1]]),  q[t] = h[t]
        look="before":  h[t] = f(s[t-1], [x[t], c[t]]),    q[t] = h[t-1]

    With "last" what is found is not read by the recurrence: when all ``x`` are known, as in training, all steps look at
    once, which is several times faster. The others are one fused loop
    (:class:`ostinato.cells.AttentionDecoder`).

    Args:
        cell: the step ``f``; it reads ``x``, and beside it ``a`` (its own width, H) for "after", or M more for
            "before".
        memory_size: M.
        attention: "dot" or "additive".
        look: "last" (default), "after" or "before".
        hidden_size: H, the width of the cell's output; default: that of its first state.

    Raises:
        ValueError: on a size below 1 or an unknown choice.

    Source: "last" and "after" (input feeding): Luong, Pham and Manning, EMNLP 2015; "before": Bahdanau, Cho and Bengio,
    ICLR 2015.

    >>> decoder = AttentionDecoder(cells.LSTM(4, 5), memory_size=3)
    >>> memory = decoder.remember(torch.ones(2, 7, 3), [7, 5])
    >>> outputs, states, weights = decoder(torch.ones(2, 6, 4), memory, return_weights=True)
    >>> outputs.shape, weights.shape
    (torch.Size([2, 6, 5]), torch.Size([2, 6, 7]))
    """

    def __init__(self, cell: Cell, memory_size: int, *, attention: str = "dot", look: str = "last",
                 hidden_size: int | None = None) -> None:
        super().__init__()
        check_choice("look", look, ("last", "after", "before"))
        self.look = look
        if look == "last":
            size = hidden_size or cells.output_size(cell)
            self.recurrent, self.attention = Recurrent(cell), Attention(size, memory_size, attention)
            self.W_a = nn.Linear(size + memory_size, size, bias=False)
            cells.initialise.glorot(self.W_a)
        else:
            self.recurrent = Recurrent(cells.AttentionDecoder(cell, memory_size, attention=attention, look=look,
                                                              hidden_size=hidden_size))

    def remember(self, memory: Tensor, lengths: Lengths | None = None) -> Memory:
        """A memory ``[B, S, M]`` made ready, as by :meth:`Attention.remember`."""
        cell = self.recurrent.cell
        if isinstance(cell, cells.AttentionDecoder):
            return remember(cell.score, memory, lengths, cell.W_a.in_features - cell.W_a.out_features)
        return self.attention.remember(memory, lengths)

    def forward(self, x: Tensor, memory: Memory, initial: Sequence[Tensor] | None = None,
                lengths: Lengths | None = None, *, return_weights: bool = False) -> tuple[Any, ...]:
        """Run over all time steps.

        Args:
            x: ``[B, T, N]``.
            memory: from :meth:`remember`.
            initial: the cell's first states (as an encoder's last), or states as returned; default: as the cell begins.
            lengths: ``[B]``, how many steps of each sequence count.
            return_weights: also return what was looked at.

        Returns:
            (outputs ``[B, T, H]``, zero at padding; the last states), and the weights ``[B, T, S]``, where wanted.

        Raises:
            ValueError: naming the argument, what was expected and what came.
        """
        cell = self.recurrent.cell
        if not isinstance(cell, cells.AttentionDecoder):
            h, states = self.recurrent(x, initial, lengths)  # [B, T, H]
            context, weights = self.attention(h, memory)
            a = torch.tanh(self.W_a(torch.cat([h, context], -1)))
            if lengths is not None:
                live = live_steps(whole_lengths(lengths, x.shape[1], len(x)).to(x.device), x.shape[1])
                a = a.masked_fill(~live.unsqueeze(2), 0)
            return (a, states, weights) if return_weights else (a, states)
        states = self._whole(cell, x, initial)
        ready = memory.padded(EIGHT)
        a, ends, all_states = self.recurrent(x, states, lengths, constants=ready, return_all_states=True)
        if not return_weights:
            return a, ends
        q = all_states["q"]  # [B, T, H]
        before = torch.cat([states[len(cell.cell.states)].unsqueeze(1), q[:, :-1]], 1)
        return a, ends, cell.found(q if self.look == "after" else before, *memory)[1]

    def step(self, x: Tensor, memory: Memory, states: Sequence[Tensor] | None = None, *,
             return_weights: bool = False) -> tuple[Any, ...]:
        """One step: :meth:`forward` of ``x [B, N]``, to outputs ``[B, H]`` and weights ``[B, S]``."""
        a, states, *weights = self(x.unsqueeze(1), memory, states, return_weights=return_weights)
        return (a.squeeze(1), states, *(w.squeeze(1) for w in weights))

    def _whole(self, cell: cells.AttentionDecoder, x: Tensor, initial: Sequence[Tensor] | None) -> list[Tensor]:
        """All states, where those of the cell inside are given, or none."""
        given = [] if initial is None else [initial] if isinstance(initial, Tensor) else list(initial)
        own = cell.initial_states(len(x), dtype=x.dtype, device=x.device)
        count = len(cell.cell.states)
        if len(given) not in (0, count, len(own)):
            raise ValueError(f"initial must be the cell's {count} states, or all {len(own)}, got {len(given)}")
        return [*given, *own[len(given) :]]

    def extra_repr(self) -> str:
        return f"look={self.look!r}"


def remember(score: nn.Module, memory: Tensor, lengths: Lengths | None, size: int) -> Memory:
    """A memory ``[B, S, M]`` with its keys, closed behind the lengths."""
    if memory.dim() != 3 or memory.shape[2] != size or memory.shape[1] == 0:
        raise ValueError(f"memory must be [B, S, M] with M={size} and S at least 1, got {list(memory.shape)}")
    shut = memory.new_zeros(memory.shape[:2])  # [B, S]
    if lengths is not None:
        live = live_steps(whole_lengths(lengths, memory.shape[1], len(memory)).to(memory.device), memory.shape[1])
        memory, shut = memory.masked_fill(~live.unsqueeze(2), 0), shut.masked_fill(~live, SHUT)
    assert isinstance(score, (cells.AdditiveScore, cells.DotScore))
    return Memory(memory, score.keys(memory), shut)
