"""A long run in pieces of time, so that what is only passed on between its parts never exists for all steps at once.

That is the inputs' products, which the loop reads, and the gates' gradients, of which the weights' are sums over time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from torch import Tensor

from ostinato.program.evaluate import Run, Schedule, Values
from ostinato.program.ir import OVER_TIME

if TYPE_CHECKING:
    from ostinato.engines.cpu import CPU
    from ostinato.engines.runner import Pieces

LARGE = 2**26
"""Bytes that may be passed on at once; with more, the run is cut."""
PIECE = 2**24
"""Bytes that are passed on in each piece."""


class Chunks:
    """The parts of a program, cut anew by how often they are evaluated: once before, for each piece, once after."""

    def __init__(self, pieces: Pieces, schedule: type[Schedule]) -> None:
        program, cut = pieces.program, pieces.cut
        nodes, parts = program.nodes, program.parts
        emits = set(program.emit.values())
        fixed = [i for i in cut.before if parts[i] in "PQ"]
        early = [i for i in cut.before if parts[i] == "X"]
        late = [i for i in cut.after if parts[i] == "Y" or nodes[i].op in OVER_TIME]
        self.sums = [i for i in late if nodes[i].op in OVER_TIME]
        ends = [i for i in cut.after if parts[i] == "R" and nodes[i].op not in OVER_TIME]
        self.possible = all(parts[a] in "XSY" for i in self.sums for a in nodes[i].args)
        self.given, self.taken = pieces.given, pieces.taken
        self.moving = {i for i in program.inputs.values() if parts[i] == "X"}
        wanted = {a for i in late for a in nodes[i].args} | emits
        self.first = schedule(program, fixed, fixed)
        self.early = schedule(program, early, wanted.union(self.given))
        self.late = schedule(program, late, emits.union(self.sums), owned=[*self.given, *self.taken])
        self.last = schedule(program, ends, emits)
        self.whole = [i for i in emits if parts[i] in "XY" and i not in self.moving and i not in self.taken]
        self.kept = [i in emits for i in self.taken]
        passed = [i for i in early if i not in self.moving and i in {*self.given, *wanted}]
        passed += [i for i, keep in zip(self.taken, self.kept, strict=True) if not keep]
        self.passed = sum(prod(nodes[i].shape) for i in passed)

    def steps(self, run: Run) -> int | None:
        """How many steps a piece has, where a run is to be cut."""
        each = self.passed * run.lead[1] * run.dtype.itemsize
        if not self.possible or run.sizes is not None or each * run.lead[0] <= LARGE:
            return None
        return max(1, PIECE // each)

    def run(self, values: Values, initial: Sequence[Tensor], run: Run, reverse: bool, engine: CPU,
            steps: int) -> list[Tensor]:
        """As :meth:`Pieces.run`."""
        self.first.start(values, run)
        self.first(values, run)
        outs = engine.room(run, reverse, self.kept)
        values.update({i: out for i, out in zip(self.taken, outs, strict=True) if out is not None})
        total, state = run.lead[0], list(initial)
        for begin, end in spans(total, steps, reverse):
            piece = replace(run, lead=(end - begin, run.lead[1]))
            part = {i: v[begin:end] if i in self.moving else v for i, v in values.items() if i not in self.whole}
            self.early.start(part, piece)
            self.early(part, piece)
            into = [None if out is None else out[begin:end] for out in outs]
            made, state = engine.run([part[i] for i in self.given], state, piece, reverse, into)
            part.update(zip(self.taken, made, strict=True))
            self.late.start(part, piece)
            self.late(part, piece)
            for i in self.sums:
                values[i] = values[i] + part[i] if i in values else part[i]
            for i in self.whole:
                if i not in values:
                    values[i] = part[i].new_empty((total, *part[i].shape[1:]))
                values[i][begin:end] = part[i]
        self.last.start(values, run)
        self.last(values, run)
        return state


def spans(total: int, steps: int, reverse: bool) -> Iterator[tuple[int, int]]:
    """Pieces of time in the order in which they are run; all but the last are of the same length."""
    for begin in range(0, total, steps):
        end = min(begin + steps, total)
        yield (total - end, total - begin) if reverse else (begin, end)
