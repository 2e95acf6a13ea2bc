"""Attention against loops over queries and memories; attention decoders against the loop as one writes it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from close import assert_close
from loops import compare
from torch import Tensor

import ostinato
from ostinato import cells
from ostinato.layers import Attention, AttentionDecoder

B, T, S, N, H, M = 3, 4, 5, 2, 6, 3
LENGTHS = [5, 1, 3]
X_LENGTHS = [2, 4, 3]


@pytest.fixture(params=["cpu", "reference"])
def engine(request):
    with ostinato.engine(request.param):
        yield request.param


def drawn(*sizes: int, seed: int = 1) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one(score: Any, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One query ``[Q]`` over the memory ``[S, M]`` that counts, by the formulas."""
    found = []
    for m in memory:
        if isinstance(score, cells.DotScore):
            found.append(query @ (score.U.weight @ m) / math.sqrt(len(query)))
        else:
            found.append(score.v @ torch.tanh(score.W.weight @ query + score.U.weight @ m))
    weights = torch.stack(found).exp() / torch.stack(found).exp().sum()
    return sum(w * m for w, m in zip(weights, memory, strict=True)), weights  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_attention_over_ragged_memories(kind: str) -> None:
    torch.manual_seed(2)
    attention = Attention(H, M, kind, size=7).double()
    memory, query = drawn(B, S, M).requires_grad_(), drawn(B, T, H, seed=2).requires_grad_()
    dirty = memory.masked_fill(torch.arange(S).unsqueeze(1) >= torch.tensor(LENGTHS)[:, None, None], float("nan"))
    contexts, weights = attention(query, attention.remember(dirty, LENGTHS))
    wanted = [[one(attention.score, query[b, t], memory[b, :length]) for t in range(T)]
              for b, length in enumerate(LENGTHS)]
    expected = torch.stack([torch.stack([c for c, _ in row]) for row in wanted])
    for b, length in enumerate(LENGTHS):
        assert_close(weights[b, :, :length], torch.stack([w for _, w in wanted[b]]))
        assert weights[b, :, length:].eq(0).all()
    compare([contexts], [expected], [query, memory, *attention.parameters()])
    assert_close(attention(query[:, 1], attention.remember(dirty, LENGTHS))[0], contexts[:, 1])


def test_a_memory_of_no_steps() -> None:
    attention = Attention(H, M)
    memory = attention.remember(torch.full((2, S, M), float("nan")), [0, 0])
    assert_close(attention(torch.ones(2, T, H), memory)[0], torch.zeros(2, T, M))


WIDER = {"last": 0, "after": H, "before": M}


def made(look: str, attention: str, inner: type = cells.LSTM) -> AttentionDecoder:
    torch.manual_seed(3)
    return AttentionDecoder(inner(N + WIDER[look], H), M, attention=attention, look=look).double()


def parts(decoder: AttentionDecoder) -> tuple[Any, Any, Any]:
    """The cell, the score and W_a."""
    cell: Any = decoder.recurrent.cell
    return (cell, decoder.attention.score, decoder.W_a) if decoder.look == "last" else (cell.cell, cell.score, cell.W_a)


def by_hand(decoder: AttentionDecoder, x: Tensor, memory: Tensor, states: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Outputs ``[T, H]`` and weights ``[T, S]`` of one sequence, states ``[1, H]``."""
    cell, score, W_a = parts(decoder)
    h, a, outputs, looked = torch.zeros_like(states[0]), torch.zeros_like(states[0]), [], []
    for now in x.unsqueeze(1):
        if decoder.look == "before":
            context, weights = one(score, h[0], memory)
            result = cell.step(torch.cat([now, context.unsqueeze(0)], 1), *states)
        else:
            result = cell.step(torch.cat([now, a], 1) if decoder.look == "after" else now, *states)
        states = list(result) if isinstance(result, tuple) else [result]
        h = states[0]
        if decoder.look != "before":
            context, weights = one(score, h[0], memory)
        a = torch.tanh(W_a(torch.cat([h, context.unsqueeze(0)], 1)))
        outputs.append(a[0])
        looked.append(weights)
    return torch.stack(outputs), torch.stack(looked)


@pytest.mark.parametrize("look", ["last", "after", "before"])
@pytest.mark.parametrize("attention", ["dot", "additive"])
@pytest.mark.parametrize("inner", [cells.LSTM, cells.GRU])
def test_decoders(look: str, attention: str, inner: type, engine) -> None:
    decoder = made(look, attention, inner)
    count = 2 if inner is cells.LSTM else 1
    x, memory = drawn(B, T, N, seed=4).requires_grad_(), drawn(B, S, M, seed=5).requires_grad_()
    first = [drawn(B, H, seed=6 + k).requires_grad_() for k in range(count)]
    with ostinato.strict():
        outputs, _, weights = decoder(x, decoder.remember(memory, LENGTHS), first, X_LENGTHS, return_weights=True)
    expected = torch.zeros_like(outputs)
    for b, (length, steps) in enumerate(zip(LENGTHS, X_LENGTHS, strict=True)):
        out, looked = by_hand(decoder, x[b, :steps], memory[b, :length], [s[b : b + 1] for s in first])
        expected[b, :steps] = out
        assert_close(weights[b, :steps, :length], looked)
    compare([outputs], [expected], [x, memory, *first, *decoder.parameters()])


@pytest.mark.parametrize("look", ["last", "after", "before"])
def test_steps_are_the_whole(look: str) -> None:
    decoder = made(look, "additive")
    x, memory = drawn(B, T, N), decoder.remember(drawn(B, S, M, seed=5), LENGTHS)
    outputs, ends, weights = decoder(x, memory, return_weights=True)
    states, found = None, []
    for t in range(T):
        a, states, looked = decoder.step(x[:, t], memory, states, return_weights=True)
        found.append((a, looked))
    assert_close(torch.stack([a for a, _ in found], 1), outputs)
    assert_close(torch.stack([w for _, w in found], 1), weights)
    assert_close(list(states or ()), list(ends))


@pytest.mark.parametrize("look", ["after", "before"])
def test_memories_of_many_lengths_share_programs(look: str) -> None:
    decoder = made(look, "dot")
    for steps in (3, 8, 5, 1):
        decoder(drawn(B, T, N), decoder.remember(drawn(B, steps, M)))
    assert decoder.recurrent.traces == 1


def test_a_stack_inside() -> None:
    stack = cells.StackedCells([cells.GRU(N + 4, H), cells.LSTM(H, 4)])
    decoder = AttentionDecoder(stack, M, look="after", hidden_size=4)
    outputs, states = decoder(torch.ones(B, T, N), decoder.remember(torch.ones(B, S, M)))
    assert outputs.shape == (B, T, 4)
    assert [tuple(s.shape) for s in states] == [(B, H), (B, 4), (B, 4), (B, 4), (B, 4)]


def test_repeated_for_a_beam() -> None:
    attention = Attention(H, M).double()
    memory = attention.remember(drawn(B, S, M), LENGTHS)
    query = drawn(2 * B, H)
    found = attention(query, memory.repeated(2))[0]
    assert_close(found[3], attention(query[3].expand(B, H), memory)[0][1])


def test_errors() -> None:
    attention = Attention(H, M)
    with pytest.raises(ValueError, match=r"memory must be \[B, S, M\] with M=3 and S at least 1, got \[3, 5, 4\]"):
        attention.remember(torch.ones(B, S, 4))
    with pytest.raises(ValueError, match=r"query must be .* with Q=6, got \[3, 4, 5\]"):
        attention(torch.ones(B, T, 5), attention.remember(torch.ones(B, S, M)))
    with pytest.raises(ValueError, match=r"score must be one of additive, dot, got 'sum'"):
        Attention(H, M, "sum")
    with pytest.raises(ValueError, match=r"look must be one of last, after, before, got 'up'"):
        AttentionDecoder(cells.LSTM(N, H), M, look="up")
    decoder = made("after", "dot")
    with pytest.raises(ValueError, match=r"initial must be the cell's 2 states, or all 4, got 1"):
        decoder(drawn(B, T, N), decoder.remember(drawn(B, S, M)), drawn(B, H))
