"""Ways to write a formula down: plain text, LaTeX, and a few words for a box."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

SUM, MAP, PRODUCT, ATOM = 1, 2, 3, 4
"""How tightly a formula holds together: a sum, ``W x``, a product of vectors, one word."""
GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi",
         "rho", "sigma", "tau", "phi", "chi", "psi", "omega")
CALLED = {"sigmoid": "σ", "amax": "max", "maximum": "max", "minimum": "min", "stopgrad": "stop"}
"""Operations whose names in a formula differ."""


class Script:
    """Plain text, as in this package's docstrings: ``h[t] = tanh(W x[t] + U h[t-1] + b)``."""

    signs: ClassVar[dict[str, str]] = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "eq": "=", "ne": "≠"}
    quotient, beside = MAP, ATOM
    """How tightly a quotient holds together, and what must stand on its sides."""
    opens = True
    """Whether a slice of a sum is written as the sum of slices."""

    def at(self, name: str, delay: int) -> str:
        """A value so many steps before t."""
        return f"{name}[t-{delay}]" if delay else f"{name}[t]"

    def name(self, text: str) -> str:
        return text

    def piece(self, text: str, label: str) -> str:
        """A piece of a value."""
        if text.isidentifier():
            return f"{text}_{label}" if "_" not in text else f"{text}{label}"
        return f"{text}[{label}]"

    def number(self, value: float) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    def times(self, a: str, b: str, number: bool) -> str:
        return f"{a} {b}"

    def over(self, a: str, b: str) -> str:
        return f"{a} / {b}"

    def turned(self, text: str) -> str:
        """The transpose."""
        return f"{text}ᵀ"

    def power(self, base: str, exponent: str) -> str:
        return f"{base}^{exponent}"

    def where(self, condition: str, yes: str, no: str) -> str:
        return f"({yes} if {condition} else {no})"

    def call(self, op: str, words: Sequence[str]) -> str:
        return f"{CALLED.get(op, op)}({', '.join(words)})"


class Latex(Script):
    """LaTeX mathematics: ``h_{t} = \\tanh(W x_{t} + U h_{t-1} + b)``."""

    signs: ClassVar[dict[str, str]] = {"gt": ">", "ge": "\\ge", "lt": "<", "le": "\\le", "eq": "=", "ne": "\\ne"}
    quotient, beside = PRODUCT, SUM
    known = ("tanh", "exp", "log", "sin", "cos", "max", "min")

    def at(self, name: str, delay: int) -> str:
        base, sub = _parts(name)
        when = f"t-{delay}" if delay else "t"
        return f"{self._letter(base)}_{{{sub + ', ' if sub else ''}{when}}}"

    def name(self, text: str) -> str:
        base, sub = _parts(text)
        return self._letter(base) + (f"_{{{sub}}}" if sub else "")

    def _letter(self, base: str) -> str:
        plain = base.rstrip("~'")
        marks = base[len(plain) :]
        if plain in GREEK:
            text = f"\\{plain}"
        else:
            text = plain if len(plain) == 1 else f"\\mathrm{{{_escaped(plain)}}}"
        return (f"\\tilde{{{text}}}" if "~" in marks else text) + "'" * marks.count("'")

    def piece(self, text: str, label: str) -> str:
        if match := re.fullmatch(r"(.*)_\{([^{}]*)\}", text):
            return f"{match[1]}_{{{match[2]}, {_escaped(label)}}}"
        return f"{text}_{{{_escaped(label)}}}"

    def number(self, value: float) -> str:
        text = super().number(value)
        if "e" not in text:
            return text
        digits, exponent = text.split("e")
        return f"{digits} \\cdot 10^{{{int(exponent)}}}"

    def times(self, a: str, b: str, number: bool) -> str:
        return f"{a}\\, {b}" if number else f"{a} \\odot {b}"

    def over(self, a: str, b: str) -> str:
        return f"\\frac{{{a}}}{{{b}}}"

    def turned(self, text: str) -> str:
        return f"{text}^\\top"

    def power(self, base: str, exponent: str) -> str:
        return f"{base}^{{{exponent}}}"

    def where(self, condition: str, yes: str, no: str) -> str:
        return f"\\begin{{cases}} {yes} & {condition} \\\\ {no} & \\text{{else}} \\end{{cases}}"

    def call(self, op: str, words: Sequence[str]) -> str:
        if op in ("sqrt", "abs", "floor", "ceil"):
            left, right = {"sqrt": ("\\sqrt{", "}"), "abs": ("\\left|", "\\right|"), "floor": (
                "\\lfloor ", " \\rfloor"), "ceil": ("\\lceil ", " \\rceil")}[op]
            return f"{left}{words[0]}{right}"
        word = CALLED.get(op, op)
        if word.startswith("log "):
            return f"\\log {self.call('sigmoid', words)}"
        name = "\\sigma" if word == "σ" else f"\\{word}" if word in self.known else (
            f"\\operatorname{{{_escaped(word)}}}")
        return f"{name}\\left({', '.join(words)}\\right)"


def _parts(name: str) -> tuple[str, str]:
    """``a_f`` is a with the index f."""
    base, _, sub = name.partition("_")
    return (base, _escaped(sub)) if base and sub else (name, "")


def _escaped(text: str) -> str:
    return text.replace("_", "\\_")


class Short(Script):
    """What is written into a box: as text, without the time."""

    opens = False

    def at(self, name: str, delay: int) -> str:
        return name

    def times(self, a: str, b: str, number: bool) -> str:
        return f"{a}·{b}"


TEXT, LATEX, SHORT = Script(), Latex(), Short()
