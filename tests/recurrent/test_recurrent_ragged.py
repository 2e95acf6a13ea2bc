"""Ragged batches without their padding: packing, reading the past, engines, and derivatives of it all."""

import catalogue
import pytest
import torch
from close import assert_close
from torch.nn.utils.rnn import pack_padded_sequence

from ostinato import Recurrent, cells, engine
from ostinato.engines.choice import ENGINES
from ostinato.engines.cpu import CPU, unavailable
from ostinato.engines.plan import Plan
from ostinato.engines.ragged import Packing
from ostinato.engines.reference import Reference
from ostinato.program.evaluate import Run
from ostinato.program.sizes import Sizes

STEPS = 6
LENGTHS = {"some": [4, 0, 6, 1, 5], "sorted": [6, 4, 4, 1], "one": [3], "none": [0, 0], "full": [6, 6]}
native = pytest.mark.skipif(unavailable() is not None, reason=f"the CPU engine: {unavailable()}")
each_lengths = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)


@each_lengths
@pytest.mark.parametrize("batch_first", [False, True])
def test_packing(lengths, batch_first):
    """The rows of torch's PackedSequence; and back, with zeros."""
    packing, batch = Packing(torch.tensor(lengths)), len(lengths)
    x = torch.arange(1.0, 2 * STEPS * batch + 1).reshape(STEPS, batch, 2)
    given = x.transpose(0, 1).contiguous().transpose(0, 1) if batch_first else x
    packed = packing.pack(given)
    if min(lengths) > 0:
        theirs = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        assert_close(packed.squeeze(1), theirs.data, tolerance=0.0)
        assert list(packing.sizes) == theirs.batch_sizes.tolist()
    live = packing.live(STEPS)
    assert live.sum(0).tolist() == lengths
    back = packing.unpack(packed, STEPS, batch_first)
    assert_close(back, x * live.unsqueeze(-1), tolerance=0.0)
    assert back.transpose(0, 1).is_contiguous() or not batch_first
    assert_close(packing.restore(packing.sort(x)), x, tolerance=0.0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("delay", [1, 2, 3])
def test_where_a_row_finds_the_past(delay, reverse):
    depth, lengths = 3, [5, 3, 3, 1, 0]
    sizes = Sizes([4, 3, 3, 1, 1], len(lengths))
    earlier, rows, places = sizes.earlier(delay, depth, reverse)
    at = {row: k for k, row in enumerate(zip(*[v.tolist() for v in sizes.rows], strict=True))}
    begun = dict(zip(rows.tolist(), places.tolist(), strict=True))
    for (step, sequence), row in at.items():
        length = lengths[sequence]
        past = step + delay if reverse else step - delay
        if 0 <= past < length:
            assert row not in begun and earlier[row] == at[past, sequence]
        else:
            missing = past - length + 1 if reverse else -past  # 1: the newest of the initial values
            assert begun[row] == (depth - missing) * len(lengths) + sequence


@native
@pytest.mark.parametrize("reverse", [False, True])
@each_lengths
@pytest.mark.parametrize("name", ["lstm", "gru-before", "skip-two", "slstm", "output"])
def test_engines_agree(name, lengths, reverse):
    """A loop over sizes, on both engines, and on the reference engine each sequence by itself."""
    cell = catalogue.build(name)
    rnn = Recurrent(cell)
    rnn(catalogue.inputs(cell, 2, 2))
    (plan,) = rnn._programs.plans.values()
    whole = Plan(plan.program).loop
    assert whole is not None and plan.loop is not None
    loop = whole.keeping
    packing = Packing(torch.tensor(lengths))
    run = Run(torch.float64, torch.device("cpu"), (packing.total, 1), packing.sizes)
    inputs = [torch.randn(*((packing.total, 1) if loop.nodes[i].op == "x" else ()), *loop.nodes[i].shape,
                          dtype=torch.float64) for i in loop.inputs.values()]
    initial = [torch.randn(s.depth, len(lengths), *s.shape, dtype=torch.float64) for s in loop.states]
    found = [plan.loop.runners(True)(run.dtype, run.device).run(inputs, initial, run, reverse)]
    with engine("reference"):
        found.append(plan.loop.runners(True)(run.dtype, run.device).run(inputs, initial, run, reverse))
    assert_close(found[0][0], found[1][0])
    assert_close(found[0][1], found[1][1])
    rank = {int(b): k for k, b in enumerate(packing.order)}
    _, sequence = packing.sizes.rows
    for b, length in enumerate(lengths):
        if length:
            own = [v[sequence == rank[b]] if loop.nodes[i].op == "x" else v
                   for v, i in zip(inputs, loop.inputs.values(), strict=True)]
            start = [v[:, rank[b] : rank[b] + 1] for v in initial]
            outs, ends = Reference(loop).run(own, start, Run(torch.float64, torch.device("cpu"), (length, 1)), reverse)
            assert_close(outs, [v[sequence == rank[b]] for v in found[0][0]])
            assert_close(ends, [v[:, rank[b] : rank[b] + 1] for v in found[0][1]])


@native
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["lstm", "skip-two"])
def test_derivatives_of_any_order(name, reverse):
    rnn = Recurrent(catalogue.build(name), reverse=reverse)
    lengths = LENGTHS["some"]
    x = catalogue.inputs(rnn.cell, STEPS, len(lengths)).requires_grad_()
    leaves = [x, *rnn.cell.parameters()]
    found = []
    for name_of in ("cpu", "reference"):
        with engine(name_of):
            outputs, ends = rnn(x, lengths=lengths)
            value = torch.sin(outputs).sum() + sum((e * e).sum() for e in ends)
            orders = []
            for _ in range(3):
                grads = torch.autograd.grad(value, leaves, create_graph=True)
                orders.append(grads)
                value = torch.stack([(1 + g * g).sqrt().sum() for g in grads]).sum()
            found.append(orders)
    assert_close(found[0], found[1])


@native
def test_many_cotangents_at_once():
    rnn = Recurrent(catalogue.build("gru"))
    x = catalogue.inputs(rnn.cell, 3, 2).requires_grad_()
    outputs, _ = rnn(x, lengths=[3, 1])
    seeds = torch.eye(outputs.numel(), dtype=outputs.dtype).reshape(-1, *outputs.shape)
    together, = torch.autograd.grad(outputs, x, seeds, is_grads_batched=True, retain_graph=True)
    assert_close(together, torch.stack([torch.autograd.grad(outputs, x, s, retain_graph=True)[0] for s in seeds]))


@native
def test_who_does_without_padding():
    """The CPU engine, unless there are resets, constants are wide, or torch.func looks."""
    rnn = Recurrent(catalogue.build("lstm"))
    dropping = Recurrent(cells.RecurrentDropout(catalogue.build("gru"), 0.5))
    drawn = dropping.draw(x := catalogue.inputs(rnn.cell, STEPS, 2))
    told, wide = Recurrent(cells.ValueDecoder(cells.GRU(5, 4), 3, context_size=2)), torch.ones(2, 2)
    seeing = Recurrent(cells.ValueDecoder(cells.GRU(83, 4), 3, context_size=80))
    seen = []

    class Looking(CPU):
        def run(self, inputs, initial, run, reverse):
            seen.append(run.sizes)
            return super().run(inputs, initial, run, reverse)

    before = dict(ENGINES)
    try:
        ENGINES["cpu"] = Looking
        rnn(x, lengths=[4, 2])
        rnn(x, mask=torch.arange(STEPS) < torch.tensor([[4], [2]]))
        dropping(x, lengths=[4, 2], drawn=drawn)
        told(steps=STEPS, constants=wide, lengths=[4, 2])
        seeing(steps=STEPS, constants=wide.repeat(1, 40), lengths=[4, 2])
        rnn(x, mask=torch.arange(STEPS) >= torch.tensor([[4], [2]]))
        rnn(x, lengths=[4, 2], reset=torch.zeros(2, STEPS, dtype=torch.bool))
        torch.func.vmap(lambda x: rnn(x, lengths=[4, 2])[0])(x.unsqueeze(0))
    finally:
        ENGINES.clear()
        ENGINES.update(before)
    assert [None if s is None else tuple(s) for s in seen] == [*[(2, 2, 1, 1)] * 4, *[None] * 4]


OF_A_SEQUENCE = {
    "a mask": lambda: cells.RecurrentDropout(catalogue.build("lstm"), 0.4, input_p=0.3),
    "masks of all kinds": lambda: cells.Zoneout(
        cells.WeightDropout(cells.RecurrentDropout(catalogue.build("gru"), 0.5), 0.3), 0.2),
    "a constant": lambda: cells.ValueDecoder(cells.LSTM(3 + 3 + 2, 5), 3, input_size=3, context_size=2).double(),
    "both": lambda: cells.ValueDecoder(
        cells.RecurrentDropout(cells.GRU(3 + 3 + 2, 5), 0.5), 3, input_size=3, context_size=2).double(),
}  # fmt: skip


@native
@each_lengths
@pytest.mark.parametrize("given", [{}, {"reverse": True}, {"checkpoint": 2}], ids=str)
@pytest.mark.parametrize("name", OF_A_SEQUENCE)
def test_what_a_sequence_has_of_its_own(name, given, lengths):
    """Masks that stay for a sequence, and constants: as with padding, and as on the reference engine."""
    torch.manual_seed(3)
    rnn = Recurrent(OF_A_SEQUENCE[name](), **given)
    x = torch.randn(len(lengths), STEPS, 3, dtype=torch.float64, requires_grad=True)
    q = [torch.randn(len(lengths), 2, dtype=torch.float64, requires_grad=True)] if "mask" not in name else []
    drawn = rnn.draw(x, constants=q)
    found = []
    for name_of, how in (("cpu", {"lengths": lengths}), ("reference", {"lengths": lengths}), ("cpu", {
            "mask": torch.arange(STEPS) < torch.tensor(lengths)[:, None],
            "reset": torch.zeros(len(lengths), STEPS, dtype=torch.bool)})):
        with engine(name_of):
            outputs, ends, states = rnn(x, constants=q, drawn=drawn, return_all_states=True, **how)
            value = torch.sin(outputs).sum() + sum((e * e).sum() for e in (*ends, *states.values()))
            grads = torch.autograd.grad(value, [x, *q, *rnn.cell.parameters()], materialize_grads=True)
            found.append([outputs, *ends, *states.values(), *grads])
    assert_close(found[0], found[1])
    assert_close(found[0], found[2])
