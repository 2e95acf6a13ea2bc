"""Which states are linear in their own past, element by element; for the others, the operation that prevents it."""

from __future__ import annotations

import catalogue
import pytest
import torch
import torch.nn.functional as F
from close import assert_close
from oracle import Written, drawn, program_of
from test_trace import PUBLISHED

from ostinato import Recurrent
from ostinato.engines import eager
from ostinato.program import linearity


def _min_gru(c, x, h):
    z = torch.sigmoid(x @ c.U)
    return (1 - z) * h + z * (x @ c.W)


def _sru(c, x, s):
    f, r = torch.sigmoid(x @ c.U + c.v), torch.sigmoid(x @ c.U)
    s = f * s + (1 - f) * (x @ c.W)
    return s, r * torch.tanh(s) + (1 - r) * (x @ c.W)


def _sru_peephole(c, x, s):
    f = torch.sigmoid(x @ c.U + c.v * s)
    return f * s + (1 - f) * (x @ c.W)


def _momentum(c, x, v, h):
    v = 0.9 * v + x @ c.W
    return v, h + 0.1 * v


def _momentum_turned(c, x, h, v):
    return h + 0.1 * v, 0.9 * v + x @ c.W


def _masked(c, x, h):
    return torch.where(x[:, :1] > 0, h / (1 + (x @ c.W).abs()) - x @ c.W, -h)


def _leaky(c, x, h):
    return 0.5 * h + h @ c.U + x @ c.W


def _max_plus(c, x, m):
    return torch.maximum(m + F.logsigmoid(x @ c.W), x @ c.W)


SHAPES = {"W": (3, 4), "U": (3, 4), "v": (4,)}
LINEAR = {
    "minGRU": (_min_gru, ["h"]),
    "SRU without a peephole": (_sru, ["s"]),
    "linear IndRNN": (lambda c, x, h: c.v * h + x @ c.W, ["h"]),
    "momentum": (_momentum, ["v", "h"]),
    "momentum, declared the other way round": (_momentum_turned, ["h", "v"]),
    "chosen by the input": (_masked, ["h"]),
    "a sum of its past and itself": (lambda c, x, h: h + (x.sum(-1, keepdim=True) * h - h * 3) + 1.0, ["h"]),
    "nothing of its past": (lambda c, x, h: torch.tanh(x @ c.W), ["h"]),
    "itself": (lambda c, x, h: (h, h + x @ c.W), ["h"]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear(name):
    function, states = LINEAR[name]
    verdicts = linearity(program_of(Written(function, dict.fromkeys(states, 4), SHAPES)))
    assert list(verdicts) == states and all(v.linear and not v.reason for v in verdicts.values())


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_called_linear_is(name):
    """Superposition: the differences that initial values make add up, and each element sees its own past only."""
    function, states = LINEAR[name]
    cell = Written(function, dict.fromkeys(states, 4), SHAPES)
    x, zero = drawn((5, 2, 3)), torch.zeros(1, 2, 4, dtype=torch.float64)
    ends = lambda start: torch.cat(eager.run(cell, [x], [], [start] * len(states))[2])  # noqa: E731
    one, two = drawn((1, 2, 4), 1), drawn((1, 2, 4), 2)
    assert_close(ends(one + two) - ends(two), ends(one) - ends(zero))
    alone = zero.clone()
    alone[..., 1] = 1.0
    others = (ends(alone) - ends(zero))[..., [0, 2, 3]]
    assert_close(others, torch.zeros_like(others))


NOT_LINEAR = {
    "SRU with a peephole": (_sru_peephole, ["h"], {"h": "sigmoid of h"}),
    "a product": (_leaky, ["h"], {"h": "matmul of h"}),
    "a square": (lambda c, x, h: h * h + x @ c.W, ["h"], {"h": "mul of h"}),
    "a quotient": (lambda c, x, h: x @ c.W / (2 + h), ["h"], {"h": "div of h"}),
    "a choice by itself": (lambda c, x, h: torch.where(h > 0, h, 0.5 * h), ["h"], {"h": "gt of h"}),
    "a maximum": (_max_plus, ["m"], {"m": "maximum of m"}),
    "another element": (lambda c, x, h: h.flip(-1) + x @ c.W, ["h"], {"h": "take of h"}),
    "a sum over elements": (lambda c, x, h: h - h.mean(-1, keepdim=True), ["h"], {"h": "sum of h"}),
    "a gate of another state": (lambda c, x, h, k: (c.v * h + torch.tanh(k), torch.tanh(k) + h), ["h", "k"],
                                {"h": "h depends on k", "k": "tanh of k"}),
    "two that need each other": (lambda c, x, h, k: (h + k, h - k), ["h", "k"],
                                 {"h": "h depends on k", "k": "k depends on h"}),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_not_linear(name):
    function, states, reasons = NOT_LINEAR[name]
    shapes = SHAPES | ({"U": (4, 4)} if function is _leaky else {})
    verdicts = linearity(program_of(Written(function, dict.fromkeys(states, 4), shapes)))
    assert not any(v.linear for v in verdicts.values())
    for state, reason in reasons.items():
        assert verdicts[state].reason.split(" (")[0] == reason
        if "depends" not in reason:
            assert "test_linear.py:" in verdicts[state].reason


def test_longer_delays_are_not():
    cell = Written(lambda c, x, h, h2: 0.5 * h2 + x @ c.W, {"h": {"size": 4, "delays": (1, 2)}}, SHAPES)
    assert linearity(program_of(cell))["h"].reason == "h is read at delay 2"


PUBLISHED_VERDICTS = {"mLSTM": {"C": True, "n": True}, "DeltaNet": {"S": False}, "ON-LSTM": {"h": False, "s": False}}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published(name):
    verdicts = linearity(program_of(Written(*PUBLISHED[name])))
    assert {state: v.linear for state, v in verdicts.items()} == PUBLISHED_VERDICTS[name]


CATALOGUE = {"indrnn": {"h": "relu of h"}, "lstm": {"h": "matmul of h", "C": "C depends on h"},
             "gru": {"h": "matmul of h"}, "leaky": {"h": "matmul of h"}}


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue(name):
    verdicts = linearity(program_of(catalogue.build(name)))
    assert {state: v.reason.split(" (")[0] for state, v in verdicts.items()} == CATALOGUE[name]


def test_explained():
    recurrent = Recurrent(Written(_sru, {"s": 4}, SHAPES))
    text = str(recurrent.explain(drawn((1, 1, 3))))
    assert "state s: linear in its past, a parallel scan could compute it" in text
