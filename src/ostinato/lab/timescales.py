"""The time constants of a cell's own memory, step by step: with fixed weights, they still move with the input."""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.recurrent import Recurrent

MEMORY = "C"
"""The state that only its own unit's gate keeps: C[t] = f[t] C[t-1] + ..."""


def time_constants(recurrent: Recurrent, x: Tensor) -> Tensor | None:
    """For every step and unit of inputs ``[B, T, N]``, the tau that a leaky unit would need to forget as fast:
    ``1 - 1/tau`` is the derivative of ``C[t]`` by the same unit's ``C[t-1]``. ``[B, T, H]``, or None for a cell
    without a state ``C``; infinite where nothing is forgotten.
    """
    cell, names = recurrent.cell, [state.name for state in recurrent.cell.states]
    if MEMORY not in names or any(state.depth > 1 for state in cell.states):
        return None
    with torch.no_grad():
        _, _, states = recurrent(x, return_all_states=True)
    starts = dict(zip(names, recurrent.initial_states(len(x)), strict=True))
    before = [torch.cat([starts[n][:, None], states[n][:, :-1]], 1).flatten(0, 1) for n in names]  # each [B T, H]
    place = names.index(MEMORY)
    before[place].requires_grad_()
    after = cell(x.flatten(0, 1), *before)[place]  # [B T, H]
    (kept,) = torch.autograd.grad(after.sum(), before[place])
    return (1 / (1 - kept)).unflatten(0, x.shape[:2])
