"""Deep transitions: several layers between one step and the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes


class RecurrentHighway(Cell):
    """The recurrent highway network: from one step to the next, L highway layers::

        s_0 = h[t-1]
        n_l = tanh(W_n x[t] + U_nl s_{l-1} + b_nl)          l = 1, ..., L; the input in the first layer alone
        z_l = sigmoid(W_z x[t] + U_zl s_{l-1} + b_zl)
        s_l = z_l n_l + (1 - z_l) s_{l-1}
        h[t] = s_L

    The carry gate is coupled to the transform gate z, as in the paper's experiments.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of the state ``h``: ``[B, H]``.
        depth: L, by default 3.
        transform_bias: what every ``b_z`` starts from, by default -2: carry.
        bias: whether there is a ``b``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [2H, N]``, ``W.bias [2H]`` (the first layer's ``b``), ``U.0.weight`` to ``U.{L-1}.weight
    [2H, H]``, from the second on with a ``bias [2H]``; all with the rows of n, z in that order.

    Raises:
        ValueError: on a size or a depth below 1.

    Source: Zilly, Srivastava, Koutnik and Schmidhuber, "Recurrent Highway Networks", ICML 2017 (arXiv 1607.03474),
    equations 6 to 9.

    >>> RecurrentHighway(3, 4, depth=5)(torch.ones(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        depth: int = 3,
        transform_bias: float = -2.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, depth=depth)
        self.transform_bias = transform_bias
        rows = 2 * hidden_size
        self.W = nn.Linear(input_size, rows, bias, device, dtype)
        self.U = nn.ModuleList(nn.Linear(hidden_size, rows, bias and k > 0, device, dtype) for k in range(depth))
        self.add_state("h", hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and every ``U`` orthogonal; ``b_n`` is zero, ``b_z`` as asked."""
        initialise.glorot(self.W, 2)
        for layer in (self.W, *self.U):
            assert isinstance(layer, nn.Linear)
            if layer is not self.W:
                initialise.orthogonal(layer, 2)
            if layer.bias is not None:
                nn.init.constant_(layer.bias.detach().chunk(2)[1], self.transform_bias)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        from_input = self.W(x)
        for layer, U in enumerate(self.U):
            a_n, a_z = (from_input + U(h) if layer == 0 else U(h)).chunk(2, -1)
            z = torch.sigmoid(a_z)
            h = z * torch.tanh(a_n) + (1 - z) * h
        return h
