"""The lecture's other recurrences as layers of Keras: leaky units, skips through time, output delays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from ostinato.keras.layers.fused import Fused
from ostinato.keras.layers.past import Past

ops: Any = keras.ops
registered = keras.saving.register_keras_serializable("ostinato")
OF_LAYER = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask",
            "activity_regularizer", "name", "trainable", "dtype", "input_shape", "batch_shape")
"""Arguments that are a layer's; the others are its cell's."""


class _Layer(Fused, keras.layers.RNN):
    """A layer whose arguments are its cell's and its own."""

    made_of: type

    def __init__(self, units: int, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name) for name in OF_LAYER if name in kwargs}
        shared = {name: own[name] for name in ("dtype", "trainable") if name in own}
        super().__init__(self.made_of(units, **shared, **kwargs), **own)
        self.input_spec = keras.InputSpec(ndim=3)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        cell = self.cell.get_config()
        del config["cell"]
        return {**{name: cell[name] for name in cell if name not in OF_LAYER}, **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


@registered
class LeakyRNNCell(keras.layers.SimpleRNNCell):
    """One step of :class:`LeakyRNN`."""

    def __init__(self, units: int, tau: float = 10.0, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        if not tau >= 1:
            raise ValueError(f"tau must be at least 1, got {tau}")
        self.tau = tau

    def call(self, sequence: Any, states: Any, training: bool = False) -> tuple[Any, Any]:
        last = states[0] if isinstance(states, (list, tuple)) else states  # [B, units]
        new, _ = super().call(sequence, states, training=training)
        h = (1 - 1 / self.tau) * last + (1 / self.tau) * new  # type: ignore[operator]
        return h, [h] if isinstance(states, (list, tuple)) else h

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tau": self.tau}


@registered
class LeakyRNN(_Layer):
    """Leaky units, ``h[t] = (1 - 1/tau) h[t-1] + (1/tau) tanh(W x[t] + U h[t-1] + b)``.

    Args:
        units: how many.
        tau: the time constant in steps, at least 1. Default: 10.
        **kwargs: as ``keras.layers.SimpleRNN`` takes them; so are the weights.

    Raises:
        ValueError: tau below 1.

    Source: the lecture, "Leaky units and a spectrum of time scales".

    >>> LeakyRNN(4, tau=5.0)(keras.ops.ones((2, 7, 3))).shape
    torch.Size([2, 4])
    """

    made_of = LeakyRNNCell


class _PastCell(Past, keras.layers.SimpleRNNCell):
    """A simple cell that also reads its state at other delays, by ``delay_kernel``: ``[units, units]`` for each."""

    delays: tuple[int, ...]

    @property
    def reads(self) -> Any:
        return [((self.units,), (1, *self.delays))]

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.delay_kernel = self.add_weight(
            shape=(len(self.delays) * self.units, self.units), name="delay_kernel",
            initializer=self.recurrent_initializer, regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint)

    def get_recurrent_dropout_mask(self, step_input: Any) -> Any:
        """One mask for all delays, whether it is made for one value ``[B, units]`` or for all of them in a row."""
        return super().get_recurrent_dropout_mask(step_input[:, : self.units])

    def hidden(self, inputs: Any, past: Sequence[Any], training: bool) -> Any:
        """``g(W x[t] + U h[t-1] + sum over d of S_d h[t-d] + b)``, ``[B, units]``."""
        mask, recurrent_mask = self.get_dropout_mask(inputs), self.get_recurrent_dropout_mask(past[0])
        if training and mask is not None:
            inputs = inputs * mask
        if training and recurrent_mask is not None:
            past = [h * recurrent_mask for h in past]
        a = ops.matmul(inputs, self.kernel) + ops.matmul(past[0], self.recurrent_kernel)  # [B, units]
        for i, h in enumerate(past[1:]):
            a = a + ops.matmul(h, self.delay_kernel[i * self.units : (i + 1) * self.units])
        return self.activation(a if self.bias is None else a + self.bias)


@registered
class SkipRNNCell(_PastCell):
    """One step of :class:`SkipRNN`."""

    def __init__(self, units: int, delay: int | Sequence[int] = 4, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        delays = (delay,) if isinstance(delay, int) else tuple(delay)
        if not delays or min(delays) < 2 or len(set(delays)) != len(delays):
            raise ValueError(f"delay must be a whole number from 2 on, or several different ones, got {delay}")
        self.delays = delays

    def advance(self, inputs: Any, *past: Any, training: bool = False) -> tuple[Any, ...]:
        h = self.hidden(inputs, past, training)
        return h, h

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delay": list(self.delays)}


@registered
class SkipRNN(_Layer):
    """Connections that skip through time, ``h[t] = tanh(W x[t] + U h[t-1] + sum over d of S_d h[t-d] + b)``.

    Args:
        units: how many.
        delay: d, from 2 on, or several. Default: 4.
        **kwargs: as ``keras.layers.SimpleRNN`` takes them; so are the weights, and ``delay_kernel`` is S.

    Its state, as ``return_state`` gives it, is its last values, as many as the longest delay, oldest first, in a row.

    Raises:
        ValueError: a delay below 2 or given twice.

    Source: the lecture, "Adding skip connections through time".

    >>> SkipRNN(4, delay=3, return_sequences=True)(keras.ops.ones((2, 7, 3))).shape
    torch.Size([2, 7, 4])
    """

    made_of = SkipRNNCell


@registered
class NARXCell(_PastCell):
    """One step of :class:`NARX`."""

    def __init__(self, units: int, output_delays: int = 4, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        if not isinstance(output_delays, int) or output_delays < 2:
            raise ValueError(f"output_delays must be a whole number from 2 on, got {output_delays}")
        self.delays = tuple(range(2, output_delays + 1))

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.output_kernel = self.add_weight(shape=(self.units, self.units), name="output_kernel",
                                             initializer=self.kernel_initializer, regularizer=self.kernel_regularizer,
                                             constraint=self.kernel_constraint)
        self.output_bias = None
        if self.use_bias:
            self.output_bias = self.add_weight(shape=(self.units,), name="output_bias",
                                               initializer=self.bias_initializer, regularizer=self.bias_regularizer,
                                               constraint=self.bias_constraint)

    def advance(self, inputs: Any, *past: Any, training: bool = False) -> tuple[Any, ...]:
        y = ops.matmul(self.hidden(inputs, past, training), self.output_kernel)  # [B, units]
        y = y if self.output_bias is None else y + self.output_bias
        return y, y

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_delays": self.delays[-1]}


@registered
class NARX(_Layer):
    """A network that sees its last D outputs: ``y[t] = c + V tanh(W x[t] + U_1 y[t-1] + ... + U_D y[t-D] + b)``.

    Args:
        units: how many hidden units and outputs.
        output_delays: D, from 2 on. Default: 4.
        **kwargs: as ``keras.layers.SimpleRNN`` takes them; so are the weights, with ``delay_kernel`` for U_2 to U_D,
            ``output_kernel`` for V and ``output_bias`` for c.

    Its state, as ``return_state`` gives it, is its last D outputs, oldest first, in a row.

    Raises:
        ValueError: fewer than 2 delays.

    Source: the lecture, "Network with 4 output delays".

    >>> NARX(4)(keras.ops.ones((2, 7, 3))).shape
    torch.Size([2, 4])
    """

    made_of = NARXCell
