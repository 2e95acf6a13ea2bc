"""Time-delay networks: a window of steps at once, the same weights at every step; the lecture's 1-D convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ostinato.cells import initialise
from ostinato.cells.arguments import Device, check_choice, check_sizes
from ostinato.layers.parts import Lengths, live_steps, one_each, refuse
from ostinato.layers.streams import TDNNStream
from ostinato.recurrent.arguments import whole_lengths

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "none": lambda a: a,
}
EDGES = ("zero", "valid")


class TDNN(nn.Module):
    """One layer of a time-delay network; :class:`Stack` puts several on top of each other::

        y[t] = g(b + W_c1 x[t + c1] + ... + W_cn x[t + cn])        t = 0, s, 2s, ...

    Args:
        input_size: N, the width of ``x[t]``.
        output_size: K, the width of ``y[t]``.
        context: the offsets ``c1 .. cn`` of the window's steps, as ``(-2, -1, 0, 1, 2)`` or ``(-3, 0, 3)``; or how many
            there are, side by side: around the step, or, with ``causal``, up to it.
        dilation: what the offsets are multiplied by. Default: 1.
        stride: s, of how many steps one gets an output (sub-sampling). Default: 1.
        causal: for a number as ``context``; offsets are causal where none is over 0.
        edges: "zero" (default): before its first and after its last step a sequence is zero, and every step has an
            output; "valid": outputs are only where the window, step 0 of it included, lies within the sequence.
        nonlinearity: ``g``: "relu" (default), "tanh", "sigmoid" or "none".
        bias: whether there is a ``b``.
        batch_first: inputs and outputs are ``[B, T, ...]`` (the default) or, if false, ``[T, B, ...]``.
        device, dtype: of the parameters.

    Parameters: ``W.weight [K, n * N]``, the offsets' maps side by side, and ``W.bias [K]``.

    Raises:
        ValueError: a size, dilation or stride below 1, offsets that repeat or are none, an even window around a step,
            or an unknown choice.

    Source: the lecture, "Time Delay Neural Networks"; Waibel, Hanazawa, Hinton, Shikano and Lang, "Phoneme Recognition
    Using Time-Delay Neural Networks", IEEE Transactions on Acoustics, Speech, and Signal Processing 37, 1989; uneven
    windows and sub-sampling: Peddinti, Povey and Khudanpur, "A time delay neural network architecture for efficient
    modeling of long temporal contexts", Interspeech 2015.

    >>> layer = TDNN(3, 5, (-3, 0, 3), stride=2)
    >>> output, _ = layer(torch.ones(2, 7, 3), lengths=[7, 4])
    >>> output.shape, layer.output_lengths([7, 4])
    (torch.Size([2, 4, 5]), tensor([4, 2]))
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        context: int | Sequence[int],
        *,
        dilation: int = 1,
        stride: int = 1,
        causal: bool = False,
        edges: str = "zero",
        nonlinearity: str = "relu",
        bias: bool = True,
        batch_first: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, output_size=output_size, dilation=dilation, stride=stride)
        self.context = tuple(c * dilation for c in offsets(context, causal))
        self.stride, self.batch_first = stride, batch_first
        self.edges = check_choice("edges", edges, EDGES)
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        self.W = nn.Linear(len(self.context) * input_size, output_size, bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``W`` by Glorot's rule, its fan-in that of the whole window; ``b`` is zero."""
        initialise.glorot(self.W)

    @property
    def input_size(self) -> int:
        """N."""
        return self.W.in_features // len(self.context)

    @property
    def left(self) -> int:
        """How many steps before its own an output reads."""
        return max(0, -min(self.context))

    @property
    def right(self) -> int:
        """How many steps after its own an output reads: 0 for a causal layer."""
        return max(0, *self.context)

    @property
    def chains(self) -> bool:
        """Whether a call can continue another: the layer is causal, has an output at every step, and zeros before."""
        return self.right == 0 and self.stride == 1 and self.edges == "zero"

    def forward(
        self,
        x: Tensor,
        initial: Sequence[Tensor] | None = None,
        lengths: Lengths | None = None,
        mask: None = None,
        reset: None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the layer over all steps.

        Args:
            x: ``[B, T, N]`` (``[T, B, N]`` without ``batch_first``).
            initial: the steps before the first, ``([B, left, N],)`` as returned, where :attr:`chains`; default: zeros.
            lengths: ``[B]``, how many steps of each sequence count; the rest is never read.
            mask, reset: not supported; they are here because :class:`Stack` hands on what it is given.

        Returns:
            (outputs ``[B, T', K]``, zero behind each sequence's :meth:`output_lengths`; the last ``left`` steps of each
            sequence, ``([B, left, N],)``, where :attr:`chains`, otherwise ``()``).

        Raises:
            ValueError: naming the argument, what was expected and what came.
        """
        refuse("TDNN", mask=mask, reset=reset)
        x = self.checked(x)  # [B, T, N]
        if lengths is not None:
            lengths = whole_lengths(lengths, x.shape[1], x.shape[0]).to(x.device)
            x = x.masked_fill(~live_steps(lengths, x.shape[1]).unsqueeze(-1), 0)
        before = self._before(x, initial)  # [B, left, N]
        if self.edges == "zero":
            x = torch.cat([before, x, x.new_zeros(x.shape[0], self.right, x.shape[2])], 1)
        output = self.windows(x)  # [B, T', K]
        if lengths is not None:
            live = live_steps(self.output_lengths(lengths), output.shape[1])
            output = output.masked_fill(~live.unsqueeze(-1), 0)
        state = (self._last(x, lengths),) if self.chains else ()
        return (output if self.batch_first else output.transpose(0, 1)), state

    def windows(self, x: Tensor) -> Tensor:
        """The outputs ``[B, T', K]`` of all windows that lie within ``x [B, T, N]``."""
        count = len(range(0, x.shape[1] - self.left - self.right, self.stride))  # T'
        span = max(0, (count - 1) * self.stride + 1)
        parts = [x[:, self.left + c : self.left + c + span : self.stride] for c in self.context]  # [B, T', N] each
        return NONLINEARITIES[self.nonlinearity](self.W(torch.cat(parts, -1)))

    def output_lengths(self, lengths: Lengths) -> Tensor:
        """How many outputs sequences of these lengths have: ``[B]``."""
        missing = 0 if self.edges == "zero" else self.left + self.right
        return ((torch.as_tensor(lengths) - missing + self.stride - 1) // self.stride).clamp(min=0)

    def stream(self) -> TDNNStream:
        """A stream that takes chunks of any size; together its outputs equal those of one long call.

        Raises:
            ValueError: when the layer is not causal.
        """
        return TDNNStream(self)

    def matrix(self, steps: int) -> Tensor:
        """The layer's product with a whole sequence as one matrix ``[T', K, T, N]``, banded and block-Toeplitz:
        ``M[k, :, t, :] = W_c`` where ``t`` is offset ``c`` from the step of output ``k``, zero elsewhere.

        ``y = g(b + M x)`` with the sum over ``t`` and ``N``. For N = K = 1 and the offsets 0 and 1 it is the lecture's
        ``W``, with ``w0`` on the diagonal and ``w1`` beside it.
        """
        first, missing = (0, 0) if self.edges == "zero" else (self.left, self.left + self.right)
        count = len(range(0, steps - missing, self.stride))  # T'
        banded = self.W.weight.new_zeros(count, self.W.out_features, steps, self.input_size)
        for c, weight in zip(self.context, self.W.weight.split(self.input_size, 1), strict=True):
            column = torch.arange(count, device=weight.device) * self.stride + first + c
            row = ((column >= 0) & (column < steps)).nonzero().squeeze(1)
            banded[row, :, column[row]] = weight
        return banded

    def kernel(self) -> tuple[Tensor, int]:
        """The kernel g of the convolution that the layer is, with the window turned around, and g's first time t0.

        ``y[t] = g(b + sum over a of G[t - a] x[a])``, with ``G[t0], G[t0 + 1], ...`` the maps ``[D, K, N]`` that are
        returned: ``G[-c] = W_c`` for the offsets c of the window, zero between them.
        """
        first = -max(self.context)
        weights = self.W.weight.split(self.input_size, 1)  # [K, N] each
        found = {-c - first: weight for c, weight in zip(self.context, weights, strict=True)}
        zero = torch.zeros_like(weights[0])
        return torch.stack([found.get(t, zero) for t in range(max(found) + 1)]), first

    def checked(self, x: Tensor) -> Tensor:
        """``x`` as ``[B, T, N]``, or a ValueError that says what is wrong with it."""
        if x.dim() != 3 or x.shape[-1] != self.input_size:
            layout = "[B, T, N]" if self.batch_first else "[T, B, N]"
            raise ValueError(f"x must be {layout} with N={self.input_size}, got {list(x.shape)}")
        return x if self.batch_first else x.transpose(0, 1)

    def _before(self, x: Tensor, initial: Sequence[Tensor] | None) -> Tensor:
        wanted = (x.shape[0], self.left, self.input_size)
        if initial is None:
            return x.new_zeros(wanted)
        if not self.chains:
            raise ValueError("initial: only a causal TDNN with stride 1 and edges='zero' continues an earlier call; "
                             "stream() takes chunks for every causal one")
        (before,) = one_each(initial, 1, "initial", None)
        if tuple(before.shape) != wanted:
            raise ValueError(f"initial must be the last steps, {list(wanted)}, got {list(before.shape)}")
        return before

    def _last(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The ``left`` steps before each sequence's end, of ``[B, left + T, N]``."""
        if lengths is None:
            return x[:, x.shape[1] - self.left :]
        at = lengths.unsqueeze(1) + torch.arange(self.left, device=x.device)  # [B, left]
        return x.gather(1, at.unsqueeze(-1).expand(-1, -1, x.shape[2]))

    def extra_repr(self) -> str:
        return (f"context={self.context}, stride={self.stride}, edges={self.edges!r}, "
                f"nonlinearity={self.nonlinearity!r}")


def offsets(context: int | Sequence[int], causal: bool) -> tuple[int, ...]:
    """The offsets of a window, from those themselves or from how many steps it has.

    Raises:
        ValueError: when there are none, one repeats, or so many steps do not lie around one.

    >>> offsets(3, causal=False), offsets(3, causal=True), offsets((-3, 0, 3), causal=False)
    ((-1, 0, 1), (-2, -1, 0), (-3, 0, 3))
    """
    if isinstance(context, int):
        check_sizes(context=context)
        if causal:
            return tuple(range(1 - context, 1))
        if context % 2 == 0:
            raise ValueError(f"context: {context} steps do not lie evenly around one; give an odd number, causal=True, "
                             "or the offsets")
        return tuple(range(-(context // 2), context // 2 + 1))
    found = tuple(context)
    if not found or len(set(found)) != len(found) or not all(isinstance(c, int) for c in found):
        raise ValueError(f"context must be different whole numbers, at least one, got {found}")
    if causal and max(found) > 0:
        raise ValueError(f"context: a causal window reads no step after its own, got the offsets {found}")
    return found
