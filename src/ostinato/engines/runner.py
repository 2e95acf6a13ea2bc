"""A program ready to run on one engine: what is computed for all steps at once, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ostinato.engines.choice import Engine, FallbackError, candidates, is_strict, reason_of, wanted
from ostinato.engines.chunks import Chunks
from ostinato.engines.cpu import CPU, unavailable
from ostinato.engines.cpu.steps import Products
from ostinato.engines.cpu.tape import CannotReplay, noting
from ostinato.engines.replays import Replays
from ostinato.program.evaluate import Run, Schedule, Values
from ostinato.program.ir import Program
from ostinato.program.saving import fused_nodes, sunk_nodes
from ostinato.program.split import split

Results = tuple[list[Tensor], list[Tensor]]
"""A loop's emits and the last values of its states."""


class Pieces:
    """A program cut in parts, and the evaluation of what torch runs before and after the loop."""

    def __init__(self, program: Program, drawn: Iterable[int] = (), schedule: type[Schedule] = Schedule) -> None:
        self.program, self.cut = program, split(program, drawn)
        emits = set(program.emit.values())
        later = emits | {a for i in self.cut.after for a in program.nodes[i].args}
        self.given, self.taken = [i for _, i in self.cut.given], [i for _, i in self.cut.taken]
        self.before = schedule(program, self.cut.before, later.union(self.given))
        self.after = schedule(program, self.cut.after, emits, owned=[*self.given, *self.taken])
        self.spent = [i for i in self.cut.before if i in self.given and i not in later]

    def run(self, values: Values, run: Run, loop: Callable[[list[Tensor]], Results] | None) -> list[Tensor]:
        """Evaluate into ``values``, which holds the inputs; returns the last values of the loop's states."""
        self.before.start(values, run)
        self.before(values, run)
        finals: list[Tensor] = []
        if loop:
            outs, finals = loop([values[i] for i in self.given])
            for i in self.spent:
                del values[i]
            values.update(zip(self.taken, outs, strict=False))
        self.after.start(values, run)
        self.after(values, run)
        return finals


class Runner:
    """A program ready to run on one engine, without derivatives."""

    def __init__(self, pieces: Pieces, engine: Engine | None, name: str, reason: str) -> None:
        self.pieces, self.engine, self.name, self.reason = pieces, engine, name, reason
        self.chunks = Chunks(pieces, Products) if isinstance(engine, CPU) else None
        native = isinstance(engine, CPU) and pieces.before.native and pieces.after.native
        self.replays = Replays() if native else None
        program, made = pieces.program, set(pieces.taken)
        self.places = list(program.inputs.values())
        self.emits = [(name, i, i in made, program.nodes[i].shape) for name, i in program.emit.items()]
        self.makes_all = {*program.emit.values()} <= made

    def run(self, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool) -> Results:
        """The emits and the last values of the states (see :class:`Engine`)."""
        if self.replays is not None:
            n = len(inputs)
            found = self.replays(lambda given: self._in_one(given[:n], given[n:], run, reverse), [*inputs, *initial],
                                 run, reverse)
            if found is not None:
                return cast(Results, (found[: len(self.emits)], found[len(self.emits) :]))
        return self._run(inputs, initial, run, reverse)

    def _in_one(self, inputs: Sequence[Any], initial: Sequence[Any], run: Run, reverse: bool) -> list[Tensor]:
        emits, finals = self._run(inputs, initial, run, reverse)
        return emits + finals

    def _run(self, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool) -> Results:
        values: Values = dict(zip(self.places, inputs, strict=True))
        engine, chunks = self.engine, self.chunks
        if chunks and isinstance(engine, CPU) and (steps := chunks.steps(run)):
            if noting.tape:
                raise CannotReplay
            finals = chunks.run(values, initial, run, reverse, engine, steps)
        else:
            loop = None if engine is None else lambda given: engine.run(given, initial, run, reverse)
            finals = self.pieces.run(values, run, loop)
        return [values[i] for _, i, _, _ in self.emits], finals


class Runners:
    """The runners of one program, each made when first needed."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._made: dict[tuple, Runner] = {}

    def __call__(self, dtype: torch.dtype, device: torch.device) -> Runner:
        """The runner chosen here for a dtype and a device.

        Raises:
            FallbackError: when the engine asked for by name cannot run the loop; under ``strict()``, when the preferred
                one cannot.
        """
        key = (wanted(), is_strict(), dtype, device)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._choose(dtype, device)
        return found

    def _choose(self, dtype: torch.dtype, device: torch.device) -> Runner:
        refusals = []
        for engine in candidates():
            refusal = None
            for drawn in [fused_nodes, sunk_nodes] if engine.fuses else [sunk_nodes]:  # the loop alone may be possible
                products = Products if engine.fuses and not unavailable() else Schedule
                pieces = Pieces(self.program, drawn(self.program), products)
                loop = pieces.cut.loop
                refusal = None if loop is None else engine.refusal(loop, dtype, device)
                if refusal is None:
                    reason = reason_of(engine, refusals)
                    return Runner(pieces, None if loop is None else engine(loop), engine.name, reason)
            refusals.append(f"the {engine.name} engine cannot run it: {refusal}")
            if wanted() or is_strict():
                break
        raise FallbackError("; ".join(refusals))
