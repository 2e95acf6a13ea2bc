"""Networks that are steps of a differential equation, whose stability keeps their gradients in bounds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_positive, check_sizes


class Antisymmetric(Cell):
    """The antisymmetric network: Euler's steps of an equation that neither grows nor fades::

        a[t] = W x[t] + (U - U' - gamma) h[t-1] + b
        h[t] = h[t-1] + epsilon tanh(a[t])
        h[t] = h[t-1] + epsilon sigmoid(a_z[t]) tanh(a[t])          gated; a_z like a, with a W_z and b_z of its own

    ``U'`` is the transpose. The eigenvalues of ``U - U'`` are imaginary: what is in the state turns, and stays.
    ``gamma`` damps it as much as the steps' own error would let it grow.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        gated: whether a gate on the input and the state scales each step; by default not.
        epsilon: the size of a step, by default 0.1.
        gamma: the damping, by default 0.01.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, H]``; gated, ``W.weight [2H, N]`` and ``W.bias
    [2H]`` with the rows of a, a_z in that order: both share ``U``.

    Raises:
        ValueError: on a size below 1, or an epsilon or gamma that is not positive.

    Source: Chang, Chen, Haber and Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks", ICLR
    2019 (arXiv 1902.09689), equations 10 to 12.

    >>> Antisymmetric(3, 4, gated=True)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        gated: bool = False,
        epsilon: float = 0.1,
        gamma: float = 0.01,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        check_positive(epsilon=epsilon, gamma=gamma)
        self.gated, self.epsilon, self.gamma = gated, epsilon, gamma
        self.W = nn.Linear(input_size, (2 if gated else 1) * hidden_size, bias, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.add_state("h", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal; ``b`` is zero."""
        initialise.glorot(self.W, 2 if self.gated else 1)
        initialise.orthogonal(self.U)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        U = self.U.weight
        turned = nn.functional.linear(h, U - U.t()) - self.gamma * h
        if not self.gated:
            return h + self.epsilon * torch.tanh(self.W(x) + turned)
        x_a, x_z = self.W(x).chunk(2, -1)
        return h + self.epsilon * torch.sigmoid(x_z + turned) * torch.tanh(x_a + turned)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gated={self.gated}, epsilon={self.epsilon}, gamma={self.gamma}"


class CoupledOscillators(Cell):
    """The coupled oscillatory network (coRNN): units that swing, driven by each other and by the input::

        z[t] = z[t-1] + dt (tanh(W x[t] + U y[t-1] + R z[t-1] + b) - gamma y[t-1] - epsilon z[t-1])
        y[t] = y[t-1] + dt z[t]

    ``y`` is where a unit is, ``z`` how fast it moves, ``gamma`` its frequency squared and ``epsilon`` its damping.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the states ``y`` (the output) and ``z``: ``[B, H]`` each.
        dt: the size of a step, by default 0.042.
        gamma: by default 2.7.
        epsilon: by default 4.7.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight``, ``R.weight [H, H]``.

    Raises:
        ValueError: on a size below 1, or another option that is not positive.

    Source: Rusch and Mishra, "Coupled Oscillatory Recurrent Neural Network (coRNN): An accurate and (gradient) stable
    architecture for learning long time dependencies", ICLR 2021 (arXiv 2010.00951), equation 3 with damping taken from
    the step before.

    >>> y, z = CoupledOscillators(3, 4)(torch.ones(5, 3), torch.zeros(5, 4), torch.zeros(5, 4))
    >>> y.shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 0.042,
        gamma: float = 2.7,
        epsilon: float = 4.7,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        check_positive(dt=dt, gamma=gamma, epsilon=epsilon)
        self.dt, self.gamma, self.epsilon = dt, gamma, epsilon
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.R = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.add_state("y", hidden_size)
        self.add_state("z", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule, ``U`` and ``R`` orthogonal; ``b`` is zero."""
        initialise.glorot(self.W)
        initialise.orthogonal(self.U)
        initialise.orthogonal(self.R)

    def step(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        force = torch.tanh(self.W(x) + self.U(y) + self.R(z))
        z = z + self.dt * (force - self.gamma * y - self.epsilon * z)
        return y + self.dt * z, z

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dt={self.dt}, gamma={self.gamma}, epsilon={self.epsilon}"
