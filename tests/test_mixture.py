"""The mixture density over pen steps: it integrates to one, in both forms; its samples are of it; it is stable."""

from __future__ import annotations

import math

import pytest
import torch
from close import assert_close
from torch import Generator

from ostinato.decoding.mixture import MixtureDensity, offset_log_density
from ostinato.errors import InputError


def numbers(mixture: MixtureDensity, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, mixture.size, generator=Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("pen", ["lift", "state"])
@pytest.mark.parametrize(("components", "floor"), [(1, 0.0), (5, 0.0), (5, 0.3)])
def test_the_density_integrates_to_one(pen: str, components: int, floor: float) -> None:
    mixture = MixtureDensity(components, pen, floor)
    given = 0.5 * numbers(mixture, seed=components)
    line = torch.linspace(-25, 25, 501, dtype=torch.float64)
    x, y = torch.meshgrid(line, line, indexing="ij")
    area = (line[1] - line[0]).item() ** 2
    total = 0.0
    for state in range(2):
        steps = torch.stack([x, y, torch.full_like(x, state)], -1)  # [N, N, 3]
        total += area * mixture.loss(given.expand(*x.shape, -1), steps).neg().exp().sum().item()
    if pen == "state":  # the end has a probability of its own, whatever its offset
        total += mixture.loss(given, given.new_tensor([7.0, 7.0, 2.0])).neg().exp().item()
    assert total == pytest.approx(1, abs=1e-6)


def test_the_density_is_that_of_torch_distributions() -> None:
    mixture = MixtureDensity(4)
    given, offsets = numbers(mixture, 3, 5), torch.randn(3, 5, 2, dtype=torch.float64)
    density = mixture.density(given)
    sx, sy = density.deviations.exp().unbind(-1)
    cross = density.correlations * sx * sy
    covariance = torch.stack([torch.stack([sx**2, cross], -1), torch.stack([cross, sy**2], -1)], -2)
    normal = torch.distributions.MultivariateNormal(density.means, covariance)
    pick = torch.distributions.Categorical(logits=density.weights)
    expected = torch.distributions.MixtureSameFamily(pick, normal).log_prob(offsets)
    assert_close(offset_log_density(density, offsets), expected)


@pytest.mark.parametrize("pen", ["lift", "state"])
def test_gradients(pen: str) -> None:
    mixture = MixtureDensity(3, pen, floor=0.1)
    steps = torch.tensor([[0.3, -1.0, 0.0], [2.0, 0.1, 1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda n: mixture.loss(n, steps), numbers(mixture, 2).requires_grad_())


@pytest.mark.parametrize("pen", ["lift", "state"])
def test_samples_are_of_the_density(pen: str) -> None:
    mixture = MixtureDensity(3, pen)
    given = numbers(mixture, seed=4)
    drawn = mixture.sample(given.expand(40_000, -1), Generator().manual_seed(0))
    again = mixture.sample(given.expand(40_000, -1), Generator().manual_seed(0))
    assert torch.equal(drawn, again)
    density = mixture.density(given)
    weights, deviations = density.weights.exp()[:, None], density.deviations.exp()
    mean = (weights * density.means).sum(0)
    second = (weights * (deviations.square() + density.means.square())).sum(0)
    cross = (weights[:, 0] * (density.correlations * deviations.prod(1) + density.means.prod(1))).sum()
    size = second.sqrt()
    assert ((drawn[:, :2].mean(0) - mean).abs() / size).max() < 0.03
    assert ((drawn[:, :2].square().mean(0) - second).abs() / second).max() < 0.06
    assert (drawn[:, :2].prod(1).mean() - cross).abs() / size.prod() < 0.06
    chances = density.pen.sigmoid() if pen == "lift" else density.pen.softmax(-1)[1:]
    for state, chance in enumerate(chances.tolist(), start=1):
        assert (drawn[:, 2] == state).double().mean().item() == pytest.approx(chance, abs=0.01)


def test_bias_makes_samples_neater() -> None:
    mixture = MixtureDensity(3)
    given = numbers(mixture, seed=4).expand(2000, -1)
    likeliest = mixture.density(given[0])
    neat = mixture.sample(given, Generator().manual_seed(0), bias=20.0)
    expected = likeliest.means[likeliest.weights.argmax()]
    assert (neat[:, :2] - expected).abs().max() < 1e-4
    spread = [mixture.sample(given, Generator().manual_seed(0), bias=b)[:, 0].std().item() for b in (0.0, 0.5, 2.0)]
    assert spread[0] > spread[1] > spread[2]


def test_single_precision_stays_finite_at_the_extremes() -> None:
    for scale in (1.0, 30.0):
        for pen in ("lift", "state"):
            mixture = MixtureDensity(4, pen)
            given = (scale * numbers(mixture, 200)).float().requires_grad_()
            steps = torch.tensor([1000.0, -1000.0, 1.0]).expand(200, 3)
            near = mixture.density(given).means[:, 0].detach()
            steps = torch.where(torch.arange(200)[:, None] % 2 == 0, steps, torch.cat([near, torch.ones(200, 1)], 1))
            loss = mixture.loss(given, steps)
            loss[1::2].sum().backward()
            assert loss[1::2].isfinite().all() and not loss.isnan().any()
            assert given.grad is not None and given.grad.isfinite().all()
            if scale == 1.0:
                assert_close(loss, mixture.loss(given.detach().double(), steps.double()).float())


def test_a_floor_bounds_the_density() -> None:
    mixture = MixtureDensity(1, floor=0.25)
    given = torch.tensor([0.0, 3.0, 3.0, -50.0, -50.0, 0.0, -50.0])  # a needle at (3, 3)
    loss = mixture.loss(given, torch.tensor([3.0, 3.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(2 * math.pi * (0.25 + math.exp(-10)) ** 2), abs=1e-5)


def test_what_cannot_be_is_refused() -> None:
    wrong = [({"components": 0}, "got 0"), ({"pen": "up"}, "form of pen 'up'"), ({"floor": -1}, "got -1")]
    for options, message in wrong:
        with pytest.raises(InputError, match=message):
            MixtureDensity(**options)
    mixture = MixtureDensity(2)
    with pytest.raises(InputError, match="take 13 numbers a step, got 12"):
        mixture.loss(torch.zeros(4, 12), torch.zeros(4, 3))
    with pytest.raises(InputError, match=r"steps must be \[4, 3\], got \[4, 2\]"):
        mixture.loss(torch.zeros(4, 13), torch.zeros(4, 2))
    with pytest.raises(InputError, match="a whole number from 0 to 1"):
        mixture.loss(torch.zeros(1, 13), torch.tensor([[0.0, 0.0, 2.0]]))
    with pytest.raises(InputError, match="bias must be 0 or more, got -1"):
        mixture.sample(torch.zeros(1, 13), bias=-1)
