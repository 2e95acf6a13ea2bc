"""Beam search: the most probable sequences of a model that writes one symbol after the other.

A beam of N hypotheses grows by one symbol a step; of all continuations the N most probable stay. One that ends leaves
the beam, which is narrower by one from then on (Sutskever et al. 2014), so that a beam of 1 is the greedy search. The
finished ones are ranked by the score of Wu et al. 2016, section 7::

    score(Y) = log p(Y) / lp(Y) + cp(Y)
    lp(Y) = ((5 + |Y|) / 6) ** length_penalty
    cp(Y) = coverage_penalty * sum over s of log min(1, sum over t of weight[t, s])

Source: Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks", NIPS 2014; Wu et al., "Google's
Neural Machine Translation System", arXiv:1609.08144, 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ostinato.cells.arguments import check_sizes
from ostinato.layers.parts import Lengths, live_steps
from ostinato.recurrent.arguments import whole_lengths

Step = Callable[[Tensor, Any], Sequence[Any]]
"""``(symbols [R], states) -> (log_p [R, K], states)``, or with the attention's weights ``[R, S]`` as a third."""

NONE = float("-inf")


@dataclass(frozen=True, slots=True)
class Found:
    """The best sequences of each of a batch, best first: n of them."""

    symbols: Tensor
    """``[B, n, L]``, the end included; behind it the end again."""
    lengths: Tensor
    """``[B, n]``: how many symbols count, the end included."""
    scores: Tensor
    """``[B, n]``; -inf where there is no such sequence."""
    log_p: Tensor
    """``[B, n]``."""
    ended: Tensor
    """Bool ``[B, n]``: false for one that was cut off at the greatest length."""

    def lists(self) -> list[list[int]]:
        """The best sequence of each, without its end."""
        count = self.lengths[:, 0] - self.ended[:, 0].long()
        return [row[:n] for row, n in zip(self.symbols[:, 0].tolist(), count.tolist(), strict=True)]


@torch.no_grad()
def beam_search(
    step: Step,
    states: Any,
    batch: int,
    *,
    start: int,
    end: int,
    max_length: int,
    beam: int = 5,
    n_best: int = 1,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    memory_lengths: Lengths | None = None,
    device: torch.device | str | None = None,
) -> Found:
    """The best sequences that ``step`` writes, for a batch at once.

    It goes on until no hypothesis that is left can come among the ``n_best``, whatever follows; so nothing is lost by
    stopping. One that is as long as ``max_length`` is cut off, and ranked below all that ended.

    Args:
        step: given the last symbols ``[R]`` and the states, the log-probabilities of the next symbols ``[R, K]`` and
            the next states; and, for a coverage penalty, the weights ``[R, S]`` that it gave to the memory. ``R`` is
            ``B * beam``, the hypotheses of a sequence side by side.
        states: the first states: a tensor ``[B, ...]``, or tuples, lists and dictionaries of them, also empty.
            (What is constant need not be here: ``torch.repeat_interleave(memory, beam, 0)`` is ``[R, ...]``.)
        batch: B.
        start: the symbol before the first.
        end: the symbol that ends a sequence.
        max_length: L, how many symbols a sequence has at most, its end included.
        beam: N, how many hypotheses are kept; 1 is the greedy search.
        n_best: how many sequences are returned, at most N.
        length_penalty: alpha; 0 (default) ranks by probability alone, which favours short sequences.
        coverage_penalty: beta; 0 (default) for none.
        memory_lengths: ``[B]``, of the memory; for a coverage penalty where they differ.
        device: where the symbols are; default: the CPU.

    Raises:
        ValueError: on a size below 1, more sequences than hypotheses, a negative penalty, an end that is no symbol,
            or no weights where there is a coverage penalty.

    >>> table = torch.tensor([[0.1, 0.5, 0.4], [0.6, 0.3, 0.1], [0.9, 0.05, 0.05]]).log()  # of what follows what
    >>> found = beam_search(lambda y, states: (table[y], states), (), 1, start=0, end=0, max_length=4, n_best=2)
    >>> found.symbols.tolist(), found.log_p.exp()
    ([[[2, 0, 0, 0], [1, 0, 0, 0]]], tensor([[0.3600, 0.3000]]))
    """
    check_sizes(batch=batch, max_length=max_length, beam=beam, n_best=n_best)
    if n_best > beam:
        raise ValueError(f"n_best must be at most beam={beam}, got {n_best}")
    if length_penalty < 0 or coverage_penalty < 0:
        raise ValueError(f"penalties must be 0 or more, got {length_penalty} and {coverage_penalty}")
    rank = _Rank(length_penalty, coverage_penalty, max_length)
    alive = _Hypotheses.first(batch, beam, max_length, end, device)
    done = _Hypotheses.first(batch, beam, max_length, end, device)
    done.log_p.fill_(NONE)
    states = _each(states, lambda value: value.repeat_interleave(beam, 0))
    symbols = torch.full((batch * beam,), start, device=device)  # [R]
    for t in range(max_length):
        log_p, states, *weights = step(symbols, states)
        if not 0 <= end < log_p.shape[-1]:
            raise ValueError(f"end must be one of the {log_p.shape[-1]} symbols, got {end}")
        origin, symbol, total = _continue(alive.log_p, log_p.view(batch, beam, -1), done.count())
        alive = alive.at(origin)
        alive.symbols[:, :, t], alive.log_p, alive.length = symbol, total, torch.full_like(symbol, t + 1)
        if coverage_penalty:
            alive.covered = _covered(alive.covered, weights, origin, memory_lengths)
        rows = (origin + beam * torch.arange(batch, device=device).unsqueeze(1)).flatten()  # [R]
        states, symbols = _each(states, lambda value, rows=rows: value[rows]), symbol.flatten()
        ends = symbol == end
        done = done.beside(alive.where(ends)).best(rank, beam)
        alive = alive.where(~ends)
        hopeless = rank.bound(alive).amax(1) <= rank(done)[:, n_best - 1]  # [B]
        alive.log_p = alive.log_p.masked_fill(hopeless.unsqueeze(1), NONE)
        if not bool((alive.log_p > NONE).any()):
            break
    return _result(done, alive, rank, n_best, end)


@dataclass(slots=True)
class _Hypotheses:
    """N of them for each of a batch; those of probability 0 are none."""

    symbols: Tensor  # [B, N, L]
    length: Tensor  # [B, N]
    log_p: Tensor  # [B, N]
    covered: Tensor  # [B, N, S]: the sum of the weights so far

    @classmethod
    def first(cls, batch: int, beam: int, steps: int, end: int, device: Any) -> _Hypotheses:
        log_p = torch.full((batch, beam), NONE, device=device)
        log_p[:, 0] = 0
        symbols = torch.full((batch, beam, steps), end, device=device)
        return cls(symbols, torch.zeros_like(symbols[:, :, 0]), log_p, log_p.new_ones(batch, beam, 0))

    def at(self, origin: Tensor) -> _Hypotheses:
        """Those with the numbers ``[B, M]``."""

        def taken(value: Tensor) -> Tensor:
            where = origin.view(*origin.shape, *[1] * (value.dim() - 2))
            return value.gather(1, where.expand(-1, -1, *value.shape[2:]))

        return _Hypotheses(taken(self.symbols), taken(self.length), taken(self.log_p), taken(self.covered))

    def where(self, kept: Tensor) -> _Hypotheses:
        """Those for which ``[B, N]`` is true."""
        return _Hypotheses(self.symbols, self.length, self.log_p.masked_fill(~kept, NONE), self.covered)

    def count(self) -> Tensor:
        """How many there are: ``[B]``."""
        return (self.log_p > NONE).sum(1)

    def beside(self, other: _Hypotheses) -> _Hypotheses:
        """Both, side by side."""
        covered = self.covered if self.covered.shape == other.covered.shape else torch.ones_like(other.covered)
        pairs = ((self.symbols, other.symbols), (self.length, other.length), (self.log_p, other.log_p),
                 (covered, other.covered))
        return _Hypotheses(*(torch.cat(pair, 1) for pair in pairs))

    def best(self, rank: _Rank, count: int) -> _Hypotheses:
        """The best of them, in order."""
        return self.at(rank(self).argsort(dim=1, descending=True, stable=True)[:, :count])


@dataclass(frozen=True, slots=True)
class _Rank:
    """The score of hypotheses: ``[B, N]``."""

    alpha: float
    beta: float
    longest: int

    def __call__(self, of: _Hypotheses) -> Tensor:
        score = of.log_p / self.penalty(of.length.to(of.log_p.dtype))
        least = torch.finfo(of.covered.dtype).tiny  # a weight may round to 0
        return score + self.beta * of.covered.clamp(least, 1).log().sum(-1) if self.beta else score

    def bound(self, of: _Hypotheses) -> Tensor:
        """What no continuation exceeds: the probability stays, the length is the greatest, all is covered."""
        return of.log_p / self.penalty(self.longest)

    def penalty(self, length: Any) -> Any:
        return ((5 + length) / 6) ** self.alpha


def _continue(so_far: Tensor, log_p: Tensor, finished: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations, as many as the beam has left: (of which hypothesis, which symbol, log p), ``[B, N]``."""
    beam, symbols = log_p.shape[1:]
    total, at = (so_far.unsqueeze(2) + log_p).flatten(1).topk(beam, 1)  # [B, N]
    room = (beam - finished).unsqueeze(1)  # [B, 1]
    total = total.masked_fill(torch.arange(beam, device=total.device) >= room, NONE)
    return at // symbols, at % symbols, total


def _covered(before: Tensor, weights: Sequence[Tensor], origin: Tensor, lengths: Lengths | None) -> Tensor:
    """The sums of the weights ``[B, N, S]``, 1 in the padding of the memory."""
    if not weights:
        raise ValueError("a coverage penalty needs a step that also returns the attention's weights [R, S]")
    now = weights[0].view(*origin.shape, -1)  # [B, N, S]
    now = now.gather(1, origin.unsqueeze(2).expand_as(now))
    if before.shape[2] == 0:
        before = torch.zeros_like(now)
        if lengths is not None:
            live = live_steps(whole_lengths(lengths, now.shape[2], len(now)).to(now.device), now.shape[2])
            before = before.masked_fill(~live.unsqueeze(1), 1)
    return before + now


def _result(done: _Hypotheses, cut: _Hypotheses, rank: _Rank, n_best: int, end: int) -> Found:
    """The best n: of those that ended, and then of those that did not."""
    both = done.best(rank, n_best).beside(cut.best(rank, n_best))  # [B, 2n]
    real = both.log_p > NONE
    ended = real & (torch.arange(2 * n_best, device=real.device) < n_best)
    order = (ended.long() + real.long()).argsort(dim=1, descending=True, stable=True)[:, :n_best]
    best = both.at(order)
    behind = torch.arange(best.symbols.shape[2], device=real.device) >= best.length.unsqueeze(2)
    return Found(best.symbols.masked_fill(behind, end), best.length, rank(best), best.log_p, ended.gather(1, order))


def _each(states: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A nest of tensors with each of them changed."""
    if isinstance(states, Tensor):
        return change(states)
    if isinstance(states, dict):
        return {key: _each(value, change) for key, value in states.items()}
    if isinstance(states, (tuple, list)):
        return type(states)(_each(value, change) for value in states)
    raise TypeError(f"states must be tensors, or tuples, lists and dictionaries of them, got a {type(states).__name__}")
