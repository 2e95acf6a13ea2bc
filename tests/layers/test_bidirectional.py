"""Bidirectional against one sequence at a time: cut to its length, turned around by hand, run, turned back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from close import assert_close
from torch import Tensor, nn

from ostinato import Cell, Recurrent, cells
from ostinato.layers import Bidirectional

MERGES: dict[str | None, Callable[[Tensor, Tensor], Any]] = {
    "concat": lambda a, b: torch.cat([a, b], -1),
    "sum": lambda a, b: a + b,
    "average": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
    None: lambda a, b: (a, b),
}
CELLS: dict[str, Callable[[], Cell]] = {
    "Elman": lambda: cells.Elman(3, 5),
    "LSTM": lambda: cells.LSTM(3, 5),
    "GRU": lambda: cells.GRU(3, 5),
    "Skip": lambda: cells.Skip(3, 5),
}
LENGTHS = [4, 7, 1, 7]


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(23)
    return torch.randn(4, 7, 3, dtype=torch.float64)  # [B, T, I]


def halves(kind: str) -> tuple[Cell, Cell]:
    torch.manual_seed(29)
    return CELLS[kind]().double(), CELLS[kind]().double()


def one(ahead: Cell, back: Cell, sequence: Tensor, merge: str | None) -> tuple[Any, Any]:
    """``sequence [T, I]`` without padding, through plain forward recurrences."""
    past, past_states = Recurrent(ahead)(sequence.unsqueeze(0))  # [1, T, H]
    future, future_states = Recurrent(back)(sequence.flip(0).unsqueeze(0))
    return MERGES[merge](past, future.flip(1)), (past_states, future_states)


def padded(value: Any, steps: int) -> Any:
    """``[1, t, H]`` to ``[1, T, H]`` with zeros."""
    if isinstance(value, tuple):
        return tuple(padded(v, steps) for v in value)
    return nn.functional.pad(value, (0, 0, 0, steps - value.shape[1]))


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("kind", CELLS)
def test_equals_one_sequence_at_a_time(kind: str, merge: str | None, x: Tensor) -> None:
    ahead, back = halves(kind)
    both = Bidirectional(ahead, back, merge)
    x = x.clone().requires_grad_()
    filled = x.masked_fill(torch.arange(7)[None, :, None] >= torch.tensor(LENGTHS)[:, None, None], 1e3)
    output, states = both(filled, lengths=torch.tensor(LENGTHS))
    expected = [one(ahead, back, x[n, :length], merge) for n, length in enumerate(LENGTHS)]
    for n, (value, expected_states) in enumerate(expected):
        row = tuple(v[n : n + 1] for v in output) if merge is None else output[n : n + 1]
        assert_close(row, padded(value, 7), tolerance=1e-12)
        assert_close([[s[n : n + 1] for s in half] for half in states], [list(half) for half in expected_states])
    leaves = [x, *both.parameters()]
    gradient = torch.autograd.grad(weighed(output), leaves)
    rows = [padded(value, 7) for value, _ in expected]
    rows = tuple(torch.cat(r) for r in zip(*rows, strict=True)) if merge is None else torch.cat(rows)
    assert_close(list(gradient), list(torch.autograd.grad(weighed(rows), leaves)))


def weighed(output: Any) -> Tensor:
    output = torch.cat(output, -1) if isinstance(output, tuple) else output
    return (output * torch.linspace(0.3, 1.9, output.numel(), dtype=output.dtype).view_as(output)).sum()


def test_equals_torch(x: Tensor) -> None:
    theirs = nn.LSTM(3, 5, batch_first=True, bidirectional=True, dtype=torch.float64)
    both = Bidirectional(cells.LSTM(3, 5), cells.LSTM(3, 5)).double()
    with torch.no_grad():
        for part, end in ((both.forward_layer, ""), (both.backward_layer, "_reverse")):
            assert isinstance(part, Recurrent) and isinstance(part.cell, cells.LSTM)
            part.cell.W.weight.copy_(getattr(theirs, f"weight_ih_l0{end}"))
            part.cell.W.bias.copy_(getattr(theirs, f"bias_ih_l0{end}") + getattr(theirs, f"bias_hh_l0{end}"))
            part.cell.U.weight.copy_(getattr(theirs, f"weight_hh_l0{end}"))
    output, (ahead, back) = both(x)
    expected, (h, c) = theirs(x)
    assert_close(output, expected)
    assert_close([ahead[0], back[0], ahead[1], back[1]], [h[0], h[1], c[0], c[1]])


def test_the_backward_half_ends_at_the_first_step(x: Tensor) -> None:
    both = Bidirectional(*halves("GRU"), merge=None)
    (past, future), (ahead, back) = both(x, lengths=torch.tensor(LENGTHS))
    assert_close(back[0], future[:, 0])
    assert_close(ahead[0], past[torch.arange(4), torch.tensor(LENGTHS) - 1])


def test_time_first(x: Tensor) -> None:
    ahead, back = halves("LSTM")
    expected = Bidirectional(ahead, back)(x, lengths=torch.tensor(LENGTHS))
    first = Bidirectional(Recurrent(ahead, batch_first=False), Recurrent(back, batch_first=False, reverse=True))
    output, states = first(x.transpose(0, 1), lengths=torch.tensor(LENGTHS))
    assert_close((output.transpose(0, 1), states), expected)


def test_states_go_in_as_they_come_out(x: Tensor) -> None:
    ahead, back = halves("LSTM")
    both = Bidirectional(ahead, back)
    _, states = both(x)
    output, (last, _) = both(x, states)
    past, last_alone = Recurrent(ahead)(x, states[0])
    future, _ = Recurrent(back, reverse=True)(x, states[1])
    assert_close(output, torch.cat([past, future], -1))
    assert_close(last, last_alone)
    some, _ = both(x, (None, states[1]))
    assert_close(some, torch.cat([Recurrent(ahead)(x)[0], future], -1))


def test_a_mask_with_holes(x: Tensor) -> None:
    ahead, back = halves("GRU")
    mask = torch.tensor([[1, 1, 0, 1, 0, 0, 1], [0, 0, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0], [1] * 7]).bool()
    output, _ = Bidirectional(ahead, back)(x, mask=mask)
    for n in range(4):
        value, _ = one(ahead, back, x[n, mask[n]], "concat")
        assert_close(output[n, mask[n]], value[0])
    assert not output[~mask].any()


def test_a_reset_is_a_border_for_both_halves(x: Tensor) -> None:
    ahead, back = halves("Skip")
    reset = torch.zeros(4, 7, dtype=torch.bool)
    reset[0, 3] = reset[1, 1] = reset[1, 6] = reset[2, 0] = True
    output, _ = Bidirectional(ahead, back)(x, reset=reset)
    for n, borders in enumerate([[0, 3, 7], [0, 1, 6, 7], [0, 7], [0, 7]]):
        for start, end in pairwise(borders):
            assert_close(output[n, start:end], one(ahead, back, x[n, start:end], "concat")[0][0])


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_reset_beside_padding(batch_first: bool, x: Tensor) -> None:
    ahead, back = halves("GRU")
    both = Bidirectional(
        Recurrent(ahead, batch_first=batch_first), Recurrent(back, batch_first=batch_first, reverse=True)
    )
    mask = torch.tensor([[1, 1, 0, 1, 0, 0, 1], [0, 0, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0], [1] * 7]).bool()
    reset = torch.zeros(4, 7, dtype=torch.bool)
    reset[0, 3] = reset[0, 4] = reset[1, 2] = reset[2, 1] = reset[3, 6] = True  # two of them at padded steps
    turned = [v if batch_first else v.transpose(0, 1) for v in (x, mask, reset)]
    output, _ = both(turned[0], mask=turned[1], reset=turned[2])
    output = output if batch_first else output.transpose(0, 1)
    for n, pieces in enumerate([[[0, 1], [3, 6]], [[2, 3, 4, 5, 6]], [[0]], [[0, 1, 2, 3, 4, 5], [6]]]):
        for piece in pieces:
            assert_close(output[n, piece], one(ahead, back, x[n, piece], "concat")[0][0])


def test_a_reset_behind_the_end_counts_for_nothing(x: Tensor) -> None:
    both = Bidirectional(*halves("GRU"))
    _, states = both(x)
    reset = torch.arange(7).expand(4, 7) == torch.tensor(LENGTHS).unsqueeze(1)
    assert_close(both(x, states, LENGTHS, reset=reset), both(x, states, LENGTHS))


def test_modules(x: Tensor) -> None:
    both = Bidirectional(*halves("GRU"), merge="average")
    assert "merge='average'" in repr(both)
    assert {n.split(".")[0] for n in both.state_dict()} == {"forward_layer", "backward_layer"}


def test_wrong_arguments(x: Tensor) -> None:
    ahead, back = halves("GRU")
    with pytest.raises(ValueError, match="merge must be one of concat, sum, average, mul, or None, got 'add'"):
        Bidirectional(ahead, back, merge="add")
    with pytest.raises(ValueError, match="backward half must be a Recurrent with reverse=True"):
        Bidirectional(Recurrent(ahead), Recurrent(back))
    with pytest.raises(ValueError, match="forward half must be a Recurrent with reverse=False"):
        Bidirectional(Recurrent(ahead, reverse=True), back)
    with pytest.raises(ValueError, match="batch_first=True"):
        Bidirectional(Recurrent(ahead), Recurrent(back, batch_first=False, reverse=True))
    with pytest.raises(ValueError, match="two cells"):
        Bidirectional(ahead, ahead)
    with pytest.raises(TypeError, match=r"expected a cell, a Recurrent .* got a Linear"):
        Bidirectional(ahead, nn.Linear(3, 5))
    with pytest.raises(ValueError, match=r"equal outputs, got \[4, 7, 5\] and \[4, 7, 6\]"):
        Bidirectional(ahead, cells.GRU(3, 6).double(), merge="sum")(x)
    with pytest.raises(ValueError, match="initial: expected a tuple with one entry for each of 2 parts, got 1"):
        Bidirectional(ahead, back)(x, (torch.zeros(4, 5),))
