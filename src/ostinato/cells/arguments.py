"""What the cells' constructors share: checking arguments, and the nonlinearities by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Device = torch.device | str | None

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}
"""The functions g that a cell without gates may use."""


def check_sizes(**sizes: int) -> None:
    """Raise a ValueError for the first size that is not a whole number of at least 1.

    >>> check_sizes(input_size=3, hidden_size=0)
    Traceback (most recent call last):
    ValueError: hidden_size must be a whole number of at least 1, got 0
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")


def check_positive(**values: float) -> None:
    """Raise a ValueError for the first number that is not positive and finite.

    >>> check_positive(eps=0.0)
    Traceback (most recent call last):
    ValueError: eps must be positive, got 0.0
    """
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive, got {value!r}")


def check_choice(name: str, value: str, known: Iterable[str]) -> str:
    """``value``, or a ValueError that says what is known.

    >>> check_choice("nonlinearity", "sin", NONLINEARITIES)
    Traceback (most recent call last):
    ValueError: nonlinearity must be one of tanh, relu, got 'sin'
    """
    known = list(known)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return value


def numbers(name: str, value: float | Sequence[float] | Tensor, size: int) -> tuple[float, ...]:
    """One number for all units, or one for each of them.

    >>> numbers("tau", [2.0, 3.0], 3)
    Traceback (most recent call last):
    ValueError: tau must be one number or hidden_size = 3 of them, got 2
    """
    given = value.tolist() if isinstance(value, Tensor) else value
    try:
        values = tuple(float(v) for v in given) if isinstance(given, Sequence) else (float(given),)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number or a sequence of numbers, got {value!r}") from None
    if isinstance(given, Sequence) and len(values) != size:
        raise ValueError(f"{name} must be one number or hidden_size = {size} of them, got {len(values)}")
    return values
