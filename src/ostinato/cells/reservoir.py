"""The echo state network: a recurrence that is not trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_positive, check_sizes


class Reservoir(Cell):
    """The reservoir of an echo state network: leaky units with random weights that stay as they are::

        h[t] = (1 - leak) h[t-1] + leak tanh(W x[t] + U h[t-1] + b),   largest |eigenvalue| of U: spectral_radius

    Only what reads it is trained: a layer after it, or a linear regression on its outputs. No parameter of it asks for
    a gradient. The input still gets one.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        spectral_radius: of ``U``, by default 0.9. Below 1, what happened long ago fades (for most inputs).
        leak: from above 0 to 1 (default): how much of the state is new at each step.
        density: the share of its connections that each unit has, from above 0 to 1 (default).
        input_scale: ``W`` and ``b`` are uniform from minus this to this, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, H]``, none of them trained.

    Raises:
        ValueError: on a size below 1, an option out of range, or connections so few that they form no loop.

    Source: Jaeger, "The 'echo state' approach to analysing and training recurrent neural networks", GMD report 148,
    2001; the leak: Jaeger, Lukosevicius, Popovici and Siewert, "Optimization and applications of echo state networks
    with leaky-integrator neurons", Neural Networks 20, 2007.

    >>> cell = Reservoir(3, 50, spectral_radius=0.8, density=0.2)
    >>> round(torch.linalg.eigvals(cell.U.weight).abs().max().item(), 3)
    0.8
    >>> any(p.requires_grad for p in cell.parameters()), (cell.U.weight != 0).sum(1).unique().tolist()
    (False, [10])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        density: float = 1.0,
        input_scale: float = 1.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        check_positive(spectral_radius=spectral_radius, input_scale=input_scale)
        for name, value in (("leak", leak), ("density", density)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {value!r}")
        self.spectral_radius, self.leak, self.density, self.input_scale = spectral_radius, leak, density, input_scale
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.add_state("h", hidden_size)
        self.reset_parameters()
        self.requires_grad_(False)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw ``W``, ``b`` and the connections of ``U`` uniformly; scale ``U`` to its spectral radius."""
        for value in self.W.parameters():
            nn.init.uniform_(value, -self.input_scale, self.input_scale)
        weight, size = self.U.weight, len(self.U.weight)
        nn.init.uniform_(weight, -1, 1)
        connected = max(1, round(self.density * size))
        if connected < size:
            order = torch.rand(size, size, device=weight.device).argsort(1).argsort(1)
            weight.mul_(order < connected)
        initialise.spectral_radius(self.U, self.spectral_radius)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return (1 - self.leak) * h + self.leak * torch.tanh(self.W(x) + self.U(h))

    def extra_repr(self) -> str:
        return (f"{super().extra_repr()}, spectral_radius={self.spectral_radius}, leak={self.leak}, "
                f"density={self.density}")
