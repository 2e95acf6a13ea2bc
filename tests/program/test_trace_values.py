"""Steps that are traced: each table has a line an operation, compared with the plain loop over the step."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from oracle import Written, assert_as_by_steps, written

POINTWISE = {
    "tanh": lambda c, x, h: torch.tanh(x @ c.W + h @ c.U),
    "sigmoid, in-place name": lambda c, x, h: (x @ c.W).sigmoid() * h.sigmoid(),
    "relu": lambda c, x, h: F.relu(x @ c.W + h),
    "exp": lambda c, x, h: torch.exp(-h * h) + x @ c.W,
    "log": lambda c, x, h: torch.log(2 + h * h),
    "log1p": lambda c, x, h: torch.log1p(h * h),
    "expm1": lambda c, x, h: torch.expm1(0.1 * h),
    "log2, log10, exp2": lambda c, x, h: torch.log2(2 + h * h) + torch.log10(2 + h * h) + torch.exp2(-h * h),
    "sqrt, rsqrt": lambda c, x, h: torch.sqrt(1 + h * h) + torch.rsqrt(1 + h * h),
    "reciprocal": lambda c, x, h: torch.reciprocal(2 + h.tanh()),
    "sin, cos, tan": lambda c, x, h: torch.sin(h) + torch.cos(h) * 0.1 + torch.tan(0.3 * h.tanh()),
    "sinh, cosh": lambda c, x, h: torch.sinh(h.tanh()) + torch.cosh(h.tanh()),
    "erf, erfc": lambda c, x, h: torch.erf(h) + torch.erfc(h),
    "abs, sign": lambda c, x, h: h.abs() * torch.sign(h - 0.1) + x @ c.W,
    "floor, ceil, round, trunc": lambda c, x, h: (3 * h).floor() + (3 * h).ceil() + (3 * h).round() + (3 * h).trunc(),
    "frac": lambda c, x, h: torch.frac(3 * h),
    "neg, rsub, rdiv": lambda c, x, h: 1 - (-h) / (2 + 1 / (3 + h.tanh())),
    "subtract with alpha": lambda c, x, h: torch.sub(h, x @ c.W, alpha=0.5) + torch.add(h, h, alpha=2),
    "square": lambda c, x, h: torch.square(h.tanh()) + torch.square(x @ c.W),
    "integer powers": lambda c, x, h: h**2 - 0.1 * h**3 + x @ c.W,
    "power, real": lambda c, x, h: (1 + h * h) ** 0.5 + (1 + h * h) ** -1.5,
    "power, by a tensor": lambda c, x, h: (1 + h * h) ** torch.sigmoid(c.v),
    "power, of a number": lambda c, x, h: 2.0 ** h.tanh(),
    "clamp": lambda c, x, h: torch.clamp(h + x @ c.W, -0.3, 0.4),
    "clamp, one-sided": lambda c, x, h: (h + x @ c.W).clamp(min=-0.3).clamp(max=0.2),
    "clamp by tensors": lambda c, x, h: torch.clamp(h + x @ c.W, -c.v.abs(), c.v.abs()),
    "hardtanh": lambda c, x, h: F.hardtanh(3 * h) + x @ c.W,
    "hardswish, relu6": lambda c, x, h: F.hardswish(4 * h) + F.relu6(9 * (x @ c.W)),
    "leaky_relu": lambda c, x, h: F.leaky_relu(h + x @ c.W, 0.1),
    "elu, selu": lambda c, x, h: F.elu(h) + F.selu(x @ c.W),
    "gelu": lambda c, x, h: F.gelu(h + x @ c.W),
    "gelu, tanh": lambda c, x, h: F.gelu(h + x @ c.W, approximate="tanh"),
    "silu, mish": lambda c, x, h: F.silu(h) + F.mish(x @ c.W),
    "softplus": lambda c, x, h: F.softplus(h) + F.softplus(x @ c.W, beta=2.0, threshold=1.0),
    "softsign, tanhshrink": lambda c, x, h: F.softsign(h) + F.tanhshrink(h),
    "logsigmoid": lambda c, x, h: F.logsigmoid(h + x @ c.W),
    "threshold": lambda c, x, h: F.threshold(h + x @ c.W, 0.1, 0.05),
    "prelu": lambda c, x, h: F.prelu(h + x @ c.W, c.v),
    "softshrink, hardshrink": lambda c, x, h: F.softshrink(h, 0.2) + F.hardshrink(h, 0.2) + x @ c.W,
    "maximum, minimum": lambda c, x, h: torch.maximum(h, x @ c.W) + torch.minimum(h, c.v),
    "lerp": lambda c, x, h: torch.lerp(h, x @ c.W, 0.3) + torch.lerp(h, x @ c.W, torch.sigmoid(c.v)),
    "addcmul, addcdiv": lambda c, x, h: torch.addcmul(h, h, c.v, value=0.5) + torch.addcdiv(h, h, 3 + c.v, value=2.0),
    "logaddexp": lambda c, x, h: torch.logaddexp(h, x @ c.W),
    "hypot": lambda c, x, h: torch.hypot(h, 1 + (x @ c.W).abs()),
    "where": lambda c, x, h: torch.where(x @ c.W > h, h, 0.1) + torch.where(h > 0, 1.0, h),
    "where, numbers": lambda c, x, h: h * torch.where(h > 0, 0.5, 0.25),
    "masked_fill": lambda c, x, h: h.masked_fill(h > 0.3, -0.2) + x @ c.W,
    "comparisons": lambda c, x, h: h * (((h > 0) & (h < 0.5)) | ~(h >= -0.5)) + (h <= c.v) * h + (h == h).double(),
    "xor, ne": lambda c, x, h: h * ((h > 0) ^ (c.v != 0)) + x @ c.W,
    "boolean arithmetic": lambda c, x, h: h * (h > 0).to(h.dtype) + (h > 0.2).double() + (x @ c.W > 0).float(),
    "integer arithmetic": lambda c, x, h: h * (h > 0).long() + (h > 0).int() * 2,
    "nan_to_num": lambda c, x, h: torch.nan_to_num(h + x @ c.W),
    "floor division, remainder": lambda c, x, h: torch.div(3 * h, 2, rounding_mode="floor") + torch.remainder(h, 0.7),
    "fmod, truncating division": lambda c, x, h: torch.fmod(h, 0.7) + torch.div(3 * h, 2, rounding_mode="trunc"),
    "float64 numbers": lambda c, x, h: h * torch.tensor(0.5, dtype=torch.float64) + x @ c.W * math.pi,
}

FEATURES = {
    "softmax": lambda c, x, h: F.softmax(h + x @ c.W, -1),
    "log_softmax": lambda c, x, h: F.log_softmax(h + x @ c.W, dim=1),
    "softmin": lambda c, x, h: F.softmin(h + x @ c.W, dim=1),
    "layer_norm": lambda c, x, h: F.layer_norm(h @ c.U + x @ c.W, (4,), c.v, c.v),
    "layer_norm, plain": lambda c, x, h: F.layer_norm(h @ c.U + x @ c.W, (4,)),
    "rms_norm": lambda c, x, h: F.rms_norm(h @ c.U + x @ c.W, (4,), c.v, 1e-6),
    "group_norm": lambda c, x, h: F.group_norm(h @ c.U + x @ c.W, 2, c.v, c.v),
    "normalize": lambda c, x, h: F.normalize(h + x @ c.W, dim=-1),
    "cosine_similarity": lambda c, x, h: h * F.cosine_similarity(h, x @ c.W, dim=-1).unsqueeze(-1),
    "norm": lambda c, x, h: h / (1 + h.norm(dim=-1, keepdim=True)),
    "norm 1, inf": lambda c, x, h: h / (h.norm(p=1, dim=-1, keepdim=True) + h.norm(p=float("inf"), dim=1).unsqueeze(1)),
    "sum": lambda c, x, h: h * h.sum(-1, keepdim=True) + x.sum(1).unsqueeze(1),
    "mean": lambda c, x, h: h - h.mean(-1, keepdim=True) + x.mean(dim=(1,)).unsqueeze(1),
    "sum of booleans": lambda c, x, h: h * (h > 0).sum(-1, keepdim=True) - (x > 0).sum(1, keepdim=True),
    "var, std": lambda c, x, h: h / (1 + h.var(-1, keepdim=True)) + h.std(1, unbiased=False).unsqueeze(1),
    "var_mean": lambda c, x, h: h - torch.var_mean(h, -1, keepdim=True)[1] * torch.std_mean(h, -1, keepdim=True)[0],
    "max over features": lambda c, x, h: h - h.max(-1, keepdim=True).values + x.max(1)[0].unsqueeze(1),
    "amax, amin": lambda c, x, h: h - h.amax(-1, keepdim=True) + h.amin(-1, keepdim=True),
    "prod": lambda c, x, h: h + x.prod(-1, keepdim=True),
    "logsumexp": lambda c, x, h: h - torch.logsumexp(h, -1, keepdim=True),
    "cumsum": lambda c, x, h: torch.cumsum(F.softmax(h + x @ c.W, -1), -1),
    "cumsum of a group": lambda c, x, h: h.view(-1, 2, 2).cumsum(1).flatten(1) + x @ c.W,
    "chunk": lambda c, x, h: torch.cat([part.tanh() for part in reversed(h.chunk(2, -1))], -1) + x @ c.W,
    "split": lambda c, x, h: torch.cat(torch.split(h, [1, 3], dim=1)[::-1], 1) + x @ c.W,
    "unbind, stack": lambda c, x, h: torch.stack(h.unbind(1)[::-1], dim=1) + x @ c.W,
    "stack of groups": lambda c, x, h: torch.stack([h, x @ c.W], 1).sum(1) + torch.stack([h, h * 2], 2).mean(-1),
    "stack, last": lambda c, x, h: torch.stack([h, x @ c.W, h * c.v], -1).amax(-1),
    "flip": lambda c, x, h: h.flip(-1) + x @ c.W,
    "roll": lambda c, x, h: torch.roll(h, 1, -1) + torch.roll(x @ c.W, shifts=(-1,), dims=(1,)),
    "repeat": lambda c, x, h: h[:, :2].repeat(1, 2) + x @ c.W,
    "repeat_interleave": lambda c, x, h: h[:, :2].repeat_interleave(2, dim=1) + x @ c.W,
    "expand": lambda c, x, h: h[:, :1].expand(-1, 4) + x @ c.W + c.v.expand(h.shape[0], 4),
    "expand_as": lambda c, x, h: h[:, :1].expand_as(h) + c.v.expand_as(h),
    "tile": lambda c, x, h: torch.tile(h[:, :2], (1, 2)) + x @ c.W,
    "pad": lambda c, x, h: F.pad(h, (1, -1)) + F.pad(x, (1, 0)),
    "pad with a number": lambda c, x, h: F.pad(h[:, 1:], (0, 1), value=0.5) + x @ c.W,
    "slice with a step": lambda c, x, h: torch.cat([h[:, ::2], h[:, 1::2]], 1) + x @ c.W,
    "select": lambda c, x, h: h * h[:, 0].unsqueeze(1) + h[:, -1:] * x[:, 2:],
    "narrow": lambda c, x, h: torch.cat([h.narrow(1, 2, 2), h.narrow(1, 0, 2)], 1) + x @ c.W,
    "None and Ellipsis": lambda c, x, h: (h[:, None, :] * c.v[None, :, None]).sum(-1) + h[..., :1],
    "view, reshape": lambda c, x, h: (h.view(h.shape[0], 2, 2) * 0.5).reshape(-1, 4) + x @ c.W,
    "unflatten, flatten": lambda c, x, h: h.unflatten(1, (2, 2)).transpose(1, 2).flatten(1) + x @ c.W,
    "movedim, permute": lambda c, x, h: h.view(-1, 2, 2).permute(0, 2, 1).movedim(1, 2).flatten(1) + x @ c.W,
    "squeeze": lambda c, x, h: h.unsqueeze(1).squeeze(1) + (x @ c.W).unsqueeze(-1).squeeze(-1),
    "index by a list": lambda c, x, h: h[:, [3, 0, 1, 2]] + x @ c.W,
    "index by a tensor": lambda c, x, h: h[:, torch.tensor([3, 0, 0, 2])] + x @ c.W,
    "index_select": lambda c, x, h: h.index_select(1, torch.tensor([3, 0, 1, 1])) + x @ c.W,
    "tril of a parameter": lambda c, x, h: h @ c.U.tril() + x @ c.W,
    "outer, diagonal": lambda c, x, h: torch.diagonal(h.unsqueeze(2) * (x @ c.W).unsqueeze(1), dim1=1, dim2=2) * c.v,
    "glu": lambda c, x, h: F.glu(torch.cat([h, x @ c.W], -1), -1),
    "linear": lambda c, x, h: F.linear(h, c.U, c.v) + x @ c.W,
    "addmm": lambda c, x, h: torch.addmm(c.v, h, c.U, beta=0.5, alpha=2.0) + x @ c.W,
    "matmul with a vector": lambda c, x, h: h * (h @ c.v).unsqueeze(1) + x @ c.W,
    "mv": lambda c, x, h: h * torch.mv(h, c.v).unsqueeze(1) + x @ c.W,
    "dot of rows": lambda c, x, h: h * (h * (x @ c.W)).sum(-1, keepdim=True),
    "bilinear": lambda c, x, h: torch.einsum("bi,ij,bj->b", h, c.U, x @ c.W).unsqueeze(1) * c.v,
    "kron": lambda c, x, h: h @ torch.kron(c.U[:2, :2], c.U[2:, 2:]) + x @ c.W,
}

PARAMETERS = {
    "matrix_exp": lambda c, x, h: h @ torch.matrix_exp(c.U - c.U.t()) + x @ c.W,
    "inverse": lambda c, x, h: h @ torch.linalg.inv(c.U + 3 * torch.eye(4, dtype=c.U.dtype)) + x @ c.W,
    "svd": lambda c, x, h: h @ torch.linalg.svd(c.U)[0] * torch.linalg.svdvals(c.U) + x @ c.W,
    "softmax over the rows": lambda c, x, h: h @ F.softmax(c.U, 0) + x @ c.W,
    "mean of everything": lambda c, x, h: h * c.U.mean() + x @ c.W * c.W.sum() + c.v.max(),
    "conv1d of the input": lambda c, x, h: h + F.conv1d(x.unsqueeze(1), c.W.t().unsqueeze(1)).squeeze(-1),
    "conv1d, groups": lambda c, x, h: h + F.conv1d(x.unsqueeze(1), c.W.t()[:2].unsqueeze(1), padding=1).mean(-1).repeat(
        1, 2),
    "sort of the input": lambda c, x, h: h + x.sort(-1).values @ c.W,
    "topk of the input": lambda c, x, h: h + x.topk(3, -1)[0] @ c.W,
    "cumprod of the input": lambda c, x, h: h + x.cumprod(-1) @ c.W,
    "unfold of the input": lambda c, x, h: h + x.unfold(1, 2, 1).sum(-1) @ c.W[:2],
    "no input": lambda c, x, h: torch.tanh(h @ c.U + c.v),
    "no state": lambda c, x, h: torch.tanh(x @ c.W),
    "state unchanged": lambda c, x, h: (h, h * 2 + x @ c.W),
    "neither": lambda c, x, h: c.v.expand(x.shape[0], -1),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_every_element_by_itself(name):
    assert_as_by_steps(written(POINTWISE[name]))


@pytest.mark.parametrize("name", FEATURES)
def test_along_the_features(name):
    assert_as_by_steps(written(FEATURES[name]))


@pytest.mark.parametrize("name", PARAMETERS)
def test_on_parameters_and_inputs(name):
    assert_as_by_steps(written(PARAMETERS[name]))


OUTPUTS = {
    "a number for each sequence": lambda c, x, h: (torch.tanh(x @ c.W + h), h @ c.v),
    "a matrix": lambda c, x, h: (torch.tanh(x @ c.W + h), h.unsqueeze(1) * x.unsqueeze(2)),
    "booleans": lambda c, x, h: (torch.tanh(x @ c.W + h), h > x @ c.W),
    "integers": lambda c, x, h: (torch.tanh(x @ c.W + h), (h > 0).long().sum(-1)),
    "an input": lambda c, x, h: (torch.tanh(x @ c.W + h), x),
    "a parameter": lambda c, x, h: (torch.tanh(x @ c.W + h), c.v.expand(x.shape[0], -1)),
    "a constant": lambda c, x, h: (torch.tanh(x @ c.W + h), torch.ones_like(x)),
    "the state before": lambda c, x, h: (torch.tanh(x @ c.W + h), h),
    "the new state twice": lambda c, x, h: (torch.tanh(x @ c.W + h),) * 2,
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name):
    assert_as_by_steps(written(OUTPUTS[name]))


ROUNDED = {
    # torch's own derivatives of these hold numbers rounded to float32
    "hardsigmoid": (lambda a: F.hardsigmoid(4 * a), lambda a: F.relu6(4 * a + 3) / 6),
    "celu": (lambda a: F.celu(a, 1.3), lambda a: torch.where(a > 0, a, 1.3 * torch.expm1(a / 1.3))),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_more_exact_than_torch(name):
    function, exact = ROUNDED[name]
    assert_as_by_steps(written(lambda c, x, h: function(h + x @ c.W)), twin=written(lambda c, x, h: exact(h + x @ c.W)))


LARGE = {
    **{f.__name__: f for f in (F.softplus, F.logsigmoid, torch.sigmoid, F.silu, F.gelu, torch.tanh, F.elu, F.mish)},
    "logaddexp": lambda a: torch.logaddexp(a, -a),
    "logsumexp": lambda a: torch.logsumexp(a, -1, keepdim=True),
    "softmax": lambda a: F.softmax(0.05 * a + 1000, -1),
    "log_softmax": lambda a: F.log_softmax(a, -1),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_values(name):
    """Exponentials that overflow on the way leave no trace in values or gradients."""
    assert_as_by_steps(written(lambda c, x, h: 0.1 * h + LARGE[name](1000 * (x @ c.W) + h)))


AT_A_KINK = {
    "relu": F.relu, "elu": F.elu, "celu": lambda a: F.celu(a, 2.0), "leaky_relu": F.leaky_relu, "abs": torch.abs,
    "clamp": lambda a: a.clamp(0.0, 1.0), "clamp above": lambda a: a.clamp(max=0.0), "relu6": F.relu6,
    "hardtanh": lambda a: F.hardtanh(a, 0.0, 2.0), "maximum": lambda a: torch.maximum(a, -a),
    "hardshrink": lambda a: F.hardshrink(a + 0.5), "softshrink": lambda a: F.softshrink(a - 0.5),
    "hardswish": lambda a: F.hardswish(a + 3) + F.hardswish(a - 3), "threshold": lambda a: F.threshold(a, 0.0, 0.5),
    "logsigmoid": F.logsigmoid, "softplus": F.softplus, "logaddexp": lambda a: torch.logaddexp(a, -a),
    "norm": lambda a: a + a.norm(dim=-1, keepdim=True), "normalize": lambda a: F.normalize(a, dim=-1),
    "std": lambda a: a + a.std(-1, keepdim=True), "power": lambda a: (a * a) ** torch.full_like(a, 2.0),
    "amax": lambda a: a + a.amax(-1, keepdim=True), "cosine": lambda a: a * F.cosine_similarity(a, a, -1).unsqueeze(1),
    "rms_norm": lambda a: F.rms_norm(a, (4,)), "prelu": lambda a: F.prelu(a, torch.full((1,), 0.3, dtype=a.dtype)),
}


@pytest.mark.parametrize("name", AT_A_KINK)
def test_derivatives_at_zero(name):
    """Where a function has a corner, at the value that states begin with: torch's choice, and no NaN."""
    cell = written(lambda c, x, h: AT_A_KINK[name](h) + x @ c.W)
    assert_as_by_steps(cell, scale=0.0, sizes=((1, 2),))


def test_several_inputs_and_constants():
    def step(c, x, y, k, h, q, z):
        return torch.tanh(x @ c.W + y.sum((1, 2)).unsqueeze(1) + c.E(k) + h @ c.U) * q + z

    cell = Written(step, {"h": 4}, {"W": (3, 4), "U": (4, 4)}, {"E": torch.nn.Embedding(6, 4)})
    assert_as_by_steps(cell, ((3,), (2, 5), torch.tensor([3, 1, 5, 0])), constants=((4,), (1,)))


def test_several_states_with_delays():
    def step(c, x, h, h3, m, k5, k2):
        new = torch.tanh(x @ c.W + h @ c.U + h3 * 0.3)
        return new, 0.5 * m + new.sum(-1), k5 * 0.1 + k2.flip(-1) * m[:, None, None], new[:, :2] * h3[:, 2:]

    states = {"h": {"size": 4, "delays": (1, 3)}, "m": {"size": ()}, "k": {"size": (2, 3), "delays": (5, 2)}}
    assert_as_by_steps(Written(step, states, {"W": (3, 4), "U": (4, 4)}), sizes=((7, 2), (2, 3), (1, 1)))


def test_no_parameters():
    assert_as_by_steps(Written(lambda c, x, h: 0.5 * h + x, {"h": 3}, {}))


def test_a_state_that_is_a_function_of_the_input():
    """Needed by the loop as its next value and outside of it as the output."""
    assert_as_by_steps(Written(lambda c, x, h, k: (torch.tanh(x), torch.sin(h) + x), {"h": 3, "k": 3}, {}))
    assert_as_by_steps(Written(lambda c, x, h, k: (x, torch.sin(h) + x), {"h": 3, "k": 3}, {}))
