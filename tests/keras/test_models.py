"""Whole models: training as Keras trains, saving, exporting, the names that are handed on, what is refused."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from compared import close, fused

import ostinato.keras as ours

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, 30, (24, 6)) * (np.arange(6) < RNG.integers(1, 7, (24, 1)))  # padded with zeros
LABELS = (TOKENS.sum(1) % 2).astype("float32")
SERIES = RNG.normal(size=(24, 5, 4)).astype("float32")


def of_words(layers: Any, name: str, **options: Any) -> Any:
    return keras.Sequential([keras.Input((None,), dtype="int32"), keras.layers.Embedding(30, 8, mask_zero=True),
                             keras.layers.Bidirectional(getattr(layers, name)(3, return_sequences=True)),
                             getattr(layers, name)(5, **options),
                             keras.layers.Dense(1, activation="sigmoid")])


def of_numbers(layers: Any, name: str, **options: Any) -> Any:
    return keras.Sequential([keras.Input((5, 4)), keras.layers.Masking(0.0),
                             getattr(layers, name)(6, **options), keras.layers.Dense(1, activation="sigmoid")])


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "recurrent_dropout": 0.2, "seed": 5}, {"go_backwards": True}])
@pytest.mark.parametrize(("make", "x"), [(of_words, TOKENS), (of_numbers, SERIES)], ids=["words", "numbers"])
@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_fit(name: str, make: Any, x: np.ndarray, options: dict[str, Any]) -> None:
    """One and two epochs from the same seed give Keras's own losses and predictions."""
    found = []
    for layers in (ours.layers, keras.layers):
        keras.utils.set_random_seed(3)
        model = make(layers, name, **options)
        model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
        history = model.fit(x, LABELS, epochs=2, batch_size=12, verbose=0, validation_split=0.25)
        found.append((history.history, model.predict(x, verbose=0), model.evaluate(x, LABELS, verbose=0)))
        if layers is ours.layers:
            fused(next(layer for layer in model.layers if isinstance(layer, keras.layers.RNN)))
    (mine, predicted, scores), (theirs, expected, others) = found
    assert mine.keys() == theirs.keys()
    for key in mine:
        np.testing.assert_allclose(mine[key], theirs[key], rtol=1e-4)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores, others, rtol=1e-4)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU", "LeakyRNN", "SkipRNN", "NARX"])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model = of_words(ours.layers, name)
    expected = model.predict(TOKENS, verbose=0)
    model.save(tmp_path / "model.keras")
    again: Any = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.layers[2]) is getattr(ours.layers, name)
    np.testing.assert_array_equal(again.predict(TOKENS, verbose=0), expected)
    model.save_weights(tmp_path / "model.weights.h5")
    other = of_words(ours.layers, name)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(TOKENS, verbose=0), expected)


def test_a_cell_of_the_catalogue_is_saved(tmp_path: Path) -> None:
    model: Any = ours.Sequential([keras.Input((5, 4)), ours.layers.RNN(ours.layers.Cell("lstm-peephole", 5))])
    model.save(tmp_path / "model.keras")
    again: Any = keras.models.load_model(tmp_path / "model.keras")
    assert str(type(again)) == str(ours.Sequential)
    np.testing.assert_array_equal(again.predict(SERIES, verbose=0), model.predict(SERIES, verbose=0))


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_weights_of_keras(name: str, tmp_path: Path) -> None:
    """A model of Keras's own and one of ours read each other's weights."""
    theirs, mine = of_words(keras.layers, name), of_words(ours.layers, name)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    mine.load_weights(tmp_path / "theirs.weights.h5")
    np.testing.assert_allclose(mine.predict(TOKENS, verbose=0), theirs.predict(TOKENS, verbose=0), atol=1e-5)


def test_functional_model_with_states() -> None:
    """An encoder hands its state to a decoder."""
    found = []
    for layers in (ours.layers, keras.layers):
        keras.utils.set_random_seed(1)
        read, written = keras.Input((None, 4)), keras.Input((None, 3))
        _, *state = layers.LSTM(5, return_state=True)(read)
        output = layers.LSTM(5, return_sequences=True)(written, initial_state=state)
        model: Any = keras.Model([read, written], keras.layers.TimeDistributed(keras.layers.Dense(2))(output))
        found.append(model.predict([SERIES, SERIES[:, :3, :3]], verbose=0))
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_other_dtypes(dtype: str) -> None:
    """Keras multiplies these in another precision than the layer's: that is no program, and is said."""
    layer = ours.layers.GRU(3, dtype=dtype)
    assert layer(torch.randn(2, 5, 4)).dtype == {"float64": torch.float64, "mixed_bfloat16": torch.bfloat16}[dtype]
    assert "runs as Keras's own loop, step by step" in layer.explain()


def test_exported(tmp_path: Path) -> None:
    model = of_numbers(ours.layers, "GRU")
    model.export(tmp_path / "model.pt2", format="torch")
    program = torch.export.load(tmp_path / "model.pt2").module()
    x = torch.tensor(SERIES[:1])  # Keras exports for one sequence
    close([program(x)], [model(x)])


def test_summary_of_the_slides() -> None:
    model = ours.Sequential()
    model.add(ours.layers.Embedding(10000, 32))
    model.add(ours.layers.SimpleRNN(32, return_sequences=True))
    model.add(ours.layers.SimpleRNN(32))
    lines: list[str] = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    text = "\n".join(lines)
    for wanted in ("320,000", "2,080", "324,160", "(None, None, 32)", "(None, 32)"):
        assert wanted in text
    assert "unbuilt" not in text


def test_names_are_handed_on() -> None:
    from ostinato.keras.optimizers import Adam  # pyright: ignore[reportMissingImports] # an alias, made at import

    from ostinato.keras import Input, Model, callbacks, ops
    from ostinato.keras.layers import Dense, Embedding
    from ostinato.keras.preprocessing.sequence import pad_sequences
    from ostinato.keras.preprocessing.text import Tokenizer

    assert (Input, Model, callbacks, ops) == (keras.Input, keras.Model, keras.callbacks, keras.ops)
    assert (Dense, Embedding, Adam) == (keras.layers.Dense, keras.layers.Embedding, keras.optimizers.Adam)
    assert "Dense" in dir(ours.layers) and "Model" in dir(ours)
    assert Tokenizer and pad_sequences and ours.preprocessing.image is keras.preprocessing.image
    with pytest.raises(AttributeError):
        ours.nothing_of_that_name  # noqa: B018


def imported(code: str, **environment: str) -> str:
    """What an import prints in a process of its own, or its last line of error."""
    env = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | environment
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().splitlines()[-1]


def test_the_backend_is_chosen_or_refused() -> None:
    show = "import ostinato.keras as k; print(k.config.backend())"
    assert imported(show) == "torch"
    refused = imported(show, KERAS_BACKEND="jax")
    assert "KERAS_BACKEND is 'jax'" in refused and "set KERAS_BACKEND=torch" in refused
    missing = imported("import sys; sys.modules['keras'] = None\nimport ostinato.keras")
    assert "pip install 'ostinato[keras]'" in missing


KERAS_TESTS = ("simple_rnn", "lstm", "gru", "rnn", "bidirectional", "stacked_rnn_cells", "time_distributed")


def test_the_tests_of_keras(tmp_path: Path) -> None:
    """Keras's own tests of these layers pass with ours in their place; those that are in the installed package."""
    spec = importlib.util.find_spec("keras.src.layers.rnn")
    assert spec is not None and spec.origin is not None
    files = [Path(spec.origin).with_name(f"{name}_test.py") for name in KERAS_TESTS]
    if not all(file.exists() for file in files):
        pytest.skip("this Keras comes without its tests")
    (tmp_path / "ours_instead.py").write_text(
        "import keras.src.layers as layers\nfrom ostinato.keras import layers as ours\n"
        "for name in ('SimpleRNN', 'LSTM', 'GRU', 'RNN'):\n    setattr(layers, name, getattr(ours, name))\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "ours_instead", "-p", "no:cacheprovider", "-c", os.devnull,
               "--rootdir", str(files[0].parent), *map(str, files)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
