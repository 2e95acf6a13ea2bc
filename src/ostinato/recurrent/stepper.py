"""One step at a time, as fast as it goes: for serving."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from operator import attrgetter, is_
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ostinato.engines.choice import FallbackError
from ostinato.engines.cpu import CPU
from ostinato.engines.cpu.step import Step
from ostinato.program import CannotTrace
from ostinato.program.evaluate import Run, Schedule, Values
from ostinato.program.loop_features import with_features
from ostinato.program.split import as_loop
from ostinato.program.trace import tensors_of
from ostinato.recurrent.arguments import Tensors, check, listed, start_values
from ostinato.recurrent.programs import lock_of, signature_of

if TYPE_CHECKING:
    from ostinato.recurrent.module import Recurrent

_version = attrgetter("_version")
TRIES, STEPS, FASTER = 5, 100, 0.95
"""How bfloat16 weights are tried: rounds, steps in each, and the share of the time that they may take at most."""


class Stepper:
    """Runs a recurrence for a batch of sequences one step a call, on the CPU engine, in memory that stays where it is.

    It is made for the cell as it is (its mode, its attributes); parameters that change are noticed and packed again,
    unless they change through ``.data``: then call :meth:`refresh`. No gradients; one thread at a time.

    Args:
        recurrent: what runs.
        x: inputs of one step, ``[B, ...]`` each, as an example of their shapes and dtypes; ``()`` for an autonomous
            cell, which has its batch from ``initial``.
        initial: the states to begin with. Default: the declared values.
        constants: per-sequence constants.
        drawn: random masks for all steps to come; those that are not given are drawn now.
        weights: "bfloat16" to round the weights of the loop's products to that, half as much to read at each step; the
            sums stay float32. It is tried, and refused where it is not faster. Default: as they are.

    Attributes:
        inputs: ``[B, ...]`` each: a step reads them here, or is given others.
        output: ``[B, ...]``: a step's result, until the next step.
        packed: how many times the parameters were packed.

    Raises:
        ValueError: for a reversed ``Recurrent``, which begins with the last time step.
        FallbackError: when the CPU engine cannot run the step, with the reason; when bfloat16 weights are not faster.

    >>> from ostinato import Recurrent, cells
    >>> stepper = Recurrent(cells.GRU(3, 4)).stepper(torch.zeros(1, 3))
    >>> stepper(torch.ones(1, 3)).shape
    torch.Size([1, 4])
    """

    @torch.inference_mode(False)  # what is made in that mode cannot be written to outside of it
    def __init__(self, recurrent: Recurrent, x: Tensors = (), initial: Tensors | None = None,
                 constants: Tensors = (), drawn: Mapping[str, Tensor] | None = None,
                 weights: str | None = None) -> None:
        if recurrent.reverse:
            raise ValueError("a reversed Recurrent takes no single steps: it begins with the last time step")
        if weights not in (None, "bfloat16"):
            raise ValueError(f"weights must be 'bfloat16' or None, got {weights!r}")
        cell = self._cell = recurrent.cell
        xs = [v.unsqueeze(0) for v in listed(x, "x")]
        given = check(cell, xs, initial, None, None, None, constants, False, drawn=drawn, steps=None if xs else 1)
        with lock_of(cell):
            program = recurrent._programs.program(cell, signature_of(given))
            if isinstance(program, CannotTrace):
                raise FallbackError(f"{type(cell).__name__} has no program to step through: {program}") from program
            if any(d.each == "step" for d in program.draws):
                raise FallbackError(f"{type(cell).__name__} draws a mask for every step: a stepper has none")
            self._places = [(table, key, name) for table, key, name, _ in tensors_of(cell) if name in program.inputs]
        self._program = with_features(program, False, False, False)
        loop, before = as_loop(self._program)
        device = given.device
        refusal = CPU.refusal(loop, given.dtype, device)
        if refusal is not None:
            raise FallbackError(f"{type(cell).__name__} cannot be stepped natively: {refusal}")
        self._run = Run(given.dtype, device, (1, given.batch))
        self._step = Step(loop, given.dtype, given.batch)
        self._native, self._handle, self._base = self._step.call
        self._fixed = {name: int(name[1:]) for name, i in loop.inputs.items() if loop.nodes[i].op in "pq"}
        self._before = Schedule(self._program, before, self._fixed.values())
        self._constants = {f"q{i}": v for i, v in enumerate(given.constants)} | dict(program.tensors)
        self._constants |= given.with_masks(program.draws).drawn
        self.inputs = [self._step.inputs.get(f"x{i}", torch.empty_like(v[0])) for i, v in enumerate(given.inputs)]
        places = [self._step.places.get(f"x{i}", 0) for i in range(len(self.inputs))]  # an unread one has none
        self._read = [(mine, mine.shape, mine.dtype, at, self._step.words[at])
                      for mine, at in zip(self.inputs, places, strict=True)]
        self.output = self._step.emits["output"]
        self.packed, self._halves = 0, False
        if weights is not None:
            self._try_halves()
        self.load(initial)
        self.refresh()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """One step: of ``inputs``, or, without any, of what lies in ``self.inputs``; returns ``self.output``.

        Raises:
            ValueError: on an input of another shape, or on too few.
        """
        # map, not a loop: this is the larger part of a small step
        now = [table[key] for table, key in self._at]
        if not (all(map(is_, now, self._seen)) and list(map(Tensor.data_ptr, now)) == self._addresses
                and list(map(_version, self._counted)) == self._versions):
            self.refresh()
        if inputs:
            self._run_with(inputs)
        else:
            self.run()
        return self.output

    def _run_with(self, inputs: Sequence[Tensor]) -> None:
        """A step of other inputs, which are read where they are; of those that do not lie as they should, copies."""
        words, back = self._step.words, []
        try:
            for given, (mine, shape, dtype, at, own) in zip(inputs, self._read, strict=True):
                if given.shape != shape:
                    raise ValueError(f"this stepper takes inputs of {list(shape)}, got {list(given.shape)}")
                if at and given.dtype is dtype and given.is_contiguous() and given.is_cpu and not given.is_neg():
                    words[at] = given.data_ptr()
                    back.append((at, own))
                else:
                    mine.copy_(given)
            self.run()
        finally:
            for at, own in back:
                words[at] = own

    def run(self) -> None:
        """The least of a step: of what lies in ``self.inputs``, into ``self.output``, with the parameters as they were
        when they were packed last, at the beginning or by :meth:`refresh`."""
        code = self._native(self._handle, self._base)
        if code:
            self._step.check(code)

    def takes(self, inputs: Sequence[Tensor]) -> bool:
        """Whether inputs are of these shapes, dtypes and this device."""
        return len(inputs) == len(self.inputs) and all(
            a.shape == b.shape and a.dtype == b.dtype and a.is_cpu for a, b in zip(inputs, self.inputs, strict=True))

    @property
    def states(self) -> tuple[Tensor, ...]:
        """The states after the last step, as ``initial`` takes them: copies."""
        return tuple(v.transpose(0, 1).clone() if s.depth > 1 else v[0].clone()
                     for s, v in zip(self._cell.states, self._step.states, strict=True))

    def load(self, states: Tensors | None = None) -> None:
        """Go on from other states, given as ``initial`` is; None: the declared initial values."""
        starts = start_values(self._cell, states, self._run.lead[1], self._run.dtype, self._run.device)
        for mine, given in zip(self._step.states, starts, strict=True):
            mine.copy_(given.detach())

    def _try_halves(self) -> None:
        """Take bfloat16 weights if steps are faster with them.

        Raises:
            FallbackError: when they are not, or there are none of float32.
        """
        if self._run.dtype != torch.float32:
            raise FallbackError(f"bfloat16 weights stand for float32, and the parameters are of {self._run.dtype}")
        took: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(TRIES):
            for self._halves, found in took.items():
                self.load()
                self.refresh()
                began = time.perf_counter()
                for _ in range(STEPS):
                    self.run()
                found.append((time.perf_counter() - began) / STEPS)
        whole, half = median(took[False]), median(took[True])
        if half > FASTER * whole:
            raise FallbackError("bfloat16 weights are not faster here: a step takes "
                                f"{half * 1e6:.3g} microseconds with them, {whole * 1e6:.3g} without")
        self._halves, self.packed = True, 0

    @torch.no_grad()
    @torch.inference_mode(False)
    def refresh(self) -> None:
        """Pack the parameters as they are now."""
        with lock_of(self._cell):
            named = {name: table[key].detach() for table, key, name in self._places}
            self._at = [(table, key) for table, key, _ in self._places]
            self._seen = [table[key] for table, key in self._at]
            self._addresses = [v.data_ptr() for v in self._seen]
            self._counted = [v for v in self._seen if not v.is_inference()]
            self._versions = [v._version for v in self._counted]
        run = self._run
        given = self._constants | named
        values: Values = {i: given[name] for name, i in self._program.inputs.items() if name in given}
        self._before.start(values, run)
        self._before(values, run)
        nodes = self._program.nodes
        lead = {"P": (), "Q": (run.lead[1],)}
        parts = self._program.parts
        self._step.fix({name: values[i].expand(*lead[parts[i]], *nodes[i].shape) for name, i in self._fixed.items()},
                       self._halves)
        self.packed += 1
