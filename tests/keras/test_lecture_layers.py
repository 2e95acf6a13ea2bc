"""Leaky units, skips, output delays and the cells of the catalogue as layers of Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from compared import check, close, fused, results

from ostinato import Cell, Recurrent, cells, strict
from ostinato.keras import layers as ours

X = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(0))
HOLES = torch.rand(4, 9, generator=torch.Generator().manual_seed(1)) > 0.4
LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "leaky": (ours.LeakyRNN, {"tau": 3.0}),
    "leaky dropout": (ours.LeakyRNN, {"tau": 3.0, "dropout": 0.3, "recurrent_dropout": 0.2, "seed": 2}),
    "skip": (ours.SkipRNN, {"delay": 3}),
    "skips": (ours.SkipRNN, {"delay": [2, 4], "use_bias": False, "activation": "relu"}),
    "skip dropout": (ours.SkipRNN, {"delay": 3, "dropout": 0.3, "recurrent_dropout": 0.2, "seed": 2}),
    "narx": (ours.NARX, {"output_delays": 3}),
    "narx no bias": (ours.NARX, {"output_delays": 2, "use_bias": False}),
}


@pytest.mark.parametrize("mask", [None, HOLES], ids=["whole", "holes"])
@pytest.mark.parametrize("name", LAYERS)
def test_as_keras_would_step(name: str, mask: Any) -> None:
    make, options = LAYERS[name]
    given = {"return_sequences": True, "return_state": True}
    mine = make(5, **options, **given)
    twin = make(5, **options, **given)
    theirs = keras.layers.RNN(twin.cell, **given)
    check(mine, theirs, X, mask=mask, training=True)


def numpy_skip(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray, s: np.ndarray, d: int) -> np.ndarray:
    hs = [np.zeros((x.shape[0], u.shape[1]))] * d
    for t in range(x.shape[1]):
        hs.append(np.tanh(x[:, t] @ w + hs[-1] @ u + hs[-d] @ s + b))
    return np.stack(hs[d:], 1)


def test_formulas() -> None:
    layer = ours.SkipRNN(4, delay=3, return_sequences=True)
    layer.build(tuple(X.shape))
    layer.set_weights([w + 0.1 for w in layer.get_weights()])
    w, u, b, s = layer.get_weights()
    np.testing.assert_allclose(layer(X).detach(), numpy_skip(X.numpy(), w, u, b, s, 3), atol=1e-5)
    leaky = ours.LeakyRNN(4, tau=4.0, return_sequences=True)
    found, h = leaky(X).detach().numpy(), np.zeros((4, 4))
    w, u, b = leaky.get_weights()
    for t in range(9):
        h = 0.75 * h + 0.25 * np.tanh(X[:, t].numpy() @ w + h @ u + b)
        np.testing.assert_allclose(found[:, t], h, atol=1e-5)
    narx = ours.NARX(4, output_delays=2, return_sequences=True)
    found, ys = narx(X).detach().numpy(), [np.zeros((4, 4))] * 2
    w, u, b, d, v, c = narx.get_weights()
    for t in range(9):
        ys.append(np.tanh(X[:, t].numpy() @ w + ys[-1] @ u + ys[-2] @ d + b) @ v + c)
        np.testing.assert_allclose(found[:, t], ys[-1], atol=1e-5)


@pytest.mark.parametrize("name", cells.names("vectors"))
def test_the_catalogue(name: str) -> None:
    """As ``Recurrent`` runs the same cell; the states come back in rows."""
    layer = ours.RNN(ours.Cell(name, 5), return_sequences=True, return_state=True)
    with strict():
        output, *states = layer(X, mask=HOLES)
    fused(layer)
    cell = cells.create(name, 3, 5)
    named = {**dict(cell.named_parameters()), **dict(cell.named_buffers())}
    weights = dict(zip((w.name for w in layer.weights), layer.weights, strict=True))
    with torch.no_grad():
        for key, value in named.items():
            if value.is_floating_point():
                value.copy_(weights[key.replace(".", "_")].value)
    _, finals = Recurrent(cell)(X, mask=HOLES)
    close(states, [f.flatten(1) for f in finals])
    twin = ours.RNN.from_config(layer.get_config())
    twin.build(tuple(X.shape))
    twin.set_weights(layer.get_weights())
    close([twin(X, mask=HOLES)[0]], [output])


def test_gradients_of_a_cell_of_the_catalogue() -> None:
    layer, cell = ours.RNN(ours.Cell("lstm-peephole", 4), return_sequences=True), cells.create("lstm-peephole", 3, 4)
    layer.build(tuple(X.shape))
    layer.set_weights([p.detach().numpy() for p in cell.parameters()])
    mine = results(layer, X)
    recurrent = Recurrent(cell)
    x = X.clone().requires_grad_()
    output, _ = recurrent(x)
    seed = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    close(mine, [output, *torch.autograd.grad((output * seed).sum(), [x, *cell.parameters()])])


class Own(Cell):
    """h[t] = cos(W x[t]) h[t-1] + h[t-2]/2, from 1 on"""

    def __init__(self) -> None:
        super().__init__()
        self.W = torch.nn.Linear(3, 2)
        self.add_state("h", 2, delays=(1, 2), initial=1.0)

    def step(self, x: torch.Tensor, h: torch.Tensor, h2: torch.Tensor) -> torch.Tensor:
        return torch.cos(self.W(x)) * h + h2 / 2


def test_ones_own_cell(tmp_path: Any) -> None:
    own = Own()
    expected, _ = Recurrent(own)(X)
    layer = ours.RNN(ours.Cell(own), return_sequences=True)
    with strict():
        close([layer(X)], [expected])
    with pytest.raises(ValueError, match="Own was given as an object"):
        layer.get_config()


def test_a_learned_beginning_is_learned() -> None:
    layer = ours.RNN(ours.Cell(cells.LearnedInitial(cells.GRU(3, 4))))
    layer.build(tuple(X.shape))
    layer.set_weights([w + 0.5 for w in layer.get_weights()])
    output, _, *others = results(layer, X)
    began = [i for i, w in enumerate(layer.weights) if w.shape == (4,) and "initial" in w.name]
    assert began and all(others[i] is not None and others[i].abs().max() > 1e-3 for i in began)
    again = ours.RNN(ours.Cell(cells.LearnedInitial(cells.GRU(3, 4))))
    again.build(tuple(X.shape))
    assert not np.allclose(again(X).detach(), output.detach())
    again.set_weights(layer.get_weights())
    close([again(X)], [output])


@pytest.mark.parametrize("mask", [None, HOLES], ids=["whole", "holes"])
def test_stacked(mask: Any) -> None:
    stacked = keras.layers.StackedRNNCells([ours.SkipRNNCell(4, delay=2), ours.Cell("lmu", 3), ours.LeakyRNNCell(5)])
    mine, theirs = (module.RNN(stacked, return_sequences=True) for module in (ours, keras.layers))
    mine.build(tuple(X.shape))
    with strict():
        found = results(mine, X, mask=mask)
    fused(mine)
    close(found, results(theirs, X, mask=mask))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: ours.LeakyRNN(3, tau=0.5), "tau must be at least 1, got 0.5"),
    (lambda: ours.SkipRNN(3, delay=1), "from 2 on, or several different ones, got 1"),
    (lambda: ours.SkipRNN(3, delay=(2, 2)), "different"),
    (lambda: ours.NARX(3, output_delays=1), "from 2 on, got 1"),
    (lambda: ours.Cell("lstn", 3), "lstm"),
    (lambda: ours.Cell("lstm", 3, tau=5), "has no option 'tau'"),
    (lambda: ours.Cell("lstm"), "a cell's name and its units"),
])
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
