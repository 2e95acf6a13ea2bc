"""What is computed for all steps at once, with the native library's products in the place of torch's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ostinato.engines.cpu.products import add, multiply, sum_rows
from ostinato.program.evaluate import Line, Schedule
from ostinato.program.ir import Program


class Products(Schedule):
    """A schedule for plain tensors on cpu of float32 or float64, without derivatives. What is added to a product goes
    with it: a bias, or another product."""

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
        return [self._native(i, function, args, products, biased) for i, function, args in lines if i not in gone]

    def _native(self, i: int, function: Callable[..., Tensor], args: tuple[int, ...],
                products: Mapping[int, tuple[int, ...]], biased: Mapping[int, tuple[int, int]]) -> Line:
        node = self.program.nodes[i]
        if i in biased:
            term, bias = biased[i]
            return i, _product, (*products[term], bias)
        if i in products:
            return i, _product, args
        if node.op == "gemm_tb" and not node["grouped"]:
            return i, _weight_gradient, args
        if node.op == "sum_tb" and len(node.shape) == 1:
            return i, _sum, args
        return i, _added if self._is_sum_of_vectors(i) else function, args

    def _is_sum_of_vectors(self, i: int) -> bool:
        """Whether a node adds two vectors of parameters, as torch.nn's biases are."""
        nodes = self.program.nodes
        return nodes[i].op == "add" and len(nodes[i].shape) == 1 and self.program.parts[i] == "P" and all(
            nodes[a].shape == nodes[i].shape and nodes[a].dtype == "float" for a in nodes[i].args)


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


def _weight_gradient(a: Tensor, g: Tensor) -> Tensor:
    return multiply(_rows(a).t(), _rows(g))


def _sum(a: Tensor) -> Tensor:
    return sum_rows(_rows(a)) if a.dim() > 1 else a


def _added(a: Tensor, b: Tensor) -> Tensor:
    return add(*[v.resolve_neg() if v.is_neg() else v for v in (a, b)])


def _rows(a: Tensor) -> Tensor:
    a = a.resolve_neg() if a.is_neg() else a
    return a.reshape(-1, a.shape[-1])
