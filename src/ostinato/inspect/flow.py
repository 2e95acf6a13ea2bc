"""How gradients flow back in time: dL[t]/dh[k] for every t and k, exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.errors import InputError
from ostinato.inspect import pictures
from ostinato.recurrent import Recurrent
from ostinato.recurrent.adjoints import observing
from ostinato.recurrent.arguments import Lengths

Loss = Callable[[Tensor], Tensor]
FACTOR = 10.0
"""By how much a gradient must change over the sequence to be called vanishing or exploding."""


@dataclass(frozen=True)
class Flow:
    """The gradients of one state.

    Attributes:
        norms: the norm of dL[t]/dh[k] in each sequence, ``[B, T, T]`` over t and k; zero where h[k] is not on the way
            to L[t], nan where a sequence has ended.
        reverse: whether the state runs backwards: then k is above t.
    """

    norms: Tensor
    reverse: bool = False

    @property
    def mean(self) -> Tensor:
        """The mean over the sequences, ``[T, T]``."""
        return self.norms.nanmean(0)

    @property
    def by_lag(self) -> Tensor:
        """The mean over all t and sequences for each lag t - k, ``[T]``."""
        way = self.norms.mT if self.reverse else self.norms
        steps = way.shape[-1]
        return torch.stack([way.diagonal(-lag, -2, -1).nanmean() for lag in range(steps)])

    @property
    def rate(self) -> float:
        """By how much a step back in time multiplies the gradient: the slope of the logarithm against the lag, fitted
        by least squares over the lags that have a gradient."""
        found = self.by_lag
        lags = torch.arange(len(found), dtype=torch.float64)
        there = found.isfinite() & (found > 0)
        if int(there.sum()) < 2:
            return float("nan")
        lag, height = lags[there], found[there].double().log()
        centred = lag - lag.mean()
        return float(((centred * height).sum() / centred.square().sum()).exp())

    @property
    def verdict(self) -> str:
        """``"vanishing"`` or ``"exploding"`` where, at this rate, the gradient changes by more than 10 times over
        the sequence; else ``"steady"``; ``"none"`` where no gradient arrives."""
        rate, steps = self.rate, self.norms.shape[-1]
        if rate != rate:
            return "none"
        change = rate ** (steps - 1)
        return "vanishing" if change < 1 / FACTOR else "exploding" if change > FACTOR else "steady"

    def __str__(self) -> str:
        lags = self.by_lag
        return (f"{self.verdict}: times {self.rate:.3g} a step, from {float(lags[0]):.2g} at lag 0 to "
                f"{float(lags[-1]):.2g} at lag {len(lags) - 1}")


@dataclass(frozen=True)
class GradientFlow(pictures.Shown):
    """The gradients of every state of every recurrence of a network, by their names: ``"h"``, or ``"layers.0.h"``."""

    flows: Mapping[str, Flow]

    def __getitem__(self, name: str) -> Flow:
        return self.flows[name]

    def __str__(self) -> str:
        width = max(map(len, self.flows))
        return "\n".join(f"{name.ljust(width)}  {flow}" for name, flow in self.flows.items())

    def plot(self, path: str | Path) -> None:
        """For every state the norms over (t, k), and over the lag; the file's ending says which format."""
        pictures.gradient_flow(self, path)


def gradient_flow(model: nn.Module, x: Any, loss: Loss | None = None, lengths: Lengths | None = None, *,
                  chunk: int = 32) -> GradientFlow:
    """The norm of dL[t]/dh[k] for every step t, every earlier step k and every state h of a network, exactly.

    The batch is repeated once for each t, each copy with the loss of its own step, so that a single backward pass (one
    for every ``chunk`` steps) has them all. Random masks are drawn anew for every copy: call ``eval()`` first.

    Args:
        model: a ``Recurrent``, or a network with some in it, that is called ``model(x)`` or ``model(x, lengths=...)``
            and returns its outputs first.
        x: its inputs, ``[B, T, ...]``.
        loss: makes the loss of each step, ``[B, T]``, of the outputs; ``[B]`` is a loss at the last step alone.
            Default: the sum of a step's outputs.
        lengths: of the sequences, ``[B]``.
        chunk: so many losses at once; more need more memory.

    Raises:
        InputError: when there is no recurrence in the model, it calls one with arguments that cannot be observed, or
            the loss has another shape.
        FallbackError: when a step cannot be traced.

    >>> from ostinato import cells
    >>> cell = cells.RunningAverage(3, 4, alpha=0.5)
    >>> flow = gradient_flow(Recurrent(cell), torch.ones(2, 12, 3))
    >>> round(flow["mu"].rate, 4), flow["mu"].verdict
    (0.5, 'vanishing')
    """
    parts = {name: m for name, m in model.named_modules() if isinstance(m, Recurrent)}
    if not parts:
        raise InputError(f"a {type(model).__name__} has no Recurrent in it, so no gradient flows back in time")
    first = next(iter(parts.values())).batch_first
    batch, steps = x.shape[:2] if first else x.shape[1::-1]
    last, rows = steps - 1, {}
    for begin in range(0, steps, chunk):
        times = range(begin, min(begin + chunk, steps))
        big = x.repeat(*(len(times), 1) if first else (1, len(times)), *[1] * (x.dim() - 2))
        given = {} if lengths is None else {"lengths": torch.as_tensor(lengths).repeat(len(times))}
        with observing(parts) as seen, torch.enable_grad():
            result = model(big, **given)
        outputs = result[0] if isinstance(result, (tuple, list)) else result
        total, kept = _total(outputs, loss, times, (batch, steps), first or outputs.dim() < 3)
        if total is None:
            continue
        names = [(p, s) for p in seen for s in seen[p].nudges]
        nudges = [seen[p].nudges[s] for p, s in names]
        found = torch.autograd.grad(total, nudges, allow_unused=True, materialize_grads=True)
        for (part, state), g in zip(names, found, strict=True):  # [T, n B, ...]
            norms = g.flatten(2).norm(dim=2).unflatten(1, (len(times), batch)).permute(2, 1, 0)[:, -kept:]  # [B, n, T]
            key = f"{part}.{state}".lstrip(".").replace("recurrent.", "")
            rows.setdefault((key, parts[part].reverse), []).append(norms)
    flows = {}
    for (name, reverse), found in rows.items():
        whole = torch.cat(found, 1)
        if whole.shape[1] < steps:  # a loss at the last step alone
            whole = nn.functional.pad(whole, (0, 0, last, 0), value=float("nan"))
        flows[name] = Flow(_ended(whole, lengths), reverse)
    return GradientFlow(flows)


def _total(outputs: Tensor, loss: Loss | None, times: range, lead: tuple[int, int],
           first: bool) -> tuple[Tensor | None, int]:
    """The sum over the copies of the loss of each one's step, None where a chunk has none; and how many have one."""
    batch, steps = lead
    copies = outputs.unflatten(0 if first else 1, (len(times), batch)).movedim(0 if first else 1, 0)
    terms = []
    for t, copy in zip(times, copies, strict=True):
        copy = copy if first else copy.transpose(0, 1)
        each = copy.flatten(min(2, copy.dim() - 1)).sum(-1) if loss is None else loss(copy)
        if each.shape == (batch,):
            terms += [each.sum()] if t == steps - 1 else []
        elif each.shape == (batch, steps):
            terms.append(each[:, t].sum())
        else:
            raise InputError(f"the loss must be [B, T] = {[batch, steps]} or [B], got {list(each.shape)}")
    return torch.stack(terms).sum() if terms else None, len(terms)


def _ended(norms: Tensor, lengths: Lengths | None) -> Tensor:
    """Nan where t or k is not a step of the sequence."""
    if lengths is None:
        return norms
    at = torch.arange(norms.shape[-1])
    gone = at >= torch.as_tensor(lengths).unsqueeze(1)  # [B, T]
    return norms.masked_fill((gone.unsqueeze(1) | gone.unsqueeze(2)).to(norms.device), float("nan"))
