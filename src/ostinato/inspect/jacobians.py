"""The Jacobian of every step along a sequence: its singular values, and the Lyapunov exponents of the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ostinato.inspect import pictures
from ostinato.inspect.replay import Replay, replay
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import Lengths, Tensors


@dataclass(frozen=True)
class Jacobians(pictures.Shown):
    """How all states together move with those of the step before.

    Attributes:
        matrices: ds[t]/ds[t-1], ``[B, T, S, S]``. s is every state one behind the other, of a state with delays its
            last D values, the latest first. Step t is the t-th that is run: of a reverse recurrence the last of the
            sequence comes first. At padding it is the identity.
        names: whose number each of the S places is: a state and how many steps back.
    """

    matrices: Tensor
    names: tuple[tuple[str, int], ...]

    @property
    def singular_values(self) -> Tensor:
        """``[B, T, S]``, the largest first: by how much a step lengthens a change, direction by direction."""
        return torch.linalg.svdvals(self.matrices)

    def product(self, after: int, before: int) -> Tensor:
        """ds[after]/ds[before], ``[B, S, S]``, steps counted from 0: the product of the matrices between them."""
        whole = torch.eye(self.matrices.shape[-1]).to(self.matrices).expand_as(self.matrices[:, 0])
        for t in range(before + 1, after + 1):
            whole = self.matrices[:, t] @ whole
        return whole

    def lyapunov(self, skip: int = 0) -> Tensor:
        """The Lyapunov exponents along the sequence, ``[B, S]``, the largest first: how fast, per step, small changes
        grow (above 0) or fade (below), direction by direction.

        By QR decomposition at every step: Benettin, Galgani, Giorgilli and Strelcyn, Meccanica 15, 1980.

        Args:
            skip: steps at the beginning that are not counted, while the directions settle.
        """
        batch, steps, size, _ = self.matrices.shape
        frame = torch.eye(size, dtype=torch.float64).expand(batch, size, size)
        total = torch.zeros(batch, size, dtype=torch.float64)
        for t in range(steps):
            frame, stretched = torch.linalg.qr(self.matrices[:, t].double().cpu() @ frame)
            if t >= skip:
                total += stretched.diagonal(0, -2, -1).abs().log()
        return (total / (steps - skip)).sort(-1, descending=True).values

    def plot(self, path: str | Path) -> None:
        """The singular values along the sequence, and the Lyapunov exponents."""
        pictures.jacobians(self, path)


def jacobians(recurrent: Recurrent, x: Tensors, initial: Tensors | None = None,
              lengths: Lengths | None = None) -> Jacobians:
    """The Jacobian of every step along a sequence, exactly.

    All steps are computed as one batch; it takes one backward pass for each number of the state.

    Args:
        recurrent: any cell that can be traced.
        x, initial, lengths: as for its call.

    Raises:
        InputError: when a step has random masks, or constants of the sequence.
        FallbackError: when the step cannot be traced.

    >>> from ostinato import cells
    >>> found = jacobians(Recurrent(cells.RunningAverage(3, 4, alpha=0.5)), torch.ones(2, 7, 3))
    >>> found.singular_values[0, 0].tolist(), round(float(found.lyapunov()[0, 0].exp()), 4)
    ([0.5, 0.5, 0.5, 0.5], 0.5)
    """
    seen = replay(recurrent, x, initial, lengths)
    slots = [(s.name, d) for s in recurrent.cell.states for d in range(1, s.depth + 1)]
    size = {s.name: math.prod(s.shape) for s in recurrent.cell.states}
    names = tuple((name, delay) for name, delay in slots for _ in range(size[name]))
    matrices = _matrices(seen, slots)
    batch, steps = seen.lead
    matrices = matrices.unflatten(0, (batch, steps))
    idle = ~seen.live.to(matrices.device)
    matrices = torch.where(idle[..., None, None], torch.eye(len(names)).to(matrices), matrices)
    return Jacobians(matrices.flip(1) if recurrent.reverse else matrices, names)


def _matrices(seen: Replay, slots: list[tuple[str, int]]) -> Tensor:
    """``[B T, S, S]``."""
    before = {name: value.clone().requires_grad_() for name, value in seen.before.items()}  # [B T, D, ...]
    with torch.enable_grad():
        order = list(before)
        nodes = [seen.program.next[name] for name in order]
        news = dict(zip(order, seen.values(nodes, before), strict=True))
        rows = []
        for name, delay in slots:
            value = (news[name] if delay == 1 else before[name][:, -(delay - 1)]).flatten(1)  # [B T, n]
            rows += [_row(value[:, j], before, slots) for j in range(value.shape[1])]
    return torch.stack(rows, 1)


def _row(value: Tensor, before: dict[str, Tensor], slots: list[tuple[str, int]]) -> Tensor:
    """The derivative of one number by all, ``[B T, S]``."""
    if not value.requires_grad:
        return torch.cat([torch.zeros_like(before[n][:, -d]).flatten(1) for n, d in slots], 1)
    found = torch.autograd.grad(value.sum(), list(before.values()), retain_graph=True, allow_unused=True,
                                materialize_grads=True)
    by_name = dict(zip(before, found, strict=True))
    return torch.cat([by_name[name][:, -delay].flatten(1) for name, delay in slots], 1)
