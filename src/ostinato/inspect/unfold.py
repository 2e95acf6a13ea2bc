"""A network drawn from its program, folded and unfolded over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ostinato.cell import Cell
from ostinato.errors import InputError
from ostinato.files import write_atomic
from ostinato.inspect import svg, words
from ostinato.inspect.graph import Graph
from ostinato.inspect.rows import Row, rows_of
from ostinato.inspect.unfolding import folded, unfolded
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import Tensors


@dataclass(frozen=True)
class Drawing:
    """A network's graph, and ways to look at it.

    Attributes:
        rows: the recurrences and maps that the network is made of, the lowest first.
        steps: how many are drawn side by side.
        title: what is written on top.
    """

    rows: Sequence[Row]
    steps: int
    title: str

    @property
    def graph(self) -> Graph:
        """The unfolded graph: nodes with their times, and edges."""
        return unfolded(self.rows, self.steps)

    @property
    def folded(self) -> Graph:
        """The graph of one step, with edges that go back in time."""
        return folded(self.rows)

    def svg(self, path: str | Path | None = None) -> str:
        """The folded and the unfolded graph as a picture; written to ``path`` too, if there is one."""
        picture = svg.draw(self.rows, self.steps, self.title)
        if path is not None:
            write_atomic(Path(path), picture.encode())
        return picture

    def mermaid(self, folded: bool = False) -> str:
        """The unfolded (or the folded) graph in the language of Mermaid, which many pages and wikis draw."""
        return words.mermaid(self.rows, 0 if folded else self.steps, svg.colours_of(self.graph))

    def text(self) -> str:
        """The graph in lines, for a terminal."""
        return words.text(self.rows, self.steps)

    def _repr_svg_(self) -> str:
        return self.svg()

    def __str__(self) -> str:
        return self.text()


def unfold(model: nn.Module, steps: int = 3, x: Tensors | None = None, *, feedback: str | None = None,
           title: str | None = None) -> Drawing:
    """Draw a network from its program: what each step computes, and how the steps hang together.

    Inputs and states are pills, products with a parameter are boxes in that parameter's colour, the same at every step,
    and what is computed between them stands in white boxes with its formula. A read of ``h[t-d]`` goes from the state d
    steps before; in the folded graph it goes back through a black square, which waits.

    Args:
        model: a cell, ``Recurrent``, ``Bidirectional``, ``Stack``, ``Feedback``, or one of the three designs.
        steps: how many steps are drawn side by side.
        x: an example of the input, ``[B, T, ...]``; needed where it is no vector.
        feedback: what a ``Feedback`` reads in the place of its own past outputs: "teacher" (train time) or "free" (test
            time). By default as the model is now.
        title: what is written on top; by default the kind of the network.

    Raises:
        InputError: on another network, no step, or an input whose width cannot be told from the parameters.
        FallbackError: when a step cannot be traced.

    >>> from ostinato import cells
    >>> print(unfold(cells.Elman(3, 4)).text())
    Elman (reads the input)
      x -> [W]
      h[t-1] -> [U]
      W, U -> [h = tanh(W x + U h + b)]  (b)  => h[t]
    h[0] -> h[1] -> h[2] -> h[3]   delay 1
    """
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"steps must be a whole number of at least 1, got {steps!r}")
    if feedback not in (None, "teacher", "free"):
        raise InputError(f"feedback must be 'teacher' or 'free', got {feedback!r}")
    rows = rows_of(model, x, feedback)
    plain = isinstance(model, (Cell, Recurrent))
    return Drawing(rows, steps, title or (rows[0].name if plain else type(model).__name__))
