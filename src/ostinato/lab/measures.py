"""How answers are judged: a loss to train with, and which answers are right."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ostinato.lab.task import Batch

NEAR = 0.04
"""How near a number must be to count as right (Hochreiter and Schmidhuber's bound for the adding problem)."""


def _squared(predicted: Tensor, batch: Batch) -> Tensor:
    return nn.functional.mse_loss(predicted.squeeze(-1), batch.target)


def _class(predicted: Tensor, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(predicted, batch.target)


def _legal(predicted: Tensor, batch: Batch) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(predicted, batch.target)


def _near(predicted: Tensor, batch: Batch) -> Tensor:
    return (predicted.squeeze(-1) - batch.target).abs() < NEAR


def _likeliest(predicted: Tensor, batch: Batch) -> Tensor:
    return predicted.argmax(-1) == batch.target


def _sets_apart(predicted: Tensor, batch: Batch) -> Tensor:
    """Whether every symbol that may come is rated above every one that may not."""
    assert batch.legal is not None
    return _lowest(predicted, batch.legal) > -_lowest(-predicted, ~batch.legal)


def _signs(predicted: Tensor, batch: Batch) -> Tensor:
    """Whether the symbols rated above one half are exactly those that may come."""
    return ((predicted > 0) == (batch.target == 1)).all(-1)


def _lowest(predicted: Tensor, among: Tensor) -> Tensor:
    return predicted.where(among, torch.inf).amin(-1)


MEANING = {
    "mse": "the mean squared error of the answers",
    "accuracy": "the share of answers that are right",
    "right": "the share of sequences without a wrong answer",
    "reach": "the largest n such that all strings from 1 to n are right",
}
"""The measures that goals name."""
Judge = Callable[[Tensor, Batch], Tensor]
LOSSES: dict[str, tuple[Judge, Judge]] = {
    "squared": (_squared, _near),
    "class": (_class, _likeliest),
    "next": (_class, _sets_apart),
    "legal": (_legal, _signs),
}
"""For each kind of answer, of predictions ``[M, K]``: the mean loss, and which of the answers are right, ``[M]``."""


def right_sequences(loss: str, predicted: Tensor, batch: Batch) -> Tensor:
    """The sequences with no wrong answer, bool ``[B]``."""
    right = torch.ones_like(batch.answer)
    right[batch.answer] = LOSSES[loss][1](predicted, batch)
    return right.all(1)


def measure(loss: str, predicted: Tensor, batch: Batch) -> dict[str, float]:
    """The loss (for numbers called mse), the share of answers that are right, and of sequences with none wrong."""
    mean, right = LOSSES[loss]
    return {
        "mse" if loss == "squared" else "loss": mean(predicted, batch).item(),
        "accuracy": right(predicted, batch).float().mean().item(),
        "right": right_sequences(loss, predicted, batch).float().mean().item(),
    }
