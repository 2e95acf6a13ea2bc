"""What is computed for all steps at once, with the native library's products in the place of torch's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from torch import Tensor

from ostinato.engines.cpu.products import multiply, sum_rows
from ostinato.program.evaluate import Schedule
from ostinato.program.ir import Node, Program


class Products(Schedule):
    """A schedule for plain tensors on cpu of float32 or float64, without derivatives. A bias goes with its product."""

    def __init__(self, program: Program, nodes: Sequence[int], keep: Iterable[int], owned: Iterable[int] = ()) -> None:
        keep = set(keep)
        super().__init__(program, nodes, keep, owned)
        users = Counter(a for line in self.lines for a in line[2])
        own = {i: args for i, _, args, _ in self.lines if _is_product(program, i)}
        biased = {}
        for i, _, args, _ in self.lines:
            term = biased_product(program, i)
            if term in own and users[term] == 1 and term not in keep:
                biased[term] = i, next(a for a in args if a != term)
        lines = []
        for i, function, args, dead in self.lines:
            op = program.nodes[i].op
            if i in biased:
                continue
            term = biased_product(program, i)
            if term in biased and biased[term][0] == i:
                function, args = _product, (*own[term], biased[term][1])
                dead = (*[a for a in dead if a != term], *_dying(self.lines, term))
            elif i in own:
                function = _product
            elif op == "gemm_tb" and not program.nodes[i]["grouped"]:
                function = _weight_gradient
            elif op == "sum_tb" and len(program.nodes[i].shape) == 1:
                function = _sum
            lines.append((i, function, args, dead))
        self.lines = lines


def _dying(lines: Sequence[tuple], i: int) -> tuple[int, ...]:
    return next(dead for j, _, _, dead in lines if j == i)


def _is_product(program: Program, i: int) -> bool:
    node = program.nodes[i]
    return node.op == "matmul" and len(program.nodes[node.args[1]].shape) == 2


def biased_product(program: Program, i: int) -> int | None:
    """The product, of parts X or Y, that a node adds a vector of parameters to."""
    node: Node = program.nodes[i]
    if node.op != "add":
        return None
    for product, bias in (node.args, node.args[::-1]):
        if (program.nodes[product].op == "matmul" and program.parts[product] in "XY" and program.parts[bias] == "P"
                and program.nodes[bias].shape == node.shape[-1:] and len(node.shape) == 1):
            return product
    return None


def _product(a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``[T, B, ..., K]`` by ``[K, N]``, plus ``[N]``. A result lies in memory as ``a`` does: batch or time first."""
    turned = a.dim() > 2 and not a.is_contiguous() and a.transpose(0, 1).is_contiguous()
    a = a.transpose(0, 1) if turned else a
    out = multiply(_rows(a), weight, bias).view(*a.shape[:-1], weight.shape[1])
    return out.transpose(0, 1) if turned else out


def _weight_gradient(a: Tensor, g: Tensor) -> Tensor:
    return multiply(_rows(a).t(), _rows(g))


def _sum(a: Tensor) -> Tensor:
    return sum_rows(_rows(a)) if a.dim() > 1 else a


def _rows(a: Tensor) -> Tensor:
    a = a.resolve_neg() if a.is_neg() else a
    return a.reshape(-1, a.shape[-1])
