"""Where the pen goes next, as a density: a mixture of bivariate Gaussians over its offset, and what the pen does.

Two forms: Graves's, whose pen lifts or does not (a Bernoulli variable), and sketch-rnn's, whose pen stays down,
lifts, or has ended (three classes).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from ostinato.errors import InputError, unknown

PENS = {"lift": 1, "state": 3}
"""For each form of the pen, how many numbers the network gives for it."""
_WIDEST = 10.0
"""Deviations are from e^-10 to e^10: beyond, squares in float32 overflow."""
_CORRELATION = 0.999
"""No nearer to 1, where the density of a float32 loses its digits."""


class Density(NamedTuple):
    """A mixture for every step: what the network's numbers mean."""

    weights: Tensor
    """``[..., M]``, their logarithms."""
    means: Tensor
    """``[..., M, 2]``."""
    deviations: Tensor
    """``[..., M, 2]``, their logarithms."""
    correlations: Tensor
    """``[..., M]``, inside of -1 and 1."""
    pen: Tensor
    """``[..., 1]`` or ``[..., 3]``, logits."""


class MixtureDensity(nn.Module):
    """Numbers ``[..., size]`` of a network as a density over pen steps: ``loss`` for training, ``sample`` to write.

    Args:
        components: M, how many Gaussians.
        pen: ``"lift"``, one bit (Graves); or ``"state"``, one of down, lifted, ended (sketch-rnn).
        floor: the least deviation, in the units of the offsets: on offsets that are whole numbers a density has no
            bound without one, and the loss means nothing.

    Raises:
        InputError: fewer than one component, another form of pen, a floor below 0.

    Source: Graves (2013), arXiv 1308.0850, section 4; Ha and Eck (2017), arXiv 1704.03477.

    >>> mixture = MixtureDensity(components=20)
    >>> mixture.size
    121
    >>> steps = torch.tensor([[[0.5, -1.0, 0.0], [2.0, 0.0, 1.0]]])
    >>> mixture.loss(torch.zeros(1, 2, 121), steps).shape
    torch.Size([1, 2])
    """

    def __init__(self, components: int = 20, pen: str = "lift", floor: float = 0.0) -> None:
        super().__init__()
        if components < 1:
            raise InputError(f"a mixture has 1 or more components, got {components}")
        if pen not in PENS:
            raise unknown("form of pen", pen, PENS)
        if floor < 0:
            raise InputError(f"the least deviation is 0 or more, got {floor}")
        self.components, self.pen, self.floor = components, pen, floor

    @property
    def size(self) -> int:
        """How many numbers a network gives for a step: six a component, and the pen's."""
        return 6 * self.components + PENS[self.pen]

    def density(self, numbers: Tensor) -> Density:
        """What numbers ``[..., size]`` mean.

        Raises:
            InputError: another size.
        """
        if numbers.shape[-1] != self.size:
            raise InputError(f"{self.components} components with pen={self.pen!r} take {self.size} numbers a step, "
                             f"got {numbers.shape[-1]}")
        m = self.components
        weights, means, deviations, correlations, pen = numbers.split([m, 2 * m, 2 * m, m, PENS[self.pen]], -1)
        deviations = deviations.unflatten(-1, (m, 2)).clamp(-_WIDEST, _WIDEST)
        if self.floor:
            deviations = torch.logaddexp(deviations, deviations.new_tensor(math.log(self.floor)))
        return Density(weights.log_softmax(-1), means.unflatten(-1, (m, 2)), deviations,
                       _CORRELATION * correlations.tanh(), pen)

    def loss(self, numbers: Tensor, steps: Tensor) -> Tensor:
        """The negative log-likelihood in nats of every pen step: ``[..., size]`` and ``[..., 3]`` to ``[...]``.

        Args:
            numbers: the network's.
            steps: (dx, dy, pen): the pen 0 or 1, or with ``pen="state"`` 0 (down), 1 (lifted) or 2 (ended). The offset
                of an end counts for nothing.

        Raises:
            InputError: another shape, or a pen that is none of these.
        """
        density = self.density(numbers)
        if steps.shape != (*numbers.shape[:-1], 3):
            raise InputError(f"steps must be {[*numbers.shape[:-1], 3]}, got {list(steps.shape)}")
        state = steps[..., 2]
        most = 1 if self.pen == "lift" else 2
        if not bool(((state >= 0) & (state <= most) & (state == state.round())).all()):
            raise InputError(f"the pen of a step must be a whole number from 0 to {most}")
        offset, pen = -offset_log_density(density, steps[..., :2]), _pen_loss(density.pen, state)
        return pen + (offset if self.pen == "lift" else torch.where(state == 2, 0.0, offset))

    def sample(self, numbers: Tensor, generator: Generator | None = None, bias: float = 0.0) -> Tensor:
        """Draw a pen step ``[..., 3]`` from numbers ``[..., size]``.

        Args:
            numbers: the network's.
            generator: the same seed draws the same steps.
            bias: 0 draws from the density; the more, the neater: components by (1 + bias), deviations by e^-bias, as
                Graves has it (the pen is drawn as it is).

        Raises:
            InputError: a bias below 0, or another size.
        """
        if not bias >= 0:
            raise InputError(f"the bias must be 0 or more, got {bias}")
        density = self.density(numbers)
        flat = ((1 + bias) * density.weights).softmax(-1).flatten(0, -2)  # [N, M]
        chosen = torch.multinomial(flat, 1, generator=generator).view(*numbers.shape[:-1], 1)  # [..., 1]
        pair = chosen.unsqueeze(-1).expand(*chosen.shape, 2)
        means, deviations = (value.gather(-2, pair).squeeze(-2) for value in (density.means, density.deviations))
        correlation = density.correlations.gather(-1, chosen).squeeze(-1)
        noise = torch.randn(means.shape, generator=generator, dtype=means.dtype, device=means.device)  # [..., 2]
        mixed = correlation * noise[..., 0] + (1 - correlation.square()).sqrt() * noise[..., 1]
        offset = means + (deviations - bias).exp() * torch.stack([noise[..., 0], mixed], -1)
        return torch.cat([offset, _drawn_pen(density.pen, generator)], -1)


def offset_log_density(density: Density, offsets: Tensor) -> Tensor:
    """The logarithm of the density ``[...]`` at offsets ``[..., 2]``."""
    z = (offsets.unsqueeze(-2) - density.means) * (-density.deviations).exp()  # [..., M, 2]
    x, y, r = z[..., 0], z[..., 1], density.correlations
    # (x - r y)^2 / (1 - r^2) + y^2 rather than the book's form, whose terms cancel as r nears 1
    distance = (x - r * y).square() / (1 - r.square()) + y.square()
    scale = math.log(2 * math.pi) + density.deviations.sum(-1) + 0.5 * torch.log1p(-r.square())
    return torch.logsumexp(density.weights - scale - 0.5 * distance, -1)


def _pen_loss(logits: Tensor, state: Tensor) -> Tensor:
    if logits.shape[-1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[..., 0], state.to(logits.dtype), reduction="none")
    return -logits.log_softmax(-1).gather(-1, state.long().unsqueeze(-1)).squeeze(-1)


def _drawn_pen(logits: Tensor, generator: Generator | None) -> Tensor:
    if logits.shape[-1] == 1:
        return torch.bernoulli(logits.sigmoid(), generator=generator)
    drawn = torch.multinomial(logits.softmax(-1).flatten(0, -2), 1, generator=generator)  # [N, 1]
    return drawn.view(*logits.shape[:-1], 1).to(logits.dtype)
