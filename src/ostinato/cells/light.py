"""Units with one gate, for speech, small devices and easy training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes
from ostinato.cells.gated import Gated


class UGRNN(Gated):
    """The update gate network: a simple recurrent network with one gate::

        c[t] = tanh(W_c x[t] + U_c h[t-1] + b_c)
        g[t] = sigmoid(W_g x[t] + U_g h[t-1] + b_g)
        h[t] = g[t] h[t-1] + (1 - g[t]) c[t]

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [2H, N]``, ``W.bias [2H]``, ``U.weight [2H, H]`` with the rows of c, g in that order.

    Raises:
        ValueError: on a size below 1.

    Source: Collins, Sohl-Dickstein and Sussillo, "Capacity and Trainability in Recurrent Neural Networks", ICLR 2017
    (arXiv 1611.09913), section 1.3.

    >>> UGRNN(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, keep = ("c", "g"), "g"

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        a_c, a_g = (self.W(x) + self.U(h)).chunk(2, -1)
        c, g = torch.tanh(a_c), torch.sigmoid(a_g)
        return g * h + (1 - g) * c


class LiGRU(Gated):
    """The light GRU: no reset gate, and rectified linear units::

        z[t]  = sigmoid(W_z x[t] + U_z h[t-1] + b_z)
        h~[t] = relu(W_h x[t] + U_h h[t-1] + b_h)
        h[t]  = z[t] h[t-1] + (1 - z[t]) h~[t]

    The paper normalises ``W x`` over the batch, which a step that runs on one sequence cannot; normalise the input
    before it instead. Rectified, the state has no bound: clip the gradient.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [2H, N]``, ``W.bias [2H]``, ``U.weight [2H, H]`` with the rows of z, h~ in that order.

    Raises:
        ValueError: on a size below 1.

    Source: Ravanelli, Brakel, Omologo and Bengio, "Light Gated Recurrent Units for Speech Recognition", IEEE
    Transactions on Emerging Topics in Computational Intelligence 2, 2018 (arXiv 1803.10225), equations 6 to 8.

    >>> LiGRU(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, keep = ("z", "h~"), "z"

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        a_z, a_h = (self.W(x) + self.U(h)).chunk(2, -1)
        z = torch.sigmoid(a_z)
        return z * h + (1 - z) * torch.relu(a_h)


class FastGRNN(Cell):
    """A gated network as small as a simple one, whose gate and candidate share their maps::

        a[t]  = W x[t] + U h[t-1]
        z[t]  = sigmoid(a[t] + b_z)
        h~[t] = tanh(a[t] + b_h)
        h[t]  = (sigmoid(zeta) (1 - z[t]) + sigmoid(nu)) h~[t] + z[t] h[t-1]

    ``zeta`` and ``nu`` are one number each. The paper also factors and quantises ``W`` and ``U``; here they are full.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        bias: whether there are ``b_z`` and ``b_h``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``U.weight [H, H]``, ``b_z [H]``, ``b_h [H]``, ``zeta [1]``, ``nu [1]``.

    Raises:
        ValueError: on a size below 1.

    Source: Kusupati et al., "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural
    Network", NeurIPS 2018 (arXiv 1901.02358), section 3.2.

    >>> FastGRNN(3, 4)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    gates, keep = ("z",), "z"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.W = nn.Linear(input_size, hidden_size, False, device, dtype)
        self.U = nn.Linear(hidden_size, hidden_size, False, device, dtype)
        self.b_z = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype)) if bias else None
        self.b_h = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype)) if bias else None
        self.zeta = nn.Parameter(torch.empty(1, device=device, dtype=dtype))
        self.nu = nn.Parameter(torch.empty(1, device=device, dtype=dtype))
        self.add_state("h", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal; ``b`` is zero, ``zeta`` 1 and ``nu`` -4."""
        initialise.glorot(self.W)
        initialise.orthogonal(self.U)
        nn.init.constant_(self.zeta, 1.0)
        nn.init.constant_(self.nu, -4.0)
        for b in (self.b_z, self.b_h):
            if b is not None:
                nn.init.zeros_(b)

    @property
    def shift(self) -> Tensor | None:
        """The bias of the gate, ``[H]``."""
        return self.b_z

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        a = self.W(x) + self.U(h)
        z = torch.sigmoid(a if self.b_z is None else a + self.b_z)
        new = torch.tanh(a if self.b_h is None else a + self.b_h)
        return (torch.sigmoid(self.zeta) * (1 - z) + torch.sigmoid(self.nu)) * new + z * h
