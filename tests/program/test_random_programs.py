"""Random cells: an expression over the input, two states and parameters, against the plain loop."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Written, assert_as_by_steps, program_of

from ostinato.program import from_json, linearity, to_json, verify

N = 4  # the width of everything; also a square of two
LEAVES = ("x", "h", "k", "v", "0.5", "-1.0")
UNARY = {
    "tanh": "{}.tanh()", "sigmoid": "torch.sigmoid({})", "relu": "torch.relu({})", "exp": "torch.exp(-{}.abs())",
    "sin": "torch.sin({})", "square": "({} ** 2)", "root": "torch.sqrt(1 + {} ** 2)", "clamp": "{}.clamp(-0.4, 0.6)",
    "neg": "(-{})", "U": "({} @ c.U)", "U'": "F.linear({}, c.U, c.v)", "softmax": "F.softmax({}, -1)",
    "flip": "{}.flip(1)", "roll": "torch.roll({}, 1, -1)", "norm": "F.layer_norm({}, (4,), eps=0.1)",
    "mean": "({} - {}.mean(-1, keepdim=True))", "max": "({} - {}.amax(1, keepdim=True))", "detach": "{}.detach()",
    "turn": "{}.unflatten(1, (2, 2)).transpose(1, 2).flatten(1)", "sum": "{}.sum(1, keepdim=True).expand(-1, 4)",
    "first": "{}[:, :1].expand(-1, 4)", "cumsum": "({}.cumsum(-1) * 0.3)", "pad": "F.pad({}[:, 1:], (0, 1))",
    "blocks": "torch.einsum('bgk,gkn->bgn', {}.view(-1, 2, 2), c.V).flatten(1)", "double": "_doubled({})",
    "gelu": "F.gelu({})", "take": "{}[:, [2, 0, 0, 3]]", "softplus": "F.softplus({})",
}
BINARY = {
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / (1.5 + {}.abs()))",
    "maximum": "torch.maximum({}, {})", "minimum": "torch.minimum({}, {})", "where": "torch.where({0} > 0.1, {0}, {1})",
    "lerp": "torch.lerp({}, {}, 0.3)", "gate": "(torch.sigmoid({}) * {})",
    "halves": "torch.cat([{}[:, 2:], {}[:, :2]], 1)",
    "cat": "(torch.cat([{}, {}], -1) @ c.T)", "outer": "({0}[:, :, None] * {1}[:, None, :]).sum(1)",
    "scores": "_attended({}, {})", "stack": "torch.stack([{}, {}], 1).amax(1)",
}


def _doubled(a):
    a = a * 1.0
    a[:, ::2] *= 2.0
    return a


def _attended(a, b):
    a, b = a.view(-1, 2, 2), b.view(-1, 2, 2)
    return torch.bmm(torch.softmax(a @ b.transpose(1, 2), -1), b).flatten(1)


def _joined(parts):
    kind, *texts = parts
    form = (UNARY | BINARY)[kind]
    return form.format(*texts) if kind in BINARY else form.replace("{}", texts[0])


leaf = st.sampled_from(LEAVES[:4]).map(lambda name: "c.v.expand_as(x)" if name == "v" else name)
number = st.sampled_from(LEAVES[4:])
expression = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(list(UNARY)), inner).map(_joined),
        st.tuples(st.sampled_from(list(BINARY)), inner, inner).map(_joined),
        st.tuples(st.sampled_from(["add", "sub", "mul"]), inner, number).map(_joined),
    ),
    max_leaves=8,
)


def _cell(new_h, new_k, output):
    """Bounded by tanh, so that steps in a row do not run away; what the expression says is seen in the output."""
    source = f"lambda c, x, h, k: (torch.tanh({new_h}), 0.5 * k + 0.5 * torch.sin({new_k}), {output})"
    step = eval(source, {"torch": torch, "F": torch.nn.functional, "_doubled": _doubled, "_attended": _attended})
    shapes = {"U": (N, N), "v": (N,), "V": (2, 2, 2), "T": (2 * N, N)}
    return Written(step, {"h": N, "k": N}, shapes)


@settings(max_examples=100, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(expression, expression, expression, st.sampled_from([None, None, "recompute"]))
def test_random_cells(new_h, new_k, output, save):
    """Values, final states and gradients; the program is sound, and comes back from its text."""
    recurrent = assert_as_by_steps(_cell(new_h, new_k, output), ((N,),), save=save, sizes=((3, 2),))
    program = program_of(recurrent.cell, (N,))
    verify(program)
    assert from_json(to_json(program), dict(program.tensors)).nodes == program.nodes
    assert set(linearity(program)) == {"h", "k"}
