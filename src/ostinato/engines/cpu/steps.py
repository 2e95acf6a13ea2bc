"""What is computed for all steps at once, with the native library's products in the place of torch's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from torch import Tensor

from ostinato.engines.cpu.maps import VIEWS, mapped
from ostinato.engines.cpu.products import add, multiply, multiply_all
from ostinato.program.evaluate import Line, Schedule
from ostinato.program.ir import Program


class Products(Schedule):
    """A schedule for plain tensors on cpu of float32 or float64, without derivatives. What is added to a product goes
    with it: a bias, or another product; sums over time of the same value are taken together."""

    def made(self, nodes: Sequence[int], kept: set[int]) -> list[Line]:
        """The nodes that are computed, without the products that a sum takes along."""
        lines = super().made(nodes, kept)
        users = Counter(a for _, _, args in lines for a in args)
        products = {i: args for i, _, args in lines if _is_product(self.program, i)}
        biased = {}
        for i, _, args in lines:
            term = biased_product(self.program, i)
            if term in products and users[term] == 1 and term not in kept:
                biased[i] = term, next(a for a in args if a != term)
        gone = {term for term, _ in biased.values()}
        lines = [self._native(i, function, args, products, biased) for i, function, args in lines if i not in gone]
        lines = mapped(self.program, lines, kept, [i for i, function, _ in lines if function in (_product, _added)])
        lines = self._together(lines)
        self.native = all(self._is_native(i, function) for i, function, _ in lines)
        return lines

    def _is_native(self, i: int, function: Callable[..., Any]) -> bool:
        return i < 0 or function in (_product, _added) or isinstance(function, (itemgetter, _Turned)) or (
            self.program.nodes[i].op in VIEWS)

    def _native(self, i: int, function: Callable[..., Any], args: tuple[int, ...],
                products: Mapping[int, tuple[int, ...]], biased: Mapping[int, tuple[int, int]]) -> Line:
        if i in biased:
            term, bias = biased[i]
            return i, _product, (*products[term], bias)
        if i in products:
            return i, _product, args
        return i, _added if self._is_sum_of_vectors(i) else function, args

    def _is_sum_of_vectors(self, i: int) -> bool:
        """Whether a node adds two vectors of parameters, as torch.nn's biases are."""
        nodes = self.program.nodes
        return nodes[i].op == "add" and len(nodes[i].shape) == 1 and self.program.parts[i] == "P" and all(
            nodes[a].shape == nodes[i].shape and nodes[a].dtype == "float" for a in nodes[i].args)

    def _together(self, lines: list[Line]) -> list[Line]:
        """Sums over time of the same value as one line, before the first of them, from which each takes its own."""
        sums = [(i, args) for i, _, args in lines if i >= 0 and _over_time(self.program, i)]
        users = Counter(a for _, args in sums for a in set(args))
        groups: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        for i, args in sums:
            groups.setdefault(max(args, key=lambda a: users[a]), []).append((i, args))
        home = {i: shared for shared, members in groups.items() for i, _ in members}
        late, made = {i for i, _, _ in lines}, list[Line]()
        for i, function, args in lines:
            if i not in late:
                continue
            late.discard(i)
            if i not in home:
                made.append((i, function, args))
                continue
            # One whose other operand comes later goes with those that come then.
            ready = [(m, given) for m, given in groups[home[i]] if (m == i or m in late) and late.isdisjoint(given)]
            made += _sums(home[i], ready)
            late.difference_update(m for m, _ in ready)
        return made


def _over_time(program: Program, i: int) -> bool:
    node = program.nodes[i]
    return (node.op == "gemm_tb" and not node["grouped"]) or (node.op == "sum_tb" and len(node.shape) == 1)


def _sums(shared: int, members: Sequence[tuple[int, tuple[int, ...]]]) -> list[Line]:
    """The line that takes sums over time together, under a number that no node has, and those that pick from it."""
    whole = -1 - members[0][0]
    others: list[int] = []
    lines: list[Line] = []
    total = any(len(args) == 1 for _, args in members)
    for i, args in members:
        if len(args) == 1:
            lines.append((i, itemgetter(0), (whole,)))
            continue
        turned = args[0] != shared
        others.append(args[0] if turned else args[1])
        lines.append((i, _Turned(total + len(others) - 1) if turned else itemgetter(total + len(others) - 1), (whole,)))
    return [(whole, partial(_sums_over_time, total), (shared, *others)), *lines]


def _sums_over_time(total: bool, shared: Tensor, *others: Tensor) -> list[Tensor]:
    """Over time and batch: the sums of ``shared`` where ``total``, and of its products with each of the others."""
    return multiply_all(_rows(shared).t(), [_rows(other) for other in others], total)


class _Turned(NamedTuple):
    """Picks a product and turns it."""

    index: int

    def __call__(self, found: Sequence[Tensor]) -> Tensor:
        return found[self.index].t()


def _is_product(program: Program, i: int) -> bool:
    node = program.nodes[i]
    return node.op == "matmul" and len(program.nodes[node.args[1]].shape) == 2


def biased_product(program: Program, i: int) -> int | None:
    """The product, of parts X or Y, to which a node adds a vector of parameters or something as large as itself."""
    node, nodes, parts = program.nodes[i], program.nodes, program.parts
    if node.op != "add" or len(node.shape) != 1:
        return None
    for product, other in sorted(zip(node.args, node.args[::-1], strict=True), reverse=True):
        fits = nodes[other].shape == node.shape and nodes[other].dtype == "float" and parts[other] in "PXY"
        if fits and nodes[product].op == "matmul" and parts[product] in "XY":
            return product
    return None


def _product(a: Tensor, weight: Tensor, begin: Tensor | None = None) -> Tensor:
    """``begin`` (``[N]`` or ``[T, B, ..., N]``) plus ``[T, B, ..., K]`` by ``[K, N]``. A result lies in memory as ``a``
    does: batch or time first."""
    vector = begin is None or begin.dim() == 1
    turned = vector and a.dim() > 2 and not a.is_contiguous() and a.transpose(0, 1).is_contiguous()
    a = a.transpose(0, 1) if turned else a
    out = multiply(_rows(a), weight, begin if begin is None or vector else _rows(begin))
    out = out.view(*a.shape[:-1], weight.shape[1])
    return out.transpose(0, 1) if turned else out


def _added(a: Tensor, b: Tensor) -> Tensor:
    return add(*[v.resolve_neg() if v.is_neg() else v for v in (a, b)])


def _rows(a: Tensor) -> Tensor:
    a = a.resolve_neg() if a.is_neg() else a
    return a.reshape(-1, a.shape[-1])
