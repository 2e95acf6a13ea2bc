"""A regulariser that keeps gradients from vanishing on their way back in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ostinato.recurrent import Recurrent
from ostinato.recurrent.adjoints import Observed, observe, previous
from ostinato.recurrent.arguments import Lengths, Tensors, listed


def vanishing_gradient_penalty(
    recurrent: Recurrent,
    x: Tensors,
    loss: Callable[[Tensor, tuple[Tensor, ...]], Tensor],
    initial: Tensors | None = None,
    lengths: Lengths | None = None,
    *,
    exact: bool = False,
    cutoff: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The loss E of a call, and how far its gradient is from keeping its size from step to step::

        Omega = sum over k of ( || dE/dx[k+1] dx[k+1]/dx[k] || / || dE/dx[k+1] ||  -  1 )^2

    x[k] are all states of the cell at step k, one behind the other; Omega is the mean over the batch. Train on
    ``E + alpha * Omega``. All steps are computed at once, as one batch of single steps. Of a state with several delays
    the way from one step to the next counts, not its skips.

    Args:
        recurrent: any cell that can be traced.
        x, initial, lengths: as for its call.
        loss: E, of the outputs and the final states.
        exact: differentiate all of Omega. By default, as in equation 10 of the source, x[k] and dE/dx[k+1] count as
            constants, and only dx[k+1]/dx[k] is differentiated, by the parameters of the cell.
        cutoff: leave out the steps where the norm of dE/dx[k+1] is not above this; zero leaves out those, and padding,
            from which nothing reaches the loss.

    Returns:
        E and Omega, both differentiable.

    Raises:
        FallbackError: when the step cannot be traced.

    Source: Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks", section 3.3,
    equations 9 and 10.

    >>> from ostinato import cells
    >>> rnn = Recurrent(cells.Elman(3, 5))
    >>> error, penalty = vanishing_gradient_penalty(rnn, torch.ones(2, 7, 3), lambda outputs, ends: ends[0].sum())
    >>> (error + 0.5 * penalty).backward()
    """
    seen = observe(recurrent, x, initial, lengths)
    value = loss(seen.outputs, seen.ends)
    given = seen.gradients(value, create_graph=exact)
    ratio, counts = back_ratio(recurrent, seen, given, x, initial, lengths, exact=exact, cutoff=cutoff)
    return value, torch.where(counts, ratio - 1, torch.zeros_like(ratio)).square().sum(1).mean()


def back_ratio(
    recurrent: Recurrent, seen: Observed, given: dict[str, Tensor], x: Tensors, initial: Tensors | None,
    lengths: Lengths | None, *, exact: bool = False, cutoff: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """By how much each step back multiplies the norm of the gradient, and which steps count, ``[B, T-1]`` each.

    Args:
        seen: a call of the recurrence, with these ``x``, ``initial`` and ``lengths``.
        given: dE/dx[k], as ``seen.gradients`` gives them.
        exact, cutoff: as for :func:`vanishing_gradient_penalty`.
    """
    states = recurrent.cell.states
    first = recurrent.initial_states(seen.ends[0].shape[0]) if initial is None else listed(initial, "initial")
    own: Callable[[Tensor], Tensor] = (lambda v: v) if recurrent.batch_first else (lambda v: v.transpose(0, 1))
    keep: Callable[[Tensor], Tensor] = (lambda v: v) if exact else (lambda v: v.detach())
    befores = [keep(previous(own(seen.states[s.name]), f if s.depth > 1 else f.unsqueeze(1), s.depth,
                             recurrent.reverse)) for s, f in zip(states, first, strict=True)]  # [B, T, D, ...]
    after = [keep(own(given[s.name])) for s in states]  # dE/dx[k+1], [B, T, ...]
    before = _one_step_back(recurrent, [keep(own(v)) for v in listed(x, "x")], befores, after)
    steps = after[0].shape[1]
    moving = slice(0, steps - 1) if recurrent.reverse else slice(1, None)  # the others begin, from no step before
    above, below = _norm(before)[:, moving], _norm(after)[:, moving]  # [B, T-1]
    counts = below > cutoff
    if lengths is not None and recurrent.reverse:  # a sequence's last step begins
        counts = counts & (torch.arange(1, steps) < torch.as_tensor(lengths).unsqueeze(1)).to(counts.device)
    return above / torch.where(counts, below, torch.ones_like(below)), counts


def _one_step_back(recurrent: Recurrent, x: list[Tensor], before: list[Tensor], after: list[Tensor]) -> list[Tensor]:
    """``dE/dx[k+1] dx[k+1]/dx[k]`` of all steps, ``[B, T, ...]`` for each state."""
    batch, steps = after[0].shape[:2]
    time = 1 if recurrent.batch_first else 0
    with torch.enable_grad():
        starts = [v.flatten(0, 1).requires_grad_() if not v.requires_grad else v.flatten(0, 1) for v in before]
        given: list[Any] = [s if s.shape[1] > 1 else s[:, 0] for s in starts]
        _, ends = recurrent([v.flatten(0, 1).unsqueeze(time) for v in x], given)
        newest = [e[:, -1] if s.shape[1] > 1 else e for e, s in zip(ends, starts, strict=True)]
        found = torch.autograd.grad(newest, starts, [v.flatten(0, 1) for v in after], create_graph=True)
    return [g[:, -1].unflatten(0, (batch, steps)) for g in found]


def _norm(values: list[Tensor]) -> Tensor:
    """The norm of all states together, ``[B, T]``; its derivative is zero where it is."""
    square = torch.stack([v.flatten(2).square().sum(2) for v in values]).sum(0)
    there = square > 0
    return torch.where(there, torch.where(there, square, torch.ones_like(square)).sqrt(), torch.zeros_like(square))
