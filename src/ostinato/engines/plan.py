"""A program made ready to run: cut in parts, with what its loop saves and its loop's derivatives."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import ClassVar

from torch import Tensor

from ostinato.engines.derivatives import PullBack
from ostinato.engines.runner import Pieces, Results, Runner, Runners
from ostinato.program.derivative import adjoint, tangent
from ostinato.program.evaluate import Run, Values
from ostinato.program.ir import Program
from ostinato.program.rewrite import optimise
from ostinato.program.saving import full_adjoint, saved_nodes, sunk_nodes
from ostinato.program.serialize import from_json, to_json


class Plan:
    """A whole program: run as it is, or, where derivatives are wanted, as one differentiable loop with what torch
    evaluates before it (parameters, noise, opaque operations) and after it (read-outs).

    Args:
        program: as traced, rewritten or not.
        save: what the loop keeps for its adjoint, see :func:`ostinato.program.saving.saved_nodes`.
    """

    def __init__(self, program: Program, save: int | str | None = None) -> None:
        self.program, self.save = program, save
        self.runners = Runners(program)

    @cached_property
    def pieces(self) -> Pieces:
        """What torch evaluates before and after the differentiable loop, to which all that can belong to it does."""
        return Pieces(self.program, sunk_nodes(self.program, everything=True))

    @cached_property
    def loop(self) -> LoopPlan | None:
        inner = self.pieces.cut.loop
        return LoopPlan(inner, self.save) if inner else None

    def run(self, inputs: Mapping[str, Tensor], initial: Sequence[Tensor], run: Run,
            reverse: bool) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Evaluate the program.

        Args:
            inputs: by name; ``[T, B, ...]`` (x), ``[B, ...]`` (q) or ``[...]`` (p).
            initial: the last D values of each state, oldest first, ``[D, B, ...]``.

        Returns:
            the emits by name, with the leading dimensions that their part has, and the last D values of each state.
        """
        outs, finals = self.results([inputs[name] for name in self.program.inputs], initial, run, reverse)
        return dict(zip(self.program.emit, outs, strict=True)), finals

    def results(self, given: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool) -> Results:
        """The same with inputs and emits in the program's order."""
        from ostinato.engines.differentiable import apply, compiling, differentiated, ordinary

        tensors = [*given, *initial]
        plain = ordinary(tensors)
        if not differentiated(tensors) and (plain or not compiling(tensors)):
            return self.runners(run.dtype, run.device).run(given, initial, run, reverse)
        plan = self.loop
        if plan and self.straight:
            order, emits = self.straight
            outs, finals = apply(plan, [given[k] for k in order], initial, run, reverse, plain)
            return [outs[k] for k in emits], finals
        values: Values = dict(zip(self.program.inputs.values(), given, strict=True))
        finals = self.pieces.run(values, run, plan and (lambda given: apply(plan, given, initial, run, reverse)))
        return [values[i] for i in self.program.emit.values()], finals

    @cached_property
    def straight(self) -> tuple[list[int], list[int]] | None:
        """Where the differentiable loop is all there is: which inputs it is given, and which emits are taken of it."""
        pieces, places = self.pieces, list(self.program.inputs.values())
        inside = {*pieces.given} <= {*places} and {*self.program.emit.values()} <= {*pieces.taken}
        if not inside or pieces.after.lines or pieces.after.special:
            return None
        return [places.index(i) for i in pieces.given], [pieces.taken.index(i) for i in self.program.emit.values()]


class LoopPlan:
    """A loop: its engine, what it saves, and the plans of its derivatives, made when first needed."""

    named: ClassVar[weakref.WeakValueDictionary[str, LoopPlan]] = weakref.WeakValueDictionary()
    """Plans by their names, which is how a compiled graph calls them."""

    def __init__(self, loop: Program, save: int | str | None) -> None:
        self.loop, self.save = loop, save
        self._derivatives: dict[tuple, Plan] = {}
        self._pulls: dict[tuple, PullBack] = {}
        self._runners: dict[bool, Runners] = {}

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

    @cached_property
    def remembered(self) -> tuple[list[bool], list[bool]]:
        """Which of the inputs and initial values, and which of the emits, are kept for the adjoint."""
        states = {name.removeprefix("read.").rsplit(".", 1)[0] for name in self.wanted if name.startswith("read.")}
        given = [f"in.{name}" in self.wanted for name in self.loop.inputs]
        given += [s.name in states for s in self.loop.states]
        return given, [i in self.stash for i in self.keeping.emit.values()]

    @cached_property
    def discrete(self) -> list[int]:
        """Which emits have no derivative."""
        return [k for k, i in enumerate(self.keeping.emit.values()) if self.loop.nodes[i].dtype != "float"]

    def program(self, keep: bool) -> Program:
        return self.keeping if keep else self.loop

    def runners(self, keep: bool) -> Runners:
        """Who runs the loop, with or without what its adjoint needs."""
        if keep not in self._runners:
            self._runners[keep] = Runners(self.program(keep))
        return self._runners[keep]

    def run(self, keep: bool, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run,
            reverse: bool) -> Results:
        """Run the loop on the engine chosen here, without derivatives: its emits and the last values of its states."""
        return self.run_on(self.runners(keep)(run.dtype, run.device), inputs, initial, run, reverse)

    @staticmethod
    def run_on(runner: Runner, inputs: Sequence[Tensor], initial: Sequence[Tensor], run: Run, reverse: bool) -> Results:
        """The same with one of :meth:`runners`."""
        emits, finals = runner.run(inputs, initial, run, reverse)
        if runner.makes_all:
            return emits, finals
        # A result may be no view, and no input as it is: what the engine did not make is copied.
        return [value if made else value.expand((*run.lead, *shape)).clone()
                for value, (_, _, made, shape) in zip(emits, runner.emits, strict=True)], finals

    def adjoint(self, cotangents: frozenset[str], wrt: frozenset[str], states: frozenset[str]) -> Plan:
        """The plan of the loop's reverse-mode derivative."""
        key = ("adjoint", cotangents, wrt, states)
        if key not in self._derivatives:
            program = adjoint(self.keeping, self.saved, cotangents, wrt, states)
            self._derivatives[key] = Plan(optimise(program), self.save)
        return self._derivatives[key]

    @cached_property
    def whole_adjoint(self) -> Plan:
        """The adjoint with every cotangent given and every gradient wanted."""
        nodes, emit = self.loop.nodes, self.keeping.emit
        wrt = frozenset(name for name, i in self.loop.inputs.items() if nodes[i].dtype == "float")
        return self.adjoint(frozenset(name for name, i in emit.items() if nodes[i].dtype == "float"), wrt,
                            frozenset(s.name for s in self.loop.states))

    def pull_back(self, given: tuple[bool, ...], needs: tuple[bool, ...]) -> PullBack:
        """The reverse-mode derivative for these cotangents and those wanted."""
        found = self._pulls.get((given, needs))
        if found is None:
            found = self._pulls[given, needs] = PullBack(self, given, needs)
        return found

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
