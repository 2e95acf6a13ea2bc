"""The program of a cell, with or without an example of its input."""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.cell import Cell
from ostinato.engines.choice import FallbackError
from ostinato.errors import InputError
from ostinato.program import CannotTrace, InputSpec, Program, Signature, trace
from ostinato.program.loaded import ProgramCell, input_spec
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import Tensors, cell_dtype, listed


def program_of(cell: Cell | Recurrent, x: Tensors | None = None) -> Program:
    """What a cell's step becomes.

    Args:
        cell: a cell, or a ``Recurrent`` of one.
        x: an example of its input, ``[B, T, ...]`` each. Default: vectors, of the first width among the sizes of its
            parameters that its step takes; nothing, where it takes only states.

    Raises:
        FallbackError: when the step cannot be traced with ``x``.
        InputError: when no width fits, and ``x`` is needed.
    """
    cell = cell.cell if isinstance(cell, Recurrent) else cell
    dtype, device = cell_dtype(cell), next((p.device for p in cell.parameters()), torch.device("cpu"))
    if x is not None:
        specs = tuple(input_spec(v, 2) for v in listed(x, "x"))
        try:
            return _traced(cell, Signature(specs, (), dtype, device))
        except CannotTrace as error:
            raise FallbackError(f"{type(cell).__name__} has no program: {error}") from None
    if isinstance(cell, ProgramCell):
        return cell.variants[0].program
    reasons = []
    vectors = [(InputSpec((width,), dtype),) * cell.inputs for width in _widths(cell)]
    for specs in [*vectors, ()]:  # a system without a signal takes none
        try:
            return _traced(cell, Signature(specs, (), dtype, device))
        except CannotTrace as error:
            reasons.append(str(error))
    why = f": {reasons[0]}" if reasons else ""
    raise InputError(f"{type(cell).__name__} takes no vectors of the widths {_widths(cell)}{why}; give an example x=")


def _traced(cell: Cell, signature: Signature) -> Program:
    return cell.program_for(signature) if isinstance(cell, ProgramCell) else trace(cell, signature)


def _widths(cell: Cell) -> list[int]:
    """The last sizes of its matrices, and then its other sizes, each once, in the order of its parameters."""
    tensors: list[Tensor] = [*cell.parameters(), *cell.buffers()]
    sizes = [t.shape[-1] for t in tensors if t.dim() > 1] + [n for t in tensors for n in t.shape]
    return list(dict.fromkeys([*sizes, *[n for s in cell.states for n in s.shape]]))
