"""RNN, LSTM and GRU with torch.nn's arguments, state dict, shapes and semantics, run by Ostinato.

They are subclasses of torch.nn's RNNBase: the parameters, their initial values, the state dict and most checks are
torch's own. What is replaced is how they run: layer by layer and direction by direction, each a repeated cell. They are
not subclasses of torch.nn.RNN, LSTM and GRU, which torch.compile refuses to look into.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ostinato.engines.differentiable import compiling
from ostinato.layers.repeat import Kind, prepare, repeat
from ostinato.program.sizes import Sizes

WEIGHTS = {(bias, projected): ("weight_ih", "weight_hh", *("bias_ih", "bias_hh") * bias, *("weight_hr",) * projected)
           for bias, projected in product((False, True), repeat=2)}
States = tuple[Tensor, ...]  # (h,) or, for LSTM, (h, c): [layers * directions, B, n] each


class DropIn(nn.RNNBase):
    """The forward pass that the three classes share."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kinds = [[self._kind(layer, reverse) for reverse in self._directions]
                       for layer in range(min(self.num_layers, 2))]  # those above are alike
        for kind in chain(*self._kinds):
            prepare(kind)

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """Run all layers and directions.

        Args:
            input: ``[T, B, input_size]``, ``[B, T, input_size]`` with ``batch_first``, ``[T, input_size]`` without a
                batch, or a PackedSequence.
            hx: the states before the first step, ``[layers * directions, B, n]``, without B for unbatched input; for
                LSTM the pair (h, c). Default: zeros.

        Returns:
            (output, states): the last layer's outputs ``[T, B, directions * n]``, laid out as ``input`` is, and the
            states at each sequence's own end, shaped as ``hx``.

        Raises:
            ValueError: input that is not 2-D or 3-D, or of another dtype than the weights.
            RuntimeError: a size, a dtype or a count that does not fit, or no time step at all.
            AttributeError, TypeError, IndexError: input or hx that are no tensors, or an LSTM's hx that is no pair.
        """
        states = None if hx is None else self._states(hx)
        if isinstance(input, PackedSequence):
            output, states = self._run_packed(input, states)
        elif not isinstance(input, Tensor):
            got = type(input).__name__
            raise AttributeError(f"{self._name}: Expected input to be a tensor or a PackedSequence, got {got}")
        elif input.dim() not in (2, 3):
            raise ValueError(f"{self._name}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        else:
            if states is not None:
                self._check_dims(input, states)
            output, states = (self._run_batch if input.dim() == 3 else self._run_unbatched)(input, states)
        return output, self._as_hx(states)

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """torch.nn's check, without its list of weights: where weights are swapped or parametrized, that is stale."""
        weights, dims = self.weight_ih_l0, 3 if batch_sizes is None else 2
        if input.dtype != weights.dtype and not _autocasts(input):
            raise ValueError(
                f"{self._name}: input dtype ({input.dtype}) does not match weight dtype ({weights.dtype}). "
                f"Convert input: input.to({weights.dtype}), or convert model: model.to({input.dtype})"
            )
        if input.dim() != dims:
            raise RuntimeError(f"{self._name}: input must have {dims} dimensions, got {input.dim()}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{self._name}: input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {input.shape[-1]}"
            )

    def flatten_parameters(self) -> None:
        """Does nothing: torch.nn lays the weights out for cuDNN here."""

    def _run_unbatched(self, x: Tensor, states: States | None) -> tuple[Tensor, States]:
        axis = 0 if self.batch_first else 1
        states = None if states is None else tuple(s.unsqueeze(1) for s in states)
        output, states = self._run_batch(x.unsqueeze(axis), states)
        return output.squeeze(axis), tuple(s.squeeze(1) for s in states)

    def _run_batch(self, x: Tensor, states: States | None) -> tuple[Tensor, States]:
        states = self._checked(x, states, None)
        x = x.transpose(0, 1) if self.batch_first else x  # [T, B, I]
        output, states = self._run_layers(x, states, None)
        return output.transpose(0, 1) if self.batch_first else output, states

    def _run_packed(self, packed: PackedSequence, states: States | None) -> tuple[PackedSequence, States]:
        data, sizes, to_sorted, to_given = packed
        states = _permuted(self._checked(data, states, sizes), to_sorted)
        if not compiling([data, sizes]):
            each = Sizes(sizes.tolist(), int(sizes[0]))
            output, states = self._run_layers(data.unsqueeze(1), states, each)
            return PackedSequence(output.squeeze(1), sizes, to_sorted, to_given), _permuted(states, to_given)
        x, lengths = pad_packed_sequence(PackedSequence(data, sizes))  # [T, B, I], [B], the longest first
        output, states = self._run_layers(x, states, lengths)
        data = pack_padded_sequence(output, lengths).data
        return PackedSequence(data, sizes, to_sorted, to_given), _permuted(states, to_given)

    def _run_layers(self, x: Tensor, states: States, lengths: Tensor | Sizes | None) -> tuple[Tensor, States]:
        """x ``[T, B, I]`` (``[N, 1, I]`` with ``Sizes``), states ``[layers * directions, B, n]`` each."""
        if x.shape[0] == 0:
            raise RuntimeError(f"{self._name}: Expected sequence length to be larger than 0, got input of 0 time steps")
        if self.num_layers == 1 and not self.bidirectional:
            return repeat(self._kinds[0][0], self._weights("_l0"), x, states, lengths)
        initial = list(zip(*[s.split(1) for s in states], strict=True))  # by layer and direction: [1, B, n] each
        finals: list[States] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            outputs = []
            for reverse in self._directions:
                weights = self._weights(f"_l{layer}_reverse" if reverse else f"_l{layer}")
                output, final = repeat(self._kinds[min(layer, 1)][reverse], weights, x, initial[len(finals)], lengths)
                outputs.append(output)  # [T, B, n]
                finals.append(final)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]  # [T, B, directions * n]
        return x, tuple(torch.cat(s) for s in zip(*finals, strict=True))

    @property
    def _directions(self) -> tuple[bool, ...]:
        return (False, True) if self.bidirectional else (False,)

    def _kind(self, layer: int, reverse: bool) -> Kind:
        below = (self.proj_size or self.hidden_size) * len(self._directions)
        size = below if layer else self.input_size
        return Kind(self.mode, size, self.hidden_size, self.proj_size, self.bias, reverse)

    def _weights(self, suffix: str) -> dict[str, Tensor]:
        """The weights of one layer and direction, read as attributes: they may be parametrized or swapped."""
        names = WEIGHTS[bool(self.bias), bool(self.proj_size)]
        own: Any = self._parameters  # torch's __getattr__ looks here after much else
        return {name: own[name + suffix] if name + suffix in own else getattr(self, name + suffix) for name in names}

    @property
    def _name(self) -> str:
        return self.mode.partition("_")[0]

    def _states(self, hx: Any) -> States:
        """``hx`` as a tuple. The types of the errors are those that torch.nn ends in with the same mistakes."""
        if self.mode == "LSTM":
            _check_pair(hx)
        states = tuple(hx) if self.mode == "LSTM" else (hx,)
        for state in states:
            if not isinstance(state, Tensor):
                wanted = "two tensors (h, c)" if self.mode == "LSTM" else "one tensor"
                raise AttributeError(f"{self._name}: Expected hx to be {wanted}, got a {type(state).__name__}")
        return states

    def _as_hx(self, states: States) -> Any:
        return states if self.mode == "LSTM" else states[0]

    def _check_dims(self, x: Tensor, states: States) -> None:
        dims = [s.dim() for s in states]
        if any(dim != x.dim() for dim in dims):
            kind, names = "batched" if x.dim() == 3 else "unbatched", "hx and cx" if len(dims) == 2 else "hx"
            got = " and ".join(f"{dim}-D" for dim in dims)
            raise RuntimeError(f"For {kind} {x.dim()}-D input, {names} should also be {x.dim()}-D but got {got}")

    def _checked(self, x: Tensor, states: States | None, sizes: Tensor | None) -> States:
        """The states, zeros by default, after torch's checks of all sizes."""
        shapes = self._shapes(x, sizes)
        if states is None:
            states = tuple([zeros(shape, x) for shape in shapes])
        elif not all([s.shape == shape and s.dtype == x.dtype for s, shape in zip(states, shapes, strict=True)]):
            self._refuse(x, states, sizes)
        self.check_input(x, sizes)
        return states

    def _shapes(self, x: Tensor, sizes: Tensor | None) -> list[tuple[int, ...]]:
        """What the states before the first step look like."""
        batch = int(sizes[0]) if sizes is not None else x.shape[0 if self.batch_first else 1]
        count = self.num_layers * (2 if self.bidirectional else 1)
        shapes = [(count, batch, self.proj_size or self.hidden_size)]
        return [*shapes, (count, batch, self.hidden_size)] if self.mode == "LSTM" else shapes

    def _refuse(self, x: Tensor, states: States, sizes: Tensor | None) -> None:
        """torch's errors for states of other sizes or another dtype, if they are."""
        self.check_forward_args(x, self._as_hx(states), sizes)
        for state in states:
            if state.dtype != x.dtype and not _autocasts(x):
                raise RuntimeError(f"{self._name}: Expected hx to have input's dtype {x.dtype}, got {state.dtype}")


_zeros: dict[tuple, Tensor] = {}


def zeros(shape: tuple[int, ...], x: Tensor) -> Tensor:
    """Zeros like ``x`` that are only read; small ones are kept."""
    if type(x) is not Tensor or not x.is_cpu or torch.compiler.is_compiling() or prod(shape) > 2**12:
        return torch.zeros(shape, dtype=x.dtype, device=x.device)
    key = shape, x.dtype
    found = _zeros.get(key)
    if found is None:
        if len(_zeros) >= 64:
            _zeros.clear()
        with torch.inference_mode(False):
            found = _zeros[key] = torch.zeros(shape, dtype=x.dtype, device=x.device)
    return found


def _autocasts(x: Tensor) -> bool:
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # asking for "meta" is an error


def _check_pair(hx: Any) -> None:
    if not isinstance(hx, (Tensor, Sequence)):
        raise TypeError(f"LSTM: Expected hx to be two tensors (h, c), got a {type(hx).__name__}")
    if isinstance(hx, Tensor) or len(hx) != 2:
        got = f"one tensor {list(hx.shape)}" if isinstance(hx, Tensor) else f"{len(hx)} values"
        error = IndexError if len(hx) < 2 else RuntimeError
        raise error(f"LSTM: Expected hx to be two tensors (h, c), got {got}")


def _permuted(states: States, order: Tensor | None) -> States:
    """``[layers * directions, B, n]`` each, with the sequences in another order."""
    return states if order is None else tuple(s.index_select(1, order) for s in states)


class RNN(DropIn):
    """Elman networks in layers, in the place of ``torch.nn.RNN``: ``h[t] = tanh(W x[t] + U h[t-1] + b)``.

    Args:
        input_size, hidden_size: feature sizes.
        num_layers: how many networks, each reading the outputs of the one below. Default: 1.
        nonlinearity: ``"tanh"`` (default) or ``"relu"``.
        bias: default True.
        batch_first: input and output are ``[B, T, ...]`` instead of ``[T, B, ...]``. Default: False.
        dropout: probability of dropping an output between two layers, in training. Default: 0.
        bidirectional: every layer runs in both directions and concatenates. Default: False.
        device, dtype: of the parameters.

    >>> layer = RNN(3, 5, num_layers=2, nonlinearity="relu")
    >>> output, h = layer(torch.ones(7, 4, 3))
    >>> output.shape, h.shape
    (torch.Size([7, 4, 5]), torch.Size([2, 4, 5]))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: torch.dtype | None = None) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
                         dropout, bidirectional, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity


class LSTM(DropIn):
    """LSTM networks in layers, in the place of ``torch.nn.LSTM``; the states are the pair (h, c).

    Args:
        input_size, hidden_size: feature sizes.
        num_layers: how many networks, each reading the outputs of the one below. Default: 1.
        bias: default True.
        batch_first: input and output are ``[B, T, ...]`` instead of ``[T, B, ...]``. Default: False.
        dropout: probability of dropping an output between two layers, in training. Default: 0.
        bidirectional: every layer runs in both directions and concatenates. Default: False.
        proj_size: project h to this size, smaller than ``hidden_size``. Default: 0, no projection.
        device, dtype: of the parameters.

    >>> layer = LSTM(3, 5, bidirectional=True, proj_size=2)
    >>> output, (h, c) = layer(torch.ones(7, 4, 3))
    >>> output.shape, h.shape, c.shape
    (torch.Size([7, 4, 4]), torch.Size([2, 4, 2]), torch.Size([2, 4, 5]))
    """

    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    check_forward_args = nn.LSTM.check_forward_args  # pyright: ignore[reportAssignmentType]

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: torch.dtype | None = None) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         proj_size, device, dtype)


class GRU(DropIn):
    """Gated recurrent units in layers, in the place of ``torch.nn.GRU``; the reset gate acts after the product.

    Args:
        input_size, hidden_size: feature sizes.
        num_layers: how many networks, each reading the outputs of the one below. Default: 1.
        bias: default True.
        batch_first: input and output are ``[B, T, ...]`` instead of ``[T, B, ...]``. Default: False.
        dropout: probability of dropping an output between two layers, in training. Default: 0.
        bidirectional: every layer runs in both directions and concatenates. Default: False.
        device, dtype: of the parameters.

    >>> layer = GRU(3, 5, batch_first=True)
    >>> output, h = layer(torch.ones(4, 7, 3))
    >>> output.shape, h.shape
    (torch.Size([4, 7, 5]), torch.Size([1, 4, 5]))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         device=device, dtype=dtype)
