"""Linear-chain conditional random fields: the best labels of a whole sequence, not one step at a time.

``p(y | x) = exp(score(y)) / Z``, with
``score(y) = start[y_1] + sum of x[t, y_t] + sum of transitions[y_t, y_t+1] + end[y_L]``.

Source: Lafferty, McCallum and Pereira, "Conditional Random Fields: Probabilistic Models for Segmenting and Labeling
Sequence Data", ICML 2001; over recurrent networks: Huang, Xu and Yu, "Bidirectional LSTM-CRF Models for Sequence
Tagging", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.decoding.spans import follows
from ostinato.layers.parts import Lengths, live_steps
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import whole_lengths

FORBIDDEN = -1e30
"""The score of what may not be: its exponential is 0, yet no difference of two such scores is undefined."""


class PathSums(Cell):
    """The scores of all paths that end in each label, summed as probabilities are::

        a_j[t] = x_j[t] + log sum_i exp(a_i[t-1] + T_ij)

    Args:
        forbidden: bool ``[K, K]``, transitions i to j that may not be.

    Parameters: ``T [K, K]``.
    """

    recurrent = ("T",)

    def __init__(self, forbidden: Tensor) -> None:
        super().__init__()
        self.T = nn.Parameter(torch.zeros(forbidden.shape))
        self.register_buffer("forbidden", forbidden, persistent=False)
        self.add_state("a", len(forbidden))

    @property
    def transitions(self) -> Tensor:
        """``T``, with what is forbidden: ``[K, K]``."""
        return self.T.masked_fill(self.get_buffer("forbidden"), FORBIDDEN)

    def step(self, x: Tensor, a: Tensor) -> Tensor:
        return x + torch.logsumexp(a.unsqueeze(-1) + self.transitions, -2)


class CRF(nn.Module):
    """A linear-chain conditional random field over scores ``[B, T, K]``.

    Calling it gives the loss; :meth:`decode` the best labels, :meth:`marginals` their probabilities. All are exact.
    What lies behind a sequence's length is not looked at.

    Args:
        labels: K, or the K labels' names, in the order of the scores.
        scheme: "bio", "bioes" or "iob1": what it does not allow has no probability, in the loss as in decoding. Needs
            names. Default: every label may follow every other.

    Parameters: ``paths.cell.T [K, K]`` (from, to), ``start [K]``, ``end [K]``; they begin with 0.

    Raises:
        InputError: on an unknown scheme or a label that it does not have.
        ValueError: on fewer than one label, or a scheme without names.

    >>> crf = CRF(["O", "B-X", "I-X"], scheme="bio")
    >>> scores = torch.tensor([[[0.0, 1.0, 9.0], [2.0, 0.0, 3.0]]])  # [B, T, K]
    >>> crf.decode(scores)[0].tolist()  # not I-X, I-X, which begins within a span
    [[1, 2]]
    >>> crf(scores, torch.tensor([[1, 2]])).shape
    torch.Size([1])
    """

    def __init__(self, labels: int | Sequence[str], scheme: str | None = None) -> None:
        super().__init__()
        count = labels if isinstance(labels, int) else len(labels)
        if count < 1:
            raise ValueError(f"a CRF needs at least one label, got {count}")
        self.names = None if isinstance(labels, int) else tuple(labels)
        forbidden, before, after = constraints(self.names, count, scheme)
        self.paths = Recurrent(PathSums(forbidden))
        self.start = nn.Parameter(torch.zeros(count))
        self.end = nn.Parameter(torch.zeros(count))
        self.register_buffer("not_first", before, persistent=False)
        self.register_buffer("not_last", after, persistent=False)

    @property
    def size(self) -> int:
        """K."""
        return len(self.start)

    def forward(self, scores: Tensor, targets: Tensor, lengths: Lengths | None = None) -> Tensor:
        """The loss, ``-log p(targets)`` of each sequence: ``[B]``; 0 for one of no steps.

        Args:
            scores: ``[B, T, K]``.
            targets: ``[B, T]``, whole numbers; any behind the lengths.
            lengths: ``[B]``; default: T for all.

        Raises:
            ValueError: naming what was expected and what came; on targets that the scheme forbids too.
        """
        scores, live = self._checked(scores, lengths)
        targets = self._checked_targets(targets, live)
        score = self._score(scores, targets, live)  # [B]
        if bool((score < FORBIDDEN / 2).any()):
            raise ValueError(self._forbidden(targets, live.sum(1)))
        return self._log_partition(scores, live) - score

    def log_partition(self, scores: Tensor, lengths: Lengths | None = None) -> Tensor:
        """``log Z``, over all paths of each sequence: ``[B]``; 0 for one of no steps."""
        return self._log_partition(*self._checked(scores, lengths))

    @torch.no_grad()
    def decode(self, scores: Tensor, lengths: Lengths | None = None) -> tuple[Tensor, Tensor]:
        """The best path of each sequence (Viterbi): (labels ``[B, T]``, 0 behind the lengths; their score ``[B]``)."""
        scores, live = self._checked(scores, lengths)
        steps = scores.shape[1]
        path = torch.zeros(scores.shape[:2], dtype=torch.long, device=scores.device)  # [B, T]
        if steps == 0:
            return path, scores.sum((1, 2))
        start, end, transitions = self._tables()
        a, came = start + scores[:, 0], []  # [B, K]
        stay = torch.arange(self.size, device=scores.device).expand_as(a)
        for t in range(1, steps):
            best, origin = (a.unsqueeze(-1) + transitions).max(1)  # [B, K]
            a = torch.where(live[:, t, None], best + scores[:, t], a)
            came.append(torch.where(live[:, t, None], origin, stay))
        score, label = (a + end).max(-1)  # [B]
        for t in range(steps - 1, -1, -1):
            path[:, t] = label
            if t:
                label = came[t - 1].gather(1, label.unsqueeze(1)).squeeze(1)
        return path.masked_fill(~live, 0), score.masked_fill(~live[:, 0], 0)

    def marginals(self, scores: Tensor, lengths: Lengths | None = None) -> Tensor:
        """The probability of each label at each step, ``[B, T, K]``; 0 behind the lengths.

        It is the derivative of ``log Z`` by the scores.
        """
        with torch.enable_grad():
            scores = scores.detach().requires_grad_()
            return torch.autograd.grad(self.log_partition(scores, lengths).sum(), scores)[0]

    def _log_partition(self, scores: Tensor, live: Tensor) -> Tensor:
        if scores.shape[1] == 0:
            return scores.sum((1, 2))
        start, end, _ = self._tables()
        a = start + scores[:, 0]  # [B, K]
        if scores.shape[1] > 1:
            _, (a,) = self.paths(scores[:, 1:], a, lengths=live[:, 1:].sum(1))
        return torch.logsumexp(a + end, -1).masked_fill(~live[:, 0], 0)

    def _score(self, scores: Tensor, targets: Tensor, live: Tensor) -> Tensor:
        """That of one path a sequence: ``[B]``."""
        if scores.shape[1] == 0:
            return scores.sum((1, 2))
        start, end, transitions = self._tables()
        steps = scores.gather(2, targets.unsqueeze(2)).squeeze(2)  # [B, T]
        moves = transitions[targets[:, :-1], targets[:, 1:]].masked_fill(~live[:, 1:], 0)  # [B, T - 1]
        last = targets.gather(1, (live.sum(1, keepdim=True) - 1).clamp(min=0)).squeeze(1)  # [B]
        total = steps.sum(1) + moves.sum(1) + start[targets[:, 0]] + end[last]
        return total.masked_fill(~live[:, 0], 0)

    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Start, end and transitions, with what is forbidden."""
        start = self.start.masked_fill(self.get_buffer("not_first"), FORBIDDEN)
        end = self.end.masked_fill(self.get_buffer("not_last"), FORBIDDEN)
        cell = self.paths.cell
        assert isinstance(cell, PathSums)
        return start, end, cell.transitions

    def _checked(self, scores: Tensor, lengths: Lengths | None) -> tuple[Tensor, Tensor]:
        """The scores, 0 where they do not count; bool ``[B, T]``, true where they do."""
        if scores.dim() != 3 or scores.shape[2] != self.size:
            raise ValueError(f"scores must be [B, T, K] with K={self.size}, got {list(scores.shape)}")
        scores = scores.to(self.start.dtype)
        if lengths is None:
            return scores, torch.ones(scores.shape[:2], dtype=torch.bool, device=scores.device)
        live = live_steps(whole_lengths(lengths, scores.shape[1], len(scores)).to(scores.device), scores.shape[1])
        return scores.masked_fill(~live.unsqueeze(2), 0), live

    def _checked_targets(self, targets: Tensor, live: Tensor) -> Tensor:
        if targets.shape != live.shape or targets.is_floating_point():
            raise ValueError(f"targets must be whole numbers {list(live.shape)}, got {targets.dtype} "
                             f"{list(targets.shape)}")
        targets = targets.long().masked_fill(~live, 0)
        if wrong := targets[(targets < 0) | (targets >= self.size)].tolist():
            raise ValueError(f"targets must be from 0 to {self.size - 1}, got {wrong[0]}")
        return targets

    def _forbidden(self, targets: Tensor, lengths: Tensor) -> str:
        """Where the targets first do what the scheme forbids."""
        start, end, transitions = (table.detach() < FORBIDDEN / 2 for table in self._tables())
        names = self.names or ()
        for row, length in enumerate(lengths.tolist()):
            path = targets[row, :length].tolist()
            if path and bool(start[path[0]]):
                return f"targets: sequence {row} begins with {names[path[0]]}, which the scheme forbids"
            for t, (a, b) in enumerate(pairwise(path)):
                if bool(transitions[a, b]):
                    return (f"targets: sequence {row} has {names[b]} after {names[a]} at step {t + 1}, which the "
                            "scheme forbids; decoding.spans.convert mends labels")
            if path and bool(end[path[-1]]):
                return f"targets: sequence {row} ends with {names[path[-1]]}, which the scheme forbids"
        return "scores: a step's score of its target is below all bounds"

    def extra_repr(self) -> str:
        return f"labels={self.size}, forbidden={int(self._tables()[2].lt(FORBIDDEN / 2).sum())}"


def constraints(names: Sequence[str] | None, count: int, scheme: str | None) -> tuple[Tensor, Tensor, Tensor]:
    """What a scheme forbids, true where it does: transitions ``[K, K]``, first labels and last labels ``[K]``."""
    if scheme is None:
        free = torch.zeros(count, dtype=torch.bool)
        return free.expand(count, count).clone(), free, free.clone()
    if names is None:
        raise ValueError(f"scheme={scheme!r} needs the labels' names, got their number")
    moves = [[not follows(a, b, scheme) for b in names] for a in names]
    first = [not follows(None, b, scheme) for b in names]
    last = [not follows(a, None, scheme) for a in names]
    return torch.tensor(moves), torch.tensor(first), torch.tensor(last)
