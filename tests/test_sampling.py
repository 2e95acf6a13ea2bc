"""Temperature, top-k and seeds: the distribution drawn from, and what is drawn."""

from __future__ import annotations

import pytest
import torch
from close import assert_close

from ostinato.decoding.sampling import Sampler
from ostinato.errors import InputError

LOGITS = torch.tensor([[0.5, 2.0, -1.0, 1.9], [3.0, 0.0, 0.1, -2.0]])


def test_temperature_one_is_the_softmax() -> None:
    assert_close(Sampler().probabilities(LOGITS), LOGITS.double().softmax(-1))


def test_temperature_divides_the_logits() -> None:
    assert_close(Sampler(0.5).probabilities(LOGITS), (LOGITS.double() * 2).softmax(-1))


def test_top_k_leaves_exactly_k() -> None:
    p = Sampler(top_k=2).probabilities(LOGITS)
    assert (p > 0).sum(-1).tolist() == [2, 2]
    assert_close(p[0, [1, 3]], LOGITS[0, [1, 3]].double().softmax(-1))
    assert (Sampler(top_k=2).probabilities(torch.zeros(1, 5)) > 0).sum() == 2, "ties too"


@pytest.mark.parametrize("top_k", [0, 4, 9])
def test_all_may_be_drawn(top_k: int) -> None:
    assert_close(Sampler(top_k=top_k).probabilities(LOGITS), LOGITS.double().softmax(-1))


@pytest.mark.parametrize("sampler", [Sampler(0.0), Sampler(top_k=1), Sampler(1e-300), Sampler(1e-6)])
def test_the_likeliest(sampler: Sampler) -> None:
    assert [sampler(LOGITS).tolist() for _ in range(5)] == [[1, 0]] * 5


def test_a_token_ruled_out_is_never_drawn() -> None:
    logits = torch.tensor([[-float("inf"), 0.0, 1.0]])
    sampler = Sampler(2.0, seed=3)
    assert {int(sampler(logits)) for _ in range(200)} == {1, 2}


def test_the_nucleus() -> None:
    p = torch.tensor([[0.5, 0.25, 0.15, 0.1]], dtype=torch.float64).log()
    assert_close(Sampler(top_p=0.7).probabilities(p), torch.tensor([[2 / 3, 1 / 3, 0, 0]], dtype=torch.float64))
    assert_close(Sampler(top_p=0.75 - 1e-6).probabilities(p), Sampler(top_p=0.7).probabilities(p))
    assert (Sampler(top_p=0.8).probabilities(p) > 0).sum() == 3
    assert (Sampler(top_p=1e-9).probabilities(p) > 0).sum() == 1
    assert {int(Sampler(top_p=0.6, seed=seed)(p)) for seed in range(50)} == {0, 1}
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="top-p"):
            Sampler(top_p=wrong)


def test_seeds() -> None:
    first, same, other = Sampler(seed=1), Sampler(seed=1), Sampler(seed=2)
    logits = torch.zeros(1, 50)
    draws = [[int(s(logits)) for _ in range(20)] for s in (first, same, other)]
    assert draws[0] == draws[1] != draws[2]


def test_a_sampler_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Sampler(seed=1)(LOGITS)
    assert bool((torch.get_rng_state() == before).all())


def test_frequencies_follow_the_probabilities() -> None:
    sampler = Sampler(0.7, seed=5)
    p = sampler.probabilities(LOGITS[:1])[0]
    draws = sampler(LOGITS[:1].expand(20_000, 4))
    frequencies = torch.bincount(draws, minlength=4).double() / 20_000
    assert (frequencies - p).abs().max() < 4 * 0.5 / 20_000**0.5  # four standard deviations at their largest


@pytest.mark.parametrize("temperature", [-1.0, float("nan"), float("inf")])
def test_bad_temperature(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        Sampler(temperature)


def test_bad_top_k() -> None:
    with pytest.raises(InputError, match="top-k"):
        Sampler(top_k=-1)
