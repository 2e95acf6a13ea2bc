"""The machine of native/include/ostinato.h in NumPy: reads a plan's words and does what they say, one by one.

It knows nothing of how a plan is made, and is as strict as it is slow: what is read before it is written is NaN, and an
element of a map that reads what another element of the same map wrote is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.engines.cpu.lower import lower
from ostinato.engines.cpu.opcodes import MAGIC, VERSION
from ostinato.program.evaluate import Run
from ostinato.program.ir import Program

X, Q, P, STATE, EMIT, SCRATCH, FLAGS_X, FLAGS_Q, FLAGS_EMIT = range(9)
TABLE = """copy 1 neg 1 abs 1 sign 1 floor 1 ceil 1 round 1 relu 1 exp 1 expm1 1 log 1 log1p 1 tanh 1 sigmoid 1 sqrt 1
rsqrt 1 reciprocal 1 sin 1 cos 1 erf 1 not 1 truth 1 add 2 sub 2 mul 2 div 2 maximum 2 minimum 2 pow 2 gt 2 ge 2 lt 2
le 2 eq 2 ne 2 and 2 or 2 xor 2 where 3 muladd 3 dtanh 2 dsigmoid 2 lerp 3 submul 3"""
NAMES, ARITY = TABLE.split()[::2], [int(n) for n in TABLE.split()[1::2]]


def _torch(name: str):
    function = getattr(torch, name)
    return lambda *args: function(*[torch.from_numpy(np.array(a)) for a in args]).numpy()


FUNCTIONS: dict[str, Any] = {
    **{name: _torch(name) for name in (
        "neg", "abs", "floor", "ceil", "round", "relu", "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "sqrt",
        "rsqrt", "reciprocal", "sin", "cos", "erf", "sign", "add", "sub", "mul", "div", "maximum", "minimum", "pow",
        "gt", "ge", "lt", "le", "eq", "ne")},
    "copy": lambda a: a,
    "not": lambda a: a == 0,
    "truth": lambda a: a != 0,
    "and": lambda a, b: (a != 0) & (b != 0),
    "or": lambda a, b: (a != 0) | (b != 0),
    "xor": lambda a, b: (a != 0) ^ (b != 0),
    "where": lambda a, b, c: np.where(a != 0, b, c),
    "muladd": lambda a, b, c: a * b + c,
    "dtanh": lambda g, y: g * (1 - y * y),
    "dsigmoid": lambda g, y: g * (y * (1 - y)),
    "lerp": lambda a, b, z: (1 - z) * a + z * b,
    "submul": lambda a, b, c: a - b * c,
}


@dataclass
class Array:
    kind: int
    size: int
    depth: int
    alias: int


@dataclass
class Machine:
    """A plan, read."""

    bytes: int
    arrays: list[Array]
    weights: list[list[int]]
    stages: list[tuple[int, list[int]]]
    constants: Sequence[float]
    now: list[np.ndarray] = field(default_factory=list)
    past: dict[int, np.ndarray] = field(default_factory=dict)

    @classmethod
    def read(cls, words: Sequence[int], constants: Sequence[float]) -> Machine:
        take = iter(words)
        magic, version, bytes_, n_arrays, n_weights, n_stages = _several(take, 6)
        assert (magic, version) == (MAGIC, VERSION) and bytes_ in (4, 8)
        arrays = [Array(*_several(take, 4)) for _ in range(n_arrays)]
        weights = [_several(take, 3) for _ in range(n_weights)]
        stages = []
        for _ in range(n_stages):
            kind, length = _several(take, 2)
            stages.append((kind, _several(take, length)))
        assert list(take) == []
        for a in arrays:
            assert a.kind == STATE or (a.depth == 0 and a.alias == -1)
            assert a.alias < 0 or (arrays[a.alias].kind == EMIT and arrays[a.alias].size == a.size)
        return cls(bytes_, arrays, weights, stages, constants)

    @property
    def dtype(self) -> Any:
        return np.float32 if self.bytes == 4 else np.float64

    def run(self, given: dict[int, np.ndarray], weights: Sequence[np.ndarray], initial: Sequence[np.ndarray],
            sizes: Sequence[int], ragged: bool, reverse: bool) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
        """Repeat the plan.

        Args:
            given: by the number of an array; X ``[N, size]`` with the sequences of all steps one after the other, Q
                ``[B, size]``, P ``[size]``.
            initial: for each state ``[D, B, size]``.
            sizes: how many sequences each step has.

        Returns:
            the emits by array, ``[N, size]``, and the states' last values ``[D, B, size]``.
        """
        batch = initial[0].shape[1] if initial else max(sizes)
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        states = [i for i, a in enumerate(self.arrays) if a.kind == STATE]
        self.past = {i: np.array(v) for i, v in zip(states, initial, strict=True)}
        assert not (ragged and any(a.alias >= 0 for a in self.arrays))
        outs = {i: np.full((first[-1], a.size), np.nan, self.dtype if a.kind == EMIT else np.float32)
                for i, a in enumerate(self.arrays) if a.kind in (EMIT, FLAGS_EMIT)}
        for t in reversed(range(len(sizes))) if reverse else range(len(sizes)):
            rows = slice(first[t], first[t + 1])
            self._step(given, weights, rows, sizes[t])
            for i in outs:
                outs[i][rows] = self.now[i]
            for i in states:
                value = self.now[self._home(i)]
                assert not np.isnan(self.written[self._home(i)]).any(), "a state is not written"
                self.past[i][:, : sizes[t]] = np.concatenate([self.past[i][1:, : sizes[t]], value[None]])
        assert batch >= max(sizes, default=0)
        return outs, [self.past[i] for i in states]

    def _home(self, i: int) -> int:
        alias = self.arrays[i].alias
        return alias if alias >= 0 else i

    def _step(self, given: dict[int, np.ndarray], weights: Sequence[np.ndarray], rows: slice, size: int) -> None:
        self.now, self.written = [], []
        for i, a in enumerate(self.arrays):
            if a.kind in (X, FLAGS_X):
                self.now.append(given[i][rows])
            elif a.kind in (Q, FLAGS_Q):
                self.now.append(given[i][:size])
            elif a.kind == P:
                self.now.append(np.broadcast_to(given[i].reshape(a.size), (size, a.size)))
            else:
                self.now.append(np.full((size, a.size), np.nan, self.dtype))
            # NaN where an array of this step is not written yet.
            fresh = np.nan if a.kind in (STATE, EMIT, SCRATCH, FLAGS_EMIT) else 0.0
            self.written.append(np.full(a.size, fresh))
        for kind, words in self.stages:
            (self._gemm, self._map, self._reduce)[kind](words, weights)
        for i, a in enumerate(self.arrays):
            assert a.kind not in (EMIT, FLAGS_EMIT) or not np.isnan(self.written[i]).any(), "an emit is not written"

    def _rows(self, array: int, delay: int) -> np.ndarray:
        a = self.arrays[array]
        assert 0 <= delay <= a.depth
        if delay:
            return self.past[array][-delay, : self.now[array].shape[0]]
        return self.now[self._home(array)]

    def _read(self, array: int, delay: int, at: np.ndarray) -> np.ndarray:
        assert at.min() >= 0 and at.max() < self.arrays[array].size
        if delay == 0:
            assert not np.isnan(self.written[self._home(array)][at]).any(), "read before it is written"
        return self._rows(array, delay)[:, at]

    def _write(self, array: int, delay: int, at: np.ndarray, value: np.ndarray) -> None:
        a = self.arrays[array]
        assert delay == 0 and a.kind in (STATE, EMIT, SCRATCH, FLAGS_EMIT)
        assert at.min() >= 0 and at.max() < a.size and len(np.unique(at)) == at.size
        assert a.kind != FLAGS_EMIT or np.isin(value, (0, 1)).all()
        self.now[self._home(array)][:, at] = value
        self.written[self._home(array)][at] = 0.0

    def _gemm(self, words: list[int], weights: Sequence[np.ndarray]) -> None:
        m, w, a, a_delay, a_at, init, init_delay, init_at, to, to_delay, to_at = words
        groups, inner, outer = self.weights[w]
        assert not self.arrays[a].kind >= FLAGS_X and (init < 0 or not self.arrays[init].kind >= FLAGS_X)
        left = self._read(a, a_delay, a_at + np.arange(m * groups * inner))
        assert a != to or a_delay or abs(a_at - to_at) >= m * groups * max(inner, outer)
        out = np.einsum("bmgk,gkn->bmgn", left.reshape(-1, m, groups, inner), weights[w])
        out = out.reshape(-1, m * groups * outer)
        if init >= 0:
            out = out + self._read(init, init_delay, init_at + np.arange(m * groups * outer))
        self._write(to, to_delay, to_at + np.arange(m * groups * outer), out)

    def _map(self, words: list[int], weights: Sequence[np.ndarray]) -> None:
        take = iter(words)
        dims = _several(take, 4)
        n_slots, n_refs, n_lines = _several(take, 3)
        refs = [_several(take, 7) for _ in range(n_refs)]
        points = np.arange(prod(dims))
        slots: list[np.ndarray | None] = [None] * n_slots
        writer: dict[int, np.ndarray] = {}  # by array: which element of the map wrote each of its elements

        def get(operand: int) -> Any:
            if operand <= -2:
                return np.array(self.constants[-2 - operand], self.dtype)
            if operand < n_slots:
                value = slots[operand]
                assert value is not None, "a slot is read before it is written"
                return value
            array, delay, offset, *strides = refs[operand - n_slots]
            at = offset + _elements(dims, strides)
            if delay == 0 and self._home(array) in writer:
                by = writer[self._home(array)][at]
                assert ((by == points) | (by == -1)).all(), "an element reads what another element wrote"
            return self._read(array, delay, at).astype(self.dtype)

        for _ in range(n_lines):
            op, target, *given = _several(take, 5)
            assert given[ARITY[op] :] == [-1] * (3 - ARITY[op])
            with np.errstate(all="ignore"):
                value = FUNCTIONS[NAMES[op]](*[get(g) for g in given[: ARITY[op]]])
            value = np.broadcast_to(np.asarray(value, self.dtype), (self.now[0].shape[0], points.size))
            if target < n_slots:
                assert target >= 0
                slots[target] = value
            else:
                array, delay, offset, *strides = refs[target - n_slots]
                at = offset + _elements(dims, strides)
                self._write(array, delay, at, value)
                home = self._home(array)
                writer.setdefault(home, np.full(self.arrays[home].size, -1))[at] = points
        assert list(take) == []

    def _reduce(self, words: list[int], weights: Sequence[np.ndarray]) -> None:
        operation, *dims, r, a, a_delay, a_at, s0, s1, s2, s3, along, to, to_delay, to_at, t0, t1, t2, t3 = words
        at = a_at + _elements(dims, (s0, s1, s2, s3))[:, None] + along * np.arange(r)
        value = self._read(a, a_delay, at)
        assert (a, a_delay) != (to, to_delay)
        self._write(to, to_delay, to_at + _elements(dims, (t0, t1, t2, t3)), (np.sum, np.max)[operation](value, -1))


def _several(take: Iterator[int], n: int) -> list[int]:
    return [next(take) for _ in range(n)]


def _elements(dims: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """The offset of each point, the last dimension innermost."""
    at = np.zeros((), int)
    for n, s in zip(dims, strides, strict=True):
        at = at[..., None] + s * np.arange(n)
    return at.reshape(-1)


class Words:
    """An engine that lowers a loop and runs its words in NumPy."""

    name = "words"

    def __init__(self, loop: Program) -> None:
        self.loop = loop

    def run(self, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool
            ) -> tuple[list[Tensor], list[Tensor]]:
        """As every engine; see ``ostinato.engines.reference``."""
        ragged = run.sizes is not None
        steps, batch = run.lead[0], run.batch
        sizes = [batch] * steps if run.sizes is None else list(run.sizes)
        lowered = lower(self.loop, ragged)
        machine = Machine.read(lowered.words(run.dtype.itemsize), lowered.constants)
        leads = [self.loop.nodes[i].op for i in self.loop.inputs.values()]
        given = {k: _array(inputs[a.which], leads[a.which] == "p" and a.kind != P, batch, a.size)
                 for k, a in enumerate(lowered.arrays) if a.kind not in (STATE, EMIT, SCRATCH, FLAGS_EMIT)}
        weights = [inputs[i].detach().reshape(shape).numpy() for i, shape in
                   zip(lowered.weights, machine.weights, strict=True)]
        starts = [v.detach().reshape(*v.shape[:2], -1).numpy() for v in initial]
        outs, finals = machine.run(given, weights, starts, sizes, ragged, reverse)
        numbers = {a.which: k for k, a in enumerate(lowered.arrays) if a.kind in (EMIT, FLAGS_EMIT)}
        emits = []
        for k, i in enumerate(self.loop.emit.values()):
            node = self.loop.nodes[i]
            value = torch.from_numpy(outs[numbers[k]]).reshape(*run.lead, *node.shape)
            emits.append(value.bool() if node.dtype == "bool" else value.clone())
        shapes = [v.shape for v in initial]
        return emits, [torch.from_numpy(f).reshape(shape).clone() for f, shape in zip(finals, shapes, strict=True)]


def _array(value: Tensor, for_all: bool, batch: int, size: int) -> np.ndarray:
    value = value.detach().reshape(-1, size)
    return value.expand(batch, size).numpy() if for_all else value.numpy()
