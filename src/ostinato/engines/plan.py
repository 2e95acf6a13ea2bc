"""A program made ready to run: cut in parts, with what its loop saves and its loop's derivatives."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import ClassVar

from torch import Tensor

from ostinato.engines.choice import ENGINES, Engine, chosen
from ostinato.program.derivative import adjoint, tangent
from ostinato.program.evaluate import Run, Schedule, Values
from ostinato.program.ir import Program
from ostinato.program.rewrite import optimise
from ostinato.program.saving import full_adjoint, saved_nodes, sunk_nodes
from ostinato.program.serialize import from_json, to_json
from ostinato.program.split import split

Results = tuple[list[Tensor], list[Tensor]]


class Pieces:
    """A program cut in parts, and the evaluation of what torch runs before and after the loop."""

    def __init__(self, program: Program, sunk: Iterable[int] = ()) -> None:
        self.program, self.cut = program, split(program, sunk)
        kept = {i for _, i in self.cut.given} | set(program.emit.values())
        kept |= {a for i in self.cut.after for a in program.nodes[i].args}
        self.before = Schedule(program, self.cut.before, kept)
        self.after = Schedule(program, self.cut.after, program.emit.values())

    def run(self, values: Values, run: Run, loop: Callable[[list[Tensor]], Results] | None) -> list[Tensor]:
        """Evaluate into ``values``, which holds the inputs; returns the last values of the loop's states."""
        self.before.start(values, run)
        self.before(values, run)
        finals: list[Tensor] = []
        if loop:
            outs, finals = loop([values[i] for _, i in self.cut.given])
            values.update({i: out for (_, i), out in zip(self.cut.taken, outs, strict=False)})
        self.after.start(values, run)
        self.after(values, run)
        return finals


class Plan:
    """A whole program: what torch runs before and after the loop, and the loop.

    Args:
        program: as traced, rewritten or not.
        save: what the loop keeps for its adjoint, see :func:`ostinato.program.saving.saved_nodes`. With any choice but
            the first, what is computed from the inputs belongs to the loop's plan, so that it too can be recomputed.
    """

    def __init__(self, program: Program, save: int | str | None = None) -> None:
        self.program = program
        self.pieces = Pieces(program, sunk_nodes(program, everything=save is not None))
        inner = self.pieces.cut.loop
        self.loop = LoopPlan(inner, save) if inner else None

    def run(self, inputs: Mapping[str, Tensor], initial: Sequence[Tensor], run: Run,
            reverse: bool) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Evaluate the program.

        Args:
            inputs: by name; ``[T, B, ...]`` (x), ``[B, ...]`` (q) or ``[...]`` (p).
            initial: the last D values of each state, oldest first, ``[D, B, ...]``.

        Returns:
            the emits by name, with the leading dimensions that their part has, and the last D values of each state.
        """
        from ostinato.engines.differentiable import apply

        values: Values = {i: inputs[name] for name, i in self.program.inputs.items()}
        plan = self.loop
        finals = self.pieces.run(values, run, plan and (lambda given: apply(plan, given, initial, run, reverse)))
        return {name: values[i] for name, i in self.program.emit.items()}, finals


class LoopPlan:
    """A loop: its engine, what it saves, and the plans of its derivatives, made when first needed."""

    named: ClassVar[weakref.WeakValueDictionary[str, LoopPlan]] = weakref.WeakValueDictionary()
    """Plans by their names, which is how a compiled graph calls them."""

    def __init__(self, loop: Program, save: int | str | None) -> None:
        self.loop, self.save = loop, save
        self._derivatives: dict[tuple, Plan] = {}
        self._engines: dict[tuple[str, bool], tuple[Pieces, Engine]] = {}

    @cached_property
    def name(self) -> str:
        """All there is to the plan, as text: a compiled graph that torch keeps on disk says the same in any process."""
        data = to_json(self.loop)
        data["nodes"] = [[*node[:-1], ""] for node in data["nodes"]]  # the user's lines are not part of it
        name = json.dumps([data, self.save], separators=(",", ":"))
        self.named.setdefault(name, self)
        return name

    @classmethod
    def called(cls, name: str) -> LoopPlan:
        """The plan of that name: one that there is, or made from the name."""
        return cls.named.get(name) or _made(name)

    @cached_property
    def saved(self) -> frozenset[int]:
        """The nodes kept for the adjoint."""
        return saved_nodes(self.loop, self.save)

    @cached_property
    def keeping(self) -> Program:
        """The loop that also emits what its adjoint needs."""
        extra = [i for i in sorted(self.stash) if i not in self.loop.emit.values()]
        emit = {**self.loop.emit, **{f"kept.{i}": i for i in extra}}
        return Program(self.loop.nodes, self.loop.states, self.loop.next, emit)

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The names of what the adjoint reads."""
        return frozenset(optimise(full_adjoint(self.loop, self.saved)).inputs)

    @cached_property
    def stash(self) -> frozenset[int]:
        """The nodes whose sequences the adjoint reads."""
        found = set()
        for name in self.wanted:
            kind, _, rest = name.partition(".")
            if kind == "saved":
                found.add(int(rest))
            elif kind == "read":
                found.add(self.loop.next[rest.rsplit(".", 1)[0]])
        return frozenset(found)

    def program(self, keep: bool) -> Program:
        return self.keeping if keep else self.loop

    def run(self, keep: bool, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run,
            reverse: bool) -> Results:
        """Run the loop on the engine chosen here, without derivatives: its emits and the last values of its states."""
        program = self.program(keep)
        pieces, engine = self._engine(keep)
        values: Values = dict(zip(program.inputs.values(), inputs, strict=True))
        finals = pieces.run(values, run, lambda given: engine.run(given, initial, run, reverse))
        made = {i for _, i in pieces.cut.taken}
        # A result may be no view, and no input as it is: what the engine did not make is copied.
        return [values[i] if i in made else values[i].expand((*run.lead, *program.nodes[i].shape)).clone()
                for i in program.emit.values()], finals

    def _engine(self, keep: bool) -> tuple[Pieces, Engine]:
        """What is left of the loop once its own inputs' part is hoisted, and the engine for it, made once."""
        name = chosen()
        if (name, keep) not in self._engines:
            program = self.program(keep)
            pieces = Pieces(program, sunk_nodes(program))
            assert pieces.cut.loop is not None
            self._engines[name, keep] = pieces, ENGINES[name](pieces.cut.loop)
        return self._engines[name, keep]

    def adjoint(self, cotangents: frozenset[str], wrt: frozenset[str], states: frozenset[str]) -> Plan:
        """The plan of the loop's reverse-mode derivative."""
        key = ("adjoint", cotangents, wrt, states)
        if key not in self._derivatives:
            program = adjoint(self.keeping, self.saved, cotangents, wrt, states)
            self._derivatives[key] = Plan(optimise(program), self.save)
        return self._derivatives[key]

    def tangent(self, wrt: frozenset[str]) -> Plan:
        """The plan of the loop's forward-mode derivative."""
        key = ("tangent", wrt)
        if key not in self._derivatives:
            states = frozenset(s.name for s in self.loop.states)
            self._derivatives[key] = Plan(optimise(tangent(self.keeping, wrt, states)), self.save)
        return self._derivatives[key]


@lru_cache(maxsize=256)
def _made(name: str) -> LoopPlan:
    loop, save = json.loads(name)
    return LoopPlan(from_json(loop), save)
