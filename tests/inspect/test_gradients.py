"""Gradients over time, Jacobians and spectra, against autograd's own products and NumPy's eigenvalues."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from catalogue import build
from close import assert_close
from torch import Tensor, nn

from ostinato import Cell, Recurrent, cells
from ostinato.errors import InputError
from ostinato.inspect import gradient_flow, jacobians, spectra, spectrum
from ostinato.layers import Bidirectional, HiddenToHidden, OneOutput, Stack

CELLS = ("elman", "lstm", "gru", "slstm", "skip-two", "narx", "leaky-units", "lstm-peephole")
T, B = 5, 2


def by_hand(cell: Cell, x: Tensor) -> tuple[list[Tensor], dict[str, list[Tensor]], list[list[Tensor]]]:
    """Outputs, every state that a step made, and what each step read: a plain loop."""
    past = {s.name: list(v.unbind(1)) if s.depth > 1 else [v]
            for s, v in zip(cell.states, cell.initial_states(len(x)), strict=True)}
    outputs: list[Tensor] = []
    made: dict[str, list[Tensor]] = {s.name: [] for s in cell.states}
    reads = []
    for t in range(x.shape[1]):
        read = [past[s.name][-d] for s in cell.states for d in s.delays]
        reads.append(read)
        news, output = cell.split_result(cell.step(x[:, t], *read))
        outputs.append(output)
        for s, new in zip(cell.states, news, strict=True):
            past[s.name].append(new)
            made[s.name].append(new)
    return outputs, made, reads


def inputs(width: int = 3, steps: int = T) -> Tensor:
    return torch.randn(B, steps, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("chunk", [2, 32])
def test_gradient_flow_is_autograds(name: str, chunk: int) -> None:
    cell, x = build(name), inputs()
    flow = gradient_flow(Recurrent(cell), x, lambda o: o.square().sum(-1), chunk=chunk)
    outputs, made, _ = by_hand(cell, x)
    for state, values in made.items():
        expected = torch.zeros(B, T, T, dtype=torch.float64)
        for t, output in enumerate(outputs):
            found = torch.autograd.grad(output.square().sum(), values, retain_graph=True, allow_unused=True,
                                        materialize_grads=True)
            expected[:, t] = torch.stack([g.flatten(1).norm(dim=1) for g in found], 1)
        # An intermediate that is both a state and used within its own step is one tensor here and there.
        assert_close(flow[state].norms, expected, name=state)


def test_gradient_flow_is_a_product_of_jacobians() -> None:
    cell, x = build("elman"), inputs()
    steps = jacobians(Recurrent(cell), x)
    flow = gradient_flow(Recurrent(cell), x)["h"]
    for t in range(T):
        for k in range(t + 1):
            row = torch.ones(B, 1, 5, dtype=torch.float64) @ steps.product(t, k)
            assert_close(flow.norms[:, t, k], row.detach().squeeze(1).norm(dim=1))


@pytest.mark.parametrize("name", CELLS)
def test_jacobians_are_autograds(name: str) -> None:
    cell, x = build(name), inputs()
    found = jacobians(Recurrent(cell), x)
    _, _, reads = by_hand(cell, x)
    slots = [(s.name, d) for s in cell.states for d in s.delays]
    places = list(dict.fromkeys(found.names))
    for t in range(T):
        whole = torch.autograd.functional.jacobian(
            lambda *read, t=t: torch.cat([v.sum(0) for v in cell.split_result(cell.step(x[:, t], *read))[0]]),
            tuple(reads[t]))  # each [S, B, H]
        for slot, block in zip(slots, whole, strict=True):
            columns = [i for i, name in enumerate(found.names) if name == slot]
            rows = [i for i, (_, d) in enumerate(found.names) if d == 1]
            assert_close(found.matrices[:, t][:, rows][:, :, columns], block.movedim(1, 0).detach(), name=str(slot))
    shifted = [(a, b) for a, (n, d) in enumerate(found.names) for b, (m, e) in enumerate(found.names)
               if n == m and d == e + 1 and found.names[:a].count((n, d)) == found.names[:b].count((m, e))]
    for a, b in shifted:
        assert bool((found.matrices[:, :, a, b] == 1).all())
    assert len(places) == sum(s.depth for s in cell.states)


@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_and_reverse(reverse: bool) -> None:
    cell, x = build("gru"), inputs()
    rnn = Recurrent(cell, reverse=reverse)
    both = gradient_flow(rnn, x, lengths=[5, 3])["h"]
    alone = gradient_flow(rnn, x[1:, :3])["h"]
    assert_close(both.norms[1, :3, :3], alone.norms[0])
    assert bool(both.norms[1, 3:].isnan().all()) and bool(both.norms[1, :, 3:].isnan().all())
    lag = both.norms[0].triu(1) if not reverse else both.norms[0].tril(-1)
    assert bool((lag == 0).all()) and both.by_lag[1] > 0
    padded, short = jacobians(rnn, x, lengths=[5, 3]), jacobians(rnn, x[1:, :3])
    there = slice(2, 5) if reverse else slice(0, 3)
    assert_close(padded.matrices[1, there], short.matrices[0])


def test_time_first_is_the_same() -> None:
    cell, x = build("lstm"), inputs()
    one, two = Recurrent(cell), Recurrent(cell, batch_first=False)
    assert_close(gradient_flow(two, x.transpose(0, 1))["C"].norms, gradient_flow(one, x)["C"].norms)
    assert_close(jacobians(two, x.transpose(0, 1)).matrices, jacobians(one, x).matrices)


def test_every_recurrence_of_a_network_is_seen() -> None:
    deep = Stack([cells.Elman(3, 4), Bidirectional(cells.GRU(4, 2), cells.GRU(4, 2)), cells.LSTM(4, 3)]).double()
    flow = gradient_flow(deep, inputs())
    assert list(flow.flows) == ["layers.0.h", "layers.1.forward_layer.h", "layers.1.backward_layer.h", "layers.2.h",
                                "layers.2.C"]
    assert flow["layers.1.backward_layer.h"].reverse and "forward" not in vars(deep.layers[0])
    x, lower = inputs(), deep.layers[0]
    assert isinstance(lower, Recurrent)
    states = lower(x)[0].detach().requires_grad_()
    outputs = deep.layers[2](deep.layers[1](states)[0])[0]
    (expected,) = torch.autograd.grad(outputs[:, 2].sum(), states)
    # What the layer above sends down at step 4, no later step of the lower one changes.
    assert_close(flow["layers.0.h"].norms[:, 2, 4], expected[:, 4].norm(dim=1))


def test_one_loss_at_the_end_and_a_loss_of_ones_own() -> None:
    x, y = inputs(), torch.tensor([1, 0])
    flow = gradient_flow(OneOutput(cells.Elman(3, 4), 3).double(), x,
                         lambda o: nn.functional.cross_entropy(o, y, reduction="none"))["h"]
    assert bool(flow.norms[:, :-1].isnan().all()) and bool((flow.norms[:, -1] > 0).all())
    assert bool((flow.by_lag > 0).all())
    each = gradient_flow(HiddenToHidden(cells.Elman(3, 4), 3).double(), x)["h"]
    assert bool((each.norms.diagonal(0, 1, 2) > 0).all())


@pytest.mark.parametrize(("scale", "verdict"), [(0.5, "vanishing"), (1.0, "steady"), (1.6, "exploding")])
def test_the_verdict_and_the_rate(scale: float, verdict: str) -> None:
    cell = cells.Elman(3, 4, nonlinearity="relu").double()
    with torch.no_grad():
        cell.U.weight.copy_(scale * torch.eye(4, dtype=torch.float64))
        cell.W.weight.fill_(0.1)
    flow = gradient_flow(Recurrent(cell), torch.ones(1, 20, 3, dtype=torch.float64))["h"]
    assert flow.verdict == verdict and math.isclose(flow.rate, scale, rel_tol=1e-9)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_spectrum_is_numpys(size: int) -> None:
    W = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    found = spectrum(W)
    expected = np.linalg.eigvals(W.numpy())
    assert_close(found.values.abs().sort().values, torch.from_numpy(np.sort(np.abs(expected))))
    assert math.isclose(found.radius, np.abs(expected).max(), rel_tol=1e-12)
    assert math.isclose(found.norm, np.linalg.norm(W.numpy(), 2), rel_tol=1e-12)
    norms = [np.linalg.norm(np.linalg.matrix_power(W.numpy(), t), 2) for t in range(6)]
    assert_close(found.norms(5), torch.tensor(norms, dtype=torch.float64))
    assert_close(found.power(5), torch.from_numpy(np.linalg.matrix_power(W.numpy(), 5)))


def test_spectra_take_gates_apart() -> None:
    cell = build("gru")
    found = spectra(cell)
    assert list(found) == ["U_r", "U_z", "U_n"]
    assert_close(found["U_z"].matrix, cell.get_parameter("U.weight")[5:10].detach())


def test_lyapunov_exponents() -> None:
    rates = torch.tensor([0.9, 1.2, 0.4], dtype=torch.float64)
    cell = cells.Elman(2, 3, nonlinearity="relu").double()
    with torch.no_grad():
        cell.U.weight.copy_(rates.diag() + torch.tensor([[0, 0.3, 0.1], [0, 0, 0.2], [0, 0, 0]], dtype=torch.float64))
        cell.W.weight.fill_(0.5)
    found = jacobians(Recurrent(cell), torch.ones(1, 30, 2, dtype=torch.float64))
    assert_close(found.lyapunov()[0], rates.log().sort(descending=True).values)
    curved = jacobians(Recurrent(build("gru")), inputs(steps=9))
    volume = torch.linalg.slogdet(curved.matrices.detach())[1].mean(1)  # how the volume changes, per step
    assert_close(curved.lyapunov().sum(-1), volume)
    assert_close(curved.singular_values.log().sum(-1).mean(1).detach(), volume)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: gradient_flow(nn.Linear(3, 3), inputs()), "a Linear has no Recurrent"),
    (lambda: gradient_flow(Recurrent(build("elman")), inputs(), lambda o: o), r"must be \[B, T\] = \[2, 5\] or \[B\]"),
    (lambda: spectrum(torch.ones(2, 3)), r"a square matrix, got \[2, 3\]"),
    (lambda: spectra(cells.RunningAverage(3, 4)), "RunningAverage has no square recurrent matrix"),
])
def test_what_cannot_be_measured_is_refused(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
