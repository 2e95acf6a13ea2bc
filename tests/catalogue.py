"""Every cell of the catalogue, in the variants that tests run over, with parameters that no symmetry hides in."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ostinato import Cell, cells


def _spread(hidden_size: int) -> list[float]:
    return torch.linspace(1.5, 9.0, hidden_size).tolist()


VARIANTS: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    **{name: (name, lambda hidden_size: {}) for name in cells.names()},
    "skip": ("skip", lambda hidden_size: {"delays": 3}),
    "output": ("output", lambda hidden_size: {"output_size": hidden_size + 1}),
    "narx": ("narx", lambda hidden_size: {"output_size": hidden_size + 1, "delays": 3}),
    "lstm-proj": ("lstm", lambda hidden_size: {"proj_size": max(1, hidden_size - 2)}),
    "leaky-units": ("leaky", lambda hidden_size: {"tau": _spread(hidden_size)}),
    "leaky-learned-units": ("leaky-learned", lambda hidden_size: {"tau": _spread(hidden_size)}),
    "leaky-relu": ("leaky", lambda hidden_size: {"tau": 4.0, "nonlinearity": "relu"}),
    "skip-two": ("skip", lambda hidden_size: {"delays": (4, 2)}),
    "indrnn-tanh": ("indrnn", lambda hidden_size: {"nonlinearity": "tanh"}),
    "slstm-exp": ("slstm", lambda hidden_size: {"forget": "exp"}),
    "elman-no-bias": ("elman", lambda hidden_size: {"bias": False}),
    "lstm-no-bias": ("lstm", lambda hidden_size: {"bias": False}),
    "gru-no-bias": ("gru", lambda hidden_size: {"bias": False}),
    "gru-before-no-bias": ("gru-before", lambda hidden_size: {"bias": False}),
}
"""For each variant: the name that ``cells.create`` knows, and the options at a hidden size."""

NAMES = tuple(VARIANTS)


def build(
    name: str,
    dtype: torch.dtype = torch.float64,
    input_size: int = 3,
    hidden_size: int = 5,
    device: torch.device | str | None = None,
) -> Cell:
    """The variant with random parameters, the same on every call: no two gates, units or weights are alike.

    The parameters are drawn in float64 and then rounded, so that a float32 cell is comparable with its float64 twin.
    The state of the global random generator stays as it was.
    """
    base, options = VARIANTS[name]
    with torch.random.fork_rng(devices=[]):
        cell = cells.create(base, input_size, hidden_size, dtype=torch.float64, **options(hidden_size))
    generator = _generator(name, input_size, hidden_size)
    with torch.no_grad():
        for key, parameter in cell.named_parameters():
            values = 2 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 1
            scale = 1.5 / parameter.shape[-1] ** 0.5 if parameter.dim() == 2 else 0.7
            parameter.copy_(scale * values + (1.0 if "norm" in key and key.endswith("weight") else 0.0))
    return cell.to(device=device, dtype=dtype)


def inputs(
    cell: Cell, steps: int, batch: int, input_size: int = 3, seed: int = 0, time_first: bool = False
) -> Tensor:
    """Random inputs in the cell's dtype, ``[B, T, N]`` or time first ``[T, B, N]``."""
    shape = (steps, batch, input_size) if time_first else (batch, steps, input_size)
    return _like(cell, torch.randn(shape, generator=_generator("inputs", seed), dtype=torch.float64))


def initial(cell: Cell, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Random initial states ``[B, *shape]``, or ``[B, D, *shape]`` where the longest delay D is over one.

    A normaliser ``n``, by which a cell divides, lies between 0.5 and 2.1.
    """
    generator = _generator("initial", seed)
    values = []
    for state in cell.states:
        value = 1.6 * torch.rand(state.initial_shape(batch), generator=generator, dtype=torch.float64) - 0.8
        values.append(_like(cell, value + 1.3 if state.name == "n" else value))
    return tuple(values)


def _like(cell: Cell, value: Tensor) -> Tensor:
    parameter = next(cell.parameters())
    return value.to(device=parameter.device, dtype=parameter.dtype)


def _generator(*of: object) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(repr(of).encode()))
