"""What runs, and why: the answer of ``explain()``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ostinato.cell import Cell
from ostinato.engines.cpu import library
from ostinato.engines.plan import LoopPlan
from ostinato.program import CannotTrace, Linearity, Signature, linearity
from ostinato.program.saving import bytes_saved

if TYPE_CHECKING:
    from ostinato.recurrent.programs import Programs


@dataclass(frozen=True)
class Explanation:
    """Printed, it reads as text; its fields are for programs."""

    cell: str
    engine: str
    """``"none"`` where there is no loop to run."""
    reason: str
    traced: bool
    bytes_saved: int | None = None
    """By the loop, per step and sequence, between forward and backward; floats counted as float32. What comes before
    and after the loop is torch's own, and keeps what torch keeps."""
    products: int | None = None
    """Matrix products in the loop, per step."""
    parts: dict[str, int] = field(default_factory=dict)
    """How many operations each part of the program has."""
    linear: dict[str, Linearity] = field(default_factory=dict)
    """For each state, whether it is linear in its own past."""
    isa: str | None = None
    """The instruction set that the CPU engine uses."""
    threads: int | None = None
    """How many threads PyTorch, and with it the CPU engine, uses."""

    def __str__(self) -> str:
        lines = [f"{self.cell} runs on the {self.engine} engine: {self.reason}" if self.engine != NONE else
                 f"{self.cell} runs without a loop, all steps at once: {self.reason}"]
        if self.isa:
            lines.append(f"instructions: {self.isa}; threads: {self.threads}")
        if self.traced:
            counts = ", ".join(f"{n} {PARTS[part]}" for part, n in self.parts.items() if n)
            lines.append(f"operations: {counts}")
            if self.engine != NONE:
                lines.append(f"per step: {self.products} matrix product(s) in the loop, which saves "
                             f"{self.bytes_saved} bytes per sequence for the backward pass")
            for name, found in self.linear.items():
                lines.append(f"state {name}: " + ("linear in its past, a parallel scan could compute it"
                                                  if found.linear else f"not linear in its past: {found.reason}"))
        return "\n".join(lines)


PARTS = {"P": "on parameters, once", "Q": "on constants, once a sequence", "X": "on inputs, all steps at once",
         "S": "in the loop", "Y": "after the loop, all steps at once"}


def explain(cell: Cell, programs: Programs) -> Explanation:
    """The explanation of a cell's latest program."""
    if programs.last is None:
        raise ValueError("nothing to explain yet: call the module, or give explain() an input")
    name, program = type(cell).__name__, programs.found[programs.last]
    if isinstance(program, CannotTrace):
        return Explanation(name, "reference", f"step by step in Python, since the step cannot be traced: {program}",
                           False)
    plan = programs.plan(program, False, False, False, programs.taught)
    loop = plan.loop
    if loop is None:
        chosen, reason = NONE, f"with a teacher for {', '.join(programs.taught[0])} no step waits for the one before"
    else:
        chosen, reason = _engines(loop, programs.last[0])
    leaves = ("p", "q", "x", "draw", "const", "read", "noise")
    counts = Counter(part for n, part in zip(plan.program.nodes, plan.program.parts, strict=True) if n.op not in leaves)
    isa = library().isa if chosen == "cpu" else None
    saved, products = (bytes_saved(loop.loop, loop.saved), loop.loop.products) if loop else (0, 0)
    left = {s.name for s in plan.program.states}
    linear = {name: found for name, found in linearity(program).items() if name in left}
    return Explanation(name, chosen, reason, True, saved, products, {part: counts[part] for part in PARTS}, linear,
                       isa, torch.get_num_threads())


NONE = "none"
"""The engine of what has no loop."""


def _engines(loop: LoopPlan, signature: Signature) -> tuple[str, str]:
    """The engine that runs a loop, and why; with that of its adjoint, where it is another."""
    forward = loop.runners(True)(signature.dtype, signature.device)
    backward = loop.whole_adjoint.runners(signature.dtype, signature.device)
    if backward.name == forward.name:
        return forward.name, forward.reason
    return forward.name, f"{forward.reason}; backwards on the {backward.name} engine: {backward.reason}"
