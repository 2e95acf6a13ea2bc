"""TDNN against a loop over steps and offsets, the matrix and the convolution against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from close import assert_close
from torch import Tensor

from ostinato import cells
from ostinato.layers import TDNN, Bidirectional, Stack

CONTEXTS: list[tuple[int, ...]] = [(-2, -1, 0, 1, 2), (-3, 0, 3), (-1, 2), (0,), (-4, -1), (1, 3), (2, -3, 0)]
G = {
    "relu": lambda a: a.clamp(min=0),
    "tanh": lambda a: 1 - 2 / (1 + (2 * a).exp()),
    "sigmoid": lambda a: 1 / (1 + (-a).exp()),
    "none": lambda a: a,
}
LENGTHS = [4, 9, 0, 1]


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(43)
    return torch.randn(4, 9, 3, dtype=torch.float64)  # [B, T, N]


def made(context: Any, **options: Any) -> TDNN:
    torch.manual_seed(47)
    layer = TDNN(3, 5, context, dtype=torch.float64, **options)
    torch.nn.init.normal_(layer.W.bias)
    return layer


def looped(layer: TDNN, x: Tensor, context: tuple[int, ...], stride: int, edges: str, g: str) -> Tensor:
    """One sequence ``[T, N]``, step by step and offset by offset: ``[T', K]``."""
    steps, outputs = len(x), []
    inside = range(steps) if edges == "zero" else range(max(0, -min(context)), steps - max(0, *context))
    for t in inside[::stride]:
        a = layer.W.bias.clone()
        for n, c in enumerate(context):
            if 0 <= t + c < steps:
                a = a + layer.W.weight[:, 3 * n : 3 * n + 3] @ x[t + c]
        outputs.append(G[g](a))
    return torch.stack(outputs) if outputs else x.new_zeros(0, 5)


@pytest.mark.parametrize("edges", ["zero", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("context", CONTEXTS)
def test_equals_a_loop_with_and_without_padding(context: tuple[int, ...], stride: int, edges: str, x: Tensor) -> None:
    g = ["relu", "tanh", "sigmoid", "none"][len(context) % 4]
    layer = made(context, stride=stride, edges=edges, nonlinearity=g)
    x = x.requires_grad_()
    expected = torch.stack([looped(layer, one, context, stride, edges, g) for one in x])
    assert_close(layer(x)[0], expected)
    filled = x.masked_fill(torch.arange(9)[None, :, None] >= torch.tensor(LENGTHS)[:, None, None], torch.nan)
    output, _ = layer(filled, lengths=LENGTHS)
    assert output.shape == expected.shape
    rows = [looped(layer, x[n, :length], context, stride, edges, g) for n, length in enumerate(LENGTHS)]
    assert layer.output_lengths(LENGTHS).tolist() == [len(row) for row in rows]
    padded = torch.stack([torch.cat([row, row.new_zeros(output.shape[1] - len(row), 5)]) for row in rows])
    assert_close(output, padded)
    weight = torch.linspace(0.3, 1.9, output.numel(), dtype=x.dtype).view_as(output)
    leaves = [x, *layer.parameters()]
    found = torch.autograd.grad((output * weight).sum(), leaves, materialize_grads=True)
    assert_close(list(found), list(torch.autograd.grad((padded * weight).sum(), leaves, materialize_grads=True)))


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("context", CONTEXTS)
def test_sequences_shorter_than_the_window(context: tuple[int, ...], steps: int, x: Tensor) -> None:
    for edges in ("zero", "valid"):
        layer = made(context, edges=edges)
        expected = torch.stack([looped(layer, one[:steps], context, 1, edges, "relu") for one in x[:1]])
        assert_close(layer(x[:1, :steps])[0], expected)


def test_a_number_of_steps_and_a_dilation() -> None:
    assert made(5).context == (-2, -1, 0, 1, 2)
    assert made(3, causal=True).context == (-2, -1, 0)
    assert made(3, causal=True, dilation=4).context == (-8, -4, 0)
    assert made((-1, 2), dilation=3).context == (-3, 6)


def test_gradcheck(x: Tensor) -> None:
    layer = made((-2, 0, 1), stride=2, nonlinearity="tanh")
    assert torch.autograd.gradcheck(lambda x: layer(x, lengths=LENGTHS)[0], x.requires_grad_())


@pytest.mark.parametrize("sizes", [[1] * 9, [2, 1, 6], [4, 0, 5], [9]])
@pytest.mark.parametrize("edges", ["zero", "valid"])
@pytest.mark.parametrize(("context", "stride"), [((-4, -1), 1), ((-2, -1, 0), 2), ((-1, 0), 5), ((0,), 3)])
def test_streams(context: tuple[int, ...], stride: int, edges: str, sizes: list[int], x: Tensor) -> None:
    layer = made(context, stride=stride, edges=edges)
    stream = layer.stream()
    for _ in range(2):
        outputs = [stream(chunk) for chunk in x.split(sizes, 1)]
        assert_close(torch.cat(outputs, 1), layer(x)[0])
        stream.reset()


def test_states_go_in_as_they_come_out(x: Tensor) -> None:
    layer = made((-4, -1, 0))
    first, state = layer(x[:, :2])
    second, state = layer(x[:, 2:], state)
    whole, expected = layer(x)
    assert_close((torch.cat([first, second], 1), state), (whole, expected))
    _, (ends,) = layer(x, lengths=LENGTHS)
    for n, length in enumerate(LENGTHS):
        assert_close(ends[n], torch.cat([x.new_zeros(4, 3), x[n, :length]])[-4:])
    assert made((0, 1))(x)[1] == made(3, stride=2, causal=True)(x)[1] == ()


def test_time_first(x: Tensor) -> None:
    first, last = made((-1, 0), stride=2, batch_first=False), made((-1, 0), stride=2)
    assert_close(first(x.transpose(0, 1), lengths=LENGTHS)[0].transpose(0, 1), last(x, lengths=LENGTHS)[0])
    assert_close(first.stream()(x.transpose(0, 1)).transpose(0, 1), last(x)[0])


@pytest.mark.parametrize("edges", ["zero", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("context", CONTEXTS)
def test_the_matrix_is_the_layer(context: tuple[int, ...], stride: int, edges: str, x: Tensor) -> None:
    layer = made(context, stride=stride, edges=edges, nonlinearity="none")
    matrix = layer.matrix(9)  # [T', K, T, N]
    assert_close(torch.einsum("sktn,btn->bsk", matrix, x) + layer.W.bias, layer(x)[0])
    for s in range(1, len(matrix)):  # every row of blocks is the one above it, moved: block-Toeplitz
        assert_close(matrix[s, :, stride:], matrix[s - 1, :, :-stride])


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_kernel_convolved_is_the_layer(context: tuple[int, ...], x: Tensor) -> None:
    """``y[t] = sum over a of G[t - a] x[a]``, the definition of a convolution."""
    layer = made(context, nonlinearity="none", bias=True)
    kernel, first = layer.kernel()
    for t in range(9):
        terms = [kernel[t - a - first] @ x[0, a] for a in range(9) if 0 <= t - a - first < len(kernel)]
        assert_close(layer(x)[0][0, t], layer.W.bias + sum(terms, torch.zeros(5, dtype=x.dtype)))


def test_the_lecture_s_matrix() -> None:
    """``y0 = w0 x0 + w1 x1``, ``y1 = w0 x1 + w1 x2``, ...: W is banded; NumPy's convolution needs w flipped."""
    layer = TDNN(1, 1, (0, 1), nonlinearity="none", bias=False, dtype=torch.float64)
    w0, w1 = 0.25, -1.5
    with torch.no_grad():
        layer.W.weight.copy_(torch.tensor([[w0, w1]]))
    x = np.arange(1.0, 9.0) ** 2
    W = np.diag([w0] * 8) + np.diag([w1] * 7, 1)
    kernel, first = layer.kernel()
    assert_close(layer.matrix(8)[:, 0, :, 0], W)
    assert kernel.flatten().tolist() == [w1, w0] and first == -1
    output = layer(torch.from_numpy(x).view(1, 8, 1))[0].view(8)
    assert_close(output, W @ x)
    assert_close(output, np.convolve(x, [w1, w0])[1:9])


def test_a_deep_one_is_a_stack(x: Tensor) -> None:
    low, high = made((-2, 0, 1), stride=2), TDNN(5, 4, (-1, 1), dtype=torch.float64)
    deep = Stack([low, high, Bidirectional(cells.GRU(4, 2).double(), cells.GRU(4, 2).double())])
    output, _ = deep(x, lengths=LENGTHS)
    assert deep.output_lengths(LENGTHS).tolist() == [2, 5, 0, 1]
    for n, length in enumerate(LENGTHS):
        if length:
            alone, _ = deep(x[n : n + 1, :length])
            assert_close(output[n, : alone.shape[1]], alone[0])
        assert not output[n, deep.output_lengths([length])[0] :].any()


def test_a_stack_streams(x: Tensor) -> None:
    low, high = made(3, causal=True, stride=2), Stack([TDNN(4, 2, 2, causal=True)])
    deep = Stack([low, cells.LSTM(5, 4), high]).double()
    stream = deep.stream()
    for _ in range(2):
        assert_close(torch.cat([stream(chunk) for chunk in x.split([1, 1, 4, 3], 1)], 1), deep(x)[0])
        stream.reset()


def test_loads_its_own_state_dict(x: Tensor) -> None:
    layer, other = made((-1, 0, 2)), TDNN(3, 5, (-1, 0, 2), dtype=torch.float64)
    other.load_state_dict(layer.state_dict())
    assert_close(other(x)[0], layer(x)[0])
    assert "context=(-1, 0, 2), stride=1, edges='zero', nonlinearity='relu'" in repr(layer)


def test_starts_by_glorot_s_rule() -> None:
    torch.manual_seed(0)
    layer = TDNN(20, 30, 5)
    bound = (6 / (5 * 20 + 30)) ** 0.5
    assert 0.95 * bound < layer.W.weight.abs().max().item() <= bound and not layer.W.bias.any()


def test_wrong_arguments(x: Tensor) -> None:
    for message, arguments, options in [
        ("context must be a whole number of at least 1, got 0", (3, 5, 0), {}),
        ("4 steps do not lie evenly around one", (3, 5, 4), {}),
        (r"different whole numbers, at least one, got \(0, 0\)", (3, 5, (0, 0)), {}),
        (r"different whole numbers, at least one, got \(\)", (3, 5, ()), {}),
        (r"reads no step after its own, got the offsets \(0, 1\)", (3, 5, (0, 1)), {"causal": True}),
        ("stride must be a whole number of at least 1, got 0", (3, 5, 3), {"stride": 0}),
        ("dilation must be a whole number of at least 1, got -1", (3, 5, 3), {"dilation": -1}),
        ("edges must be one of zero, valid, got 'same'", (3, 5, 3), {"edges": "same"}),
        ("nonlinearity must be one of relu, tanh, sigmoid, none, got 'sin'", (3, 5, 3), {"nonlinearity": "sin"}),
    ]:
        with pytest.raises(ValueError, match=message):
            TDNN(*arguments, **options)
    layer = made((-2, 0))
    with pytest.raises(ValueError, match=r"x must be \[B, T, N\] with N=3, got \[4, 9, 2\]"):
        layer(x[..., :2])
    with pytest.raises(ValueError, match="TDNN does not take mask"):
        layer(x, mask=torch.ones(4, 9, dtype=torch.bool))
    with pytest.raises(ValueError, match="lengths must lie between 0 and T=9, sequence 1 has 10"):
        layer(x, lengths=[4, 10, 0, 1])
    with pytest.raises(ValueError, match=r"initial must be the last steps, \[4, 2, 3\], got \[4, 1, 3\]"):
        layer(x, (x[:, :1],))
    with pytest.raises(ValueError, match=r"only a causal TDNN with stride 1 .* continues an earlier call"):
        made((-2, 1))(x, (x[:, :2],))
    with pytest.raises(ValueError, match=r"reads 1 steps ahead cannot stream: its context is \(-2, 1\)"):
        made((-2, 1)).stream()
    with pytest.raises(ValueError, match="a stack with a Bidirectional in it cannot stream"):
        Stack([Bidirectional(cells.GRU(3, 5), cells.GRU(3, 5))]).stream()
