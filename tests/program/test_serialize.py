"""Programs as JSON: the same program comes back; what is damaged is refused and never evaluated."""

from __future__ import annotations

import copy
import json
import random

import catalogue
import pytest
import torch
from close import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Written, drawn, program_of
from test_trace import PUBLISHED

from ostinato.engines.plan import Plan
from ostinato.program import InvalidProgram, from_json, linearity, to_json
from ostinato.program.evaluate import Run
from ostinato.program.ir import Builder, StateVar, finish

CELLS = {
    **{name: lambda name=name: catalogue.build(name) for name in catalogue.NAMES},
    **{name: lambda name=name: Written(*PUBLISHED[name]) for name in PUBLISHED},
    "with constants": lambda: Written(
        lambda c, x, h: torch.cumsum(h.softmax(-1), -1) @ torch.matrix_exp(c.U) + torch.nn.functional.dropout(
            x @ c.W * torch.arange(4.0)) * (h > 0), {"h": 4}, {"W": (3, 4), "U": (4, 4)}),
}


def run(program, steps=2, batch=3):
    """What a program gives for inputs made after its leaves; no promises beyond "it runs"."""
    lead = {"p": (), "q": (batch,), "x": (steps, batch)}

    def made(node):
        value = drawn((*lead[node.op], *node.shape))
        return value if node.dtype == "float" else value.gt(0) if node.dtype == "bool" else value.sign().long()

    inputs = {name: made(program.nodes[i]) for name, i in program.inputs.items()}
    starts = [drawn((s.depth, batch, *s.shape), 1) for s in program.states]
    torch.manual_seed(0)
    outs, finals = Plan(program).run(inputs, starts, Run(torch.float64, torch.device("cpu"), (steps, batch)), False)
    return [*outs.values(), *finals]


@pytest.mark.parametrize("name", CELLS)
def test_round_trip(name):
    """Equal nodes after a trip through text, within 14 kB; equal values, and the same verdict on linearity."""
    program = program_of(CELLS[name]())
    text = json.dumps(to_json(program), allow_nan=False)
    again = from_json(json.loads(text), dict(program.tensors))
    assert again.nodes == program.nodes and again.states == program.states
    assert [n.source for n in again.nodes] == [n.source for n in program.nodes]
    assert dict(again.next) == dict(program.next) and dict(again.emit) == dict(program.emit)
    assert list(again.tensors) == list(program.tensors)
    assert json.dumps(to_json(again)) == text
    assert len(text) < 14_000
    assert_close(run(again), run(program))
    assert linearity(again) == linearity(program)


@pytest.mark.parametrize("data", [None, 3, "{}", [], {}, {"format": 0}, {"format": 2}, {"format": 1},
                                  {"format": 1, "states": [], "nodes": [], "next": {}, "emit": {}}])
def test_other_things(data):
    with pytest.raises(InvalidProgram):
        from_json(data)


SAMPLES = ["lstm", "skip-two", "slstm", "with constants", "mLSTM"]
JUNK = [None, True, False, 0, 1, -1, 2, 7, 10**30, 0.5, float("inf"), float("nan"), "", "h", "x0", "tanh", "aten:exp",
        "aten:", "read", "cat", "__class__", [], [0], [[]], {}, {"a": 1}, ["{", "args", 3]]


def _places(data):
    """Every place in a tree: the container and the key."""
    found, stack = [], [data]
    while stack:
        item = stack.pop()
        for key in (item if isinstance(item, dict) else range(len(item))):
            found.append((item, key))
            if isinstance(item[key], (dict, list)):
                stack.append(item[key])
    return found


def _damage(data, source):
    """Change one place: remove it, repeat it, put something else there, or something of the program's own."""
    places = _places(data)
    container, key = source.choice(places)
    kind = source.choice(["remove", "junk", "junk", "own", "own", "repeat", "number"])
    if kind == "remove":
        del container[key]
    elif kind == "repeat" and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif kind == "number" and isinstance(container[key], (int, float)):
        container[key] += source.choice([-1, 1, 0.5])
    elif kind == "own":
        other, place = source.choice(places)
        container[key] = copy.deepcopy(other[place])
    else:
        container[key] = source.choice(JUNK)


def _spoilt(text, seed):
    data, source = json.loads(text), random.Random(seed)
    for _ in range(source.choice([1, 1, 1, 2, 5])):
        _damage(data, source)
    return data


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_refused(name):
    """One to five changes anywhere: refused, by one kind of error, or what is left is a program that runs."""
    program = program_of(CELLS[name]())
    text, refused, accepted = json.dumps(to_json(program)), 0, 0
    for seed in range(400):
        try:
            spoilt = from_json(_spoilt(text, seed), dict(program.tensors))
        except InvalidProgram as error:
            refused += len(str(error)) > 10
            continue
        accepted += 1
        if accepted <= 30 and _small(spoilt):
            run(spoilt)
    assert refused > 200


def _small(program):
    """Whether a run fits: a shape may have become a large one."""
    sizes = [s.depth for s in program.states] + [n for node in program.nodes for n in node.shape]
    return max(sizes) < 1000 and not any(n.op.startswith("aten:") for n in program.nodes)


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_is_evaluated(name, monkeypatch):
    """Reading calls no operation of torch, whatever the text says."""
    program = program_of(CELLS[name]())
    text, called = json.dumps(to_json(program)), []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            called.append(func)
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr("builtins.eval", None)
    monkeypatch.setattr("builtins.exec", None)
    with Watch():
        for seed in range(50):
            try:
                from_json(_spoilt(text, seed), {})
            except InvalidProgram:
                continue
    assert called == []


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                           lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner,
                                                                                       max_size=4), max_leaves=12)
KEYS = ("states", "nodes", "next", "emit", "tensors")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({key: json_values for key in KEYS}))
def test_any_json(data):
    try:
        from_json({"format": 1, **data})
    except InvalidProgram:
        return
    assert data["nodes"] == [] or not data["states"]


def test_depth_without_end():
    """A tree deeper than Python's stack."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    data = to_json(program_of(catalogue.build("elman")))
    data["nodes"][-1][2] = {"dims": deep}
    with pytest.raises(InvalidProgram):
        from_json(data)


def test_special_numbers_come_back():
    """Infinities are numbers of a program too."""
    b = Builder()
    h = b.leaf("read", (2,), state="h", delay=1)
    program = finish(b, [StateVar("h", (2,), 1, -1.5)], {"h": h.maximum(-float("inf")).minimum(1e-300)}, {})
    again = from_json(json.loads(json.dumps(to_json(program))))
    assert again.nodes == program.nodes and again.states == program.states
