"""Recurrent2d and ReNet against loops over pixels, one image at a time, cut to its size and turned around by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import catalogue
import pytest
import torch
from close import assert_close
from torch import Tensor

from ostinato import Cell, cells, engine
from ostinato.layers import Bidirectional, Patches, Recurrent2d, ReNet, Stack

FLIPS = {"top-left": (), "top-right": (1,), "bottom-left": (0,), "bottom-right": (0, 1)}  # of [H, W, ...]
MERGES: dict[str | None, Callable[[list[Tensor]], Any]] = {
    "concat": lambda v: torch.cat(v, -1),
    "sum": lambda v: v[0] + v[1] + v[2] + v[3],
    "average": lambda v: (v[0] + v[1] + v[2] + v[3]) / 4,
    "mul": lambda v: v[0] * v[1] * v[2] * v[3],
    None: tuple,
}
SIZES = torch.tensor([[3, 5], [4, 2], [0, 3], [1, 5], [4, 1], [2, 0]])  # heights and widths


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(53)
    return torch.randn(6, 4, 5, 3, dtype=torch.float64)  # [B, H, W, N]


def sigmoid(a: Tensor) -> Tensor:
    return 1 / (1 + (-a).exp())


def elman(cell: Any, x: Tensor, above: list[Tensor], left: list[Tensor]) -> list[Tensor]:
    W, A = cell.W.weight.split([3, 5], 1)
    return [torch.tanh(W @ x + A @ above[0] + cell.U.weight @ left[0] + cell.W.bias)]


def lstm2d(cell: Any, x: Tensor, above: list[Tensor], left: list[Tensor]) -> list[Tensor]:
    a = cell.W.weight @ x + cell.W.bias + cell.A.weight @ above[0] + cell.U.weight @ left[0]
    n = len(a) // 5
    C = sigmoid(a[:n]) * torch.tanh(a[3 * n : 4 * n]) + sigmoid(a[n : 2 * n]) * above[1]
    C = C + sigmoid(a[2 * n : 3 * n]) * left[1]
    return [sigmoid(a[4 * n :]) * torch.tanh(C), C]


def any_cell(cell: Any, x: Tensor, above: list[Tensor], left: list[Tensor]) -> list[Tensor]:
    result = cell.step(torch.cat([x, above[0]]).unsqueeze(0), *[s.unsqueeze(0) for s in left])
    return [v.squeeze(0) for v in (result if isinstance(result, tuple) else (result,))]


POSITIONS = {"elman": elman, "lstm2d": lstm2d, "lstm": any_cell, "gru-before": any_cell, "slstm": any_cell}


def some(name: str, seed: int) -> Cell:
    """A cell whose parameters are all different and not small."""
    torch.manual_seed(seed)
    make = cells.LSTM2d if name == "lstm2d" else lambda n, h: cells.create(name, n + h, h)
    cell = make(3, 5).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.copy_(1.4 * torch.rand_like(p) - 0.6)
    return cell


def by_pixel(name: str, cell: Cell, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """One image ``[H, W, N]`` from its top left: outputs ``[H, W, K]``, and the states at the bottom right."""
    start = [cell.initial_value(s, x.dtype).expand(s.shape) for s in cell.states]
    found: dict[tuple[int, int], list[Tensor]] = {}
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            above, left = found.get((i - 1, j), start), found.get((i, j - 1), start)
            found[i, j] = POSITIONS[name](cell, x[i, j], above, left)
    if not found:
        return x.new_zeros(*x.shape[:2], 5), start
    rows = [torch.stack([found[i, j][0] for j in range(x.shape[1])]) for i in range(x.shape[0])]
    return torch.stack(rows), found[x.shape[0] - 1, x.shape[1] - 1]


def one_image(name: str, parts: list[Cell], directions: Any, merge: str | None, x: Tensor) -> tuple[Any, Any]:
    outputs, finals = [], []
    for cell, direction in zip(parts, directions, strict=True):
        output, final = by_pixel(name, cell, x.flip(FLIPS[direction]))
        outputs.append(output.flip(FLIPS[direction]))
        finals.append(tuple(final))
    return MERGES[merge](outputs), tuple(finals)


def padded(value: Any, high: int, wide: int) -> Any:
    if isinstance(value, tuple):
        return tuple(padded(v, high, wide) for v in value)
    return torch.nn.functional.pad(value, (0, 0, 0, wide - value.shape[1], 0, high - value.shape[0]))


def batch(rows: list[Any]) -> Any:
    return torch.stack(rows) if isinstance(rows[0], Tensor) else tuple(batch(list(r)) for r in zip(*rows, strict=True))


def weighed(nest: Any) -> Tensor:
    """A sum in which every element counts differently."""
    if not isinstance(nest, Tensor):
        return torch.stack([(1 + n) * weighed(v) for n, v in enumerate(nest)]).sum()
    return (nest * torch.linspace(0.3, 1.9, nest.numel(), dtype=nest.dtype).view_as(nest)).sum()


def compare(name: str, merge: str | None, x: Tensor, sizes: Tensor | None) -> None:
    """Values, final states and all gradients; padding is undefined on purpose."""
    parts = [some(name, seed) for seed in range(4)]
    layer = Recurrent2d(parts, merge=merge)
    x = x.clone().requires_grad_()
    given, whole = x, x.shape[1:3]
    if sizes is not None:
        at = torch.stack(torch.meshgrid(*map(torch.arange, whole), indexing="ij"), -1)  # [H, W, 2]
        given = x.masked_fill((at >= sizes[:, None, None]).any(-1, keepdim=True), torch.nan)
    output, finals = layer(given, lengths=sizes)
    cuts = [whole] * len(x) if sizes is None else sizes.tolist()
    expected = [one_image(name, parts, FLIPS, merge, x[n, :h, :w]) for n, (h, w) in enumerate(cuts)]
    wanted = batch([padded(value, *whole) for value, _ in expected]), batch([states for _, states in expected])
    assert_close((output, finals), wanted)
    leaves = [x, *(p for part in parts for p in part.parameters())]
    found, other = (torch.autograd.grad(weighed(v), leaves) for v in ((output, finals), wanted))
    assert_close(list(found), list(other))


@pytest.mark.parametrize("which", ["cpu", "reference"])
@pytest.mark.parametrize("name", POSITIONS)
def test_equals_a_loop_over_pixels(name: str, which: str, x: Tensor) -> None:
    with engine(which):
        compare(name, "concat", x[:2], None)


@pytest.mark.parametrize("which", ["cpu", "reference"])
@pytest.mark.parametrize("name", POSITIONS)
def test_images_of_different_sizes(name: str, which: str, x: Tensor) -> None:
    with engine(which):
        compare(name, "concat", x, SIZES)


@pytest.mark.parametrize("merge", MERGES)
def test_merges(merge: str | None, x: Tensor) -> None:
    compare("elman", merge, x, SIZES)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 1, 5, 3), (1, 4, 1, 3), (3, 1, 1, 3), (2, 3, 7, 3)])
@pytest.mark.parametrize("name", ["elman", "lstm2d"])
def test_small_images(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(59)
    compare(name, "concat", torch.randn(shape, dtype=torch.float64), None)


@pytest.mark.parametrize("direction", FLIPS)
def test_one_direction_ends_in_the_opposite_corner(direction: str, x: Tensor) -> None:
    cell = some("lstm2d", 1)
    output, finals = Recurrent2d([cell], [direction])(x)
    for n in range(len(x)):
        expected, states = one_image("lstm2d", [cell], [direction], "concat", x[n])
        assert_close((output[n], tuple(s[n] for s in finals[0])), (expected, states[0]))


@pytest.mark.parametrize("name", [name for name in catalogue.NAMES if name != "convlstm"])
def test_every_cell_of_the_catalogue(name: str, x: Tensor) -> None:
    """Down one column with nothing from the left, and along one row with nothing above: the cell by itself."""
    wide = cells.output_size(catalogue.build(name))
    cell = catalogue.build(name, input_size=3 + wide)
    output, (states,) = Recurrent2d([cell])(x[:2, :1])
    step = tuple(cell.initial_states(2))
    histories = [[v] * s.depth if s.depth == 1 else list(v.unbind(1)) for s, v in zip(cell.states, step, strict=True)]
    for j in range(5):
        read = [h[-d] for s, h in zip(cell.states, histories, strict=True) for d in s.delays]
        values, out = cell.split_result(cell.step(torch.cat([x[:2, 0, j], x.new_zeros(2, wide)], -1), *read))
        assert_close(output[:, 0, j], out)
        for history, value in zip(histories, values, strict=True):
            history.append(value)
    assert_close(states[0], histories[0][-1] if cell.states[0].depth == 1 else torch.stack(
        histories[0][-cell.states[0].depth :], 1))


class Marked(cells.Cell2d):
    """Starts from 0.5: what a row reads that has nothing above it."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("s", 3, initial=0.5)

    def step(self, x: Tensor, above: Tensor, s: Tensor) -> Tensor:
        return torch.tanh(x + 0.7 * above - 0.4 * s)


def test_an_initial_value_at_every_edge(x: Tensor) -> None:
    layer = Recurrent2d([Marked() for _ in FLIPS], merge=None)
    outputs, _ = layer(x, lengths=SIZES)
    for n, (high, wide) in enumerate(SIZES.tolist()):
        alone, _ = layer(x[n : n + 1, : max(high, 1), : max(wide, 1)])
        for output, one in zip(outputs, alone, strict=True):
            assert_close(output[n, :high, :wide], one[0, :high, :wide])
    assert_close(outputs[0][0, 0, 0], torch.tanh(x[0, 0, 0] + 0.15))


def test_gradcheck() -> None:
    torch.manual_seed(61)
    layer = Recurrent2d([cells.LSTM2d(2, 2), cells.Elman(4, 2)], ["bottom-right", "top-left"]).double()
    x = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    for sizes in (None, [[2, 3], [1, 2]]):
        assert torch.autograd.gradcheck(lambda x, s=sizes: layer(x, lengths=s)[0], x)
        assert torch.autograd.gradgradcheck(lambda x, s=sizes: layer(x, lengths=s)[0], x)


def test_the_step_is_traced_once_whatever_the_size(x: Tensor) -> None:
    layer = Recurrent2d.create("lstm2d", 3, 5).double()
    for cut in (x, x[:1, :2], x[:3, :, :4]):
        layer(cut)
    assert [part.traces for part in layer.parts] == [1] * 4


def test_created_by_name(x: Tensor) -> None:
    layer = Recurrent2d.create("lstm", 3, 5, directions=("top-left", "bottom-right"), merge="sum", proj_size=2).double()
    output, finals = layer(x)
    assert output.shape == (6, 4, 5, 2) and [len(f) for f in finals] == [2, 2]
    assert "directions=('top-left', 'bottom-right'), merge='sum'" in repr(layer)
    other = Recurrent2d.create("lstm", 3, 5, directions=("top-left", "bottom-right"), merge="sum", proj_size=2).double()
    other.load_state_dict(layer.state_dict())
    assert_close(other(x)[0], output)


def test_float32_and_other_images_of_the_batch(x: Tensor) -> None:
    layer = Recurrent2d.create("lstm2d", 3, 5)
    assert_close(layer(x.float())[0], layer.double()(x)[0].float())
    assert_close(layer(x)[0][3:5], layer(x[3:5])[0])


def test_renet_equals_rows_then_columns(x: Tensor) -> None:
    torch.manual_seed(67)
    across = Bidirectional(cells.GRU(3, 5), cells.GRU(3, 5))
    layer = ReNet(across, Bidirectional(cells.GRU(10, 5), cells.GRU(10, 5), "sum")).double()
    filled = x.clone()
    for n, (high, wide) in enumerate(SIZES.tolist()):
        filled[n, high:], filled[n, :, wide:] = torch.nan, torch.nan
    output, (rows, columns) = layer(filled, lengths=SIZES)
    assert rows[0][0].shape == (6 * 4, 5) and columns[1][0].shape == (6 * 5, 5)
    for n, (high, wide) in enumerate(SIZES.tolist()):
        expected = x.new_zeros(4, 5, 5)
        if high and wide:
            inner = torch.cat([layer.across(x[n, i : i + 1, :wide])[0] for i in range(high)])  # [h, w, 10]
            lines = [layer.down(inner[None, :, j])[0][0] for j in range(wide)]  # [h, 5] each
            expected[:high, :wide] = torch.stack(lines, 1)
        assert_close(output[n], expected)


@pytest.mark.parametrize(("high", "wide"), [(1, 1), (2, 3), (3, 2), (5, 7)])
def test_patches(high: int, wide: int, x: Tensor) -> None:
    layer = Patches(high, wide)
    output, _ = layer(x, lengths=SIZES)
    cut = x.clone()
    for n, (h, w) in enumerate(SIZES.tolist()):
        cut[n, h:], cut[n, :, w:] = 0, 0
    for i in range(output.shape[1]):
        for j in range(output.shape[2]):
            patch = x.new_zeros(6, high, wide, 3)
            piece = cut[:, i * high : (i + 1) * high, j * wide : (j + 1) * wide]
            patch[:, : piece.shape[1], : piece.shape[2]] = piece
            assert_close(output[:, i, j], patch.flatten(1))
    assert output.shape[1:3] == (-(-4 // high), -(-5 // wide))
    assert layer.output_lengths(SIZES).tolist() == [[-(-h // high), -(-w // wide)] for h, w in SIZES.tolist()]


def test_a_deep_one_is_a_stack(x: Tensor) -> None:
    low = Recurrent2d.create("lstm2d", 12, 4, merge="sum")
    high = Recurrent2d.create("elman", 8, 3, directions=("bottom-right",))
    deep = Stack([Patches(2), low, Patches(1, 2), high]).double()
    output, states = deep(x, lengths=SIZES)
    assert output.shape == (6, 2, 2, 3) and len(states) == 4
    for n, (h, w) in enumerate(SIZES.tolist()):
        if h and w:
            alone, _ = deep(x[n : n + 1, :h, :w])
            assert_close(output[n, : alone.shape[1], : alone.shape[2]], alone[0])


def test_wrong_arguments(x: Tensor) -> None:
    one = cells.LSTM2d(3, 5).double()
    for message, parts, directions, merge in [
        ("at least one cell", [], None, "sum"),
        ("a direction for each of 5 cells, got 4", [cells.LSTM2d(3, 5) for _ in range(5)], None, "sum"),
        ("among top-left, top-right, bottom-left, bottom-right, got 'left'", [one], ["left"], "sum"),
        ("directions must differ", [one, cells.LSTM2d(3, 5)], ["top-left"] * 2, "sum"),
        ("a cell each", [one, one], None, "sum"),
        ("merge must be one of concat, sum, average, mul, or None, got 'mean'", [one], None, "mean"),
    ]:
        with pytest.raises(ValueError, match=message):
            Recurrent2d(parts, directions, merge)
    with pytest.raises(TypeError, match="RowAbove takes a cell of one dimension, got a Linear"):
        Recurrent2d([torch.nn.Linear(3, 5)])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="RowAbove takes a cell of one dimension, got a LSTM2d"):
        cells.RowAbove(one)
    layer = Recurrent2d([one])
    with pytest.raises(ValueError, match=r"\[B, H, W, N\] with at least one row and one column, got \[6, 4, 5\]"):
        layer(x[..., 0])
    with pytest.raises(ValueError, match=r"at least one row and one column, got \[6, 0, 5, 3\]"):
        layer(x[:, :0])
    with pytest.raises(ValueError, match=r"height and the width of each image, \[6, 2\], got \[6\]"):
        layer(x, lengths=[4] * 6)
    with pytest.raises(ValueError, match=r"between 0 and the height and width \[4, 5\], image 1 has \[4, 6\]"):
        layer(x, lengths=[[4, 5], [4, 6], [0, 0], [0, 0], [0, 0], [0, 0]])
    with pytest.raises(TypeError, match=r"lengths must be whole numbers, got torch\.float32"):
        layer(x, lengths=torch.ones(6, 2))
    with pytest.raises(ValueError, match="Recurrent2d does not take reset"):
        layer(x, reset=torch.ones(6, 4))
    with pytest.raises(ValueError, match="needs equal outputs"):
        Recurrent2d([one, cells.LSTM2d(3, 4).double()], merge="sum")(x)
    with pytest.raises(ValueError, match="height must be a whole number of at least 1, got 0"):
        Patches(0)
