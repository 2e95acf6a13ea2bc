"""The formula of one box of a program, in plain text or in LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ostinato.inspect.boxes import Reading
from ostinato.inspect.script import ATOM, MAP, PRODUCT, SUM, Script
from ostinato.program.ir import Node

Piece = tuple[int, int, str] | None
"""The features from, to, and what they are called."""


@dataclass
class Writer:
    """Writes the formula of one box."""

    reading: Reading
    script: Script
    referred: list[int] = field(default_factory=list)
    """The boxes that it refers to by name."""

    def formula(self, root: int) -> str:
        node = self.reading.program.nodes[root]
        if node.op in ("read", "x", "q", "draw", "noise"):
            return "" if self.reading.program.next.get(self.reading.name.get(root, "")) != root else (
                self._leaf(root, node))
        return self._write(root, None, SUM, first=True)

    def _write(self, i: int, piece: Piece, outer: int, first: bool = False) -> str:
        """The text of a node, in parentheses where what stands around it binds more tightly."""
        level, text = self._levelled(i, piece, first)
        return f"({text})" if level < outer else text

    def _levelled(self, i: int, piece: Piece, first: bool = False) -> tuple[int, str]:
        node = self.reading.program.nodes[i]
        if not node.shape or node.shape[-1] == 1:
            piece = None  # the same for all features
        own = not first and self.reading.box.get(i) == i and node.op not in ("matmul", "read")
        if own and not (piece and self._opens(i)):
            text = self._refer(i, node)
        elif node.op in ("read", "x", "q", "draw", "noise", "const", "p"):
            text = self._leaf(i, node)
        else:
            return WRITERS.get(node.op, Writer._call)(self, i, node, piece)
        return ATOM, self.script.piece(text, piece[2]) if piece else text

    def _refer(self, i: int, node: Node) -> str:
        if node.op not in ("x", "q", "draw", "noise"):
            self.referred.append(i)
            return self.script.at(self.reading.name[i], 0)
        return self._leaf(i, node)

    def _opens(self, i: int) -> bool:
        """Whether a slice of this box is better written as the slices of what it is made of."""
        return self.script.opens and i not in self.reading.program.next.values() and all(
            self.reading.program.nodes[u].op == "slice" for u in self._users(i))

    def _users(self, i: int) -> list[int]:
        return [u for u, n in enumerate(self.reading.program.nodes) if i in n.args]

    def _leaf(self, i: int, node: Node) -> str:
        if node.op == "read":
            return self.script.at(node["state"], node["delay"])
        if node.op == "const":
            return self.script.number(node["value"])
        if node.op == "p":
            return self.script.name(self.reading.parameters[node["name"]])
        name = self.reading.name.get(i, node.op)
        return self.script.name(name) if node.op == "q" else self.script.at(name, 0)

    def _add(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        if (inner := self._log_sigmoid(node)) is not None:
            return PRODUCT, self.script.call("log σ", [self._write(inner, piece, 0)])
        terms: list[tuple[int, str]] = []
        self._terms(i, piece, 1, terms, True)
        order = sorted(terms, key=lambda term: self._rank(term[0]))
        order.sort(key=lambda term: term[1].startswith("-")) if order[0][1].startswith("-") else None
        text = order[0][1]
        for _, term in order[1:]:
            text += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
        return SUM, text

    def _log_sigmoid(self, node: Node) -> int | None:
        """Of what this is the logarithm of the sigmoid: ``min(a, 0) - log1p(exp(-|a|))``, as it is computed."""
        n = self.reading.program.nodes
        least, rest = (n[a] for a in node.args)
        if node.op == "sub" and least.op == "where" and rest.op == "log1p" and n[rest.args[0]].op == "exp":
            above, zero, value = least.args
            if n[above].op == "gt" and n[above].args == (value, zero) and n[zero].op == "const" and (
                    n[zero]["value"] == 0):
                return value
        return None

    def _terms(self, i: int, piece: Piece, sign: int, out: list[tuple[int, str]], first: bool = False) -> None:
        node = self.reading.program.nodes[i]
        inside = first or self.reading.box.get(i) != i or bool(piece and self._opens(i))
        inside = inside and self._log_sigmoid(node) is None if node.op == "sub" and not first else inside
        if inside and node.op in ("add", "sub"):
            self._terms(node.args[0], piece, sign, out)
            self._terms(node.args[1], piece, sign if node.op == "add" else -sign, out)
        elif inside and node.op == "neg":
            self._terms(node.args[0], piece, -sign, out)
        elif inside and node.op == "slice" and piece is None and self._passes(i):
            self._terms(node.args[0], (node["start"], node["stop"], self.reading.pieces[i]), sign, out)
        else:
            text = self._write(i, piece, MAP)
            out.append((i, f"-{text}" if sign < 0 else text))

    def _passes(self, i: int) -> bool:
        node = self.reading.program.nodes[i]
        below = self.reading.program.nodes[node.args[0]]
        return node["dim"] == -1 and (below.op in POINTWISE or below.op == "matmul")

    def _rank(self, i: int) -> int:
        """Products and inputs first, biases last; otherwise the step's own order."""
        part = self.reading.program.parts[i]
        constant = self.reading.program.nodes[i].op == "const"
        return 0 if constant else {"X": 1, "P": 3}.get(part, 2)

    def _mul(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        if (inner := self._mean(node)) is not None:
            return ATOM, self.script.call("mean", [self._write(inner, None, 0)])
        if node.args[0] == node.args[1]:
            return ATOM, self.script.power(self._write(node.args[0], piece, ATOM), "2")
        numbers = [a for a in node.args if self._number(a)]
        args = numbers + [a for a in node.args if a not in numbers]
        left, right = (self._write(a, piece, PRODUCT) for a in args)
        return PRODUCT, right if left == "1" else self.script.times(left, right, bool(numbers))

    def _mean(self, node: Node) -> int | None:
        """What this is the mean of: a sum times the inverse of how many there are."""
        nodes = self.reading.program.nodes
        for number, total in (node.args, node.args[::-1]):
            if self._number(number) and nodes[total].op == "sum" and nodes[total]["dims"] == (-1,) and (
                    nodes[number]["value"] * nodes[nodes[total].args[0]].shape[-1] == 1):
                return nodes[total].args[0]
        return None

    def _number(self, i: int) -> bool:
        return self.reading.program.nodes[i].op == "const"

    def _div(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        above, below = node.args
        top = self._write(above, piece, min(PRODUCT, self.script.beside))
        return self.script.quotient, self.script.over(top, self._write(below, piece, self.script.beside))

    def _matmul(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        """``W x``: a row times the transposed weight is what a formula writes as the weight times a column."""
        value, weight = node.args
        weight, piece = self._part(weight, piece)
        below = self.reading.program.nodes[weight]
        turned = below.op == "permute"
        text = self._write(below.args[0] if turned else weight, piece, ATOM)
        return MAP, f"{text if turned else self.script.turned(text)} {self._write(value, None, ATOM)}"

    def _part(self, i: int, piece: Piece) -> tuple[int, Piece]:
        """The one of several values, put side by side, in which a piece lies, and the piece of it."""
        node = self.reading.program.nodes[i]
        if piece is None or node.op != "cat" or node["dim"] != -1:
            return i, piece
        at = 0
        for a in node.args:
            end = at + self.reading.program.nodes[a].shape[-1]
            if at <= piece[0] and piece[1] <= end:
                whole = (at, end) == piece[:2]
                return self._part(a, None if whole else (piece[0] - at, piece[1] - at, piece[2]))
            at = end
        return i, piece

    def _slice(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        if node["dim"] != -1:
            return ATOM, self.script.piece(self._write(node.args[0], piece, ATOM), self.reading.pieces[i])
        start, stop, label = piece or (0, node.shape[-1], self.reading.pieces[i])
        return self._levelled(node.args[0], (node["start"] + start, node["start"] + stop, label))

    def _same(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        return self._levelled(node.args[0], piece)

    def _permute(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        return ATOM, self.script.turned(self._write(node.args[0], piece, ATOM))

    def _reciprocal(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        return self.script.quotient, self.script.over("1", self._write(node.args[0], piece, self.script.beside))

    def _neg(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        return SUM, "-" + self._write(node.args[0], piece, PRODUCT)

    def _cat(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        part, rest = self._part(i, piece)
        if part != i:
            return self._levelled(part, rest)
        text = "[" + ", ".join(self._write(a, None, 0) for a in node.args) + "]"
        return ATOM, self.script.piece(text, piece[2]) if piece else text

    def _where(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        return ATOM, self.script.where(*(self._write(a, piece, SUM) for a in node.args))

    def _compare(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        a, b = (self._write(v, piece, PRODUCT) for v in node.args)
        return SUM, f"{a} {self.script.signs[node.op]} {b}"

    def _power(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        return ATOM, self.script.power(self._write(node.args[0], piece, ATOM), self.script.number(node["exponent"]))

    def _call(self, i: int, node: Node, piece: Piece) -> tuple[int, str]:
        words = [self._write(a, piece, 0) for a in node.args]
        return ATOM, self.script.call(node.op.removeprefix("aten:"), words)


WRITERS: dict[str, Callable[[Writer, int, Node, Piece], tuple[int, str]]] = {
    "add": Writer._add, "sub": Writer._add, "mul": Writer._mul, "div": Writer._div, "neg": Writer._neg,
    "matmul": Writer._matmul, "permute": Writer._permute, "reciprocal": Writer._reciprocal, "slice": Writer._slice,
    "cat": Writer._cat, "where": Writer._where, "pow": Writer._power,
    **dict.fromkeys(("reshape", "expand", "cast"), Writer._same),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne"), Writer._compare),
}
POINTWISE = {*WRITERS, "sigmoid", "tanh", "relu", "exp", "log", "log1p", "abs", "sqrt"} - {
    "slice", "cat", "matmul", "permute"}
