"""Phrases that the machine has one word for: fewer instructions, and products that begin with what is added to them.

A phrase is only replaced where its inner values are not needed otherwise, so that no work is done twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from ostinato.engines.cpu.layout import View, dense, whole
from ostinato.engines.cpu.translate import Translation
from ostinato.engines.cpu.values import Join, Kind, Leaf, Operand, Point, Product, Reduction, Value, is_whole, operands


class Fuser:
    """Rewrites a translation's values in place; ``roots`` are what it gives out."""

    def __init__(self, t: Translation, roots: Iterable[Operand]) -> None:
        self.t, self.values = t, t.values
        self.roots = [r.of for r in roots if isinstance(r, View)]
        self.users: list[list[int]] = [[] for _ in self.values]
        """The needed users of each value, once for each operand; -1 stands for the outside."""
        for i in self.roots:
            self.users[i].append(-1)
        for i in reversed(range(len(self.values))):
            if self.users[i]:
                for v in operands(self.values[i]):
                    self.users[v.of].append(i)

    def run(self) -> None:
        """All rules, in order: what is found first is no longer there for the next."""
        for i, value in enumerate(self.values):
            if isinstance(value, Product) and self.users[i]:
                _begin_by_pieces(self, i, value)
        for rule in (_forwarded, _without_neg, _derivative, _lerp, _begun_product, _multiply_add):
            for i, value in enumerate(self.values):
                if isinstance(value, Point) and self.users[i]:
                    changed = rule(self, i, value)
                    if changed is not None:
                        self.put(i, changed)

    def put(self, i: int, value: Value) -> None:
        """Replace a value; what only the old one needed is no longer needed."""
        old, self.values[i] = self.values[i], value
        for v in operands(value):
            self.users[v.of].append(i)
        spent = [(v.of, i) for v in operands(old)]
        while spent:
            used, user = spent.pop()
            self.users[used].remove(user)
            if not self.users[used]:
                spent += [(v.of, used) for v in operands(self.values[used])]

    def inner(self, operand: Operand, op: str) -> Point | None:
        """The instruction that an operand is the whole result of."""
        if not isinstance(operand, View):
            return None
        value = self.values[operand.of]
        if isinstance(value, Point) and value.op == op and operand == whole(operand.of, value.shape):
            return value
        return None

    def single(self, operand: Operand, op: str) -> Point | None:
        """The same, where it is used here only."""
        found = self.inner(operand, op)
        return found if found and isinstance(operand, View) and len(self.users[operand.of]) == 1 else None


def _swapped(point: Point) -> tuple[tuple[Operand, Operand], tuple[Operand, Operand]]:
    a, b = point.args
    return (a, b), (b, a)


def _without_neg(f: Fuser, i: int, p: Point) -> Point | None:
    """a + (-b) is a - b; a - (-b) is a + b."""
    if p.op == "add":
        for a, b in _swapped(p):
            if minus := f.single(b, "neg"):
                return Point(p.shape, "sub", (a, minus.args[0]), p.source)
    if p.op == "sub" and (minus := f.single(p.args[1], "neg")):
        return Point(p.shape, "add", (p.args[0], minus.args[0]), p.source)
    return None


def _slope(f: Fuser, operand: Operand) -> tuple[str, Operand] | None:
    """The opcode, and the y of 1 - y*y (tanh's derivative) or of y*(1 - y) (sigmoid's)."""
    if (less := f.inner(operand, "sub")) and less.args[0] == 1.0:
        square = f.inner(less.args[1], "mul")
        if square and square.args[0] == square.args[1]:
            return "dtanh", square.args[0]
    if product := f.inner(operand, "mul"):
        for y, rest in _swapped(product):
            less = f.inner(rest, "sub")
            if less and less.args[0] == 1.0 and less.args[1] == y:
                return "dsigmoid", y
    return None


def _derivative(f: Fuser, i: int, p: Point) -> Point | None:
    """g * (1 - y*y) and g * (y*(1 - y)), where every use of what is in the brackets is such."""
    if p.op != "mul":
        return None
    for g, slope in _swapped(p):
        found = _slope(f, slope)
        if found and g != slope and _only_multiplies(f, slope):
            return Point(p.shape, found[0], (g, found[1]), p.source)
    return None


def _only_multiplies(f: Fuser, operand: Operand) -> bool:
    """Whether everything that uses an operand's value multiplies something else by it."""
    if not isinstance(operand, View) or -1 in f.users[operand.of]:
        return False
    users = [f.values[u] for u in f.users[operand.of]]
    return all(isinstance(u, Point) and u.op == "mul" and u.args.count(operand) == 1 for u in users)


def _lerp(f: Fuser, i: int, p: Point) -> Point | None:
    """(1 - z)*a + z*b."""
    if p.op != "add":
        return None
    for one, other in _swapped(p):
        held, moved = f.single(one, "mul"), f.single(other, "mul")
        if held and moved:
            for less, a in _swapped(held):
                rest = f.inner(less, "sub")
                for z, b in _swapped(moved):
                    if rest and rest.args[0] == 1.0 and rest.args[1] == z:
                        return Point(p.shape, "lerp", (a, b, z), p.source)
    return None


def _multiply_add(f: Fuser, i: int, p: Point) -> Point | None:
    """a*b + c and a - b*c."""
    if p.op == "add":
        for product, c in _swapped(p):
            if found := f.single(product, "mul"):
                return Point(p.shape, "muladd", (*found.args, c), p.source)
    if p.op == "sub" and (found := f.single(p.args[1], "mul")):
        return Point(p.shape, "submul", (p.args[0], *found.args), p.source)
    return None


def _begun_product(f: Fuser, i: int, p: Point) -> Product | None:
    """A product of this sum only begins with the other term."""
    if p.op != "add":
        return None
    choices = []
    for term, init in _swapped(p):
        if not isinstance(term, View) or not isinstance(init, View) or not is_whole(term, f.values[term.of]):
            continue
        product = f.values[term.of]
        free = isinstance(product, Product) and product.init is None and len(f.users[term.of]) == 1
        if free and init.dense and f.t.in_numbers(init) and _worthwhile(f, i, init):
            choices.append((term.of, product, init))
    if not choices:
        return None
    _, product, init = max(choices, key=lambda c: c[0])  # the later one begins with the earlier
    return Product(p.shape, product.a, product.weight, product.repeats, init, p.source)


def _begin_by_pieces(f: Fuser, i: int, product: Product) -> None:
    """Where everything that uses a product adds to a part of it the same part of an input: it begins with the input."""
    terms = [_term(f, u, i) for u in f.users[i]]
    found = {(other.of, other.offset - part.offset) for part, other in filter(None, terms)}
    if product.init is not None or None in terms or len(found) != 1:
        return
    (of, offset), size = found.pop(), prod(product.shape)
    if not 0 <= offset <= prod(f.values[of].shape) - size:
        return
    f.put(i, replace(product, init=View(of, product.shape, dense(product.shape), offset)))
    for u, term in zip(list(f.users[i]), terms, strict=True):
        if term:
            f.put(u, Point(f.values[u].shape, "copy", (term[0],)))


def _term(f: Fuser, user: int, i: int) -> tuple[View, View] | None:
    """The part (not all) of value ``i`` in a sum of it and of the like part of an input, and that."""
    p = f.values[user]
    if user < 0 or not isinstance(p, Point) or p.op != "add":
        return None
    for part, other in _swapped(p):
        if isinstance(part, View) and isinstance(other, View) and part.of == i and part.strides == other.strides:
            base = f.values[other.of]
            if isinstance(base, Leaf) and base.array.kind is Kind.X and not is_whole(part, f.values[i]):
                return part, other
    return None


def _forwarded(f: Fuser, i: int, p: Point) -> Point | None:
    """What is a copy for the values that read it reads what was copied."""
    copies = [f.inner(a, "copy") for a in p.args]
    if p.op == "copy" or not any(copies):
        return None
    return replace(p, args=tuple(a if c is None else c.args[0] for a, c in zip(p.args, copies, strict=True)))


def _worthwhile(f: Fuser, i: int, init: View) -> bool:
    """Whether ``init`` is in memory anyway; else whether no instruction waits for the sum, which a load would spare."""
    if isinstance(f.values[init.of], (Leaf, Product, Reduction, Join)):
        return True
    return not any(u >= 0 and isinstance(f.values[u], Point) for u in f.users[i])
