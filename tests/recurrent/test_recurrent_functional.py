"""torch.func, forward mode, higher derivatives, and autograd's own tools: equal to the same over the plain loop."""

import catalogue
import pytest
import torch
from close import assert_close
from loops import Fibre, Stubborn, by_eager, compare, gradients
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap
from torch.utils.checkpoint import checkpoint

from ostinato import Recurrent

# torch's own forward mode scripts its decompositions when first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

CELLS = {
    **{
        name: (lambda name=name: catalogue.build(name, input_size=2, hidden_size=3))
        for name in ("lstm", "gru-before", "lstm-layernorm", "slstm", "output")
    },
    "fibre": Fibre,
}
each_cell = pytest.mark.parametrize("cell", CELLS)


def _problem(make, steps=4, batch=2):
    cell = make()
    width = 3 if isinstance(cell, Fibre) else 2
    x, initial = catalogue.inputs(cell, steps, batch, width), catalogue.initial(cell, batch)
    return Recurrent(cell), x, initial, {k: p.detach() for k, p in cell.named_parameters()}


def _both(rnn):
    """Our call and the plain loop's, as functions of the same arguments: (parameters, x, initial) to a number."""

    def ours(parameters, x, initial):
        named = {f"cell.{k}": v for k, v in parameters.items()}
        outputs, ends = functional_call(rnn, named, (x, tuple(initial)))
        return torch.sin(outputs).sum() + sum((e * e).sum() for e in ends)

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = rnn.cell

        def forward(self, x, initial):
            return by_eager(self.cell, x, initial)

    loop = Loop()

    def theirs(parameters, x, initial):
        named = {f"cell.{k}": v for k, v in parameters.items()}
        outputs, ends = functional_call(loop, named, (x, initial))
        return torch.sin(outputs).sum() + sum((e * e).sum() for e in ends)

    return ours, theirs


@each_cell
def test_grad_of_everything(cell):
    rnn, x, initial, parameters = _problem(CELLS[cell])
    ours, theirs = (grad(f, argnums=(0, 1, 2))(parameters, x, initial) for f in _both(rnn))
    assert_close(ours, theirs)


@each_cell
def test_jacobians(cell):
    rnn, x, initial, parameters = _problem(CELLS[cell], 3, 2)
    wanted = jacrev(lambda v: by_eager(rnn.cell, v, initial)[0])(x)
    assert_close(jacrev(lambda v: rnn(v, initial)[0])(x), wanted)
    assert_close(jacfwd(lambda v: rnn(v, initial)[0])(x), wanted)
    first = next(iter(parameters))
    ours, theirs = _both(rnn)
    alone = [lambda v, f=f: f({**parameters, first: v}, x, initial) for f in (ours, theirs)]
    wanted = jacrev(alone[1])(parameters[first])
    assert_close(jacrev(alone[0])(parameters[first]), wanted)
    assert_close(jacfwd(alone[0])(parameters[first]), wanted)


@each_cell
def test_hessians(cell):
    rnn, x, initial, parameters = _problem(CELLS[cell], 2, 1)
    ours, theirs = _both(rnn)
    wanted = jacrev(jacrev(lambda v: theirs(parameters, v, initial)))(x)
    for outer, inner in ((jacfwd, jacrev), (jacrev, jacrev), (jacrev, jacfwd), (jacfwd, jacfwd)):
        assert_close(outer(inner(lambda v: ours(parameters, v, initial)))(x), wanted, name=str((outer, inner)))
    assert_close(hessian(lambda v: ours(parameters, v, initial))(x), wanted)


@each_cell
def test_per_sample_gradients(cell):
    rnn, x, initial, parameters = _problem(CELLS[cell], 4, 3)
    one = lambda f: lambda p, v, s: f(p, v.unsqueeze(0), [t.unsqueeze(0) for t in s])  # noqa: E731
    ours, theirs = _both(rnn)
    found = vmap(grad(one(ours), argnums=(0, 2)), in_dims=(None, 0, 0))(parameters, x, initial)
    for b in range(3):
        wanted = grad(one(theirs), argnums=(0, 2))(parameters, x[b], [v[b] for v in initial])
        assert_close({k: v[b] for k, v in found[0].items()}, wanted[0])
        assert_close([v[b] for v in found[1]], list(wanted[1]))


@pytest.mark.parametrize(
    "given",
    [{}, {"lengths": [3, 0]}, {"mask": [[1, 0, 1, 1], [0, 1, 1, 0]], "reset": [[0, 1, 0, 1]] * 2}],
    ids=["plain", "lengths", "mask and reset"],
)
@each_cell
def test_vmap_over_sequences_and_their_flags(cell, given):
    rnn, _, _, _ = _problem(CELLS[cell])
    batches = [_problem(CELLS[cell])[1:3] for _ in range(3)]
    xs = torch.stack([x * (k + 1) for k, (x, _) in enumerate(batches)])
    starts = [torch.stack(values) for values in zip(*(s for _, s in batches), strict=True)]
    given = {k: torch.tensor(v, dtype=torch.bool if k != "lengths" else torch.int64) for k, v in given.items()}
    stacked = {k: torch.stack([v, v.flip(0), v]) for k, v in given.items()}
    outputs, ends = vmap(lambda x, s, flags: rnn(x, s, **flags))(xs, tuple(starts), stacked)
    same, _ = vmap(lambda x, s: rnn(x, s, **given), in_dims=(1, 0), out_dims=2)(xs.transpose(0, 1), tuple(starts))
    for k in range(3):
        wanted, wanted_ends = rnn(xs[k], [s[k] for s in starts], **{n: v[k] for n, v in stacked.items()})
        assert_close([outputs[k], *(e[k] for e in ends)], [wanted, *wanted_ends])
        assert_close(same[:, :, k], rnn(xs[k], [s[k] for s in starts], **given)[0])


@each_cell
def test_an_ensemble_of_stacked_parameters(cell):
    rnn, x, initial, _ = _problem(CELLS[cell])
    members = [Recurrent(CELLS[cell]()) for _ in range(3)]
    with torch.no_grad():
        for k, member in enumerate(members):
            for p in member.parameters():
                p.mul_(1 + 0.1 * k)
    parameters, buffers = stack_module_state(members)  # pyright: ignore[reportArgumentType]

    def run(p, v):
        outputs, ends = functional_call(rnn, (p, buffers), (v, initial))
        return outputs.sum() + ends[0].square().sum(), (outputs, ends)

    grads, (outputs, ends) = vmap(grad(run, has_aux=True), in_dims=(0, None))(parameters, x)
    for k, member in enumerate(members):
        wanted, wanted_ends = by_eager(member.cell, x, initial)
        assert_close([outputs[k], *(e[k] for e in ends)], [wanted, *wanted_ends])
        total = wanted.sum() + wanted_ends[0].square().sum()
        keys = dict(member.named_parameters())
        assert_close(
            {n: g[k] for n, g in grads.items()},
            dict(zip(keys, torch.autograd.grad(total, list(keys.values())), strict=True)),
        )


@each_cell
def test_forward_mode(cell):
    rnn, x, initial, _ = _problem(CELLS[cell])
    t, s = torch.cos(x), tuple(torch.cos(v) for v in initial)
    f = lambda v, *i: by_eager(rnn.cell, v, i)  # noqa: E731
    g = lambda v, *i: [*(r := rnn(v, i))[:1], list(r[1])]  # noqa: E731
    (wanted, wanted_ends), (moved, moved_ends) = jvp(lambda *a: f(*a), (x, *initial), (t, *s))[:2]
    assert_close(
        list(jvp(lambda *a: tuple(g(*a)), (x, *initial), (t, *s))), [(wanted, wanted_ends), (moved, moved_ends)]
    )
    with forward_ad.dual_level():
        outputs, ends = rnn(forward_ad.make_dual(x, t), tuple(map(forward_ad.make_dual, initial, s)))
        found = [forward_ad.unpack_dual(v) for v in (outputs, *ends)]
    assert_close([v.primal for v in found], [wanted, *wanted_ends])
    assert_close([v.tangent for v in found], [moved, *moved_ends])
    assert_close(
        torch.autograd.functional.jvp(lambda v: rnn(v, initial)[0], x, t)[1],
        jvp(lambda v: f(v, *initial)[0], (x,), (t,))[1],
    )


def test_forward_mode_of_the_parameters_with_padding():
    rnn, x, initial, parameters = _problem(CELLS["lstm"], 5, 3)
    flags = {"lengths": torch.tensor([5, 0, 3])}

    def run(p):
        outputs, ends = functional_call(rnn, {f"cell.{k}": v for k, v in p.items()}, (x, initial), flags)
        return outputs, *ends

    moves = {k: torch.cos(v) for k, v in parameters.items()}
    results, tangents = jvp(run, (parameters,), (moves,))[:2]
    _, pull = vjp(run, parameters)[:2]
    weights = tuple(torch.sin(r) for r in results)
    pulled = sum((pull(weights)[0][k] * moves[k]).sum() for k in moves)
    assert_close(sum((w * t).sum() for w, t in zip(weights, tangents, strict=True)), pulled)


@pytest.mark.parametrize("reverse", [False, True])
@each_cell
def test_double_and_triple_backward(cell, reverse):
    rnn, x, initial, _ = _problem(CELLS[cell], 3, 2)
    rnn.reverse = reverse
    x.requires_grad_()
    leaves = [x, *(v.requires_grad_() for v in initial), *rnn.cell.parameters()]
    found = []
    for outputs, ends in (rnn(x, initial), by_eager(rnn.cell, x, initial, reverse)):
        value, orders = torch.sin(outputs).sum() + torch.stack([(e * e).sum() for e in ends]).sum(), []
        # native_layer_norm's own third derivative is wrong in torch 2.13; ours is checked against gradgradcheck
        for _ in range(2 if cell == "lstm-layernorm" else 3):
            grads = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
            orders.append(grads)
            value = torch.stack([(1 + g * g).sqrt().sum() for g in grads]).sum()  # well conditioned, however large
        found.append(orders)
    assert_close(found[0], found[1])


MIXES = ["x", "parameters", "initial", "x initial", "frozen", "one parameter", "none"]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("cell", ["lstm", "gru-before", "fibre"])
def test_only_some_need_a_gradient(cell, mix):
    rnn, x, initial, _ = _problem(CELLS[cell])
    rnn.cell.requires_grad_("parameters" in mix)
    if mix in ("one parameter", "frozen"):
        chosen = list(rnn.cell.parameters())
        chosen = chosen[:1] if mix == "one parameter" else chosen[1:]
        for p in chosen:
            p.requires_grad_()
    x.requires_grad_("x" in mix)
    initial = [v.requires_grad_("initial" in mix) for v in initial]
    outputs, ends = rnn(x, initial, lengths=[3, 2])
    assert outputs.requires_grad == (mix != "none")
    if mix == "none":
        return
    leaves = [v for v in (x, *initial, *rnn.cell.parameters()) if v.requires_grad]
    full, full_initial = x.detach().requires_grad_(), [v.detach().requires_grad_() for v in initial]
    wanted, wanted_ends = rnn(full, full_initial, lengths=[3, 2])
    matching = [w for v, w in zip((x, *initial), (full, *full_initial), strict=True) if v.requires_grad]
    matching += [p for p in rnn.cell.parameters() if p.requires_grad]
    assert_close(gradients([outputs, *ends], leaves), gradients([wanted, *wanted_ends], matching))


def test_gradient_of_one_result_alone():
    rnn, x, initial, _ = _problem(CELLS["lstm"])
    x.requires_grad_()
    for pick in (lambda o, e: [o], lambda o, e: [e[0]], lambda o, e: [e[1]], lambda o, e: [o[:, 1]]):
        compare(pick(*rnn(x, initial)), pick(*by_eager(rnn.cell, x, initial)), [x, *rnn.cell.parameters()])


def test_no_grad_and_inference_mode():
    rnn, x, initial, _ = _problem(CELLS["gru-before"])
    wanted = rnn(x.requires_grad_(), initial)
    with torch.no_grad():
        found = rnn(x, initial)
        assert not found[0].requires_grad
        assert_close(found, wanted, tolerance=0.0)
    fresh = Recurrent(rnn.cell)  # traced inside
    with torch.inference_mode():
        made = x.clone()
        found = fresh(made, initial, lengths=torch.tensor([4, 4]))
        assert found[0].is_inference()
        assert_close([v.clone() for v in (found[0], *found[1])], [wanted[0], *wanted[1]], tolerance=0.0)
        stream = fresh.stream()
        stream(made)
    with torch.no_grad():
        assert_close(fresh(made, initial), wanted, tolerance=0.0)
    compare([fresh(x, initial)[0]], [wanted[0]], [x, *rnn.cell.parameters()])


def test_backward_twice_and_accumulated():
    rnn, x, initial, _ = _problem(CELLS["lstm"])
    loss = rnn(x, initial)[0].square().sum()
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in rnn.cell.parameters() if p.grad is not None]
    loss.backward()
    assert_close([p.grad for p in rnn.cell.parameters()], [2 * g for g in once])
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "slstm", "fibre"])
def test_checkpoint(cell, reentrant):
    rnn, x, initial, _ = _problem(CELLS[cell])
    x.requires_grad_()
    f = lambda v: rnn(v, initial)[0]  # noqa: E731
    wanted = torch.autograd.grad(f(x).square().sum(), [x])
    loss = checkpoint(f, x, use_reentrant=reentrant).square().sum()  # pyright: ignore[reportOptionalMemberAccess]
    loss.backward()
    assert_close([x.grad], list(wanted))


def test_anomaly_mode_and_hooks():
    rnn, x, initial, _ = _problem(CELLS["lstm"])
    seen = []
    rnn.cell.get_parameter("W.weight").register_hook(lambda g: seen.append(g))
    with torch.autograd.set_detect_anomaly(True, check_nan=True):
        rnn(x, initial)[0].sum().backward()
    assert_close(seen, [rnn.cell.get_parameter("W.weight").grad])
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        rnn(x, initial)[0].sum().backward()
    assert packed


def test_torch_func_of_a_step_that_cannot_be_traced():
    rnn = Recurrent(Stubborn())
    x = catalogue.inputs(rnn.cell, 3, 2)
    loss = lambda v: rnn(v)[0].square().sum()  # noqa: E731
    wanted = torch.autograd.grad(loss(x.requires_grad_()), x)[0]
    assert_close(jvp(loss, (x.detach(),), (torch.ones_like(x),))[1], wanted.sum())
