"""Compare a new program with the step it came from: values, gradients, and that no sequence sees another.

What a recording cannot show (a value passed around torch, a hidden derivative) shows here, once, when the program is
built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ostinato.cell import Cell
from ostinato.noise import Draw, bernoulli
from ostinato.program.ir import Program
from ostinato.program.source import CannotTrace, line_of
from ostinato.program.trace import InputSpec, Signature, double_values, plain, sample, swapped, undisturbed

Runner = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor], dict[str, Tensor]], list[Tensor]]

TOLERANCE = 1e-6
"""Relative, in float64: far above rounding, far below any mistake."""


def probe(cell: Cell, program: Program, signature: Signature, by_program: Runner, by_step: Runner) -> None:
    """Run both for one step of three sequences in float64 and compare.

    Raises:
        CannotTrace: when they differ, or when a sequence's values depend on another's.
    """
    if any(n.op == "noise" for n in program.nodes):
        return  # the two draw different random numbers
    with undisturbed():
        leaves = {k: v.requires_grad_() if v.is_floating_point() else v for k, v in double_values(cell).items()}
        xs, starts, constants = _samples(cell, signature)
        named = {**{k: v.double() if v.is_floating_point() else v for k, v in program.tensors.items()}, **leaves}
        named |= {d.name: bernoulli(d.size(1, 3), d.p, signature.device) for d in program.draws}
        wrt = [v for v in (*leaves.values(), *xs, *starts) if v.requires_grad]
        with swapped(cell, lambda value, name: leaves[name]):
            try:
                expected = by_step(xs, starts, constants, named)
                one = {d.name: named[d.name][_first_row(d)] for d in program.draws}
                alone = by_step([x[:, :1] for x in xs], [s[:, :1] for s in starts], [c[:1] for c in constants],
                                named | one)
                slopes = _gradients(expected, wrt)
            except Exception as error:
                raise CannotTrace(f"{type(error).__name__}: {error}", line_of(error)) from error
        actual = by_program(xs, starts, constants, named)
        pairs = [("values", actual, expected), ("gradients", _gradients(actual, wrt), slopes)]
        if any(_far(a, e[:, :1]) for a, e in zip(alone, expected, strict=True)):
            raise CannotTrace(f"{type(cell).__name__}.step mixes the sequences of a batch: a sequence's values depend "
                              "on the others, or on what an earlier call left behind")
        for what, a, e in pairs:
            if any(_far(p, q) for p, q in zip(a, e, strict=True)):
                raise CannotTrace(f"the {what} of {type(cell).__name__}.step are not those of its operations (.data? a "
                                  "derivative or a state kept outside of torch?)")


def _first_row(asked: Draw) -> tuple[slice, ...]:
    """The part of a mask that is the first sequence's."""
    return {"step": (slice(None), slice(1)), "sequence": (slice(1),), "call": ()}[asked.each]


def _samples(cell: Cell, signature: Signature) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(1)

    def made(spec: InputSpec, lead: tuple[int, ...]) -> Tensor:
        dtype = torch.float64 if spec.dtype.is_floating_point else spec.dtype
        flat = sample(InputSpec(spec.shape, dtype), torch.Size(lead).numel(), signature.device, generator)
        value = flat.reshape(*lead, *spec.shape)
        return value.requires_grad_() if dtype.is_floating_point else value

    xs = [made(spec, (1, 3)) for spec in signature.inputs]
    starts = [made(InputSpec(s.shape, torch.float64), (s.depth, 3)) for s in cell.states]
    begin = [plain(cell.initial_value(s)) for s in cell.states]
    starts = [(v + b.to(v)).detach().requires_grad_() for v, b in zip(starts, begin, strict=True)]
    return xs, starts, [made(spec, (3,)) for spec in signature.constants]


def _gradients(outs: Sequence[Tensor], wrt: Sequence[Tensor]) -> list[Tensor]:
    total = sum((o * torch.linspace(0.5, 1.5, o.numel(), dtype=o.dtype).reshape(o.shape)).sum()
                for o in outs if o.requires_grad and o.is_floating_point())
    if not isinstance(total, Tensor):
        return []
    return list(torch.autograd.grad(total, wrt, allow_unused=True, materialize_grads=True))


def _far(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return True
    if not a.numel():
        return False
    a, b = a.detach().double(), b.detach().double()
    low, high = b.aminmax()
    limit = TOLERANCE * (1 + max(-low.item(), high.item()))
    if (a - b).abs_().max().item() <= limit < float("inf"):
        return False  # without copies: weights can be large
    same = (a == b) | (a.isnan() & b.isnan())
    return bool(((a - b).abs()[~same] > TOLERANCE * (1 + b.nan_to_num(0, 0, 0).abs().max())).any())
