"""Stack against its layers called one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from close import assert_close
from torch import Tensor, nn

from ostinato import Recurrent, cells
from ostinato.layers import LSTM, Bidirectional, Stack

LENGTHS = torch.tensor([4, 7, 1, 7])


def parts() -> list[Any]:
    torch.manual_seed(31)
    both = Bidirectional(cells.GRU(5, 4), cells.GRU(5, 4))
    return [cells.Skip(3, 5).double(), both.double(), Recurrent(cells.LSTM(8, 2)).double()]


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(37)
    return torch.randn(4, 7, 3, dtype=torch.float64)  # [B, T, I]


@pytest.mark.parametrize("given", ["nothing", "lengths", "mask", "reset"])
def test_equals_its_layers_in_turn(given: str, x: Tensor) -> None:
    mask, reset = torch.rand(4, 7) < 0.7, torch.rand(4, 7) < 0.2
    options = {"nothing": {}, "lengths": {"lengths": LENGTHS}, "mask": {"mask": mask}, "reset": {"reset": reset}}[given]
    skip, both, lstm = parts()
    output, states = Stack([skip, both, lstm])(x, **options)
    first, first_states = Recurrent(skip)(x, **options)
    second, second_states = both(first, **options)
    third, third_states = lstm(second, **options)
    assert_close((output, states), (third, (first_states, second_states, third_states)))


def test_chunks_in_turn_equal_the_whole(x: Tensor) -> None:
    deep = Stack([cells.Skip(3, 5), Stack([cells.Elman(5, 4), cells.LSTM(4, 2)])]).double()
    expected, expected_states = deep(x)
    states, outputs = None, []
    for chunk in x.split([2, 1, 4], 1):
        output, states = deep(chunk, states)
        outputs.append(output)
    assert_close((torch.cat(outputs, 1), states), (expected, expected_states))


def test_initial_states_of_some_layers(x: Tensor) -> None:
    skip, both, lstm = parts()
    deep = Stack([skip, both, lstm])
    _, states = deep(x)
    output, _ = deep(x, (None, (None, states[1][1]), states[2]))
    expected = lstm(both(Recurrent(skip)(x)[0], (None, states[1][1]))[0], states[2])[0]
    assert_close(output, expected)


def test_time_first(x: Tensor) -> None:
    low, high = cells.Elman(3, 5).double(), cells.GRU(5, 2).double()
    expected, expected_states = Stack([low, high])(x, lengths=LENGTHS)
    turned = Stack([Recurrent(low, batch_first=False), high])
    output, states = turned(x.transpose(0, 1), lengths=LENGTHS)
    assert turned.batch_first is False
    assert_close((output.transpose(0, 1), states), (expected, expected_states))


def test_gradients_reach_every_layer(x: Tensor) -> None:
    deep = Stack(parts())
    deep(x, lengths=LENGTHS)[0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in deep.parameters())


def test_dropout_between_layers_in_training(x: Tensor) -> None:
    low, high = cells.Elman(3, 5).double(), cells.Elman(5, 2).double()
    deep = Stack([low, high], dropout=0.5)
    torch.manual_seed(41)
    output, _ = deep(x)
    torch.manual_seed(41)
    expected, _ = Recurrent(high)(nn.functional.dropout(Recurrent(low)(x)[0], 0.5))
    assert_close(output, expected)
    assert_close(deep.eval()(x), Stack([low, high])(x))
    assert "dropout=0.5" in repr(deep)


def test_wrong_arguments(x: Tensor) -> None:
    low, high = cells.Elman(3, 5).double(), cells.Elman(5, 2).double()
    with pytest.raises(ValueError, match="at least one layer"):
        Stack([])
    with pytest.raises(ValueError, match="probability from 0 to 1, got"):
        Stack([low, high], dropout=1.5)
    with pytest.raises(TypeError, match="got a Linear"):
        Stack([low, nn.Linear(5, 2)])
    with pytest.raises(TypeError, match="got a LSTM"):
        Stack([LSTM(3, 5, batch_first=True)])
    with pytest.raises(ValueError, match="batch_first=True, got Recurrent with the other"):
        Stack([Recurrent(low), Recurrent(high, batch_first=False)])
    with pytest.raises(ValueError, match="only the last layer of a stack may have merge=None"):
        Stack([Bidirectional(low, cells.Elman(3, 5), merge=None), high])
    with pytest.raises(ValueError, match="initial: expected a tuple with one entry for each of 2 parts, got a Tensor"):
        Stack([low, high])(x, torch.zeros(4, 5))


def test_residual_above_the_lowest(x: Tensor) -> None:
    low, high, top = cells.Elman(3, 5).double(), cells.GRU(5, 5).double(), cells.LSTM(5, 5).double()
    deep = Stack([low, high, top], residual=True)
    output, states = deep(x, lengths=LENGTHS)
    first, _ = Recurrent(low)(x, lengths=LENGTHS)
    second = first + Recurrent(high)(first, lengths=LENGTHS)[0]
    assert_close(output, second + Recurrent(top)(second, lengths=LENGTHS)[0])
    assert [len(s) for s in states] == [1, 1, 2] and "residual=True" in repr(deep)


def test_what_the_residual_adds_is_not_dropped(x: Tensor) -> None:
    low, high = cells.Elman(3, 5).double(), cells.Elman(5, 5).double()
    torch.manual_seed(41)
    output, _ = Stack([low, high], dropout=0.5, residual=True)(x)
    first, _ = Recurrent(low)(x)
    torch.manual_seed(41)
    assert_close(output, first + Recurrent(high)(nn.functional.dropout(first, 0.5))[0])


def test_a_residual_of_another_shape_is_an_error(x: Tensor) -> None:
    deep = Stack([cells.Elman(3, 5), cells.Elman(5, 2)], residual=True).double()
    with pytest.raises(ValueError, match=r"layer 1 reads \[4, 7, 5\] and puts out \[4, 7, 2\]"):
        deep(x)


@pytest.mark.parametrize("merge", ["concat", "sum", "average", "mul"])
def test_a_deep_bidirectional_stack_equals_one_sequence_at_a_time(merge: str, x: Tensor) -> None:
    width = 8 if merge == "concat" else 4
    low = Bidirectional(cells.LSTM(3, 4), cells.LSTM(3, 4), merge)
    high = Bidirectional(cells.GRU(width, 4), cells.GRU(width, 4), merge)
    deep = Stack([low, high]).double()
    output, states = deep(x, lengths=LENGTHS)
    for n, length in enumerate(LENGTHS.tolist()):
        alone, alone_states = deep(x[n : n + 1, :length])
        assert_close(output[n, :length], alone[0])
        assert_close(_row(states, n), alone_states)
        assert not output[n, length:].any()


def _row(states: Any, n: int) -> Any:
    return states[n : n + 1] if isinstance(states, Tensor) else tuple(_row(s, n) for s in states)
