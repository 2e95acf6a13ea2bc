"""Leaky units: linear self-connections with a time constant, fixed or learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import NONLINEARITIES, Device, check_choice, check_sizes, numbers


@dataclass(frozen=True)
class Spectrum:
    """Time constants from fast to slow, each the same factor times the one before, for as many units as there are.

    >>> Spectrum(2, 200).values(3)
    (2.0, 20.0, 200.0)
    """

    fast: float = 2.0
    """The first unit's, in steps."""
    slow: float = 1000.0
    """The last unit's."""

    def values(self, size: int) -> tuple[float, ...]:
        """One for each of ``size`` units; of a single one, the fast one.

        Raises:
            ValueError: when ``fast`` is below 1 or ``slow`` below ``fast``.
        """
        if not 1 <= self.fast <= self.slow < math.inf:
            raise ValueError(f"a spectrum goes from fast (at least 1) to slow, got {self.fast} and {self.slow}")
        factor = (self.slow / self.fast) ** (1 / max(1, size - 1))
        return tuple(self.fast * factor**unit for unit in range(size))


class Leaky(Cell):
    """Leaky units, which remember over ``tau`` steps::

        h[t] = (1 - 1/tau) h[t-1] + (1/tau) g(W x[t] + U h[t-1] + b)

    With ``tau = 1`` it is the :class:`~ostinato.cells.Elman` network; with a large one the state changes slowly. A time
    constant for each unit gives the lecture's spectrum of time scales. A learned one is ``1/tau = sigmoid(rho)``, so
    that it stays above 1 whatever the optimiser does to ``rho``.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        tau: the time constant in steps, at least 1 (above 1 where learned): a number for all units (default 10), H
            numbers, or a :class:`Spectrum` from fast to slow.
        learned: whether each unit's time constant is a parameter, which starts from ``tau``; by default it is fixed.
        nonlinearity: ``g``, "tanh" (default) or "relu".
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, H]``; ``rho [H]`` where learned. A ``tau`` for each
    unit is a buffer ``[H]``.

    Raises:
        ValueError: on a size below 1, a time constant out of range, another count than H of them, or an unknown
            nonlinearity.

    Source: the lecture, "More General" and "Leaky units and a spectrum of time scales"; Mozer, "Induction of Multiscale
    Temporal Structure", NIPS 1991; Jaeger et al., "Optimization and applications of echo state networks with
    leaky-integrator neurons", Neural Networks 20, 2007.

    >>> Leaky(3, 3, tau=Spectrum(fast=2, slow=32)).time_constants().tolist()
    [2.0, 8.0, 32.0]
    >>> cell = Leaky(3, 2, tau=[2.0, 50.0], learned=True)
    >>> [round(v, 3) for v in cell.time_constants().tolist()]
    [2.0, 50.0]
    """

    tau: float | Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        tau: float | Sequence[float] | Tensor | Spectrum = 10.0,
        learned: bool = False,
        nonlinearity: str = "tanh",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        self.learned = learned
        self.start = _time_constants(tau, hidden_size, learned)
        if learned:
            self.rho = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        elif len(self.start) == 1:
            self.tau = self.start[0]
        else:
            self.register_buffer("tau", torch.tensor(self.start, device=device, dtype=dtype))
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.add_state("h", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal; ``b`` is zero, learned time constants are as given."""
        initialise.glorot(self.W)
        initialise.orthogonal(self.U)
        if self.learned:
            logits = [-math.log(tau - 1) for tau in self.start]
            with torch.no_grad():
                self.rho.copy_(torch.tensor(logits, dtype=self.rho.dtype))

    def rate(self) -> float | Tensor:
        """``1/tau``: a number, or ``[H]``."""
        return torch.sigmoid(self.rho) if self.learned else 1 / self.tau

    def time_constants(self) -> Tensor:
        """Each unit's ``tau`` now, in steps: ``[H]``."""
        return (1 / torch.as_tensor(self.rate()).to(self.W.weight)).expand(self.states[0].shape)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        g, rate = NONLINEARITIES[self.nonlinearity], self.rate()
        return (1 - rate) * h + rate * g(self.W(x) + self.U(h))

    def extra_repr(self) -> str:
        tau = f"tau={self.start[0]}" if len(self.start) == 1 else f"tau={min(self.start)}..{max(self.start)}"
        return f"{super().extra_repr()}, {tau}, learned={self.learned}, nonlinearity={self.nonlinearity!r}"


def _time_constants(
    tau: float | Sequence[float] | Tensor | Spectrum, hidden_size: int, learned: bool
) -> tuple[float, ...]:
    """The time constants as one number, or one for each unit; checked."""
    values = numbers("tau", tau.values(hidden_size) if isinstance(tau, Spectrum) else tau, hidden_size)
    for value in values:
        if not math.isfinite(value) or value < 1 or (learned and value == 1):
            bound = "above 1 (it is learned)" if learned else "at least 1"
            raise ValueError(f"tau must be finite and {bound}, got {value}")
    return values
