"""Decoders against the loop as one writes it: embed the last symbol, step, read out, choose."""

from __future__ import annotations

import re

import pytest
import torch
from close import assert_close
from loops import compare
from torch import Tensor, nn

import ostinato
from ostinato import Recurrent, cells
from ostinato.cells.decoder import drawn, likeliest

K, E, H, N, Q = 6, 3, 5, 2, 4


@pytest.fixture(params=["cpu", "reference"])
def engine(request):
    with ostinato.engine(request.param):
        yield request.param


def decoder(choice: str = "argmax", inner: type = cells.LSTM, **sizes: int) -> cells.Decoder:
    torch.manual_seed(1)
    made = cells.Decoder(inner(E + sum(sizes.values()), H), K, E, start=2, choice=choice, **sizes).double()
    nn.init.normal_(made.V.weight)  # so that the symbols differ from step to step
    return made


def by_hand(
    cell: cells.Decoder, steps: int, states: list[Tensor], x: Tensor | None = None, q: Tensor | None = None,
    targets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The logits, and the symbols that were read or would be next, ``[B, T]``."""
    batch = len(states[0])
    symbol, logits, symbols = torch.full((batch,), 2), [], []
    for t in range(steps):
        read = [cell.E.weight[symbol], *([] if x is None else [x[:, t]]), *([] if q is None else [q])]
        result = cell.cell.step(torch.cat(read, -1), *states)
        states = list(result) if isinstance(result, tuple) else [result]
        logits.append(states[0] @ cell.V.weight.T + cell.V.bias)
        symbol = logits[-1].argmax(-1) if targets is None else targets[:, t]
        symbols.append(symbol)
    return torch.stack(logits, 1), torch.stack(symbols, 1)


def zeros(batch: int, count: int) -> list[Tensor]:
    return [torch.zeros(batch, H, dtype=torch.float64)] * count


@pytest.mark.parametrize("steps, batch", [(1, 1), (6, 3)])
def test_it_writes_by_itself(steps: int, batch: int, engine) -> None:
    cell = decoder()
    logits, symbols = by_hand(cell, steps, zeros(batch, 2))
    outputs, (y, *_), states = Recurrent(cell)(steps=steps, batch=batch, return_all_states=True)
    compare([outputs], [logits], list(cell.parameters()))
    assert_close([states["y"], y], [symbols.double(), symbols[:, -1].double()])
    assert steps == 1 or len(symbols[0].unique()) > 1


def test_with_an_input_a_context_and_first_states(engine) -> None:
    cell = decoder(inner=cells.GRU, input_size=N, context_size=Q)
    x, q, h = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 5, N), (3, Q), (3, H)))
    start = torch.full((3,), 2.0, dtype=torch.float64)
    logits, _ = by_hand(cell, 5, [h], x, q)
    outputs, _ = Recurrent(cell)(x, (start, h), constants=q)
    compare([outputs], [logits], [x, q, h, *cell.parameters()])


def test_with_a_teacher_only_the_cell_within_is_in_the_loop(engine) -> None:
    cell = decoder()
    rnn, targets = Recurrent(cell), torch.randint(0, K, (3, 6))
    logits, _ = by_hand(cell, 6, zeros(3, 2), targets=targets)
    compare([rnn(teacher={"y": targets})[0]], [logits], list(cell.parameters()))
    taught, inner = rnn.explain(), Recurrent(cells.LSTM(E, H).double()).explain(torch.zeros(1, 1, E).double())
    assert (taught.parts["S"], taught.products) == (inner.parts["S"], inner.products)


def test_no_gradient_flows_through_a_symbol_that_was_chosen(engine) -> None:
    h = torch.randn(2, H, dtype=torch.float64, requires_grad=True)
    start = torch.full((2,), 2.0, dtype=torch.float64, requires_grad=True)
    cell = decoder(inner=cells.GRU)
    outputs, _ = Recurrent(cell)(initial=(start, h), steps=4)
    with torch.no_grad():
        _, symbols = by_hand(cell, 4, [h])
    given, _ = by_hand(cell, 4, [h], targets=symbols)
    compare([outputs], [given], [h, *cell.parameters()])
    (slope,) = torch.autograd.grad(outputs.sum(), start, allow_unused=True, materialize_grads=True)
    assert_close(slope, torch.zeros(2, dtype=torch.float64))


def test_symbols_are_drawn_as_often_as_they_are_likely() -> None:
    o = torch.tensor([0.0, 1.0, -1.0, 0.5]).expand(20000, 4)
    torch.manual_seed(0)
    counts = torch.bincount(drawn(o).long(), minlength=4) / 20000
    assert (counts - o[0].softmax(-1)).abs().max() < 0.012  # three times the standard error


def test_the_seed_says_what_is_drawn(engine) -> None:
    rnn = Recurrent(decoder("sample"))

    def written(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return rnn(steps=9, batch=4, return_all_states=True)[2]["y"]

    assert_close(written(3), written(3))
    assert not torch.equal(written(3), written(4))
    assert written(3).long().unique().numel() > 2


def test_of_equals_the_first_is_the_likeliest() -> None:
    o = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, -1.0, 5.0]])
    assert_close(likeliest(o), torch.tensor([1.0, 0.0, 2.0]))


def test_values_are_read_as_they_are(engine) -> None:
    torch.manual_seed(2)
    cell = cells.ValueDecoder(cells.Elman(K + N + Q, H), K, input_size=N, context_size=Q, start=0.5).double()
    x, q = torch.randn(3, 5, N).double().requires_grad_(), torch.randn(3, Q).double().requires_grad_()
    y, h, outputs = torch.full((3, K), 0.5).double(), zeros(3, 1)[0], []
    for t in range(5):
        h = cell.cell.step(torch.cat([y, x[:, t], q], -1), h)
        y = h @ cell.V.weight.T + cell.V.bias
        outputs.append(y)
    found, ends = Recurrent(cell)(x, constants=q)
    compare([found, *ends], [torch.stack(outputs, 1), y, h], [x, q, *cell.parameters()])


def test_a_state_with_delays_stays_the_cells_own(engine) -> None:
    torch.manual_seed(2)
    cell = cells.ValueDecoder(cells.Skip(2, H, delays=3), 2).double()
    past, y, outputs = [torch.zeros(1, H).double()] * 3, torch.zeros(1, 2).double(), []
    for _ in range(6):
        past.append(cell.cell.step(y, past[-1], past[-3]))
        y = past[-1] @ cell.V.weight.T + cell.V.bias
        outputs.append(y)
    compare([Recurrent(cell)(steps=6, batch=1)[0]], [torch.stack(outputs, 1)], list(cell.parameters()))


def test_a_stream_writes_on() -> None:
    rnn = Recurrent(decoder())
    whole = rnn(steps=6, batch=2)[0]
    stream = rnn.stream()
    pieces = [stream(steps=2, batch=2), *(stream(steps=1) for _ in range(3)), stream(steps=1)]
    assert_close(torch.cat(pieces, 1), whole.detach())


def test_it_is_saved_and_loaded(tmp_path) -> None:
    rnn = Recurrent(decoder(inner=cells.GRU, context_size=Q))
    q = torch.randn(2, Q, dtype=torch.float64)
    expected = rnn(constants=q, steps=5)
    ostinato.save(rnn, tmp_path)
    assert_close(ostinato.load(tmp_path)(constants=q, steps=5), expected)


GRU = cells.GRU(3, 5)
ERRORS = [
    (lambda: cells.Decoder(nn.Linear(2, 2), 3, 2), TypeError, "repeats an ostinato.Cell, got a Linear"),  # pyright: ignore
    (lambda: cells.Decoder(GRU, 0, 3), ValueError, "symbols must be a whole number of at least 1, got 0"),
    (lambda: cells.Decoder(GRU, 3, 3, input_size=-1), ValueError, "input_size must be .* at least 1, got -1"),
    (lambda: cells.Decoder(GRU, 3, 3, start=3), ValueError, "start must be one of the 3 symbols, 0 to 2, got 3"),
    (lambda: cells.Decoder(GRU, 3, 3, choice="best"), ValueError, "choice must be one of argmax, sample, got 'best'"),
    (lambda: cells.ValueDecoder(cells.NARX(3, 2), 3), ValueError, "NARX has a state 'y'"),
    (
        lambda: Recurrent(cells.Decoder(GRU, 300, 3).bfloat16())(steps=2, batch=1),
        ValueError,
        "torch.bfloat16 cannot tell 300 symbols apart: use float32",
    ),
]


@pytest.mark.parametrize("call, kind, words", ERRORS, ids=[re.sub(r"\W+", " ", e[2])[:40] for e in ERRORS])
def test_errors(call, kind, words) -> None:
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("wrong", [K, -1, 2.5, float("nan")])
def test_what_is_no_symbol_is_refused(wrong: float, batch_first: bool) -> None:
    module = Recurrent(decoder(), batch_first=batch_first)
    targets = torch.full((2, 4), 3.0, dtype=torch.float64)
    targets[1, 2] = wrong
    targets = targets if batch_first else targets.T
    says = re.escape(f"teacher['y'] must be one of 6 symbols, 0 to 5, got {wrong:g} at step 2 of sequence 1")
    with pytest.raises(ValueError, match=says):
        module(teacher={"y": targets})
    own = targets != 3
    module(teacher={"y": targets}, own=own)  # there it is not read
    module(teacher={"y": targets}, lengths=[4, 2])  # nor there, behind the end
    module(teacher={"y": targets}, mask=~own)
    with pytest.raises(ValueError, match=says):
        module(teacher={"y": targets}, lengths=[4, 3])


def test_a_first_state_that_is_no_symbol_is_refused_also_below_a_wrapper() -> None:
    h = zeros(2, 2)
    with pytest.raises(ValueError, match=re.escape("'y' must be one of 6 symbols, 0 to 5, got 6 of sequence 1")):
        Recurrent(decoder())(initial=[torch.tensor([5.0, 6.0], dtype=torch.float64), *h], steps=3)
    assert cells.Zoneout(decoder(), 0.1).states[0].symbols == K
    assert cells.ValueDecoder(cells.Elman(2, H), 2).states[0].symbols is None


def test_symbols_stay_in_a_saved_decoder(tmp_path) -> None:
    module = Recurrent(decoder())
    module(steps=2, batch=1)
    ostinato.save(module, tmp_path)
    with pytest.raises(ValueError, match="got 6 at step 0 of sequence 0"):
        ostinato.load(tmp_path)(teacher={"y": torch.full((1, 2), 6.0, dtype=torch.float64)})


def test_a_count_of_symbols_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="state 'y': symbols must be at least 1, got 0"):
        ostinato.Cell().add_state("y", 1, symbols=0)
