"""One rule for every ATen operation that a step may use: what it becomes in a program.

A rule takes the call and its arguments (a :class:`~ostinato.program.lower.Val`, numbers, lists) and returns a node, or
a list of nodes for an operation with several results (None for one that a program does not keep). It is found by the
operation's name with its overload, or by the name alone.
"""

from ostinato.program.rules import indexing, making, pointwise, products, reductions, views
from ostinato.program.rules.common import Rule
from ostinato.program.rules.opaque import opaque

RULES: dict[str, Rule] = {
    **pointwise.RULES, **products.RULES, **reductions.RULES, **views.RULES, **indexing.RULES, **making.RULES,
}

__all__ = ["RULES", "opaque"]
