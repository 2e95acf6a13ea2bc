"""The recurrence from the output: its last value, or the last D of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.cells import initialise
from ostinato.cells.arguments import NONLINEARITIES, Device, check_choice, check_sizes


class OutputRecurrence(Cell):
    """A network whose only recurrence is from the output to the hidden units (design 2 of the lecture)::

        a[t] = b + W x[t] + U o[t-1]
        h[t] = g(a[t])
        o[t] = c + V h[t]

    It is weaker than a recurrence between hidden units, for ``o`` must carry all of the past; in exchange, with the
    target in the place of ``o[t-1]`` (teacher forcing), the steps do not depend on each other. ``o`` is the state and
    the output; the lecture's ``W`` and ``U`` are exchanged, as in :class:`~ostinato.cells.Elman`.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of ``h``.
        output_size: K, the width of the state ``o``: ``[B, K]``; by default H.
        nonlinearity: ``g``, "tanh" (default) or "relu".
        bias: whether there are ``b`` and ``c``, the biases of ``W`` and ``V``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.weight [H, K]``, ``V.weight [K, H]``, ``V.bias [K]``.

    Raises:
        ValueError: on a size below 1 or an unknown nonlinearity.

    Source: the lecture, "Design 2: Output: each time step; Recurrence: output units"; Goodfellow, Bengio and Courville,
    "Deep Learning", 2016, figure 10.4; Jordan, "Serial Order: A Parallel Distributed Processing Approach", 1986.

    >>> OutputRecurrence(3, 4, output_size=2)(torch.ones(5, 3), torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        output_size: int | None = None,
        nonlinearity: str = "tanh",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        output_size = hidden_size if output_size is None else output_size
        check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.Linear(output_size, hidden_size, False, device, dtype)
        self.V = nn.Linear(hidden_size, output_size, bias, device, dtype)
        self.add_state("o", output_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` and ``V`` by Glorot's rule and ``U`` orthogonal; ``b`` and ``c`` are zero."""
        initialise.input_map(self.W)
        initialise.recurrent_map(self.U)
        initialise.input_map(self.V)

    def step(self, x: Tensor, o: Tensor) -> Tensor:
        g = NONLINEARITIES[self.nonlinearity]
        h = g(self.W(x) + self.U(o))
        return self.V(h)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity!r}"


class NARX(Cell):
    """A network with D output delays, which sees its own last D outputs and no other state::

        a[t] = b + W x[t] + U_1 y[t-1] + ... + U_D y[t-D]
        h[t] = g(a[t])
        y[t] = c + V h[t]

    The lecture's ``y(t) = Psi(u(t), y(t-1), ..., y(t-D))`` with a hidden layer for ``Psi``. A delay of D is a shortcut
    through D steps, so that gradients pass through T/D of them instead of T. ``y`` is the state and the output.

    Run as it is, its own outputs come back: the parallel mode. With the targets in the place of ``y[t-1], ...,
    y[t-D]`` (teacher forcing) it is in the series-parallel mode, in which the steps do not depend on each other. For
    taps of the input, give it ``x[t], x[t-1], ...`` side by side as its input.

    Args:
        input_size: N, the width of ``x[t]``: ``[B, N]``.
        hidden_size: H, the width of ``h``.
        output_size: K, the width of the state ``y``: ``[B, K]`` at every delay; by default H.
        delays: D, how many of its outputs it sees, by default 4.
        nonlinearity: ``g``, "tanh" (default) or "relu".
        bias: whether there are ``b`` and ``c``, the biases of ``W`` and ``V``.
        device: where the parameters are.
        dtype: of the parameters.

    Parameters: ``W.weight [H, N]``, ``W.bias [H]``, ``U.0.weight`` to ``U.{D-1}.weight [H, K]``, ``V.weight [K, H]``,
    ``V.bias [K]``. ``step(x, y1, ..., yD)`` receives ``y[t-1]`` first.

    Raises:
        ValueError: on a size or a number of delays below 1, or an unknown nonlinearity.

    Source: the lecture, "Network with 4 output delays"; Lin, Horne, Tino and Giles, "Learning long-term dependencies in
    NARX recurrent neural networks", IEEE Transactions on Neural Networks 7, 1996.

    >>> cell = NARX(3, 4, output_size=2, delays=3)
    >>> cell.states[0].delays, cell(torch.ones(5, 3), *torch.zeros(3, 5, 2)).shape
    ((1, 2, 3), torch.Size([5, 2]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        output_size: int | None = None,
        delays: int = 4,
        nonlinearity: str = "tanh",
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        width = hidden_size if output_size is None else output_size
        check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=width, delays=delays)
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        self.W = nn.Linear(input_size, hidden_size, bias, device, dtype)
        self.U = nn.ModuleList(nn.Linear(width, hidden_size, False, device, dtype) for _ in range(delays))
        self.V = nn.Linear(hidden_size, width, bias, device, dtype)
        self.add_state("y", width, delays=range(1, delays + 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` and ``V`` by Glorot's rule, every ``U`` orthogonal over their number; ``b`` and ``c`` are zero."""
        initialise.input_map(self.W)
        initialise.input_map(self.V)
        for U in self.U:
            assert isinstance(U, nn.Linear)
            initialise.recurrent_map(U)
            with torch.no_grad():
                U.weight.div_(len(self.U))

    def step(self, x: Tensor, *past: Tensor) -> Tensor:
        a = self.W(x)
        for U, y in zip(self.U, past, strict=True):
            a = a + U(y)
        return self.V(NONLINEARITIES[self.nonlinearity](a))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity!r}"
