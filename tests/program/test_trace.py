"""The pitfalls of tracing a step, each by name: what has to come out right although it is easy to get wrong."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from close import assert_close
from oracle import Written, assert_as_by_steps, by_steps, drawn, gradients, leaves, written
from torch import nn
from torch.nn.utils import parametrizations

from ostinato import Recurrent, strict
from ostinato.program.record import TraceTensor

SHAPES = {
    "h U": lambda c, x, h: torch.tanh(x @ c.W + h @ c.U),
    "U h', transposed": lambda c, x, h: torch.tanh(x @ c.W + (c.U @ h.t()).t()),
    "U h', as mT": lambda c, x, h: torch.tanh(x @ c.W + (c.U @ h.mT).mT),
    "a row [H]": lambda c, x, h: torch.tanh(x @ c.W + h * c.v),
    "a column [H, 1] by h'": lambda c, x, h: torch.tanh(x @ c.W + (c.v[:, None] * h.t()).t()),
    "a column plus a row": lambda c, x, h: torch.tanh(x @ c.W + (c.v[:, None] + h.t()).t() * c.v[None]),
    "einsum": lambda c, x, h: torch.tanh(x @ c.W + torch.einsum("bi,ji->bj", h, c.U)),
    "einsum, batch last": lambda c, x, h: torch.tanh(x @ c.W + torch.einsum("bi,ij->jb", h, c.U).t()),
    "an outer product": lambda c, x, h: torch.tanh((h[:, :, None] * (x @ c.W)[:, None, :]).sum(1)),
    "a square matrix for each sequence": lambda c, x, h: torch.tanh(
        torch.bmm(h[:, :, None] * (x @ c.W)[:, None, :], h[:, :, None]).squeeze(2) + c.v),
}


@pytest.mark.parametrize("hidden", [2, 3, 4, 5, 15])
@pytest.mark.parametrize("name", SHAPES)
def test_sizes_equal_to_the_batch(name, hidden):
    """The width equal to T, B, or to a batch that the step is traced with: what is the batch is never guessed."""
    assert_as_by_steps(written(SHAPES[name], hidden), sizes=((hidden, hidden), (2, 3)))


HEADS = {
    "einsum": lambda c, x, h: torch.einsum("bgk,gkn->bgn", h, c.V),
    "einsum, groups first": lambda c, x, h: torch.einsum("bgk,gnk->gbn", h, c.V).transpose(0, 1),
    "bmm": lambda c, x, h: torch.bmm(h.transpose(0, 1), c.V).transpose(0, 1),
    "matmul, groups first": lambda c, x, h: (h.transpose(0, 1) @ c.V).transpose(0, 1),
    "matmul of columns": lambda c, x, h: (c.V @ h.unsqueeze(-1)).squeeze(-1),
    "matmul, broadcast": lambda c, x, h: (h.unsqueeze(-2) @ c.V).squeeze(-2),
    "bmm, batch last": lambda c, x, h: torch.bmm(c.V, h.permute(1, 2, 0)).permute(2, 0, 1),
    "Linear on [B, G, K]": lambda c, x, h: c.L(h),
    "a product over groups": lambda c, x, h: torch.einsum("bgk,gh->bhk", h, c.M),
    "baddbmm": lambda c, x, h: torch.baddbmm(c.b, h.transpose(0, 1), c.V).transpose(0, 1),
    "attention between heads": lambda c, x, h: F.softmax(h @ h.transpose(1, 2), -1) @ h,
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("sizes", [(2, 4), (3, 5), (5, 3), (3, 3), (1, 4)])
def test_heads(name, sizes):
    """A state of [G, K] features, block by block."""
    heads, width = sizes
    shapes = {"V": (heads, width, width), "M": (heads, heads), "b": (heads, 1, width)}
    cell = Written(lambda c, x, h: torch.tanh(x.unsqueeze(1) * 0.3 + HEADS[name](c, x, h)), {"h": (heads, width)},
                   shapes, {"L": nn.Linear(width, width).double()})
    assert_as_by_steps(cell, ((width,),))


def _add_(c, x, h):
    h = h * 1.0
    h.add_(x @ c.W, alpha=0.5).mul_(c.v)
    return h.tanh_()


def _argument(c, x, h):
    h += x @ c.W
    return h.tanh()


def _slices(c, x, h):
    new = torch.zeros_like(h)
    new[:, :2] = h[:, 2:] * 2
    new[..., 2] = (x @ c.W)[:, 0]
    new[:, 3:] += h[:, :1]
    return new.tanh()


def _copies(c, x, h):
    new = torch.empty_like(h).copy_(x @ c.W)
    other = h.new_zeros(h.shape).fill_(0.5)
    other.copy_(c.v)
    return (new + other * h).tanh()


def _views(c, x, h):
    h = h.clone()
    h.t().mul_(c.v[:, None])
    h.view(-1, 2, 2).transpose(1, 2)[:, 0].add_(1.0)
    h.squeeze(1).select(1, 3).neg_()
    h.unsqueeze(1).permute(2, 0, 1)[1:3].mul_(2.0)
    part = h[:, 1:3]
    h *= 0.5
    part.sub_(part.flip(1))
    return torch.tanh(h + x @ c.W + part.sum(1, keepdim=True))


def _masks(c, x, h):
    h = h.clone().masked_fill_(h > 0.5, 0.1)
    h[:, ::2] = 0.25
    h.clamp_(-0.5, 0.5).add_(x @ c.W)
    return torch.cat([h[:, :2].neg_(), torch.zeros_like(h).zero_()[:, :2]], 1)


def _later(c, x, h):
    before, base = h * 2, h.clone()
    view = base[:, :2]
    base[:, 0] = 3.0  # a view of what changes shows the change, an earlier value does not
    return torch.cat([view * 0.1, before[:, 2:]], 1) + x @ c.W


IN_PLACE = {f.__name__[1:]: f for f in (_add_, _argument, _slices, _copies, _views, _masks, _later)}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name):
    """Compared with the loop over the same step, on copies of the state where it changes its argument."""
    function = IN_PLACE[name]
    twin = written(lambda c, x, h: function(c, x, h.clone()))
    assert_as_by_steps(written(function), twin=twin)


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.LSTMCell, nn.RNNCell])
def test_cells_of_torch(kind):
    """They change values in place, inside."""
    count = 2 if kind is nn.LSTMCell else 1

    def step(c, x, *states):
        new = c.inner(x, states if count == 2 else states[0])
        return (*new, new[0]) if count == 2 else (new, new)

    states: dict[str, int] = dict.fromkeys(("h", "c")[:count], 4)
    assert_as_by_steps(Written(step, states, {}, {"inner": kind(3, 4)}))


def _no_grad(c, x, h):
    with torch.no_grad():
        gate = torch.sigmoid(h @ c.U)
    return gate * h + x @ c.W


def _no_grad_in_place(c, x, h):
    new = h @ c.U + x @ c.W
    with torch.no_grad():
        new.clamp_(-0.2, 0.2)
        new[:, 0] = 0.1
    return new + h


def _straight_through(c, x, h):
    soft = torch.sigmoid(h @ c.U + x @ c.W)
    return soft + ((soft > 0.5).to(soft.dtype) - soft).detach()


STOPPED = {
    "detach": lambda c, x, h: torch.tanh(h.detach() @ c.U + x @ c.W) + h,
    "detach of a parameter": lambda c, x, h: torch.tanh(h @ c.U.detach() + x @ c.W * c.v),
    "detach of an input": lambda c, x, h: torch.tanh(h @ c.U + x.detach() @ c.W) * x.sum(-1, keepdim=True),
    "detach, half": lambda c, x, h: 0.5 * h + 0.5 * h.detach() + x @ c.W,
    "data": lambda c, x, h: torch.tanh(h.data @ c.U + x @ c.W) * h,
    "no_grad": _no_grad,
    "no_grad, in place": _no_grad_in_place,
    "straight through": _straight_through,
    "stopped, then in place": lambda c, x, h: h.detach().clone().add_(x @ c.W) + h.tanh(),
}


@pytest.mark.parametrize("name", STOPPED)
def test_stopped_gradients(name):
    """``detach`` and ``no_grad`` change no value: only the gradients show them."""
    assert_as_by_steps(written(STOPPED[name]))


def _tied():
    cell = written(lambda c, x, h: torch.tanh(c.first(x) + c.second(h)), hidden=3)
    cell.first, cell.second = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
    cell.second.weight = cell.first.weight
    cell.U = cell.W  # the same object in two places of one module
    return cell


def _weight_norm():
    inner = parametrizations.weight_norm(nn.Linear(4, 4).double())
    return written(lambda c, x, h: torch.tanh(c.L(h) + x @ c.W), L=inner)


def _orthogonal():
    inner = parametrizations.orthogonal(nn.Linear(4, 4, bias=False).double())
    return written(lambda c, x, h: torch.tanh(c.L(h) + x @ c.W), L=inner)


def _spectral():
    inner = parametrizations.spectral_norm(nn.Linear(4, 4).double()).eval()
    return written(lambda c, x, h: torch.tanh(c.L(h) + x @ c.W), L=inner).eval()


def _hooks():
    inner = nn.Linear(4, 4)
    inner.raw = nn.Parameter(inner.weight.detach().clone())
    del inner.weight
    inner.register_forward_pre_hook(lambda module, _: setattr(module, "weight", module.get_parameter("raw") * 0.5))
    inner.register_forward_hook(lambda module, arguments, out: torch.add(out, out))  # type: ignore[arg-type]
    return written(lambda c, x, h: torch.tanh(c.L(h) + x @ c.W), L=inner)


MODULES = {"tied": _tied, "weight norm": _weight_norm, "orthogonal": _orthogonal, "spectral norm": _spectral,
           "old-style hooks": _hooks}


def _contents(cell):
    return {
        (name, key): id(value)
        for name, module in cell.named_modules()
        for table in (module.__dict__, module._parameters, module._buffers)
        for key, value in table.items()
    }


def _assert_clean(cell, before):
    assert _contents(cell) == before
    assert not [v for m in cell.modules() for v in m.__dict__.values() if isinstance(v, TraceTensor)]


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("name", MODULES)
def test_shared_and_computed_weights(name):
    """Tracing leaves the module as it was: same objects in the same places, no traced tensor among them."""
    cell = MODULES[name]()
    before = _contents(cell)
    recurrent = Recurrent(cell)
    recurrent.explain(torch.zeros(1, 1, 3, dtype=torch.float64))
    assert recurrent.explain().traced
    _assert_clean(cell, before)
    assert_as_by_steps(cell, sizes=((3, 2),))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_module_clean(error):
    def step(c, x, h):
        c.inner.note = h @ c.U
        raise error("from the step")

    cell = written(step, inner=nn.Linear(1, 1))
    before = _contents(cell)
    with pytest.raises(error, match="from the step"):
        Recurrent(cell)(torch.zeros(1, 1, 3, dtype=torch.float64))
    if error is RuntimeError:
        del cell.get_submodule("inner").note  # a plain tensor: the step then ran as it is
    _assert_clean(cell, before)


def test_constants_and_buffers():
    """Plain tensors become constants, buffers are read as parameters are; a change of either is seen."""
    cell = written(lambda c, x, h: torch.tanh(h @ c.fixed + c.offset + x @ c.W * c.scale))
    fixed, offset = drawn((4, 4)), drawn((4,), 1)
    cell.fixed, cell.scale = fixed, torch.tensor(0.7)
    cell.register_buffer("offset", offset)
    recurrent = assert_as_by_steps(cell)
    x = drawn((2, 3, 3))
    for change in (lambda: offset.add_(1.0), lambda: fixed.mul_(2.0), lambda: setattr(cell, "fixed", cell.U)):
        change()
        with torch.no_grad():
            assert_close(recurrent(x)[0], by_steps(cell, [x], recurrent.initial_states(2))[0])
    assert_as_by_steps(cell)


def test_a_plain_tensor_changed_within_the_step():
    def step(c, x, h):
        grid = torch.zeros(4, dtype=x.dtype)
        one = h + grid
        grid += 1.0
        return torch.tanh(one * 2 + (h * grid)) + x @ c.W

    assert_as_by_steps(written(step))


def test_tensors_made_in_the_step():
    def step(c, x, h):
        batch = x.shape[0]
        zeros = torch.zeros(batch, 4, dtype=x.dtype)
        ones = torch.ones(batch, 1, dtype=x.dtype, device=x.device)
        ramp = torch.arange(4, dtype=x.dtype)
        full = torch.full_like(h, 0.25) + h.new_ones(batch, 4) * h.new_full((batch, 1), 3.0) + h.new_tensor([1.0])
        joined = torch.cat([h, ones], -1) @ torch.cat([c.U, c.v[None]], 0)
        return torch.tanh(torch.maximum(joined, zeros) + ramp * full + x @ c.W + torch.eye(4, dtype=x.dtype)[1])

    assert_as_by_steps(written(step))


def test_only_integers_come_in():
    cell = Written(lambda c, k, h: torch.tanh(c.E(k) + h @ c.U), {"h": 4}, {"U": (4, 4)}, {"E": nn.Embedding(7, 4)})
    assert_as_by_steps(cell, (torch.tensor([6, 0, 2, 2, 5]),))


def test_one_hot():
    cell = written(lambda c, k, h: torch.tanh(F.one_hot(k, 3).to(h.dtype) @ c.W + h @ c.U))
    recurrent = assert_as_by_steps(cell, (torch.tensor([2, 0, 1, 1, 0]),))
    with pytest.raises(IndexError):
        recurrent(torch.tensor([[3]]))


def _mlstm(c, x, C, n):
    """The matrix memory of the xLSTM, without its stabiliser."""
    q, k, v = (x @ c.W).chunk(3, -1)
    f, i = torch.sigmoid(x @ c.f), torch.exp(0.1 * (x @ c.i))
    C = f[:, :, None] * C + i[:, :, None] * (v[:, :, None] * k[:, None, :])
    n = f * n + i * k
    h = torch.einsum("bij,bj->bi", C, q) / torch.clamp((n * q).sum(-1, keepdim=True).abs(), min=1.0)
    return C, n, h


def _delta(c, x, S):
    """The delta rule: write the difference between what is wanted and what is remembered."""
    q, k, v = (x @ c.W).chunk(3, -1)
    k = F.normalize(k, dim=-1)
    beta = torch.sigmoid(x @ c.i)
    S = S + beta[:, :, None] * (v - (S @ k.unsqueeze(-1)).squeeze(-1))[:, :, None] * k[:, None, :]
    return S, torch.bmm(S, q.unsqueeze(-1)).squeeze(-1)


def _on_lstm(c, x, h, s):
    """Ordered neurons: cumulative softmax gates."""
    f, i, o, g, mf, mi = (x @ c.W + h @ c.U).chunk(6, -1)
    mf, mi = torch.cumsum(F.softmax(mf, -1), -1), 1 - torch.cumsum(F.softmax(mi, -1), -1)
    both = mf * mi
    f, i = torch.sigmoid(f) * both + (mf - both), torch.sigmoid(i) * both + (mi - both)
    s = f * s + i * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(s), s


PUBLISHED = {
    "mLSTM": (_mlstm, {"C": (4, 4), "n": 4}, {"W": (3, 12), "f": (3, 1), "i": (3, 1)}),
    "DeltaNet": (_delta, {"S": (4, 4)}, {"W": (3, 12), "i": (3, 1)}),
    "ON-LSTM": (_on_lstm, {"h": 4, "s": 4}, {"W": (3, 24), "U": (4, 24)}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells(name):
    assert_as_by_steps(Written(*PUBLISHED[name]), sizes=((4, 3), (5, 4), (1, 1)))


def _draws(kind):
    functions = {
        "dropout": lambda h: F.dropout(torch.ones_like(h), 0.25),
        "module": lambda h: nn.Dropout(0.25)(torch.ones_like(h)),
        "rand": torch.rand_like,
        "randn": torch.randn_like,
        "bernoulli of a number": lambda h: torch.empty_like(h).bernoulli_(0.75),
        "bernoulli of values": lambda h: torch.bernoulli(torch.full_like(h, 0.75)),
        "uniform": lambda h: torch.empty_like(h).uniform_(-1, 3),
        "normal": lambda h: torch.empty_like(h).normal_(2.0, 0.5),
        "normal around values": lambda h: torch.normal(torch.full_like(h, 2.0), 0.5),
    }
    return functions[kind]


MOMENTS = {"dropout": (1.0, math.sqrt(1 / 3)), "module": (1.0, math.sqrt(1 / 3)), "rand": (0.5, math.sqrt(1 / 12)),
           "randn": (0.0, 1.0), "bernoulli of a number": (0.75, math.sqrt(3) / 4),
           "bernoulli of values": (0.75, math.sqrt(3) / 4), "uniform": (1.0, math.sqrt(16 / 12)), "normal": (2.0, 0.5),
           "normal around values": (2.0, 0.5)}


@pytest.mark.parametrize("kind", MOMENTS)
@pytest.mark.parametrize("on_state", [False, True])
def test_random_numbers(kind, on_state):
    """Every step and sequence draws its own; the same seed gives the same; two draws of a step differ."""
    draw = _draws(kind)

    def step(c, x, h):
        like = h if on_state else x @ c.W
        return 0.0 * h + x @ c.W * 0.0, torch.cat([draw(like), draw(like)], -1)

    recurrent, x = Recurrent(written(step, hidden=16)), drawn((8, 50, 3))

    def run():
        torch.manual_seed(3)
        with strict(), torch.no_grad():
            return recurrent(x)[0]

    first = run()
    assert_close(run(), first)
    assert recurrent.traces == 1
    mean, deviation = MOMENTS[kind]
    assert abs(first.mean().item() - mean) < 0.05 and abs(first.std().item() - deviation) < 0.05
    one, two = first.chunk(2, -1)
    for a, b in ((one, two), (one[:, 1:], one[:, :-1]), (one[1:], one[:-1]), (one[..., 1:], one[..., :-1])):
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()) < 0.06


def test_dropout_follows_the_mode():
    cell = written(lambda c, x, h: torch.tanh(c.D(h) @ c.U + x @ c.W), D=nn.Dropout(0.5))
    recurrent, x = Recurrent(cell), drawn((2, 3, 3))
    with torch.no_grad():
        loud, again = recurrent(x)[0], recurrent(x)[0]
        assert not torch.equal(loud, again)
        recurrent.eval()
        assert_close(recurrent(x)[0], by_steps(cell, [x], recurrent.initial_states(2))[0])
        assert recurrent.traces == 2
        recurrent.train()
        assert not torch.equal(recurrent(x)[0], recurrent(x)[0])
    assert recurrent.traces == 2


def test_tracing_leaves_the_random_numbers_alone():
    cell = written(lambda c, x, h: torch.tanh(F.dropout(h) @ c.U + x @ c.W))
    recurrent, x = Recurrent(cell), drawn((2, 3, 3))
    torch.manual_seed(5)
    recurrent.explain(x)
    after = torch.rand(4)
    torch.manual_seed(5)
    assert_close(after, torch.rand(4))


def test_python_reads_sizes_and_attributes():
    """Traced again for another attribute or mode, not for another T or B."""

    def step(c, x, h):
        if c.layers > 1 and h.shape[-1] == 4 and x.size(1) == 3 and h.dim() == 2 and len(h.shape) == 2:
            for _ in range(c.layers):
                h = torch.tanh(h @ c.U)
        return (h if c.training else h * 0.5) + x @ c.W * c.strength

    cell = written(step, layers=2, strength=0.5)
    recurrent = assert_as_by_steps(cell, sizes=((3, 2), (1, 1), (5, 7), (3, 5), (5, 3)))

    def run():
        with strict(), torch.no_grad():
            x = drawn((2, 3, 3))
            assert_close(recurrent(x)[0], by_steps(cell, [x], recurrent.initial_states(2))[0])

    run()
    assert recurrent.traces == 1
    for count, change in enumerate((lambda: setattr(cell, "layers", 3), lambda: setattr(cell, "strength", 0.1),
                                    lambda: cell.eval()), 2):
        change()
        run()
        run()
        assert recurrent.traces == count
    with torch.no_grad():
        cell.get_parameter("U").mul_(2.0)
    run()
    assert recurrent.traces == 4


def test_inside_other_modes():
    """no_grad, inference_mode and autocast around the first call do not reach the trace."""
    for mode in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        cell = written(lambda c, x, h: torch.tanh(h @ c.U + x @ c.W))
        recurrent = Recurrent(cell)
        with mode, strict():
            recurrent(drawn((2, 3, 3)))
        xs, starts, _ = leaves(cell, 3, 2, [(3,)])
        outputs, ends = recurrent(xs, starts)
        expected = by_steps(cell, xs, starts)
        wrt = [*xs, *starts, *cell.parameters()][:-1]  # v is not used
        assert_close((outputs, *ends), expected)
        assert_close(gradients((outputs, *ends), wrt), gradients(expected, wrt))
        assert recurrent.traces == 1


def test_float32_and_its_constants():
    cell = written(lambda c, x, h: torch.tanh(h @ c.U + x @ c.W) * torch.tensor(0.3, dtype=torch.float64) + c.fixed)
    cell.fixed = torch.linspace(0, 1, 4, dtype=torch.float64)[None, :3].sum() * 0.1
    recurrent = Recurrent(cell.float())
    x = drawn((2, 3, 3)).float()
    with strict():
        outputs, (h,) = recurrent(x)
    assert outputs.dtype == h.dtype == torch.float32
    cell.double()
    assert_close(outputs, by_steps(cell, [x.double()], [torch.zeros(2, 4, dtype=torch.float64)])[0].float())
