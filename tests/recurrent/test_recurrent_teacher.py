"""Teacher forcing: the values of a state are given, at all steps or at some."""

from __future__ import annotations

import itertools
import re

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, compare
from torch import Tensor, nn

import ostinato
from ostinato import Cell, FallbackError, Recurrent, cells


class Autonomous(Cell):
    """o[t] = V tanh(U o[t-1] + h[t-1]); h[t] = tanh(h[t-1] + o[t-1]): two states, no input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.U, self.V = nn.Linear(2, 3), nn.Linear(3, 2)
        self.add_state("o", 2)
        self.add_state("h", 3, initial=0.5)
        self.double()

    def step(self, o: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.V(torch.tanh(self.U(o) + h)), torch.tanh(h + self.U(o))


CELLS = {
    "output": (lambda: catalogue.build("output"), "o"),
    "narx": (lambda: catalogue.build("narx"), "y"),
    "fibre k": (Fibre, "k"),  # delays 2 and 5, a matrix; another state in the loop
    "fibre m": (Fibre, "m"),
    "stubborn": (Stubborn, "h"),  # not traced
}
T, B = 7, 3


@pytest.fixture(params=["cpu", "reference"])
def engine(request):
    with ostinato.engine(request.param):
        yield request.param


def explicit(
    cell: Cell, x: Tensor, name: str, values: Tensor, own: Tensor | None, initial: list[Tensor], live: Tensor,
    reset: Tensor, reverse: bool,
) -> tuple[Tensor, list[Tensor]]:
    """One sequence after the other, one step after the other, with a list of the past of each state."""
    rows, ends = [], []
    for b in range(x.shape[0]):
        past = {s.name: list(v[b].unbind(0)) if s.depth > 1 else [v[b]]
                for s, v in zip(cell.states, initial, strict=True)}  # fmt: skip
        outputs = {}
        for t in reversed(range(x.shape[1])) if reverse else range(x.shape[1]):
            if not live[b, t]:
                continue
            if reset[b, t]:
                past = {s.name: [cell.initial_value(s, x.dtype).expand(s.shape)] * s.depth for s in cell.states}
            reads = [past[s.name][-d].unsqueeze(0) for s in cell.states for d in s.delays]
            news, output = cell.split_result(cell.step(x[b : b + 1, t], *reads))
            outputs[t] = output[0]
            for s, new in zip(cell.states, news, strict=True):
                given = s.name == name and (own is None or not own[b, t])
                past[s.name].append(values[b, t] if given else new[0])
        empty = torch.zeros(cell.split_result(cell.step(x[:1, 0], *_fresh(cell)))[1].shape[1:], dtype=x.dtype)
        rows.append(torch.stack([outputs.get(t, empty) for t in range(x.shape[1])]))
        ends.append([torch.stack(past[s.name][-s.depth :]) if s.depth > 1 else past[s.name][-1] for s in cell.states])
    return torch.stack(rows), [torch.stack(end) for end in zip(*ends, strict=True)]


def _fresh(cell: Cell) -> list[Tensor]:
    return [cell.initial_value(s, torch.float64).expand(1, *s.shape) for s in cell.states for _ in s.delays]


def problem(name: str, steps: int = T, batch: int = B) -> tuple[Cell, str, Tensor, Tensor, list[Tensor]]:
    """A cell, its state, inputs, the teacher's values, initial states: all leaves."""
    make, state = CELLS[name]
    cell = make()
    generator = torch.Generator().manual_seed(steps)

    def drawn(*shape: int) -> Tensor:
        return (torch.randn(shape, generator=generator, dtype=torch.float64) / 2).requires_grad_()

    shape = next(s.shape for s in cell.states if s.name == state)
    return cell, state, drawn(batch, steps, 3), drawn(batch, steps, *shape), [
        drawn(*s.initial_shape(batch)) for s in cell.states
    ]


FLAGS = list(itertools.product(["none", "lengths", "mask", "reset", "mask and reset"], [False, True]))


@pytest.mark.parametrize("mixed", [False, True], ids=["teacher", "mixed"])
@pytest.mark.parametrize("flags, reverse", FLAGS, ids=[f"{f} {'reverse' if r else ''}".strip() for f, r in FLAGS])
@pytest.mark.parametrize("name", CELLS)
def test_as_the_explicit_loop(name: str, flags: str, reverse: bool, mixed: bool) -> None:
    cell, state, x, y, initial = problem(name)
    rnn = Recurrent(cell, reverse=reverse)
    everywhere = torch.ones(B, T, dtype=torch.bool)
    lengths = torch.tensor([5, 7, 0])
    mask = torch.arange(T) < lengths.unsqueeze(1)
    mask[1, [0, 2, 3]] = False
    reset = torch.zeros(B, T, dtype=torch.bool)
    reset[0, 2] = reset[1, 4] = reset[1, 5] = reset[2, 1] = reset[0, 0] = True
    own = torch.rand(B, T, generator=torch.Generator().manual_seed(1)) < 0.5 if mixed else None
    given = {
        "none": {}, "lengths": {"lengths": lengths}, "mask": {"mask": mask}, "reset": {"reset": reset},
        "mask and reset": {"mask": mask, "reset": reset},
    }[flags]  # fmt: skip
    live = mask if "mask" in flags else torch.arange(T) < lengths.unsqueeze(1) if flags == "lengths" else everywhere
    fresh = reset & live if "reset" in flags else ~everywhere
    expected = explicit(cell, x, state, y, own, initial, live, fresh, reverse)
    poisoned = y + torch.where(live.reshape(B, T, *[1] * (y.dim() - 2)), 0.0, torch.nan)
    leaves = [x, y, *initial, *cell.parameters()]
    for name_of_engine in ("cpu", "reference"):
        with ostinato.engine("reference" if name == "stubborn" else name_of_engine):
            outputs, ends = rnn(x, initial, teacher={state: poisoned}, own=own, **given)
            compare([outputs, *ends], [expected[0], *expected[1]], leaves, f"{name_of_engine}")


@pytest.mark.parametrize("name", ["output", "narx", "fibre k"])
@pytest.mark.parametrize("steps, batch", [(1, 1), (1, 3), (2, 1), (11, 2)])
def test_at_odd_sizes(name: str, steps: int, batch: int, engine) -> None:
    cell, state, x, y, initial = problem(name, steps, batch)
    live = torch.ones(batch, steps, dtype=torch.bool)
    expected = explicit(cell, x, state, y, None, initial, live, ~live, False)
    outputs, ends = Recurrent(cell)(x, initial, teacher={state: y})
    compare([outputs, *ends], [expected[0], *expected[1]], [x, y, *initial, *cell.parameters()])


@pytest.mark.parametrize("name", ["output", "narx"])
def test_with_a_teacher_at_every_step_there_is_no_loop(name: str) -> None:
    cell, state, x, y, _ = problem(name)
    rnn = Recurrent(cell)
    free = rnn.explain(x)
    assert free.parts["S"] > 0 and free.products and free.engine == "cpu"
    taught = rnn.explain(x, teacher={state: y})
    assert (taught.parts["S"], taught.parts["Y"], taught.products, taught.bytes_saved) == (0, 0, 0, 0)
    assert taught.engine == "none" and not taught.linear
    assert "without a loop, all steps at once: with a teacher for" in str(taught)
    rnn(x, teacher={state: y})
    assert str(rnn.explain()) == str(taught)
    rnn(x, teacher={state: y}, own=torch.ones(B, T, dtype=torch.bool))
    assert rnn.explain().parts["S"] >= free.parts["S"]
    rnn(x)
    assert str(rnn.explain()) == str(free)


def test_the_loop_keeps_what_hangs_in_it_by_another_state() -> None:
    cell, state, x, y, _ = problem("fibre k")
    rnn = Recurrent(cell)
    assert rnn.explain(x).parts["S"] > rnn.explain(x, teacher={state: y}).parts["S"] > 0
    assert list(rnn.explain().linear) == ["m"]


def test_own_at_every_step_is_to_run_free(engine) -> None:
    cell, state, x, y, initial = problem("narx")
    rnn, own = Recurrent(cell), torch.ones(B, T, dtype=torch.bool)
    (taught, taught_ends), (free, free_ends) = rnn(x, initial, teacher={state: y}, own=own), rnn(x, initial)
    compare([taught, *taught_ends], [free, *free_ends], [x, *initial, *cell.parameters()])


def test_chunks_chained_are_the_whole(engine) -> None:
    cell, state, x, y, initial = problem("narx")
    rnn = Recurrent(cell)
    whole, ends = rnn(x, initial, teacher={state: y})
    parts, states = [], initial
    for at in (slice(0, 2), slice(2, 3), slice(3, 7)):
        out, states = rnn(x[:, at], states, teacher={state: y[:, at]})
        parts.append(out)
    assert_close([torch.cat(parts, 1), *states], [whole, *ends])


@pytest.mark.parametrize("mixed", [False, True])
def test_all_states_are_those_that_the_next_step_reads(mixed: bool, engine) -> None:
    cell, state, x, y, initial = problem("output")
    own = torch.rand(B, T) < 0.5 if mixed else None
    outputs, _, states = Recurrent(cell)(x, initial, teacher={state: y}, own=own, return_all_states=True)
    assert_close(states[state], y if own is None else torch.where(own.unsqueeze(-1), outputs, y))


def test_an_autonomous_cell_has_its_length_from_the_teacher(engine) -> None:
    rnn = Recurrent(Autonomous())
    y = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    o, h, outputs = torch.zeros(2, 2).double(), torch.full((2, 3), 0.5).double(), []
    for t in range(5):
        out, h = rnn.cell.step(o, h)
        outputs.append(out)
        o = y[:, t]
    found, ends = rnn(teacher={"o": y})
    compare([found, *ends], [torch.stack(outputs, 1), o, h], [y, *rnn.parameters()])


def test_time_first(engine) -> None:
    cell, state, x, y, initial = problem("narx")
    own = torch.rand(B, T) < 0.5
    expected = Recurrent(cell)(x, initial, teacher={state: y}, own=own)
    outputs, ends = Recurrent(cell, batch_first=False)(
        x.transpose(0, 1), initial, teacher={state: y.transpose(0, 1)}, own=own.T
    )
    assert_close([outputs.transpose(0, 1), ends], [expected[0], expected[1]])


def test_values_are_made_floats_of_the_cells() -> None:
    rnn = Recurrent(cells.OutputRecurrence(3, 4, output_size=2))
    x, y = torch.randn(2, 5, 3), torch.randint(0, 2, (2, 5, 2))
    assert_close(rnn(x, teacher={"o": y})[0], rnn(x, teacher={"o": y.float()})[0])
    assert_close(rnn(x, teacher={"o": y.half()})[0], rnn(x, teacher={"o": y.float()})[0])


def test_a_loaded_model_has_teachers_too(tmp_path) -> None:
    cell, state, x, y, initial = problem("narx")
    rnn = Recurrent(cell)
    expected = rnn(x, initial, teacher={state: y})
    ostinato.save(rnn, tmp_path)
    loaded = ostinato.load(tmp_path)
    assert_close(loaded(x, initial, teacher={state: y}), expected)
    assert loaded.explain().engine == "none"


@pytest.mark.parametrize("mixed", [False, True])
def test_in_a_compiled_graph(mixed: bool) -> None:
    cell, state, x, y, _ = problem("narx")
    rnn, own = Recurrent(cell), torch.rand(B, T) < 0.5 if mixed else None
    graph = torch.compile(lambda x, y: rnn(x, teacher={state: y}, own=own)[0], fullgraph=True, backend="aot_eager")
    compare([graph(x, y)], [rnn(x, teacher={state: y}, own=own)[0]], [x, y, *cell.parameters()])


def test_with_torch_func() -> None:
    cell, state, x, y, _ = problem("narx")
    rnn = Recurrent(cell)
    each = torch.func.vmap(lambda x, y: rnn(x[None], teacher={state: y[None]})[0][0])(x, y)
    assert_close(each, rnn(x, teacher={state: y})[0])


def test_gradcheck() -> None:
    cell, state, x, y, initial = problem("narx", 4, 2)
    rnn = Recurrent(cell)
    run = lambda x, y, *i: rnn(x, i, teacher={state: y})[0]  # noqa: E731
    assert torch.autograd.gradcheck(run, (x, y, *initial), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, y, *initial), fast_mode=True)


X, Y = torch.zeros(2, 4, 3, dtype=torch.float64), torch.zeros(2, 4, 6, dtype=torch.float64)
OUTPUT = Recurrent(catalogue.build("output"))
ERRORS = [
    (lambda: OUTPUT(X, teacher={"h": Y}), ValueError, "teacher: OutputRecurrence has no state 'h', it has o"),
    (lambda: OUTPUT(X, teacher={"o": Y[:, :3]}), ValueError, r"teacher\['o'\] must be \[2, 4, 6\], got \[2, 3, 6\]"),
    (lambda: OUTPUT(X, teacher={"o": Y[..., 0]}), ValueError, r"teacher\['o'\] must be \[2, 4, 6\], got \[2, 4\]"),
    (lambda: OUTPUT(X, teacher={"o": None}), TypeError, r"teacher\['o'\] must be a tensor .*, got a NoneType"),
    (lambda: OUTPUT(X, teacher=Y), TypeError, "teacher must be values by the name of a state, got a Tensor"),
    (lambda: OUTPUT(X, teacher={}), TypeError, "teacher must be values by the name of a state, got a dict"),
    (lambda: OUTPUT(X, own=Y[..., 0] > 0), ValueError, "give teacher= too"),
    (lambda: OUTPUT(X, teacher={"o": Y}, own=Y > 0), ValueError, r"own must be \[2, 4\], got \[2, 4, 6\]"),
    (lambda: OUTPUT(X, teacher={"o": Y}, own=Y), TypeError, r"own must be a bool tensor \[2, 4\], got torch.float64"),
    (
        lambda: Recurrent(catalogue.build("output", torch.float32))(X.float(), teacher={"o": Y}),
        TypeError,
        r"teacher\['o'\] is torch.float64, the cell's parameters are torch.float32",
    ),
]


@pytest.mark.parametrize("call, kind, words", ERRORS, ids=[re.sub(r"\W+", " ", e[2])[:40] for e in ERRORS])
def test_errors(call, kind, words) -> None:
    with pytest.raises(kind, match=words):
        call()


def test_strictly_step_by_step_is_refused() -> None:
    cell, state, x, y, _ = problem("stubborn")
    with ostinato.strict(), pytest.raises(FallbackError):
        Recurrent(cell)(x, teacher={state: y})
