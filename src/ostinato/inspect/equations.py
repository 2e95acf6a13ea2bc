"""A cell's step as formulas, read from its program."""

from __future__ import annotations

from dataclasses import dataclass

from ostinato.cell import Cell
from ostinato.inspect.boxes import Reading, read
from ostinato.inspect.script import LATEX, TEXT, Script
from ostinato.inspect.traced import program_of
from ostinato.inspect.writer import Writer
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import Tensors


@dataclass(frozen=True)
class Equations:
    """The formulas of a step, in the order in which they are computed."""

    lines: tuple[tuple[str, str], ...]
    """Plain text: the left and the right hand side of each."""
    latex_lines: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """One line each."""
        width = max(len(left) for left, _ in self.lines)
        return "\n".join(f"{left.ljust(width)} = {right}" for left, right in self.lines)

    @property
    def latex(self) -> str:
        """An ``aligned`` block."""
        rows = " \\\\\n".join(f"  {left} &= {right}" for left, right in self.latex_lines)
        return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"

    def __str__(self) -> str:
        return self.text


def equations(cell: Cell | Recurrent, x: Tensors | None = None) -> Equations:
    """The step of any cell as formulas, from its program.

    Names are those of the step's variables, of its states and parameters; of a parameter that holds several maps one
    above the other, ``W_i`` is the piece of ``W`` that makes ``i``. A product of two vectors is elementwise.

    Args:
        cell: a cell, or a ``Recurrent`` of one.
        x: an example of its input, ``[B, T, ...]``; needed where it is no vector.

    Raises:
        FallbackError: when the step cannot be traced.
        InputError: when the input's width cannot be told from the parameters.

    >>> from ostinato import cells
    >>> print(equations(cells.LSTM(3, 4)))
    i[t]  = σ(W_i x[t] + U_i h[t-1] + b_i)
    f[t]  = σ(W_f x[t] + U_f h[t-1] + b_f)
    o[t]  = σ(W_o x[t] + U_o h[t-1] + b_o)
    C~[t] = tanh(W_C x[t] + U_C h[t-1] + b_C)
    C[t]  = f[t] C[t-1] + i[t] C~[t]
    h[t]  = o[t] tanh(C[t])
    """
    reading = read(program_of(cell, x))
    return Equations(_lines(reading, TEXT), _lines(reading, LATEX))


def _lines(reading: Reading, script: Script) -> tuple[tuple[str, str], ...]:
    """The states' and the output's formulas, and those that they refer to."""
    program = reading.program
    wanted = dict.fromkeys([*program.next.values(), program.emit["output"]])
    right: dict[int, str] = {}
    while missing := [i for i in wanted if i not in right]:
        for i in missing:
            writer = Writer(reading, script)
            right[i] = writer.formula(i)
            wanted |= dict.fromkeys(writer.referred)
    lines = [(script.at(reading.name[i], 0), right[i]) for i in sorted(right) if right[i]]
    for name, i in program.next.items():  # two states that become the same value
        if reading.name[i] != name:
            lines.append((script.at(name, 0), script.at(reading.name[i], 0)))
    return tuple(lines)
