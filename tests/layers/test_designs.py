"""The three designs, by the lecture's forward equations in NumPy, and their gradients by the explicit loop."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from close import assert_close
from loops import compare
from torch import Tensor

import ostinato
from ostinato import Recurrent, cells
from ostinato.layers import HiddenToHidden, OneOutput, OutputToHidden, lecture_parameters, log_loss, probabilities

B, T, N, H, K = 3, 5, 2, 4, 3
LENGTHS = [5, 3, 1]


def softmax(o: np.ndarray) -> np.ndarray:
    e = np.exp(o - o.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randn(B, T, N, dtype=torch.float64, requires_grad=True), torch.randint(0, K, (B, T))


def made(kind: type, **options) -> HiddenToHidden | OneOutput | OutputToHidden:
    torch.manual_seed(5)
    design = kind(N, H, K, **options) if kind is OutputToHidden else kind(cells.Elman(N, H), K)
    with torch.no_grad():
        for p in design.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return design.double()


def numbers(design) -> list[np.ndarray]:
    names = lecture_parameters(design)
    return [names[n].detach().numpy() for n in ("U", "W", "V", "b", "c")]


@pytest.fixture(params=["cpu", "reference"])
def engine(request):
    with ostinato.engine(request.param):
        yield request.param


def test_design_1_is_the_lectures_forward_calculation(engine) -> None:
    design, (x, y) = made(HiddenToHidden), data()
    U, W, V, b, c = numbers(design)
    L, outputs = 0.0, np.zeros((B, T, K))
    for n in range(B):
        h = np.zeros(H)
        for t in range(LENGTHS[n]):
            a = b + W @ h + U @ x[n, t].detach().numpy()
            h = np.tanh(a)
            o = c + V @ h
            y_hat = softmax(o)
            L += -np.log(y_hat[y[n, t]])
            outputs[n, t] = o
    found, _ = design(x, lengths=LENGTHS)
    live = (np.arange(T) < np.array(LENGTHS)[:, None])[..., None]
    assert_close(torch.where(torch.from_numpy(live), found, 0), outputs)
    assert_close(log_loss(found, y, LENGTHS), L)
    assert_close(probabilities(found), softmax(found.detach().numpy()))


@pytest.mark.parametrize("feedback", ["teacher", "free"])
def test_design_2_is_the_lectures(feedback: str, engine) -> None:
    design, (x, y) = made(OutputToHidden, feedback=feedback), data()
    U, W, V, b, c = numbers(design)
    L, outputs = 0.0, np.zeros((B, T, K))
    for n in range(B):
        past = np.zeros(K)
        for t in range(LENGTHS[n]):
            a = b + W @ past + U @ x[n, t].detach().numpy()
            h = np.tanh(a)
            o = c + V @ h
            L += -np.log(softmax(o)[y[n, t]])
            past = np.eye(K)[y[n, t]] if feedback == "teacher" else o
            outputs[n, t] = o
    found, _ = design(x, y, lengths=LENGTHS)
    assert_close(found, outputs)
    assert_close(log_loss(found, y, LENGTHS), L)


def test_design_3_is_the_lectures(engine) -> None:
    design, (x, _) = made(OneOutput), data()
    y = torch.tensor([2, 0, 1])
    U, W, V, b, c = numbers(design)
    L, outputs = 0.0, np.zeros((B, K))
    for n in range(B):
        h = np.zeros(H)
        for t in range(LENGTHS[n]):
            h = np.tanh(b + W @ h + U @ x[n, t].detach().numpy())
        outputs[n] = c + V @ h
        L += -np.log(softmax(outputs[n])[y[n]])
    found, _ = design(x, lengths=LENGTHS)
    assert_close(found, outputs)
    assert_close(log_loss(found, y), L)


@pytest.mark.parametrize("kind, feedback", [(HiddenToHidden, ""), (OutputToHidden, "teacher"),
                                            (OutputToHidden, "free"), (OneOutput, "")])  # fmt: skip
def test_gradients_of_the_loss(kind: type, feedback: str, engine) -> None:
    options = {"feedback": feedback} if feedback else {}
    design, (x, y) = made(kind, **options), data()
    p = lecture_parameters(design)
    total = []
    for n in range(B):
        past, o = torch.zeros(K if feedback else H, dtype=torch.float64), torch.zeros(0)
        for t in range(LENGTHS[n]):
            h = torch.tanh(p["b"] + p["W"] @ past + p["U"] @ x[n, t])
            o = p["c"] + p["V"] @ h
            past = h if not feedback else o if feedback == "free" else torch.eye(K, dtype=torch.float64)[y[n, t]]
            if kind is not OneOutput:
                total.append(torch.logsumexp(o, 0) - o[y[n, t]])
        if kind is OneOutput:
            total.append(torch.logsumexp(o, 0) - o[y[n, 0]])
    found, _ = design(x, y, lengths=LENGTHS) if feedback else design(x, lengths=LENGTHS)
    L = log_loss(found, y[:, 0]) if kind is OneOutput else log_loss(found, y, LENGTHS)
    compare([L], [torch.stack(total).sum()], [x, *design.parameters()])


def test_design_2_has_no_loop_under_its_teacher_and_runs_free_at_test_time() -> None:
    design, (x, y) = made(OutputToHidden), data()
    assert isinstance(design, OutputToHidden)
    taught, _ = design(x, y)
    assert (design.feedback.explain().engine, design.feedback.explain().parts["S"]) == ("none", 0)
    design.eval()
    assert_close(design(x)[0], design.feedback.recurrent(x)[0])
    assert_close(design(x, y, feedback="teacher")[0], taught)


def test_any_cell_in_designs_1_and_3(engine) -> None:
    x, _ = data()
    for cell in (cells.LSTM(N, H), cells.NARX(N, H, output_size=6, delays=3), cells.Leaky(N, H)):
        rnn = Recurrent(cell.double())
        outputs, states = rnn(x, lengths=LENGTHS)
        first, third = HiddenToHidden(rnn, K), OneOutput(rnn, K)
        assert_close(first(x, lengths=LENGTHS)[0], first.V(outputs))
        last = torch.stack([outputs[n, length - 1] for n, length in enumerate(LENGTHS)])
        assert_close(third(x, lengths=LENGTHS), (third.V(last), states))


def test_padding_adds_nothing_to_the_loss() -> None:
    o, (_, y) = torch.randn(B, T, K, dtype=torch.float64, requires_grad=True), data()
    dead = torch.arange(T) >= torch.tensor(LENGTHS).unsqueeze(1)
    L = log_loss(o, y.masked_fill(dead, 99), LENGTHS)
    each = log_loss(o, y, reduction="none")
    assert each.shape == (B, T)
    assert_close(L, each[~dead].sum())
    assert_close(log_loss(o, y, LENGTHS, "mean"), each[~dead].mean())
    assert_close(log_loss(o, y, torch.tensor(LENGTHS), "none"), each.masked_fill(dead, 0))
    (slope,) = torch.autograd.grad(L, o)
    assert not slope[dead].any() and slope[~dead].any(-1).all()


def test_targets_at_padding_are_not_looked_at() -> None:
    design, (x, y) = made(OutputToHidden), data()
    dead = torch.arange(T) >= torch.tensor(LENGTHS).unsqueeze(1)
    assert_close(design(x, y.masked_fill(dead, -100), lengths=LENGTHS), design(x, y, lengths=LENGTHS))


O, Y = torch.zeros(B, T, K), torch.zeros(B, T, dtype=torch.long)  # noqa: E741
ERRORS = [
    (lambda: log_loss(O, Y[:, 1:]), ValueError, r"targets must be as o without its last dimension, \[3, 5\], got"),
    (lambda: log_loss(O, Y.float()), TypeError, r"whole numbers, a tensor \[3, 5\], got torch.float32"),
    (lambda: log_loss(O, [1]), TypeError, "got list"),  # pyright: ignore
    (lambda: log_loss(O, Y, reduction="max"), ValueError, "reduction must be sum, mean or none, got 'max'"),
    (lambda: log_loss(O[:, 0], Y[:, 0], LENGTHS), ValueError, r"steps of o \[B, T, K\], got o \[3, 3\]"),
    (lambda: made(OutputToHidden)(data()[0], Y[:2]), ValueError, r"targets must be \[B, T\], \[3, 5\], got \[2, 5\]"),
    (lambda: made(OutputToHidden)(data()[0]), ValueError, "needs the targets"),
    (lambda: lecture_parameters(HiddenToHidden(cells.GRU(2, 2), 2)), ValueError, "are those of cells.Elman"),
    (lambda: HiddenToHidden(torch.nn.Linear(2, 2), 2), TypeError, "repeats an ostinato.Cell"),  # pyright: ignore
]


@pytest.mark.parametrize("call, kind, words", ERRORS, ids=[re.sub(r"\W+", " ", e[2])[:40] for e in ERRORS])
def test_errors(call, kind, words) -> None:
    with pytest.raises(kind, match=words):
        call()
