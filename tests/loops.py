"""What a call of ``Recurrent`` is compared with: a loop by hand, and each sequence alone without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from close import assert_close
from torch import Tensor, nn

from ostinato import Cell, Recurrent
from ostinato.engines import eager


class Tagger(Cell):
    """h[t] = tanh(E[word] + W x[t] + U h[t-1] + V c): words, numbers and a constant of the sequence; output h^2."""

    def __init__(self, words: int = 6, width: int = 3, constant: int = 2, hidden: int = 4) -> None:
        super().__init__()
        torch.manual_seed(words)
        self.E = nn.Embedding(words, hidden)
        self.W = nn.Linear(width, hidden)
        self.U = nn.Linear(hidden, hidden, bias=False)
        self.V = nn.Linear(constant, hidden, bias=False)
        self.add_state("h", hidden)
        self.double()

    def step(self, word: Tensor, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.E(word) + self.W(x) + self.U(h) + self.V(c))
        return h, h * h


class Fibre(Cell):
    """Two states with delays and initial values of their own; ``k`` is a matrix: [B, 2, 3]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.W = nn.Linear(3, 6)
        self.U = nn.Linear(6, 6)
        self.add_state("k", (2, 3), delays=(2, 5), initial=0.25)
        self.add_state("m", 6, delays=(1,), initial=-1.5)
        self.double()

    def step(self, x: Tensor, k2: Tensor, k5: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        new = torch.tanh(self.W(x) + self.U(k2.flatten(1)) - k5.flatten(1) * m)
        return new.unflatten(1, (2, 3)), 0.9 * m + 0.1 * new, new + m


class Stubborn(Cell):
    """h[t] = tanh(W x[t] + h[t-1]), halved where their sum is large: a Python decision, which no program holds."""

    def __init__(self, width: int = 3, hidden: int = 3) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.W = nn.Linear(width, hidden)
        self.add_state("h", hidden)
        self.double()

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        h = torch.tanh(self.W(x) + h)
        return h / 2 if float(h.detach().abs().sum()) > 1e6 else h


def by_hand(cell: Cell, x: Tensor, initial: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The loop as one writes it: ``x [B, T, N]``; ``initial`` and the states returned as ``Recurrent`` has them."""
    past = [[v] if s.depth == 1 else list(v.unbind(1)) for s, v in zip(cell.states, initial, strict=True)]
    outputs = []
    for t in range(x.shape[1]):
        reads = [values[-delay] for s, values in zip(cell.states, past, strict=True) for delay in s.delays]
        result = cell.step(x[:, t], *reads)
        result = result if isinstance(result, tuple) else (result,)
        for values, new in zip(past, result, strict=False):
            values.append(new)
        outputs.append(result[-1] if len(result) > len(cell.states) else result[0])
    ends = [
        values[-1] if s.depth == 1 else torch.stack(values[-s.depth :], 1)
        for s, values in zip(cell.states, past, strict=True)
    ]
    return torch.stack(outputs, 1), ends


def by_eager(cell: Cell, x: Tensor, initial: Sequence[Tensor], reverse: bool = False) -> tuple[Tensor, list[Tensor]]:
    """``engines.eager.run`` with batch first."""
    starts = [v.transpose(0, 1) if s.depth > 1 else v.unsqueeze(0) for s, v in zip(cell.states, initial, strict=True)]
    outputs, _, ends = eager.run(cell, [x.transpose(0, 1)], [], starts, reverse=reverse)
    return outputs.transpose(0, 1), [
        e.transpose(0, 1) if s.depth > 1 else e[0] for s, e in zip(cell.states, ends, strict=True)
    ]


def random_like(values: Any, seed: int = 0) -> list[Tensor]:
    """A random tensor for each."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v.dtype) for v in values]


def gradients(results: Sequence[Tensor], leaves: Sequence[Tensor], retain: bool = True) -> list[Tensor]:
    """The gradients of a random weighted sum of the results."""
    total = sum((r * w).sum() for r, w in zip(results, random_like(results, 11), strict=True))
    assert isinstance(total, Tensor)
    return list(torch.autograd.grad(total, leaves, retain_graph=retain, allow_unused=True, materialize_grads=True))


def compare(
    actual: Sequence[Tensor], expected: Sequence[Tensor], leaves: Sequence[Tensor], name: str = "", retain: bool = True
) -> None:
    """Assert that results and their gradients agree."""
    assert_close(list(actual), list(expected), name=f"{name} results")
    found, wanted = (gradients(results, leaves, retain) for results in (actual, expected))
    assert_close(found, wanted, name=f"{name} gradients")


def alone(
    rnn: Recurrent, x: Tensor, live: Tensor, initial: Sequence[Tensor] | None = None, reset: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Each sequence by itself: its live steps only, cut at its resets, by the loop written by hand.

    Args:
        x: ``[B, T, N]``.
        live: bool ``[B, T]``.
        reset: bool ``[B, T]``; the states start again there.

    Returns:
        outputs ``[B, T, ...]``, zero at padding, and the final states.
    """
    cell = rnn.cell
    fresh = rnn.initial_states(1)
    rows, ends = [], []
    for b in range(x.shape[0]):
        states = fresh if initial is None else [v[b : b + 1] for v in initial]
        outputs: dict[int, Tensor] = {}
        steps = range(x.shape[1])
        for t in reversed(steps) if rnn.reverse else steps:
            if reset is not None and reset[b, t] and live[b, t]:
                states = fresh
            if live[b, t]:
                out, states = by_hand(cell, x[b : b + 1, t : t + 1], states)
                outputs[t] = out[0, 0]
        empty = torch.zeros(by_hand(cell, x[:1, :1], fresh)[0].shape[2:], dtype=x.dtype)
        rows.append(torch.stack([outputs.get(t, empty) for t in steps]))
        ends.append(states)
    return torch.stack(rows), [torch.cat(values) for values in zip(*ends, strict=True)]


class Tied(Cell):
    """h[t] = tanh(W x[t] + U h[t-1]) with U and W one and the same matrix, a buffer, and a constant."""

    scale: Tensor

    def __init__(self, hidden: int = 3) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.W = nn.Linear(hidden, hidden)
        self.U = nn.Linear(hidden, hidden, bias=False)
        self.U.weight = self.W.weight
        self.register_buffer("scale", torch.linspace(0.5, 1.0, hidden))
        self.shift = torch.linspace(-0.1, 0.1, hidden, dtype=torch.float64)
        self.add_state("h", hidden)
        self.double()

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.W(x) + self.U(h)) * self.scale + self.shift
