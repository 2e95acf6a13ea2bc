"""The window that slides along a text: by its equations, by every engine, forwards only."""

from __future__ import annotations

import pytest
import torch
from close import assert_close

from ostinato import Recurrent, cells, engine


def problem(dtype: torch.dtype = torch.float64) -> tuple[cells.SlidingWindow, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    cell = cells.SlidingWindow(cells.GRU(3 + 4, 5), memory_size=4, bumps=2).to(dtype)
    x, memory = torch.randn(2, 6, 3, dtype=dtype), torch.randn(2, 7, 4, dtype=dtype)
    return cell, x, memory, torch.arange(7, dtype=dtype).repeat(2, 1)


def test_by_its_equations() -> None:
    cell, x, memory, places = problem()
    outputs, (h, kappa, w) = Recurrent(cell)(x, constants=(memory, places))
    h_, kappa_, w_ = (torch.zeros_like(state) for state in (h, kappa, w))
    for t in range(6):
        h_ = cell.cell.step(torch.cat([x[:, t], w_], 1), h_)
        alpha, beta, delta = torch.exp(cell.W_w(h_)).split(2, 1)
        kappa_ = kappa_ + delta
        phi = sum(alpha[:, k : k + 1] * torch.exp(-beta[:, k : k + 1] * (kappa_[:, k : k + 1] - places) ** 2)
                  for k in range(2))  # fmt: skip
        w_ = torch.einsum("bu,bum->bm", phi, memory)
        assert_close(outputs[:, t], torch.cat([h_, w_], 1))
    assert_close([h, kappa, w], [h_, kappa_, w_])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_engines_agree(dtype: torch.dtype) -> None:
    cell, x, memory, places = problem(dtype)
    found = []
    for name in ("cpu", "reference"):
        rnn, given = Recurrent(cell), [v.clone().requires_grad_() for v in (x, memory)]
        with engine(name):
            outputs, states = rnn(given[0], constants=(given[1], places), lengths=[6, 4])
            total = outputs.square().sum() + sum(s.square().sum() for s in states)
            found.append([outputs, *states, *torch.autograd.grad(total, [*given, *cell.parameters()])])
    assert_close(found[0], found[1])


def test_it_never_goes_back_and_padding_is_nothing() -> None:
    cell, x, memory, places = problem()
    rnn = Recurrent(cell)
    outputs, _, everything = rnn(x, constants=(memory, places), return_all_states=True)
    assert bool((everything["kappa"].diff(dim=1) > 0).all())
    longer = torch.cat([memory, torch.zeros(2, 3, 4, dtype=memory.dtype)], 1)
    assert_close(rnn(x, constants=(longer, torch.arange(10.0, dtype=memory.dtype).repeat(2, 1)))[0], outputs)


def test_refuses() -> None:
    with pytest.raises(TypeError, match=r"SlidingWindow repeats an ostinato\.Cell, got a Linear"):
        cells.SlidingWindow(torch.nn.Linear(2, 2), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bumps"):
        cells.SlidingWindow(cells.GRU(5, 4), 3, bumps=0)


def test_gradients() -> None:
    cell, x, memory, places = problem()
    rnn = Recurrent(cell)
    given = [x[:, :3].clone().requires_grad_(), memory.clone().requires_grad_()]
    assert torch.autograd.gradcheck(lambda x, m: rnn(x, constants=(m, places))[0], given)


def test_pieces_are_the_whole() -> None:
    cell, x, memory, places = problem()
    rnn, constants = Recurrent(cell), (memory, places)
    whole, ends = rnn(x, constants=constants)
    first, states = rnn(x[:, :1], constants=constants)
    second, states = rnn(x[:, 1:], states, constants=constants)
    assert_close(torch.cat([first, second], 1), whole)
    assert_close(list(states), list(ends))


def test_a_window_of_narrow_bumps_reads_one_symbol() -> None:
    cell, x, _, places = problem()
    with torch.no_grad():
        cell.W_w.weight.zero_()
        cell.W_w.bias.copy_(torch.tensor([0.0, -30.0, 3.0, 3.0, 0.0, 0.0]))  # one bump counts; a symbol a step
    one_hot = torch.eye(7, dtype=x.dtype)[:, :4].repeat(2, 1, 1)  # [B, 7, 4]: symbol u is unit u
    outputs, _ = Recurrent(cell)(x[:, :3], constants=(one_hot, places))
    assert outputs[..., 5:].argmax(2).tolist() == [[1, 2, 3]] * 2
    assert bool((outputs[..., 5:].amax(2) > 0.99).all())
