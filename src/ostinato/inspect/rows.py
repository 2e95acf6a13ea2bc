"""What a network is made of: recurrences and maps, from the input up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from ostinato.cell import Cell
from ostinato.errors import InputError
from ostinato.inspect.boxes import read
from ostinato.inspect.graph import Box, Step, step_of
from ostinato.inspect.traced import program_of
from ostinato.layers import Bidirectional, Feedback, HiddenToHidden, OneOutput, OutputToHidden, Stack
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import Tensors


@dataclass(frozen=True)
class Row:
    """One recurrence, or one map, at all steps.

    Attributes:
        name: what it is called in the drawing.
        step: its boxes.
        below: the rows that it reads; none for the network's input.
        reverse: whether it runs from the last step to the first.
        last: whether it is there at the last step alone.
        taught: the states that a teacher gives.
    """

    name: str
    step: Step
    below: tuple[int, ...] = ()
    reverse: bool = False
    last: bool = False
    taught: tuple[str, ...] = ()


def rows_of(model: nn.Module, x: Tensors | None = None, feedback: str | None = None) -> tuple[Row, ...]:
    """The rows of a network, the lowest first.

    Raises:
        InputError: when it is none of the networks that can be drawn.
    """
    rows: list[Row] = []
    _add(rows, model, x, (), feedback)
    return tuple(rows)


def _add(rows: list[Row], model: nn.Module, x: Tensors | None, below: tuple[int, ...],
         feedback: str | None) -> tuple[int, ...]:
    """Add the rows of a part on top of others; the rows that hold its output."""
    match model:
        case Cell() | Recurrent():
            cell = model.cell if isinstance(model, Recurrent) else model
            step = step_of(read(program_of(cell, x)))
            rows.append(Row(_called(cell), step, below, isinstance(model, Recurrent) and model.reverse))
        case Bidirectional():
            ahead = _add(rows, model.forward_layer, x, below, feedback)
            back = _add(rows, model.backward_layer, x, below, feedback)
            if model.merge is None:
                return ahead + back
            merge = Box("merge", "merge", model.merge)
            rows.append(Row("", Step({"merge": merge}, (), output="merge", inputs=("merge",)), ahead + back))
        case Stack():
            for layer in model.layers:
                below, x = _add(rows, layer, x, below, feedback), None
            return below
        case HiddenToHidden() | OneOutput():
            below = _add(rows, model.recurrent, x, below, feedback)
            one = isinstance(model, OneOutput)
            rows.append(Row("", _read_out(), below, last=one))
            rows.append(Row("", _loss(), (len(rows) - 1,), last=one))
        case OutputToHidden():
            below = _add(rows, model.feedback, x, below, feedback)
            if rows[below[0]].taught:
                rows.append(Row("", _loss(), below))
        case Feedback():
            mode = feedback or ("teacher" if model.training and model.feedback == "teacher" else "free")
            below = _add(rows, model.recurrent, x, below, feedback)
            if mode == "teacher":
                rows[below[0]] = replace(rows[below[0]], taught=(model.state,))
            return below
        case _:
            raise InputError(f"unfold() draws cells, Recurrent, Bidirectional, Stack, Feedback and the three designs, "
                             f"got a {type(model).__name__}")
    return (len(rows) - 1,)


def _called(cell: Cell) -> str:
    return getattr(cell, "name", type(cell).__name__)


def _read_out() -> Step:
    """``o = V h + c``."""
    boxes = {"V": Box("V", "product", "V", "", ("V",)), "o": Box("o", "pointwise", "o", "V h + c", ("c",))}
    return Step(boxes, (("V", "o"),), output="o", inputs=("V",))


def _loss() -> Step:
    """The log loss of an output, with the target beside it."""
    boxes = {"L": Box("L", "loss", "L", "−log ŷ[y]"), "y": Box("y", "target", "y")}
    return Step(boxes, (("y", "L"),), output="", inputs=("L",))
