"""Which inputs matter: how an answer changes with the input of each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.errors import InputError
from ostinato.inspect import pictures


@dataclass(frozen=True)
class Saliency(pictures.Shown):
    """How a score changes with the inputs.

    Attributes:
        gradient: d score / d x, as x.
        x: the inputs.
        tokens: what each step of the first sequence reads.
    """

    gradient: Tensor
    x: Tensor
    tokens: Sequence[str] | None = None

    @property
    def norms(self) -> Tensor:
        """The norm of the gradient at each step, ``[B, T]``."""
        return self.gradient.flatten(2).norm(dim=2)

    @property
    def contributions(self) -> Tensor:
        """The gradient times the input, summed over its features, ``[B, T]``: for a linear network, what each step adds
        to the score."""
        return (self.gradient * self.x).flatten(2).sum(2)

    def plot(self, path: str | Path, sequence: int = 0) -> None:
        """One sequence: the norm and the contribution of each step."""
        pictures.saliency(self, path, sequence)


def saliency(model: nn.Module | Callable[..., Any], x: Tensor, score: Callable[[Any], Tensor],
             tokens: Sequence[str] | None = None, **given: Any) -> Saliency:
    """How a score of a network's result changes with its inputs at each step.

    Args:
        model: called as ``model(x, **given)``.
        x: ``[B, T, ...]``, floats: of a text, its embeddings.
        score: makes one number of the result; of a batch, the sum of each sequence's.
        tokens: what the steps of the first sequence read.
        **given: what else the model is given, such as lengths.

    Raises:
        InputError: when x is no tensor of floats ``[B, T, ...]`` or the score is not one number.

    Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2013 (arXiv 1312.6034).

    >>> from ostinato import Recurrent, cells
    >>> rnn = Recurrent(cells.RunningAverage(1, 1, alpha=0.5, bias=False))
    >>> found = saliency(rnn, torch.ones(1, 3, 1), lambda result: result[0][:, -1].sum())
    >>> (found.norms / found.norms[:, -1]).tolist()
    [[0.25, 0.5, 1.0]]
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 3:
        found = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise InputError(f"saliency needs inputs of floats, [B, T, N]; of whole numbers, their embeddings; got {found}")
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        value = score(model(leaf, **given))
        if value.numel() != 1:
            raise InputError(f"the score must be one number, got {list(value.shape)}")
        (gradient,) = torch.autograd.grad(value, leaf)
    return Saliency(gradient, x.detach(), tokens)
