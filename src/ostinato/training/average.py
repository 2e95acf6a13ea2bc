"""A running average of the weights, which predicts better than the last of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """``mu = alpha mu + (1 - alpha) w`` after every step, with a smaller alpha in the first steps.

    Args:
        model: whose parameters are averaged.
        alpha: how slowly it follows; 0 keeps no average.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; as a running average,
    Tarvainen and Valpola, "Mean teachers are better role models", 2017 (arXiv 1703.01780).
    """

    def __init__(self, model: nn.Module, alpha: float) -> None:
        self.alpha = alpha
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad} if alpha else {}
        self.values = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number ``step`` (from 1)."""
        if self.values:
            weight = 1 - min(self.alpha, step / (step + 10))
            for value, p in zip(self.values.values(), self._parameters.values(), strict=True):
                value.lerp_(p, weight)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Go on from the average of a checkpoint."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While this is open, the model has the averaged weights."""
        before = {name: p.data for name, p in self._parameters.items()}
        try:
            for name, p in self._parameters.items():
                p.data = self.values[name]
            yield
        finally:
            for name, value in before.items():
                self._parameters[name].data = value
