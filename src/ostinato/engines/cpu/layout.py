"""Where the elements of a value lie: strides over features, without batch and time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from ostinato.program.ir import Shape

Strides = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Elements of the value ``of``, which itself lies without gaps: ``strides`` apart from ``offset`` on."""

    of: int
    shape: Shape
    strides: Strides
    offset: int = 0

    def slice(self, dim: int, start: int, stop: int) -> View:
        """The elements from ``start`` to ``stop`` along a (negative) dimension."""
        dim += len(self.shape)
        shape = (*self.shape[:dim], stop - start, *self.shape[dim + 1 :])
        return replace(self, shape=shape, offset=self.offset + start * self.strides[dim])

    def every(self, dim: int, start: int, step: int, count: int) -> View:
        """``count`` elements along a dimension, ``step`` apart (0 or below too) from ``start`` on."""
        dim += len(self.shape)
        shape = (*self.shape[:dim], count, *self.shape[dim + 1 :])
        strides = (*self.strides[:dim], step * self.strides[dim], *self.strides[dim + 1 :])
        return View(self.of, shape, strides, self.offset + start * self.strides[dim])

    def permute(self, dims: Sequence[int]) -> View:
        """The same elements in another order of the (negative) dimensions."""
        return replace(self, shape=tuple(self.shape[d] for d in dims), strides=tuple(self.strides[d] for d in dims))

    def expand(self, shape: Shape) -> View:
        """Repeated to a shape, to which it broadcasts."""
        if shape == self.shape:
            return self
        missing = len(shape) - len(self.shape)
        own, strides = (1,) * missing + self.shape, (0,) * missing + self.strides
        wide = tuple(s if n == m else 0 for n, m, s in zip(own, shape, strides, strict=True))
        return replace(self, shape=shape, strides=wide)

    def reshape(self, shape: Shape) -> View | None:
        """The same elements in the same order under another shape, or None where no strides say that."""
        strides = reshaped(self.shape, self.strides, shape)
        return None if strides is None else replace(self, shape=shape, strides=strides)

    @property
    def dense(self) -> bool:
        """Whether the elements lie side by side, in order."""
        return is_dense(self.shape, self.strides)


def whole(of: int, shape: Shape) -> View:
    """All of a value."""
    return View(of, shape, dense(shape))


def dense(shape: Shape) -> Strides:
    """The strides of a value without gaps."""
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def is_dense(shape: Shape, strides: Strides) -> bool:
    """Whether these are the strides of a value without gaps."""
    return all(n == 1 or s == d for n, s, d in zip(shape, strides, dense(shape), strict=True))


def merged(shape: Shape, strides: Strides) -> list[tuple[int, int]]:
    """The fewest (size, stride) that say the same, without dimensions of size one."""
    out: list[tuple[int, int]] = []
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if out and out[-1][1] == n * s:
            out[-1] = (out[-1][0] * n, s)
        else:
            out.append((n, s))
    return out


def reshaped(shape: Shape, strides: Strides, to: Shape) -> Strides | None:
    """The strides of the same elements, in the same order, under another shape; None where there are none."""
    groups = merged(shape, strides)
    out: list[int] = []
    size, stride = groups.pop() if groups else (1, 0)
    for n in reversed(to):
        if n == 1:
            out.append(0)
            continue
        if size == 1 and groups:
            size, stride = groups.pop()
        if size % n:
            return None
        out.append(stride)
        size, stride = size // n, stride * n
    return tuple(reversed(out))


def cuts(shape: Shape, strides: Strides) -> frozenset[int]:
    """How many elements lie within each boundary that the strides do not step over evenly."""
    sizes = [n for n, _ in merged(shape, strides)]
    return frozenset(prod(sizes[i:]) for i in range(1, len(sizes)))


def divided(numel: int, within: Iterable[int]) -> tuple[int, int, int, int] | None:
    """The four dimensions (the last one innermost) with boundaries there; None where there are no such four."""
    sizes, inner = [], 1
    for cut in [*sorted(within), numel]:
        if cut % inner:
            return None
        sizes.append(cut // inner)
        inner = cut
    if len(sizes) > 4:
        return None
    outer = [1] * (4 - len(sizes)) + sizes[::-1]
    return outer[0], outer[1], outer[2], outer[3]
