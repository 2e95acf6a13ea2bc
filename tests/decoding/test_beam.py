"""Beam search against exhaustive search, and against a beam of lists of one sequence at a time."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from close import assert_close
from torch import Tensor

from ostinato.decoding.beam import Found, beam_search

B, K, L, S, END, START = 3, 4, 5, 3, 2, 0
MEMORY = [3, 1, 2]


class Writer:
    """A model of made-up tables: what follows depends on the last two symbols, the step and the sequence."""

    def __init__(self, seed: int, forbid: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        table = 2 * torch.randn(B, L, K, K, K, generator=generator, dtype=torch.float64)
        if forbid:
            table[:, :, :, :, 1] = float("-inf")
        self.log_p = table.log_softmax(-1)  # [B, L, before, last, next]
        look = 3 * torch.randn(B, L, K, S, generator=generator, dtype=torch.float64)
        look.masked_fill_(torch.arange(S) >= torch.tensor(MEMORY)[:, None, None, None], float("-inf"))
        self.weights = look.softmax(-1)  # [B, L, last, S]

    def step(self, symbols: Tensor, states: Any) -> tuple[Tensor, Any, Tensor]:
        row, before, t = states["row"], states["before"], states["t"]
        return (self.log_p[row, t, before, symbols], {"row": row, "before": symbols, "t": t + 1},
                self.weights[row, t, symbols])

    def first(self) -> dict[str, Tensor]:
        zero = torch.zeros(B, dtype=torch.long)
        return {"row": torch.arange(B), "before": zero, "t": zero}

    def judge(self, row: int, symbols: tuple[int, ...], alpha: float, beta: float) -> tuple[float, float]:
        """(score, log p) of one sequence, by the formulas."""
        log_p, covered = 0.0, [0.0] * MEMORY[row]
        before, last = 0, START
        for t, symbol in enumerate(symbols):
            log_p += float(self.log_p[row, t, before, last, symbol])
            covered = [c + float(w) for c, w in zip(covered, self.weights[row, t, last], strict=False)]
            before, last = last, symbol
        cp = beta * sum(math.log(min(1.0, c)) for c in covered)
        return log_p / ((5 + len(symbols)) / 6) ** alpha + cp, log_p

    def search(self, **options: Any) -> Found:
        return beam_search(self.step, self.first(), B, start=START, end=END, max_length=L, memory_lengths=MEMORY,
                           **options)


def whole() -> list[tuple[int, ...]]:
    """Every sequence that ends within L symbols."""
    others = [k for k in range(K) if k != END]
    return [(*inner, END) for length in range(L) for inner in product(others, repeat=length)]


PENALTIES = [(0.0, 0.0), (0.7, 0.0), (2.5, 0.0), (0.0, 0.5), (1.0, 0.3)]


@pytest.mark.parametrize(("alpha", "beta"), PENALTIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_wide_beam_is_exhaustive(alpha: float, beta: float, seed: int) -> None:
    writer = Writer(seed)
    found = writer.search(beam=700, n_best=9, length_penalty=alpha, coverage_penalty=beta)
    for row in range(B):
        ranked = sorted(((*writer.judge(row, y, alpha, beta), y) for y in whole()), reverse=True)[:9]
        for n, (score, log_p, symbols) in enumerate(ranked):
            assert tuple(found.symbols[row, n, : found.lengths[row, n]].tolist()) == symbols
            assert_close(found.scores[row, n], torch.tensor(score, dtype=torch.float64))
            assert_close(found.log_p[row, n], torch.tensor(log_p, dtype=torch.float64))
    assert bool(found.ended.all())
    assert found.symbols.gather(2, (found.lengths - 1).unsqueeze(2)).eq(END).all()


def by_lists(writer: Writer, row: int, beam: int, alpha: float, beta: float) -> list[tuple[float, tuple[int, ...]]]:
    """The search of one sequence as the module describes it, to the very end."""
    alive: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, tuple[int, ...]]] = []
    for _ in range(L):
        grown = [(writer.judge(row, (*y, k), alpha, beta)[1], (*y, k)) for _, y in alive for k in range(K)]
        best = sorted((g for g in grown if g[0] > -math.inf), reverse=True)[: beam - len(ended)]
        ended += [g for g in best if g[1][-1] == END]
        alive = [g for g in best if g[1][-1] != END]
    ranked = [sorted(((writer.judge(row, y, alpha, beta)[0], y) for _, y in part), reverse=True)
              for part in (ended, alive)]
    return ranked[0] + ranked[1]


@pytest.mark.parametrize(("alpha", "beta"), PENALTIES)
@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (2, 1), (3, 3), (8, 4)])
@pytest.mark.parametrize("forbid", [False, True])
def test_a_narrow_beam(alpha: float, beta: float, beam: int, n_best: int, forbid: bool) -> None:
    for seed in range(6):
        writer = Writer(10 + seed, forbid)
        found = writer.search(beam=beam, n_best=n_best, length_penalty=alpha, coverage_penalty=beta)
        for row in range(B):
            wanted = by_lists(writer, row, beam, alpha, beta)[:n_best]
            count = int((found.scores[row] > -math.inf).sum())
            assert count == len(wanted)
            for n, (score, symbols) in enumerate(wanted):
                assert tuple(found.symbols[row, n, : found.lengths[row, n]].tolist()) == symbols
                assert_close(found.scores[row, n], torch.tensor(score, dtype=torch.float64))
                assert bool(found.ended[row, n]) == (symbols[-1] == END)
                assert found.symbols[row, n, found.lengths[row, n] :].eq(END).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(alpha: float) -> None:
    writer = Writer(4)
    answers = writer.search(beam=1, length_penalty=alpha).lists()
    for row, answer in enumerate(answers):
        before, last, greedy = 0, START, []
        for t in range(L):
            before, last = last, int(writer.log_p[row, t, before, last].argmax())
            if last == END:
                break
            greedy.append(last)
        assert answer == greedy


def test_it_stops_early_without_loss() -> None:
    """After the best has ended with probability 0.9, nothing can overtake it: two steps of a hundred."""
    calls = []

    def step(symbols: Tensor, states: tuple[()]) -> tuple[Tensor, tuple[()]]:
        calls.append(len(symbols))
        return torch.tensor([[0.05, 0.05, 0.9]]).log().expand(len(symbols), 3), states

    found = beam_search(step, (), 2, start=0, end=2, max_length=100, beam=4)
    assert found.lists() == [[], []]
    assert calls == [8]
    assert_close(found.log_p.exp(), torch.full((2, 1), 0.9))


def test_what_never_ends_is_cut_off() -> None:
    table = torch.tensor([0.6, 0.4, 0.0]).log()

    def step(symbols: Tensor, states: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return table.expand(len(symbols), 3), states

    assert beam_search(step, (), 1, start=0, end=2, max_length=1, n_best=2).symbols.tolist() == [[[0], [1]]]
    found = beam_search(step, (), 1, start=0, end=2, max_length=3, beam=2)
    assert not found.ended.any()
    assert found.lists() == [[0, 0, 0]]


def test_errors() -> None:
    writer = Writer(1)
    with pytest.raises(ValueError, match=r"n_best must be at most beam=2, got 3"):
        writer.search(beam=2, n_best=3)
    with pytest.raises(ValueError, match=r"penalties must be 0 or more, got -1 and 0"):
        writer.search(length_penalty=-1)
    with pytest.raises(ValueError, match=r"beam"):
        writer.search(beam=0)
    with pytest.raises(ValueError, match=r"end must be one of the 4 symbols, got 4"):
        beam_search(writer.step, writer.first(), B, start=0, end=4, max_length=2)
    with pytest.raises(ValueError, match=r"needs a step that also returns"):
        beam_search(lambda y, s: writer.step(y, s)[:2], writer.first(), B, start=0, end=2, max_length=2,
                    coverage_penalty=1.0)
    with pytest.raises(TypeError, match=r"states must be tensors.* got a int"):
        beam_search(writer.step, 3, B, start=0, end=2, max_length=2)
