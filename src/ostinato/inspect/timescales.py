"""For how long a state remembers: the time constants of its own elementwise memory, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ostinato.inspect.gates import Traces, check_tokens, told
from ostinato.inspect.replay import Replay, replay
from ostinato.program import Program
from ostinato.program.ir import Builder, Node, Ref, rebuild
from ostinato.program.ops import OPS
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import Lengths, Tensors

ASIDE = ("slice", "reshape", "expand", "cast")
"""Views that leave every unit in its place, or take some."""


def timescales(recurrent: Recurrent, x: Tensors, initial: Tensors | None = None, lengths: Lengths | None = None,
               tokens: Sequence[str] | None = None) -> Traces:
    """The time constants of each unit at each step: the tau that a leaky unit would need to forget as fast.

    ``1 - 1/tau`` is the derivative of ``s[t]`` by the same unit's ``s[t-1]``, by all ways that are elementwise, not
    through a product with a matrix. In a leaky unit it is what it is made with; in an LSTM ``1 / (1 - f[t])``, which
    moves with the input though the weights are fixed.

    Args:
        recurrent: any cell that can be traced.
        x, initial, lengths: as for its call.
        tokens: what the steps of the first sequence read.

    Returns:
        by the name of a state, ``[B, T, ...]``; a state without an elementwise memory is not in it. Infinite where
        nothing is forgotten, below 1 where the sign changes, nan at padding.

    Raises:
        InputError: when the tokens are not T, or a step has random masks or constants of the sequence.
        FallbackError: when the step cannot be traced.

    >>> from ostinato import cells
    >>> cell = cells.Leaky(3, 3, tau=[2.0, 8.0, 32.0]).double()
    >>> timescales(Recurrent(cell), torch.ones(1, 4, 3).double())["h"][0, 0].round(decimals=6).tolist()
    [2.0, 8.0, 32.0]
    """
    seen = replay(recurrent, x, initial, lengths)
    check_tokens(tokens, seen.lead[1])
    program = elementwise(seen.program)
    found = {}
    for name in program.next:
        kept = _kept(seen, program, name)
        if kept is not None:
            found[name] = told((1 / (1 - kept)).unflatten(0, seen.lead), seen.live)
    return Traces(found, tokens)


def _kept(seen: Replay, program: Program, name: str) -> Tensor | None:
    """d s[t] / d s[t-1] of the same unit, ``[B T, ...]``; None where there is no way."""
    before = {n: v.detach().clone() for n, v in seen.before.items()}
    before[name].requires_grad_()
    with torch.enable_grad():
        (after,) = seen.values([program.next[name]], before, program)
        if not after.requires_grad:
            return None
        (found,) = torch.autograd.grad(after.sum(), before[name], allow_unused=True)
    return None if found is None else found[:, -1]


def elementwise(program: Program) -> Program:
    """The program with its gradients stopped wherever units are mixed: at products, sums and rearrangements."""

    def change(builder: Builder, node: Node, args: list[Ref]) -> Ref | None:
        rule = OPS.get(node.op)
        if not node.args or node.op in ASIDE or (rule is not None and rule.pointwise):
            return None
        return builder.copy(node, [a if a.dtype != "float" else a.stopgrad() for a in args])

    return rebuild(program, change)

