"""A layer of ours and Keras's own with the same weights: results and gradients side by side."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import torch
from torch import Tensor

from ostinato import strict
from ostinato.engines.cpu import unavailable
from ostinato.keras import layers as ours

TOLERANCE = 1e-5


def pair(kind: str, /, **options: Any) -> tuple[Any, Any]:
    """Ours and Keras's, not built."""
    return getattr(ours, kind)(**options), getattr(keras.layers, kind)(**options)


def fused(layer: Any) -> None:
    """The latest call ran on the fused engine, where there is one."""
    assert unavailable() or "runs on the cpu engine" in layer.explain(), layer.explain()


def results(layer: Any, x: Tensor, seed: int = 0, **call: Any) -> list[Tensor]:
    """Outputs and states, then the gradients of a sum of all of them by input, initial states and weights."""
    keras.utils.set_random_seed(seed)
    x = x.clone().requires_grad_(x.is_floating_point())
    starts = [s.clone().requires_grad_() for s in call.pop("initial_state", [])]
    found = layer(x, **call, **({"initial_state": starts} if starts else {}))
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    generator = torch.Generator().manual_seed(1)
    total = sum((value * torch.randn(value.shape, generator=generator)).sum() for value in found)
    wanted = [*([x] if x.requires_grad else []), *starts, *(w.value for w in layer.trainable_weights)]
    return [*found, *torch.autograd.grad(total, wanted, allow_unused=True)]  # type: ignore[arg-type]


def close(mine: list[Any], theirs: list[Any]) -> None:
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=TOLERANCE, atol=TOLERANCE)


def check(mine: Any, theirs: Any, x: Tensor, **call: Any) -> None:
    """Both agree, and ours is fused."""
    for layer in (mine, theirs):
        if not layer.built:
            layer.build(tuple(x.shape))
    mine.set_weights(random_weights(theirs))
    with strict():
        found = results(mine, x, **call)
    fused(mine)
    close(found, results(theirs, x, **call))


def random_weights(layer: Any) -> list[np.ndarray]:
    """Weights for a layer, biases not zero, put into it."""
    rng = np.random.default_rng(5)
    layer.set_weights([rng.normal(0, 0.4, w.shape).astype("float32") for w in layer.get_weights()])
    return layer.get_weights()
