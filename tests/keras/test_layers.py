"""Each recurrent layer with each option against Keras's own: results, states and gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from compared import check, close, fused, pair, results

from ostinato import FallbackError, strict
from ostinato.keras import layers as ours

LAYERS = ("SimpleRNN", "LSTM", "GRU")
GATED = ("LSTM", "GRU")
X = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0))
MASKS = {
    "post": torch.arange(7) < torch.tensor([[7], [3], [1], [5]]),
    "pre": torch.arange(7) >= torch.tensor([[0], [3], [6], [2]]),
    "holes": torch.rand(4, 7, generator=torch.Generator().manual_seed(1)) > 0.4,
    "nothing": torch.arange(7) < torch.tensor([[7], [0], [2], [0]]),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "last": {},
    "sequences": {"return_sequences": True},
    "state": {"return_state": True},
    "both": {"return_sequences": True, "return_state": True},
    "backwards": {"return_sequences": True, "return_state": True, "go_backwards": True},
    "unroll": {"unroll": True},
    "no bias": {"use_bias": False, "return_sequences": True},
    "dropout": {"dropout": 0.4, "seed": 3, "return_sequences": True},
    "recurrent dropout": {"recurrent_dropout": 0.4, "seed": 3, "return_sequences": True},
    "both dropouts": {"dropout": 0.3, "recurrent_dropout": 0.2, "seed": 3, "return_state": True},
    "regularised": {"kernel_regularizer": "l2", "recurrent_constraint": "unit_norm", "activity_regularizer": "l1"},
}
ACTIVATIONS = ("relu", "sigmoid", "linear", "softsign", "softplus", "elu", "selu", "gelu", "exponential", "silu",
               "hard_sigmoid", "leaky_relu", "relu6", None)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_options(name: str, options: dict[str, Any], training: bool) -> None:
    check(*pair(name, units=5, **options), X, training=training)


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True},
                                     {"return_sequences": True, "go_backwards": True},
                                     {"return_sequences": True, "zero_output_for_mask": True},
                                     {"dropout": 0.3, "recurrent_dropout": 0.3, "seed": 1}])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_masks(name: str, mask: str, options: dict[str, Any]) -> None:
    check(*pair(name, units=5, **options), X, mask=MASKS[mask], training=True)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_activations(name: str, activation: str | None) -> None:
    check(*pair(name, units=5, activation=activation), X)


@pytest.mark.parametrize("options", [{"recurrent_activation": "hard_sigmoid"}, {"recurrent_activation": "relu"},
                                     {"implementation": 1}])
@pytest.mark.parametrize("name", GATED)
def test_gates(name: str, options: dict[str, Any]) -> None:
    check(*pair(name, units=5, **options), X, training=True)


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"implementation": 1},
                                     {"recurrent_dropout": 0.4, "seed": 1}])
def test_reset_before(options: dict[str, Any]) -> None:
    check(*pair("GRU", units=5, reset_after=False, **options), X, training=True)


def test_forget_bias() -> None:
    for layer in pair("LSTM", units=2, unit_forget_bias=True):
        layer.build((None, None, 3))
        assert layer.get_weights()[2].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (1, 9, 2), (3, 4, 30)])
@pytest.mark.parametrize("name", LAYERS)
def test_shapes(name: str, shape: tuple[int, ...]) -> None:
    check(*pair(name, units=7, return_sequences=True), torch.randn(shape))


@pytest.mark.parametrize("name", LAYERS)
def test_initial_state(name: str) -> None:
    starts = [torch.randn(4, 5) for _ in range(1 + (name == "LSTM"))]
    check(*pair(name, units=5, return_state=True), X, initial_state=starts, mask=MASKS["holes"])


@pytest.mark.parametrize("name", LAYERS)
def test_whole_numbers(name: str) -> None:
    check(*pair(name, units=5), torch.arange(24).reshape(2, 4, 3))


@pytest.mark.parametrize("name", LAYERS)
def test_stateful(name: str) -> None:
    mine, theirs = pair(name, units=5, stateful=True, return_sequences=True)
    for layer in (mine, theirs):
        layer.build(tuple(X.shape))
    mine.set_weights(theirs.get_weights())
    plain = getattr(ours, name)(5, return_sequences=True)
    plain.build(tuple(X.shape))
    plain.set_weights(theirs.get_weights())
    for _ in range(2):  # Keras's own LSTM and GRU cannot be differentiated here: their states are written over
        starts = [s.value.clone() for s in mine.states]
        output, by_x, *others = results(plain, X, initial_state=starts)
        close(results(mine, X), [output, by_x, *others[len(starts) :]])
        theirs(X)
    for mask in (None, MASKS["holes"]):
        with strict():
            found = mine(X, mask=mask)
        close([found, *(s.value for s in mine.states)], [theirs(X, mask=mask), *(s.value for s in theirs.states)])
    fused(mine)
    mine.reset_state()
    theirs.reset_state()
    close([mine(X)], [theirs(X)])
    with pytest.raises(ValueError, match="batch size"):
        mine(X[:2])


@pytest.mark.parametrize("name", LAYERS)
def test_arguments_and_weights_are_those_of_keras(name: str) -> None:
    mine, theirs = pair(name, units=5, name="one")
    mine.build((None, None, 3))
    theirs.build((None, None, 3))
    assert [(w.name, w.path, tuple(w.shape)) for w in mine.weights] == [
        (w.name, w.path, tuple(w.shape)) for w in theirs.weights]
    assert mine.get_config() == theirs.get_config()


@pytest.mark.parametrize("options", [{"merge_mode": m} for m in ("concat", "sum", "mul", "ave", None)])
@pytest.mark.parametrize("name", LAYERS)
def test_bidirectional(name: str, options: dict[str, Any]) -> None:
    both = pair(name, units=4, return_sequences=True)
    mine, theirs = (keras.layers.Bidirectional(layer, **options) for layer in both)
    for layer in (mine, theirs):
        layer.build(tuple(X.shape))
    theirs.set_weights([w + 0.1 for w in theirs.get_weights()])
    mine.set_weights(theirs.get_weights())
    with strict():
        found = results(mine, X, mask=MASKS["holes"])
    close(found, results(theirs, X, mask=MASKS["holes"]))
    fused(mine.forward_layer)
    fused(mine.backward_layer)


def test_time_distributed() -> None:
    x = torch.randn(2, 3, 7, 4)
    mine, theirs = (keras.layers.TimeDistributed(layer) for layer in pair("GRU", units=5))
    mine.build(tuple(x.shape))
    theirs.build(tuple(x.shape))
    mine.set_weights(theirs.get_weights())
    with strict():
        close([mine(x)], [theirs(x)])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_stacked_cells(dropout: float, training: bool) -> None:
    made = []
    for module in (ours, keras.layers):
        cells = [keras.layers.LSTMCell(4, dropout=dropout, seed=1),
                 keras.layers.SimpleRNNCell(3, dropout=dropout, seed=2),
                 keras.layers.GRUCell(5, recurrent_dropout=dropout, seed=3)]
        made.append(module.RNN(keras.layers.StackedRNNCells(cells), return_sequences=True, return_state=False))
    mine, theirs = made
    check(mine, theirs, X, mask=MASKS["holes"], training=training)


ops: Any = keras.ops


class Doubled(keras.layers.Layer):
    """A user's own cell: two states, an output that is neither."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units, self.state_size, self.output_size = units, [units, 2 * units], 2 * units

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight(shape=(input_shape[-1], self.units))
        self.u = self.add_weight(shape=(2 * self.units, self.units))
        self.b = self.add_weight(shape=(self.units,))

    def call(self, inputs: Any, states: Any) -> Any:
        a, b = states
        a = ops.tanh(ops.matmul(inputs, self.w) + ops.matmul(b, self.u) + self.b)
        b = 0.5 * b + ops.concatenate([a, -a], -1)
        return b * b, [a, b]


def test_ones_own_cell() -> None:
    mine, theirs = (module.RNN(Doubled(3), return_sequences=True, return_state=True) for module in (ours, keras.layers))
    check(mine, theirs, X, mask=MASKS["holes"])


class Deciding(Doubled):
    """A step that looks at numbers: no program."""

    def call(self, inputs: Any, states: Any) -> Any:
        return super().call(inputs, states) if float(inputs.sum()) < 1e9 else (states[1], states)


def test_a_step_that_cannot_be_traced_runs_and_says_so() -> None:
    mine, theirs = (module.RNN(Deciding(3), return_sequences=True) for module in (ours, keras.layers))
    mine.build(tuple(X.shape))
    theirs.build(tuple(X.shape))
    mine.set_weights(theirs.get_weights())
    assert mine.explain() == f"{mine.name} has not run yet"
    close([mine(X)], [theirs(X)])
    assert "runs as Keras's own loop, step by step" in mine.explain()
    with pytest.raises(FallbackError, match="would run step by step"), strict():
        mine(X)


def test_another_cell_of_the_same_layer_is_another_program() -> None:
    layer = ours.RNN(keras.layers.SimpleRNNCell(3))
    first = layer(X)
    layer.cell.activation = keras.activations.get("relu")
    second = layer(X)
    assert not np.allclose(first.detach(), second.detach())
