"""What a loop becomes, run word by word in NumPy (``words.py``), against the reference engine."""

from __future__ import annotations

import catalogue
import pytest
import torch
from comparing import compared, only, trained
from hypothesis import HealthCheck, given, settings
from oracle import Written, assert_as_by_steps, written
from test_derivative import NAMES, _program, _three_orders, _through_plan, _values
from test_random_programs import _cell, expression
from words import NAMES as OPCODES_OF_THE_MACHINE
from words import Machine, Words

from ostinato import Recurrent
from ostinato.engines.cpu.lower import Lowered, lower
from ostinato.engines.cpu.opcodes import OPCODES
from ostinato.engines.cpu.values import CannotRun, Kind
from ostinato.program.ir import Builder, Program, StateVar, finish

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def test_one_list_of_opcodes():
    assert list(OPCODES) == OPCODES_OF_THE_MACHINE


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_cells(name):
    with only(compared(Words)) as engine:
        trained(catalogue.build(name), 4, 3, orders=2)
        trained(catalogue.build(name, hidden_size=2), 1, 1, reverse=True)
    assert len(engine.seen) >= 4


@pytest.mark.parametrize("name", ["lstm", "gru-before", "skip-two", "slstm"])
@pytest.mark.parametrize("reverse", [False, True])
def test_masks_resets_and_lengths(name, reverse):
    flags = torch.rand(3, 5, generator=torch.Generator().manual_seed(3)) > 0.4
    with only(compared(Words)) as engine:
        cell = catalogue.build(name)
        trained(cell, 5, 3, reverse, mask=flags)
        trained(cell, 5, 3, reverse, reset=flags)
        trained(cell, 5, 3, reverse, lengths=torch.tensor([5, 2, 3]))
    assert len(engine.seen) >= 6


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cast"])
def test_operations_to_second_order(name):
    with only(compared(Words)) as engine:
        _three_orders(_through_plan(_program(name)), _values())
    assert len(engine.seen) >= 2


@settings(max_examples=60, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(expression, expression, expression)
def test_random_cells(new_h, new_k, output):
    with only(compared(Words)):
        assert_as_by_steps(_cell(new_h, new_k, output), ((4,),), sizes=((2, 3),))


def _loops(name: str, **features) -> list[Program]:
    """The loop of a training step, and that of its derivative."""
    with only(compared(Words)) as engine:
        trained(catalogue.build(name, hidden_size=6), 3, 2, **features)
    return [loop for loop, *_ in engine.seen[-2:]]


def _kinds(lowered: Lowered) -> str:
    machine = Machine.read(lowered.words(4), lowered.constants)
    return " ".join(("product", "map", "reduction")[kind] for kind, _ in machine.stages)


@pytest.mark.parametrize(("name", "forwards", "backwards"), [
    ("lstm", "product map", "map product"),
    ("gru", "product map", "map product"),
    ("elman", "product map", "map product"),
    ("leaky", "product map", "map product"),
    ("gru-before", "product map product map", "map product map product"),
    ("indrnn", "map", "map"),
])
def test_as_few_stages_as_there_can_be(name, forwards, backwards):
    assert [_kinds(lower(loop)) for loop in _loops(name)] == [forwards, backwards]


def test_a_state_that_is_given_out_is_kept_there():
    loop = _loops("skip-two")[0]
    (state,) = [a for a in lower(loop).arrays if a.kind is Kind.STATE]
    assert state.depth == 4 and state.alias is not None and state.alias.kind is Kind.EMIT
    assert 4 in lower(loop).room
    assert all(a.alias is None for a in lower(loop, ragged=True).arrays)
    assert set(lower(loop, ragged=True).room) == {0}


def test_phrases_are_one_instruction():
    forwards, backwards = (_instructions(lower(loop)) for loop in _loops("lstm"))
    assert forwards.count("sigmoid") == 3 and forwards.count("muladd") == 1 and "add" not in forwards
    assert backwards.count("dsigmoid") == 3 and backwards.count("dtanh") == 2 and "sub" not in backwards
    assert "lerp" in _instructions(lower(_loops("gru")[0]))
    assert "add" not in _instructions(lower(_loops("gru-before")[0]))  # both products begin with their share of x


def _instructions(lowered: Lowered) -> list[str]:
    found = []
    for kind, words in Machine.read(lowered.words(8), lowered.constants).stages:
        if kind == 1:
            lines = words[7 + 7 * words[5] :]
            found += [OPCODES[op] for op in lines[::5]]
    return found


def _loop(term) -> Program:
    b = Builder()
    b.source = "cell.py:7: return f(h)"
    h, x = b.leaf("read", (4,), state="h", delay=1), b.leaf("x", (4,), name="x")
    return finish(b, [StateVar("h", (4,), 1)], {"h": term(h, x)}, {})


@pytest.mark.parametrize(("term", "message"), [
    (lambda h, x: h.cast(to="int").cast(to="float") * x, r"^cast of a float to a whole number \(cell.py:7: return"),
    (lambda h, x: h * h.builder.leaf("x", (4,), "int", name="n"), r"^takes whole numbers as an input \(cell"),
    (lambda h, x: h * h.builder.const(2**30), r"^counts with 1073741824 \(cell"),
    (lambda h, x: h.reshape(shape=(2, 2)).matmul(x.reshape(shape=(2, 2))).reshape(shape=(4,)),
     r"^a product by what the loop computes \(cell"),
])
def test_what_it_cannot_say_it_names(term, message):
    with pytest.raises(CannotRun, match=message):
        lower(_loop(term))


def test_more_than_four_dimensions():
    def turned(c, x, h):
        h = h.reshape(-1, 2, 2, 2, 2, 2)
        return torch.tanh(h.permute(0, 5, 4, 3, 2, 1) + h).flatten(1) + 0 * x.sum(1, keepdim=True)

    module = Recurrent(Written(turned, {"h": 32}, {}))
    with pytest.raises(CannotRun, match=r"^an operation over more than four dimensions \(.*test_lowering.py:\d+"):
        lower(_only_loop(module))


def _only_loop(module: Recurrent) -> Program:
    class Seen:
        name, fuses = "seen", True
        loops: list[Program] = []  # noqa: RUF012

        def __init__(self, loop):
            self.loops.append(loop)

        @staticmethod
        def refusal(loop, dtype, device):
            return None

        def run(self, *args):
            raise InterruptedError

    with only(Seen), pytest.raises(InterruptedError):
        module(torch.zeros(1, 2, 3, dtype=torch.float64))
    return Seen.loops[-1]


def test_views_of_views_and_gaps():
    def woven(c, x, h):
        a = torch.cat([h[:, ::2], x[:, :2]], 1).flip(1)
        b = torch.stack([a, h], 2).flatten(1)[:, 1:5]
        return torch.tanh((b.reshape(-1, 2, 2).transpose(1, 2).flatten(1) @ c.U) + a)

    with only(compared(Words)) as engine:
        assert_as_by_steps(written(woven))
    assert engine.seen
