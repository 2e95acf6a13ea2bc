"""Checkpointed back-propagation: the values and gradients of the whole, in segments; the optimal schedules."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, Tagger, gradients
from torch import nn

from ostinato import Cell, FallbackError, Recurrent, engine, strict
from ostinato.recurrent import schedule, segments
from ostinato.recurrent.schedule import Costs

STEPS, BATCH = 11, 4
Options = dict[str, Any]
WAYS: dict[str, Options] = {"one": {"checkpoint": 1}, "three": {"checkpoint": 3}, "root": {"checkpoint": "sqrt"}}
FLAGS: dict[str, Options] = {
    "plain": {},
    "lengths": {"lengths": [11, 4, 0, 7]},
    "mask": {"mask": torch.rand(BATCH, STEPS, generator=torch.Generator().manual_seed(3)) < 0.6},
    "reset": {"reset": torch.rand(BATCH, STEPS, generator=torch.Generator().manual_seed(4)) < 0.3},
}


def outcome(rnn, x, initial, **given):
    """Results, and the gradients of all of them."""
    outputs, ends, states = rnn(x, initial, return_all_states=True, **given)
    results = [outputs, *ends, *states.values()]
    return [*results, *gradients(results, [x, *initial, *rnn.parameters()])]


def both(cell, kind, which="cpu", reverse=False, **given):
    """The whole's outcome, and the checkpointed one's."""
    x = catalogue.inputs(cell, STEPS, BATCH).requires_grad_()
    initial = [v.requires_grad_() for v in catalogue.initial(cell, BATCH)]
    with engine(which):
        whole = outcome(Recurrent(cell, reverse=reverse), x, initial, **given)
        return whole, outcome(Recurrent(cell, reverse=reverse, **kind), x, initial, **given)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_equals_the_whole(name):
    whole, found = both(catalogue.build(name), {"checkpoint": 4})
    assert_close(found, whole)


@pytest.mark.parametrize("which", ["cpu", "reference"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("given", FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize("kind", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("cell", [catalogue.build("lstm"), Fibre()], ids=["lstm", "fibre"])
def test_equals_the_whole_in_every_way(cell, kind, given, reverse, which):
    whole, found = both(cell, kind, which, reverse, **given)
    assert_close(found, whole)


def needed(cell, **more) -> int:
    """The fewest bytes that a budget may be."""
    with pytest.raises(ValueError, match="checkpoint_bytes=1 is too small: this call takes at least") as error:
        x = catalogue.inputs(catalogue.build("gru"), STEPS, BATCH).requires_grad_()
        Recurrent(cell, checkpoint_bytes=1)(x, return_all_states=True, **more)
    return int(str(error.value).split()[-2])


@pytest.mark.parametrize("given", [FLAGS["plain"], FLAGS["lengths"], FLAGS["reset"]], ids=["plain", "lengths", "reset"])
@pytest.mark.parametrize("times", [1.0, 1.25, 1.6, 3.0, 5.0, 100.0])
def test_a_budget(times, given):
    cell = catalogue.build("gru")
    whole, found = both(cell, {"checkpoint_bytes": int(times * needed(cell, **given)) + 1}, **given)
    assert_close(found, whole)


@pytest.mark.parametrize("segments_, room", [(1, 1), (2, 1), (5, 1), (7, 2), (11, 3), (11, 11), (11, 40)])
def test_how_often_segments_are_run(segments_, room, monkeypatch):
    """The rule's number, and never more states at once than there is room for."""
    seen, most = [], [0]
    real = segments.Call.run

    def run(self, number, *args):
        seen.append(number)
        most[0] = max(most[0], sum(isinstance(e, segments.Stored) for e in self.stack or ()))
        return real(self, number, *args)

    monkeypatch.setattr(segments.Call, "run", run)
    monkeypatch.setattr(schedule, "by_bytes", lambda total, costs, limit: schedule.Schedule(
        -(-total // segments_), room, 1))
    rnn = Recurrent(catalogue.build("gru"), checkpoint_bytes=9)
    steps = 3 * segments_
    x = catalogue.inputs(rnn.cell, steps, 1)
    rnn(x)[0].sum().backward()
    assert len(seen) == (schedule.runs(segments_, min(room, segments_)) if segments_ > 1 else 0)
    assert most[0] <= room


@cache
def least(n, s):
    """C(n, s) by the recursion of Gruslys et al. (2016)."""
    if n <= 1:
        return n
    if s == 1:
        return n * (n + 1) // 2
    return min(y + least(n - y, s - 1) + least(y, s) for y in range(1, n))


def test_the_schedule_is_optimal():
    for n in range(1, 50):
        for s in range(1, 20):
            assert schedule.runs(n, s) == least(n, s)
            y = schedule.ahead(n, s)
            assert n == 1 or y + least(n - y, max(1, s - 1)) + least(y, s) == least(n, s) or (s == 1 and y == n - 1)
    assert schedule.runs(10**6, 20) < 8 * 10**6  # and at once


@cache
def least_mixed(n, room, inner):
    """Fewest runs where a state takes 1 of the room and a segment's inner values ``inner``, in any order of the two."""
    if n == 1:
        return 1
    ways = [y + least_mixed(n - y, room - 1, inner) + least_mixed(y, room, inner) for y in range(1, n) if room > 1]
    ways += [1 + least_mixed(n - 1, room - 1 - inner, inner)] if room > 1 + inner else []
    return min([*ways, n * (n + 1) // 2])


def test_inner_values_are_kept_where_all_states_have_room():
    """The best mixture of states and inner values (Gruslys et al., section 3.3) takes at most one run less."""
    for n in range(2, 9):
        for inner in range(n, n + 3):
            for room in range(n - 1, n + 4 * inner):
                kept = 1 + min(n - 1, (room - n + 1) // inner)
                best = least_mixed(n, room + 1, inner)  # where the last segment's state takes room too
                assert best <= 2 * n - kept <= best + 1


def test_budgets_are_kept_and_more_is_never_slower():
    costs = Costs(state=16, step=60, passing=30, piece=2**26)
    before = None
    for limit in range(costs.working(1) + costs.state, 200_000, 731):
        s = schedule.by_bytes(1000, costs, limit)
        count = -(-1000 // s.steps)
        held = s.states * costs.state + costs.working(s.steps) + (s.kept - 1) * s.steps * costs.step
        assert held <= limit or count == 1
        again = schedule.runs(count, s.states) if s.states < count - 1 else 2 * count - max(s.kept, 1)
        time = again * (s.steps + schedule.OVERHEAD)
        assert before is None or time <= before
        before = time


class Noisy(Cell):
    """h[t] = dropout(tanh(W x[t] + U h[t-1]))"""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.W, self.U = nn.Linear(3, 5), nn.Linear(5, 5, bias=False)
        self.add_state("h", 5)
        self.double()

    def step(self, x, h):
        return nn.functional.dropout(torch.tanh(self.W(x) + self.U(h)), 0.4, self.training)


@pytest.mark.parametrize("budget", [False, True])
def test_the_same_noise_again(budget, monkeypatch):
    cell, forward = Noisy(), segments.Call.forward
    limit = int(1.7 * needed(cell))
    plain, rnn = Recurrent(cell), Recurrent(cell, checkpoint_bytes=limit) if budget else Recurrent(cell, checkpoint=3)
    x = torch.randn(BATCH, STEPS, 3, dtype=torch.float64, requires_grad=True)
    calls = []
    monkeypatch.setattr(segments.Call, "forward", lambda self, t: (calls.append(self), forward(self, t))[1])
    torch.manual_seed(5)
    outputs, (h,) = rnn(x)
    after = torch.get_rng_state()
    torch.rand(7)
    found = [outputs, h, *gradients([outputs, h], [x, *cell.parameters()])]
    (steps,) = {s.steps.stop - s.steps.start for call in calls for s in call.spans[:1]}
    torch.manual_seed(5)
    parts, states = [], plain.initial_states(BATCH)
    for begin in range(0, STEPS, steps):
        out, states = plain(x[:, begin : begin + steps], states)
        parts.append(out)
    assert torch.equal(torch.get_rng_state(), after)
    results = [torch.cat(parts, 1), states[0]]
    assert (results[0] == 0).any()
    assert_close(found, [*results, *gradients(results, [x, *cell.parameters()])])


def test_backward_leaves_the_generator_alone():
    rnn = Recurrent(Noisy(), checkpoint=3)
    outputs, _ = rnn(torch.randn(2, STEPS, 3, dtype=torch.float64))
    before = torch.get_rng_state()
    outputs.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_twice_and_second_derivatives_and_many_cotangents():
    cell = catalogue.build("lstm")
    x = catalogue.inputs(cell, 5, 2).requires_grad_()
    leaves, found = [x, *cell.parameters()], []
    for steps in (None, 2):
        rnn = Recurrent(cell, checkpoint=steps)
        outputs, _ = rnn(x)
        value = outputs.sin().sum()
        once = torch.autograd.grad(value, leaves, retain_graph=True)
        again = torch.autograd.grad(value, leaves, retain_graph=True)
        seeds = torch.eye(outputs.numel(), dtype=outputs.dtype).reshape(-1, *outputs.shape)
        many = torch.autograd.grad(outputs, x, seeds, is_grads_batched=True, retain_graph=True)
        first = torch.autograd.grad(value, leaves, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), leaves)
        found.append([once, again, many, first, second])
    assert_close(found[1], found[0])


def test_a_loss_of_the_end_alone_and_a_frozen_part():
    cell = catalogue.build("gru")
    cell.get_parameter("W.weight").requires_grad_(False)
    x = catalogue.inputs(cell, STEPS, 2)
    leaves = [p for p in cell.parameters() if p.requires_grad]
    found = [torch.autograd.grad(Recurrent(cell, checkpoint=steps)(x)[1][0].square().sum(), leaves)
             for steps in (None, 3)]
    assert_close(found[1], found[0])


def test_a_changed_parameter_is_noticed():
    rnn = Recurrent(catalogue.build("gru"), checkpoint=3)
    outputs, _ = rnn(catalogue.inputs(rnn.cell, STEPS, 2))
    with torch.no_grad():
        rnn.cell.get_parameter("U.weight").mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_several_inputs_and_constants():
    cell = Tagger()
    words = torch.randint(6, (3, STEPS), generator=torch.Generator().manual_seed(0))
    x, c = torch.randn(3, STEPS, 3).double().requires_grad_(), torch.randn(3, 2).double().requires_grad_()
    found = []
    for steps in (None, 4):
        outputs, ends = Recurrent(cell, checkpoint=steps)([words, x], constants=c)
        found.append([outputs, *ends, *gradients([outputs, *ends], [x, c, *cell.parameters()])])
    assert_close(found[1], found[0])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_step_that_cannot_be_traced(reverse):
    cell = Stubborn()
    x = torch.randn(2, STEPS, 3, dtype=torch.float64).requires_grad_()
    found = []
    for steps in (None, 4):
        outputs, ends, states = Recurrent(cell, reverse=reverse, checkpoint=steps)(x, return_all_states=True)
        results = [outputs, *ends, *states.values()]
        found.append([*results, *gradients(results, [x, *cell.parameters()])])
    assert_close(found[1], found[0])
    with pytest.raises(ValueError, match="checkpoint_bytes needs a step that can be traced"):
        Recurrent(cell, checkpoint_bytes=9)(x)


@pytest.mark.parametrize(("given", "message"), [
    ({"checkpoint": 0}, "checkpoint must be a number of steps from 1 up, 'sqrt' or None, got 0"),
    ({"checkpoint": "root"}, "got 'root'"),
    ({"checkpoint_bytes": -1}, "checkpoint_bytes must be a number of bytes or None, got -1"),
    ({"checkpoint": 3, "checkpoint_bytes": 9}, "not both"),
])
def test_errors(given, message):
    with pytest.raises(ValueError, match=message):
        Recurrent(catalogue.build("gru"), **given)


def test_torch_func_keeps_everything_and_strict_says_so_of_choice():
    cell = catalogue.build("gru")
    x = catalogue.inputs(cell, STEPS, 2)
    rnn = Recurrent(cell, checkpoint=3)
    with strict(), pytest.raises(FallbackError, match="checkpointing would not take place"):
        torch.func.grad(lambda x: rnn(x)[0].sum())(x)


CHILD = """
import sys
from pathlib import Path
import torch
from ostinato import Recurrent, cells
from ostinato.training.bptt import checkpointed_loss
torch.set_num_threads(1)
steps, batch, width, limit = 3000, 8, 64, int(sys.argv[1])

def resident(kind):
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))

rnn = Recurrent(cells.LSTM(width, width), batch_first=False, checkpoint_bytes=limit or None)

def step(x, g, states):
    outputs, states = rnn(x, states)
    return (outputs * g).sum(), states

for size in (200, steps):
    x, g = torch.randn(size, batch, width), torch.randn(size, batch, width)
    if size == steps:
        Path("/proc/self/clear_refs").write_text("5", "utf-8")
        before = resident("VmRSS")
    if limit:
        rnn(x)[0].backward(g)
    else:
        checkpointed_loss(step, [x, g], batch_first=False)[0].backward()
print(resident("VmHWM") - before - (4 * steps * batch * width if limit else 0))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="it reads Linux' own numbers")
@pytest.mark.parametrize("limit", [0, 4_000_000, 20_000_000])
def test_memory(limit):
    """Beside the outputs, about what was allowed; all would be 44 MB. No limit stands for a loss in segments, which has
    no outputs."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(limit)], check=True, capture_output=True, text=True)
    assert float(done.stdout) <= 1.2 * (limit or 3_000_000) + 2e6
