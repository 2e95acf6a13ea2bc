"""One mechanism for output recurrence, NARX and decoders: teacher, free, and scheduled sampling between them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from close import assert_close
from loops import compare
from torch import Tensor, nn

import ostinato
from ostinato import Recurrent, cells, layers
from ostinato.layers import ExponentialDecay, Feedback, InverseSigmoidDecay, LinearDecay

B, T, N, K, H = 3, 6, 3, 2, 4


def make(kind: str) -> Feedback:
    torch.manual_seed(1)
    if kind == "output":
        cell = cells.OutputRecurrence(N, H, output_size=K)
    elif kind == "narx":
        cell = cells.NARX(N, H, output_size=K, delays=3)
    elif kind == "value":
        cell = cells.ValueDecoder(cells.GRU(K + N, H), K, input_size=N)
    else:
        cell = cells.Decoder(cells.LSTM(5 + N, H), 7, 5, input_size=N, start=1)
        nn.init.normal_(cell.V.weight)
    return Feedback(cell.double(), seed=5)


KINDS = ["output", "narx", "value", "symbol"]


def data(kind: str) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    x = torch.randn(B, T, N, dtype=torch.float64, requires_grad=True)
    return x, torch.randint(0, 7, (B, T)) if kind == "symbol" else torch.randn(B, T, K, dtype=torch.float64)


def explicit(model: Feedback, x: Tensor, targets: Tensor | None, own: Tensor | None) -> Tensor:
    """The loop as one writes it, with each kind's own equations."""
    cell: nn.Module = model.recurrent.cell
    W = lambda m, v: v @ m.weight.T + (0 if m.bias is None else m.bias)  # noqa: E731
    outputs = []
    if isinstance(cell, (cells.OutputRecurrence, cells.NARX)):
        maps: list = [cell.U] if isinstance(cell, cells.OutputRecurrence) else list(cell.U)
        past = [torch.zeros(B, K, dtype=torch.float64)] * len(maps)
        for t in range(T):
            a = W(cell.W, x[:, t]) + sum(W(U, past[-d]) for d, U in enumerate(maps, 1))
            outputs.append(W(cell.V, torch.tanh(a)))
            past.append(_fed(outputs[-1], targets, own, t))
        return torch.stack(outputs, 1)
    assert isinstance(cell, (cells.Decoder, cells.ValueDecoder))
    symbolic = isinstance(cell, cells.Decoder)
    y = torch.full((B,), 1) if symbolic else torch.zeros(B, K, dtype=torch.float64)
    states = [torch.zeros(B, H, dtype=torch.float64)] * len(cell.cell.states)
    for t in range(T):
        read = cell.E.weight[y.long()] if isinstance(cell, cells.Decoder) else y
        new = cell.cell.step(torch.cat([read, x[:, t]], -1), *states)
        states = list(new) if isinstance(new, tuple) else [new]
        outputs.append(W(cell.V, states[0]))
        y = _fed(outputs[-1].argmax(-1) if symbolic else outputs[-1], targets, own, t)
    return torch.stack(outputs, 1)


def _fed(mine: Tensor, targets: Tensor | None, own: Tensor | None, t: int) -> Tensor:
    if targets is None:
        return mine
    rows = [mine[b] if own is not None and own[b, t] else targets[b, t] for b in range(B)]
    return torch.stack(rows)


@pytest.fixture(params=["cpu", "reference"])
def engine(request):
    with ostinato.engine(request.param):
        yield request.param


@pytest.mark.parametrize("kind", KINDS)
def test_teacher(kind: str, engine) -> None:
    model, (x, y) = make(kind), data(kind)
    compare([model(x, y)[0]], [explicit(model, x, y, None)], [x, *model.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_free(kind: str, engine) -> None:
    model, (x, y) = make(kind), data(kind)
    model.feedback = "free"
    compare([model(x)[0]], [explicit(model, x, None, None)], [x, *model.parameters()])
    assert_close(model(x, y)[0], model(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_scheduled(kind: str, engine) -> None:
    model, (x, y) = make(kind), data(kind)
    model.feedback, model.seed = 0.5, 11
    own = torch.rand(B, T, generator=torch.Generator().manual_seed(11 * 1_000_003)) >= 0.5
    assert 0 < own.sum() < own.numel()
    compare([model(x, y)[0]], [explicit(model, x, y, own)], [x, *model.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_at_test_time_it_runs_free(kind: str) -> None:
    model, (x, y) = make(kind), data(kind)
    taught = model(x, y)[0]
    model.eval()
    free = model(x, feedback="free")[0]
    assert_close(model(x)[0], free)
    assert_close(model(x, y)[0], free)
    assert not torch.equal(taught, free)
    assert_close(model(x, y, feedback="teacher")[0], taught)


@pytest.mark.parametrize("share, same", [(1.0, "teacher"), (0.0, "free")])
def test_the_ends_of_the_scale(share: float, same: str) -> None:
    model, (x, y) = make("narx"), data("narx")
    compare([model(x, y, feedback=share)[0]], [model(x, y, feedback=same)[0]], [x, *model.parameters()])


def test_teacher_forced_output_recurrence_has_no_loop_and_scheduled_has() -> None:
    for kind in ("output", "narx"):
        model, (x, y) = make(kind), data(kind)
        model(x, y)
        assert (model.explain().parts["S"], model.explain().products) == (0, 0)
        model(x, y, feedback=0.5)
        assert model.explain().parts["S"] > 0
        model(x, feedback="free")
        assert model.explain().engine == "cpu"


def test_what_is_drawn_follows_from_the_seed_and_the_number_of_the_call() -> None:
    x, y = data("output")
    model, twin, other = make("output"), make("output"), make("output")
    other.seed = 6
    for m in (model, twin, other):
        m.feedback = 0.5
    first, second = model(x, y)[0], model(x, y)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(99)  # torch's own random numbers have no part in it
    assert_close(twin(x, y)[0], first)
    assert not torch.equal(other(x, y)[0], first)
    resumed = make("output")
    resumed.feedback = 0.5
    resumed.load_state_dict(twin.state_dict())
    assert_close(resumed(x, y)[0], second)
    assert int(resumed.calls) == 2


def test_each_step_and_sequence_is_drawn_for_itself() -> None:
    model = make("output")
    own = model._drawn(0.25, torch.zeros(200, 100, K))
    assert abs(own.double().mean().item() - 0.75) < 0.01
    assert own.double().mean(0).std() < 0.05 and own.double().mean(1).std() < 0.06
    assert 0.15 < (own[:, 1:] ^ own[:, :-1]).double().mean() / 2 < 0.22  # 2 p (1 - p) / 2 where neighbours do not agree


def test_a_schedule_is_asked_for_the_training_step() -> None:
    x, y = data("output")
    asked: list[int] = []
    model = make("output")
    model.feedback = lambda i: asked.append(i) or 1.0
    model(x, y)
    model(x, y)
    model.eval()(x, y)
    model.train()(x, y)
    assert asked == [0, 1, 2]


def test_the_decays_are_those_of_the_paper() -> None:
    i = np.arange(0, 2000, 7)
    for decay, expected in (
        (LinearDecay(0.01, 0.9, 0.2), np.maximum(0.2, 0.9 - 0.01 * i)),
        (ExponentialDecay(0.99), 0.99**i),
        (InverseSigmoidDecay(30.0), 30 / (30 + np.exp(i / 30))),
    ):
        assert_close(torch.tensor([decay(int(n)) for n in i], dtype=torch.float64), expected)
    assert InverseSigmoidDecay(5)(10**9) < 1e-300
    for decay in (LinearDecay(0.01), ExponentialDecay(0.99), InverseSigmoidDecay(30)):
        shares = [decay(n) for n in range(3000)]
        assert shares == sorted(shares, reverse=True) and 0 <= shares[-1] < 1e-9 and shares[0] <= 1


def test_the_gradient_stops_at_the_teacher_and_flows_where_a_vector_is_the_models_own() -> None:
    model = Feedback(cells.OutputRecurrence(N, H, output_size=K).double())
    x, y = data("output")
    own = torch.zeros(B, T, dtype=torch.bool)
    own[0, 2] = True
    outputs, _ = model.recurrent(x, teacher={"o": y}, own=own)
    (slope,) = torch.autograd.grad(outputs[:, 3].sum(), x)
    reached = slope.abs().sum(-1) > 0  # [B, T]
    expected = torch.zeros(B, T, dtype=torch.bool)
    expected[:, 3] = expected[0, 2] = True
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("feedback", ["teacher", 0.5, "free"])
def test_padding_is_not_looked_at(feedback) -> None:
    model, (x, y) = make("output"), data("output")
    lengths = torch.tensor([4, 6, 0])
    dead = torch.arange(T) >= lengths.unsqueeze(1)
    poisoned = y.masked_fill(dead.unsqueeze(-1), math.nan)
    outputs, (end,) = model(x, poisoned, lengths=lengths, feedback=feedback)
    model.calls.zero_()
    whole, _ = model(x, y, feedback=feedback)
    assert_close(outputs, whole.masked_fill(dead.unsqueeze(-1), 0))
    assert_close(end[2], torch.zeros(K, dtype=torch.float64))
    slopes = torch.autograd.grad(outputs.sum(), [x, *model.parameters()])
    assert all(s.isfinite().all() for s in slopes) and not slopes[0][dead].any()


def test_symbols_at_padding_may_be_none() -> None:
    model, (x, y) = make("symbol"), data("symbol")
    lengths = torch.tensor([4, 6, 1])
    dead = torch.arange(T) >= lengths.unsqueeze(1)
    assert_close(model(x, y.masked_fill(dead, -100), lengths=lengths)[0], model(x, y, lengths=lengths)[0])


def test_time_first_draws_the_same() -> None:
    x, y = data("narx")
    model = make("narx")
    model.feedback = 0.5
    twin = Feedback(Recurrent(model.recurrent.cell, batch_first=False), 0.5, seed=5)
    outputs, ends = twin(x.transpose(0, 1), y.transpose(0, 1))
    expected, wanted = model(x, y)
    assert_close([outputs.transpose(0, 1), ends], [expected, wanted])


def test_a_decoder_without_an_input_is_as_long_as_its_targets() -> None:
    torch.manual_seed(0)
    model = Feedback(cells.Decoder(cells.GRU(5, H), 7, 5))
    y = torch.randint(0, 7, (B, T))
    assert model(targets=y)[0].shape == model.eval()(targets=y)[0].shape == (B, T, 7)
    assert model(steps=9, batch=1)[0].shape == (1, 9, 7)
    outputs, _, states = model(steps=9, batch=1, return_all_states=True)
    assert_close(states["y"], outputs.argmax(-1).float())


def test_another_state_can_be_the_one() -> None:
    torch.manual_seed(0)
    model = Feedback(cells.LSTM(N, H).double(), state="C")
    x, c = torch.randn(B, T, N).double(), torch.randn(B, T, H).double()
    assert_close(model(x, c)[0], model.recurrent(x, teacher={"C": c})[0])


def test_it_learns_to_run_free() -> None:
    """A sine by its own past: taught, then let go."""
    torch.manual_seed(0)
    t = torch.arange(61) * 0.3
    y = torch.sin(t + torch.rand(8, 1) * 6).unsqueeze(-1)  # [B, T + 1, 1]
    model = Feedback(cells.NARX(1, 16, output_size=1, delays=2))
    silent = torch.zeros(8, 60, 1)
    first = y[:, 1:3]  # the two values before the first step, oldest first
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        loss = (model(silent[:, :58], y[:, 3:], (first,))[0] - y[:, 3:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        free = model(silent[:, :10], initial=(first,))[0]
    assert (free - y[:, 3:13]).square().mean() < 0.02


X, Y = torch.zeros(B, T, N, dtype=torch.float64), torch.zeros(B, T, K, dtype=torch.float64)
ERRORS = [
    (lambda: make("output")(X), ValueError, "feedback='teacher' needs the targets; without them run it free"),
    (lambda: make("output")(X, feedback=0.5), ValueError, "feedback=0.5 needs the targets"),
    (lambda: make("output")(X, Y[:, 1:]), ValueError, r"teacher\['o'\] must be \[3, 6, 2\], got \[3, 5, 2\]"),
    (lambda: make("narx")(X, Y[..., :1]), ValueError, r"teacher\['y'\] must be \[3, 6, 2\], got \[3, 6, 1\]"),
    (lambda: make("output")(X, Y, feedback="pupil"), ValueError, 'must be "teacher", "free", .* got \'pupil\''),
    (lambda: make("output")(X, Y, feedback=1.5), ValueError, "feedback must lie from 0 to 1, got 1.5"),
    (lambda: make("output")(X, Y, feedback=True), ValueError, "a share from 0 to 1 or a schedule, got True"),
    (lambda: make("output")(X, Y, feedback=math.nan), ValueError, "must lie from 0 to 1, got nan"),
    (lambda: make("output")(X, Y, feedback=lambda i: -0.1), ValueError, "gives -0.1 for training step 0, not a share"),
    (lambda: Feedback(cells.GRU(2, 2), "taught"), ValueError, 'must be "teacher", "free"'),
    (lambda: Feedback(cells.GRU(2, 2), state="o"), ValueError, "GRU has no state 'o', it has h"),
    (lambda: Feedback(nn.GRU(2, 2)), TypeError, "needs a cell or a Recurrent, got a GRU"),  # pyright: ignore
    (lambda: LinearDecay(0.0), ValueError, "slope must be above 0, got 0.0"),
    (lambda: LinearDecay(0.1, 1.2), ValueError, "0 <= least <= first <= 1, got 0.0 and 1.2"),
    (lambda: LinearDecay(0.1, 0.5, 0.7), ValueError, "got 0.7 and 0.5"),
    (lambda: ExponentialDecay(1.0), ValueError, "k must be above 0 and below 1, got 1.0"),
    (lambda: InverseSigmoidDecay(0.5), ValueError, "k must be at least 1, got 0.5"),
    (lambda: layers.OutputToHidden(2, 2, 2, feedback="x"), ValueError, 'must be "teacher"'),
]


@pytest.mark.parametrize("call, kind, words", ERRORS, ids=[re.sub(r"\W+", " ", e[2])[:40] for e in ERRORS])
def test_errors(call, kind, words) -> None:
    with pytest.raises(kind, match=words):
        call()
