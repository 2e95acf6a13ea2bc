"""What a loop computes, as the machine sees it: leaves, pointwise instructions, products, reductions, joined pieces."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from math import prod

from ostinato.engines.cpu.layout import View
from ostinato.program.ir import Shape

Operand = View | float
"""Elements of a value, or a number that stands for all of them."""


class Kind(IntEnum):
    """The kinds of arrays, by their numbers in the C interface."""

    X = 0
    Q = 1
    P = 2
    STATE = 3
    EMIT = 4
    SCRATCH = 5
    FLAGS_X = 6
    FLAGS_Q = 7
    FLAGS_EMIT = 8

    @property
    def flags(self) -> bool:
        """Whether the elements are bytes."""
        return self >= Kind.FLAGS_X


@dataclass(eq=False)
class Array:
    """Memory of one step of one sequence: an input, a state, a result, or scratch."""

    kind: Kind
    size: int
    which: int = -1
    """The number of the input, the state or the emit."""
    depth: int = 0
    alias: Array | None = None


@dataclass(frozen=True)
class Place:
    """A part of an array; None for the strides of what lies without gaps."""

    array: Array
    offset: int = 0
    strides: tuple[int, ...] | None = None


@dataclass
class Leaf:
    """What is there before a step: an input, or a state some steps ago."""

    shape: Shape
    array: Array
    delay: int = 0


@dataclass
class Point:
    """One instruction for every element; the operands have its shape."""

    shape: Shape
    op: str
    args: tuple[Operand, ...]
    source: str = ""


@dataclass
class Product:
    """``init + a @ weight``, for each of ``repeats``."""

    shape: Shape
    a: View
    weight: int
    repeats: int
    init: View | None = None
    source: str = ""


@dataclass
class Reduction:
    """The sum or the maximum along the first dimension of ``a``, whose shape goes on as this value's."""

    shape: Shape
    op: str
    a: View
    source: str = ""


@dataclass
class Join:
    """Pieces side by side: each fills the place that its offset and strides say."""

    shape: Shape
    pieces: list[tuple[Operand, Shape, int, tuple[int, ...]]] = field(default_factory=list)
    source: str = ""


Value = Leaf | Point | Product | Reduction | Join


def operands(value: Value) -> list[View]:
    """The views that a value is made of."""
    if isinstance(value, Point):
        given = value.args
    elif isinstance(value, Product):
        given = (value.a, value.init)
    elif isinstance(value, Reduction):
        given = (value.a,)
    elif isinstance(value, Join):
        given = tuple(piece for piece, *_ in value.pieces)
    else:
        given = ()
    return [v for v in given if isinstance(v, View)]


def is_whole(view: View, value: Value) -> bool:
    """Whether a view is all of a value, in order (perhaps under another shape)."""
    return view.offset == 0 and view.dense and prod(view.shape) == prod(value.shape)


class CannotRun(ValueError):
    """A loop that the machine cannot say: the operation, and its line."""

    def __init__(self, what: str, source: str = "") -> None:
        super().__init__(f"{what} ({source})" if source else what)
