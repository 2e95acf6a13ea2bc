"""The CPU engine: a loop as one call of the native library."""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ostinato.engines.cpu.layout import dense, is_dense
from ostinato.engines.cpu.library import Library, library, unavailable
from ostinato.engines.cpu.lower import Lowered, lower
from ostinato.engines.cpu.tape import Inner, Tape, address, beside, new, noting
from ostinato.engines.cpu.values import CannotRun, Kind
from ostinato.program.evaluate import Run
from ostinato.program.ir import Program, Shape

BYTES = {torch.float32: 4, torch.float64: 8}
CALL = 11
"""Words of an ``ost_call``."""

_lowered: weakref.WeakKeyDictionary[Program, Lowered | str] = weakref.WeakKeyDictionary()


def refusal(loop: Program, dtype: torch.dtype, device: torch.device) -> str | None:
    """Why the CPU engine cannot run a loop (the operation, and its line), or None where it can."""
    if device.type != "cpu":
        return f"it is on the device {device}"
    if dtype not in BYTES:
        return f"it is of {str(dtype).removeprefix('torch.')}, not of float32 or float64"
    if (reason := unavailable()) is not None:
        return reason
    found = _lowered.get(loop)
    if found is None:
        try:
            found = lower(loop)
        except CannotRun as error:
            found = str(error)
        _lowered[loop] = found
    return found if isinstance(found, str) else None


class CPU:
    """One loop, ready to run.

    Raises:
        CannotRun: on a loop that the machine cannot say, naming the operation and its line.
        Unavailable: without the native library.
    """

    name: ClassVar[str] = "cpu"
    fuses: ClassVar[bool] = True
    refusal = staticmethod(refusal)

    def __init__(self, loop: Program) -> None:
        self.library, self.loop = library(), loop
        found = _lowered.get(loop)
        if isinstance(found, str):
            raise CannotRun(found)
        if found is None:
            found = _lowered[loop] = lower(loop)
        self._plain = found
        self._prepared: dict[tuple[torch.dtype, bool], Prepared] = {}

    def run(
        self, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool,
        into: Sequence[Tensor | None] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Repeat the loop over time; see ``engines.reference``.

        With ``run.sizes``, how many sequences each step has: the inputs and emits are ``[N, 1, ...]``, the sequences of
        all steps one after the other. Emits are written ``into`` successive steps of what :meth:`room` made, if given.

        Raises:
            ValueError: on an input of another shape, dtype or device than the loop's.
        """
        sizes = run.sizes
        return self.prepared(run.dtype, sizes is not None).run(inputs, initial, run.lead, sizes, reverse, into)

    def room(self, run: Run, reverse: bool, wanted: Sequence[bool]) -> list[Tensor | None]:
        """Memory for the emits ``wanted``, for a run in several pieces of time."""
        made = self.prepared(run.dtype)
        return [made.emit(spec, run.lead, reverse) if want else None
                for spec, want in zip(made.emits, wanted, strict=True)]

    def prepared(self, dtype: torch.dtype, ragged: bool = False) -> Prepared:
        """The loop's plan in the library."""
        found = self._prepared.get((dtype, ragged))
        if found is not None:
            return found
        if dtype not in BYTES:
            raise ValueError(f"the CPU engine runs on float32 and float64, not on {dtype}")
        lowered = lower(self.loop, ragged=True) if ragged else self._plain
        made = self._prepared[dtype, ragged] = Prepared(self.library, self.loop, lowered, dtype)
        return made


class Prepared:
    """A plan in the library, and all about its calls that is the same for each of them."""

    def __init__(self, native: Library, loop: Program, lowered: Lowered, dtype: torch.dtype) -> None:
        self.library, self.dtype, self.lowered = native, dtype, lowered
        self.plan = native.plan(lowered.words(BYTES[dtype]), lowered.constants)
        nodes = loop.nodes
        names = [nodes[i] for i in loop.inputs.values()]
        leads = {"x": 2, "q": 1, "p": 0}
        inputs = (Kind.X, Kind.Q, Kind.P, Kind.FLAGS_X, Kind.FLAGS_Q)
        self.given = [(3 * k, a.which, leads[names[a.which].op], names[a.which].shape, dense(names[a.which].shape),
                       torch.bool if a.kind.flags else dtype)
                      for k, a in enumerate(lowered.arrays) if a.kind in inputs]
        at = {a.which: 3 * k for k, a in enumerate(lowered.arrays) if a.kind in (Kind.EMIT, Kind.FLAGS_EMIT)}
        made = zip((nodes[i] for i in loop.emit.values()), lowered.room, strict=True)
        self.emits = [(at[k], room, n.shape, prod(n.shape), torch.bool if n.dtype == "bool" else dtype)
                      for k, (n, room) in enumerate(made)]
        self.weights = [(i, names[i].shape) for i in lowered.weights]
        self.states = [(s.depth, s.shape) for s in loop.states]
        self.n_places = 3 * len(lowered.arrays)
        self.at_weights = CALL + self.n_places
        self.at_initial = self.at_weights + 4 * len(self.weights)
        self.inner = [(6, CALL), (7, self.at_weights), (9, self.at_initial),
                      (10, self.at_initial + len(self.states))]
        """The words of a call that are addresses of others of its words."""

    def run(self, inputs: Sequence[Tensor], initial: Sequence[Tensor], lead: tuple[int, ...],
            sizes: Tensor | Sequence[int] | None, reverse: bool,
            into: Sequence[Tensor | None] | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """One call; see :meth:`CPU.run`."""
        tape = noting.tape
        alive: list[object] = []
        places: list[Any] = [0] * self.n_places
        outs = []
        for spec, given in zip(self.emits, into or [None] * len(self.emits), strict=True):
            outs.append(self.emit(spec, lead, reverse) if given is None else given)
            places[spec[0] : spec[0] + 3] = address(outs[-1]), lead[1] * spec[3], spec[3]
        batch = lead[1] if sizes is None else initial[0].shape[1] if initial else int(sizes[0])
        finals = [new((depth, batch, *shape), self.dtype) for depth, shape in self.states]
        if not lead[0] or not batch:
            for final, start in zip(finals, initial, strict=True):
                final.copy_(start)
            return outs, finals
        leads = (), (batch,), lead
        for place, i, kind, shape, strides, dtype in self.given:
            value = self._plain(inputs[i], (*leads[kind], *shape), dtype)
            apart = value.stride()
            if apart[kind:] != strides and not is_dense(shape, apart[kind:]):
                alive.append(value := value.contiguous())
                apart = value.stride()
            places[place] = address(value)
            if kind == 2:
                places[place + 1], places[place + 2] = apart[0], apart[sizes is None]
            elif kind == 1:
                places[place + 2] = apart[0]
        call: list[Any] = [lead[0], batch, 0, int(reverse), torch.get_num_threads(), self.library.parallel, 0, 0, 0, 0,
                           0, *places]
        for i, shape in self.weights:
            value = self._plain(inputs[i], shape, self.dtype)
            alive.append(value)
            apart = value.stride()
            call += (address(value), *(apart if len(apart) == 3 else (0, *apart)))
        for value, final in zip(initial, finals, strict=True):
            value = self._plain(value, final.shape, self.dtype)
            alive.append(value := value.contiguous())
            call.append(address(value))
        call += [address(final) for final in finals]
        if tape is None:
            self._go(call, sizes, alive)
        else:
            self._note(tape, call)
        return outs, finals

    def _go(self, call: list[int], sizes: Tensor | Sequence[int] | None, alive: list[object]) -> None:
        words = array("q", call)
        base = words.buffer_info()[0]
        for word, at in self.inner:
            words[word] = base + 8 * at
        if sizes is not None:
            counts = array("q", sizes.tolist() if isinstance(sizes, Tensor) else sizes)
            words[0], words[2] = len(counts), counts.buffer_info()[0]
            alive.append(counts)
        code = self.library.run(self.plan.handle, base)
        if code:
            self.library.check(code)

    def _note(self, tape: Tape, call: list[Any]) -> None:
        for word, at in self.inner:
            call[word] = Inner(at)
        tape.call(self.library.run, self.plan.handle, call, self.plan)

    def emit(self, spec: tuple[int, int, Shape, int, torch.dtype], lead: tuple[int, ...], reverse: bool) -> Tensor:
        """Memory for an emit. One that a state is kept in has room for its initial values before the first step (in
        reverse: after the last), in the same storage; the tensor is its sequence, and no view for autograd."""
        _, room, shape, size, dtype = spec
        whole = (*lead, *shape)
        if not room:
            return new(whole, dtype)
        row = lead[1] * size
        return beside((lead[0] + room) * row, 0 if reverse else room * row, whole, dtype)

    @staticmethod
    def _plain(value: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The value, if it is what was announced: memory is read as that."""
        if value.shape != shape or value.dtype is not dtype or not (value.is_cpu or noting.tape):
            raise ValueError(f"the CPU engine wants {dtype}{list(shape)} on cpu, it was given {value.dtype}"
                             f"{list(value.shape)} on {value.device}")
        return value.resolve_neg() if value.is_neg() else value
