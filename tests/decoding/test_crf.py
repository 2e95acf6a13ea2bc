"""The CRF against enumeration of all paths."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from close import assert_close
from torch import Tensor

from ostinato.decoding.crf import CRF
from ostinato.decoding.spans import follows
from ostinato.errors import InputError

LENGTHS = [4, 1, 0, 3, 2]
NAMES = ["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "E-Y"]
BIO = ["I-X", "O", "B-X", "B-Y", "I-Y"]


def made(labels: int | list[str], scheme: str | None = None) -> CRF:
    torch.manual_seed(3)
    crf = CRF(labels, scheme).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def paths(crf: CRF, scores: Tensor, scheme: str | None) -> dict[tuple[int, ...], Tensor]:
    """Every path of one sequence ``[L, K]`` that the scheme allows, with its score."""
    transitions = crf.paths.get_parameter("cell.T")
    found = {}
    for path in product(range(crf.size), repeat=len(scores)):
        names = [None, *(crf.names[k] for k in path), None] if crf.names else []
        if scheme and not all(follows(a, b, scheme) for a, b in pairwise(names)):
            continue
        total = crf.start[path[0]] + crf.end[path[-1]]
        for t, k in enumerate(path):
            total = total + scores[t, k] + (transitions[path[t - 1], k] if t else 0)
        found[path] = total
    return found


CASES = [(made(4), None), (made(1), None), (made(NAMES, "bioes"), "bioes"), (made(BIO, "bio"), "bio"),
         (made(BIO, "iob1"), "iob1")]


@pytest.fixture
def scores() -> Tensor:
    torch.manual_seed(5)
    return 2 * torch.randn(5, 4, 7, dtype=torch.float64)  # [B, T, K]


def enumerated(crf: CRF, scheme: str | None, scores: Tensor) -> list[dict[tuple[int, ...], Tensor]]:
    return [paths(crf, one[:length], scheme) if length else {(): torch.zeros((), dtype=torch.float64)}
            for one, length in zip(scores, LENGTHS, strict=True)]


@pytest.mark.parametrize(("crf", "scheme"), CASES)
def test_the_loss_and_its_gradients(crf: CRF, scheme: str | None, scores: Tensor) -> None:
    scores = scores[..., : crf.size].clone().requires_grad_()
    every = enumerated(crf, scheme, scores)
    chosen = [sorted(one)[len(one) // 2] for one in every]
    targets = torch.full((5, 4), -100)
    for row, path in enumerate(chosen):
        targets[row, : len(path)] = torch.tensor(path, dtype=torch.long)
    wanted = torch.stack([torch.logsumexp(torch.stack(list(one.values())), 0) - one[path]
                          for one, path in zip(every, chosen, strict=True)])
    loss = crf(scores, targets, LENGTHS)
    assert_close(loss, wanted)
    leaves = [scores, *crf.parameters()]
    weights = torch.arange(1.0, 6.0, dtype=torch.float64)
    gradients = [torch.autograd.grad((weights * value).sum(), leaves, allow_unused=True) for value in (loss, wanted)]
    zeros = [[torch.zeros_like(leaf) if g is None else g for g, leaf in zip(got, leaves, strict=True)]
             for got in gradients]
    assert_close(zeros[0], zeros[1])


@pytest.mark.parametrize(("crf", "scheme"), CASES)
def test_decoding(crf: CRF, scheme: str | None, scores: Tensor) -> None:
    scores = scores[..., : crf.size]
    labels, score = crf.decode(scores, LENGTHS)
    for row, one in enumerate(enumerated(crf, scheme, scores)):
        best = max(one, key=lambda path: float(one[path].detach()))
        assert tuple(labels[row, : LENGTHS[row]].tolist()) == best
        assert labels[row, LENGTHS[row] :].eq(0).all()
        assert_close(score[row], one[best].detach())


@pytest.mark.parametrize(("crf", "scheme"), CASES)
def test_marginals(crf: CRF, scheme: str | None, scores: Tensor) -> None:
    scores = scores[..., : crf.size]
    wanted = torch.zeros_like(scores)
    for row, one in enumerate(enumerated(crf, scheme, scores)):
        p = torch.softmax(torch.stack(list(one.values())).detach(), 0)
        for path, share in zip(one, p, strict=True):
            for t, k in enumerate(path):
                wanted[row, t, k] += share
    with torch.no_grad():
        assert_close(crf.marginals(scores, LENGTHS), wanted)


def test_padding_is_not_read(scores: Tensor) -> None:
    crf = made(7)
    spoilt = scores.clone()
    for row, length in enumerate(LENGTHS):
        spoilt[row, length:] = float("nan")
    targets = torch.randint(7, (5, 4))
    clean, dirty = scores.clone().requires_grad_(), spoilt.requires_grad_()
    first, second = crf(clean, targets, LENGTHS), crf(dirty, targets, LENGTHS)
    assert_close(second, first)
    assert_close(torch.autograd.grad(second.sum(), dirty), torch.autograd.grad(first.sum(), clean))
    assert_close(list(crf.decode(dirty, LENGTHS)), list(crf.decode(clean, LENGTHS)))


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_single_precision_and_large_scores(factor: float, scores: Tensor) -> None:
    crf = made(NAMES, "bioes")
    wanted = crf.log_partition(factor * scores, LENGTHS)
    assert_close(crf.float().log_partition((factor * scores).float(), LENGTHS), wanted.float())
    crf.double()


def test_one_and_no_steps() -> None:
    crf = made(3)
    assert_close(crf(torch.zeros(2, 0, 3).double(), torch.zeros(2, 0).long()), torch.zeros(2).double())
    assert crf.decode(torch.zeros(2, 0, 3).double())[0].shape == (2, 0)
    one = torch.tensor([[[0.0, 5.0, 1.0]]]).double()
    assert_close(crf.log_partition(one), torch.logsumexp(one[0, :, :] + crf.start + crf.end, -1))


def test_the_constraints_are_learned_around() -> None:
    """Training with them, what is decoded is well-formed and right."""
    torch.manual_seed(7)
    crf = CRF(["O", "B-X", "I-X"], "bio")
    targets = torch.tensor([[0, 1, 2, 2, 0, 1]])
    scores = torch.randn(1, 6, 3, requires_grad=True)
    optimizer = torch.optim.SGD([scores, *crf.parameters()], 1.0)
    before = float(crf(scores, targets).detach())
    for _ in range(30):
        optimizer.zero_grad()
        crf(scores, targets).sum().backward()
        optimizer.step()
    assert float(crf(scores, targets).detach()) < before / 10
    assert torch.equal(crf.decode(scores)[0], targets)


def test_errors() -> None:
    crf, scores = CRF(["O", "B-X", "I-X"], "bio"), torch.zeros(2, 3, 3)
    with pytest.raises(ValueError, match=r"sequence 1 has I-X after O at step 2, which the scheme forbids"):
        crf(scores, torch.tensor([[0, 1, 2], [1, 0, 2]]))
    with pytest.raises(ValueError, match=r"sequence 0 begins with I-X"):
        crf(scores, torch.tensor([[2, 2, 2], [1, 0, 0]]))
    with pytest.raises(ValueError, match=r"sequence 0 ends with B-X"):
        CRF(["O", "B-X", "E-X"], "bioes")(scores, torch.tensor([[0, 0, 1], [0, 0, 0]]))
    with pytest.raises(ValueError, match=r"targets must be from 0 to 2, got 3"):
        crf(scores, torch.tensor([[0, 0, 3], [0, 0, 0]]))
    with pytest.raises(ValueError, match=r"scores must be \[B, T, K\] with K=3, got \[2, 3, 4\]"):
        crf(torch.zeros(2, 3, 4), torch.zeros(2, 3).long())
    with pytest.raises(ValueError, match=r"targets must be whole numbers \[2, 3\], got torch.int64 \[2, 2\]"):
        crf(scores, torch.zeros(2, 2).long())
    with pytest.raises(ValueError, match=r"needs the labels' names"):
        CRF(3, "bio")
    with pytest.raises(InputError, match=r"did you mean 'bio'"):
        CRF(["O"], "bi")
    with pytest.raises(InputError, match=r"bio has no labels E- and S-"):
        CRF(["O", "S-X"], "bio")
