"""The convolutional LSTM: a state that is an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_sizes


class ConvLSTM(Cell):
    """LSTM over a grid, whose maps are convolutions (``*``) and whose gates see their own place's memory::

        i[t]  = sigmoid(W_i * x[t] + U_i * h[t-1] + p_i C[t-1] + b_i)
        f[t]  = sigmoid(W_f * x[t] + U_f * h[t-1] + p_f C[t-1] + b_f)
        C~[t] = tanh(W_C * x[t] + U_C * h[t-1] + b_C)
        C[t]  = f[t] C[t-1] + i[t] C~[t]
        o[t]  = sigmoid(W_o * x[t] + U_o * h[t-1] + p_o C[t] + b_o)
        h[t]  = o[t] tanh(C[t])

    Outside the grid everything is 0. A convolution is written as one product of every place's neighbourhood, so that
    it runs in the loop as other products do.

    Args:
        input_size: N, the channels of ``x[t]``: ``[B, N, rows, columns]``.
        hidden_size: H, the channels of the states ``h`` and ``C``: ``[B, H, rows, columns]`` each.
        grid: (rows, columns), by default (8, 8).
        kernel_size: how many places a convolution sees in each direction, an odd number, by default 3.
        forget_bias: what ``b_f`` starts from, by default 1.
        bias: whether there is a ``b``, the bias of ``W``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [4H, N, k, k]``, ``W.bias [4H]``, ``U.weight [4H, H, k, k]`` with the channels of i, f, C~, o
    in that order, as torch.nn.Conv2d has them; ``p_i``, ``p_f``, ``p_o [H, rows, columns]``.

    Raises:
        ValueError: on a size below 1, an even kernel, or an input that is no image of this grid.

    Source: Shi, Chen, Wang, Yeung, Wong and Woo, "Convolutional LSTM Network: A Machine Learning Approach for
    Precipitation Nowcasting", NIPS 2015 (arXiv 1506.04214), equation 3.

    >>> cell = ConvLSTM(1, 4, grid=(5, 6))
    >>> cell(torch.ones(2, 1, 5, 6), *cell.initial_states(2))[0].shape
    torch.Size([2, 4, 5, 6])
    """

    gates, keep, write = ("i", "f", "C~", "o"), "f", "i"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        grid: tuple[int, int] = (8, 8),
        kernel_size: int = 3,
        forget_bias: float = 1.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        rows, columns = grid
        check_sizes(input_size=input_size, hidden_size=hidden_size, rows=rows, columns=columns, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that a place is in its middle, got {kernel_size}")
        self.grid, self.kernel_size, self.forget_bias = (rows, columns), kernel_size, forget_bias
        channels = len(self.gates) * hidden_size
        self.W = nn.Conv2d(input_size, channels, kernel_size, bias=bias, device=device, dtype=dtype)
        self.U = nn.Conv2d(hidden_size, channels, kernel_size, bias=False, device=device, dtype=dtype)
        shape = (hidden_size, rows, columns)
        self.p_i = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.p_f = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.p_o = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.add_state("h", shape)
        self.add_state("C", shape)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule and ``U`` orthogonal, gate by gate; peepholes and ``b`` are 0, ``b_f`` 1."""
        initialise.glorot(self.W, len(self.gates))
        initialise.orthogonal(self.U, len(self.gates))
        for peephole in (self.p_i, self.p_f, self.p_o):
            nn.init.zeros_(peephole)
        if self.shift is not None:
            initialise.forget_bias(self, self.forget_bias)

    @property
    def shift(self) -> Tensor | None:
        """The bias of all gates, ``[4H]``."""
        return self.W.bias

    def step(self, x: Tensor, h: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(x.shape[2:]) != self.grid:
            raise ValueError(f"ConvLSTM reads images [B, N, {self.grid[0]}, {self.grid[1]}], got {list(x.shape)}")
        a_i, a_f, a_C, a_o = (self.convolved(self.W, x) + self.convolved(self.U, h)).chunk(4, 1)
        i = torch.sigmoid(a_i + self.p_i * C)
        f = torch.sigmoid(a_f + self.p_f * C)
        C = f * C + i * torch.tanh(a_C)
        o = torch.sigmoid(a_o + self.p_o * C)
        return o * torch.tanh(C), C

    def convolved(self, kernel: nn.Conv2d, image: Tensor) -> Tensor:
        """``[B, C, rows, columns]`` to ``[B, 4H, rows, columns]``: ``kernel * image``, with zeros around the image."""
        rows, columns = self.grid
        k = self.kernel_size
        wide = nn.functional.pad(image, (k // 2,) * 4)
        places = [wide[:, :, i : i + rows, j : j + columns] for i in range(k) for j in range(k)]
        seen = torch.stack(places, -1)  # [B, C, rows, columns, k k]
        seen = seen.permute(0, 2, 3, 1, 4).flatten(3)  # [B, rows, columns, C k k]
        return nn.functional.linear(seen, kernel.weight.flatten(1), kernel.bias).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernel_size={self.kernel_size}"
