"""Parameter counts, initial values, and what the constructors refuse."""

import copy
import pickle

import catalogue
import pytest
import torch
from close import assert_close

from ostinato import Recurrent, cells

N, H = 3, 4
ELMAN = H * N + H * H + H

COUNTS = {
    "elman": ELMAN,
    "elman-relu": ELMAN,
    "lstm": 4 * ELMAN,
    "lstm-peephole": 4 * ELMAN + 3 * H,
    # two gains and one shift of the four gates, a gain and a shift of the cell; W has no bias beside that shift
    "lstm-layernorm": 4 * (H * N + H * H) + 3 * 4 * H + 2 * H,
    "gru": 3 * (ELMAN + H),
    "gru-before": 3 * ELMAN,
    "mgu": 2 * ELMAN,
    "leaky": ELMAN,
    "leaky-learned": ELMAN + H,
    "skip": ELMAN + H * H,
    "output": ELMAN + H * H + H,
    "narx": H * N + H + 4 * H * H + H * H + H,
    "indrnn": H * N + 2 * H,
    "slstm": 4 * ELMAN,
}


def _count(cell):
    return sum(p.numel() for p in cell.parameters())


def test_every_name_is_counted():
    assert set(COUNTS) == set(cells.names())


@pytest.mark.parametrize("name", cells.names())
def test_parameter_counts(name):
    assert _count(cells.create(name, N, H)) == COUNTS[name]


def test_parameter_counts_with_options():
    assert _count(cells.LSTM(N, H, proj_size=2)) == 4 * (H * N + H * 2 + H) + 2 * H
    assert _count(cells.Skip(N, H, delays=(2, 5, 9))) == ELMAN + 3 * H * H
    assert _count(cells.OutputRecurrence(N, H, output_size=7)) == H * N + H * 7 + H + 7 * H + 7
    assert _count(cells.LSTM(28, 128)) == 4 * (28 * 128 + 128 * 128 + 128)


@pytest.mark.parametrize("name", cells.names())
def test_without_bias_nothing_shifts(name):
    cell = cells.create(name, N, H, bias=False)
    assert not [key for key, _ in cell.named_parameters() if key.endswith("bias")]
    with torch.no_grad():
        reads = [v[:, -d] if s.depth > 1 else v
                 for s, v in zip(cell.states, cell.initial_states(2), strict=True) for d in s.delays]
        _, output = cell.split_result(cell(torch.zeros(2, N), *reads))
    assert_close(output, torch.zeros(2, H), tolerance=0)


@pytest.mark.parametrize("name", cells.names())
def test_initial_values_gate_by_gate(name):
    torch.manual_seed(1)
    cell = cells.create(name, 6, 8, dtype=torch.float64)
    limit = (6 / (6 + 8)) ** 0.5
    parameters, spread = dict(cell.named_parameters()), {"skip": 4, "narx": 16}.get(name, 1)
    for block in parameters["W.weight"].detach().split(8):
        assert 0.8 * limit < block.abs().max() <= limit
        assert abs(block.mean()) < 0.5 * limit
    maps = [value.detach() for key, value in parameters.items() if key[0] in "US"]
    for block in (block for value in maps for block in value.split(8) if value.dim() == 2):
        assert_close(block @ block.T, torch.eye(8, dtype=torch.float64) / spread)
    for key, bias in ((key, value) for key, value in parameters.items() if key.endswith("bias")):
        expected = torch.zeros_like(bias)
        if "lstm" in name and bias.numel() == 4 * 8:
            expected[8:16] = 1.0
        assert_close(bias, expected, tolerance=0, name=key)


def test_initial_values_of_what_only_one_cell_has():
    assert_close(cells.LayerNormLSTM(N, H).norm_U.weight, torch.ones(4 * H), tolerance=0)
    assert_close(cells.PeepholeLSTM(N, H).p_o, torch.zeros(H), tolerance=0)
    assert_close(cells.LSTM(N, H, forget_bias=-2.0).W.bias[H : 2 * H], torch.full((H,), -2.0), tolerance=0)
    taus = [1.25, 2.0, 10.0, 400.0]
    learned = cells.Leaky(N, H, tau=taus, learned=True, dtype=torch.float64)
    assert_close(learned.time_constants(), torch.tensor(taus, dtype=torch.float64))
    assert_close(cells.Leaky(N, H, tau=torch.tensor(taus)).time_constants(), torch.tensor(taus))
    assert_close(cells.Leaky(N, H).time_constants(), torch.full((H,), 10.0))
    u = cells.IndRNN(N, 400).u
    assert 0 <= u.min() < 0.1 < 0.9 < u.max() <= 1


def test_projection_keeps_orthogonal_columns():
    U = cells.LSTM(N, 8, proj_size=3, dtype=torch.float64).U.weight
    for block in U.detach().split(8):
        assert_close(block.T @ block, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("name", cells.names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dtype_and_device(name, dtype):
    cell = cells.create(name, N, H, dtype=dtype)
    assert {v.dtype for v in cell.state_dict().values()} == {dtype}
    meta = cells.create(name, N, H, dtype=dtype, device="meta")
    assert {v.device.type for v in meta.state_dict().values()} == {"meta"}


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_output_size_is_that_of_the_output(name):
    cell = catalogue.build(name)
    reads = [v[:, -d] if s.depth > 1 else v
             for s, v in zip(cell.states, catalogue.initial(cell, 2), strict=True) for d in s.delays]
    _, output = cell.split_result(cell(catalogue.inputs(cell, 1, 2)[:, 0], *reads))
    assert output.shape == (2, cells.output_size(cell))


REFUSED = [
    (lambda: cells.Elman(0, H), "input_size must be a whole number of at least 1, got 0"),
    (lambda: cells.GRU(N, -1), "hidden_size must be a whole number of at least 1, got -1"),
    (lambda: cells.IndRNN(N, 2.5), "hidden_size must be a whole number"),  # pyright: ignore
    (lambda: cells.OutputRecurrence(N, H, output_size=0), "output_size must be a whole number of at least 1"),
    (lambda: cells.Elman(N, H, nonlinearity="sin"), "nonlinearity must be one of tanh, relu, got 'sin'"),
    (lambda: cells.GRU(N, H, reset="never"), "reset must be one of after, before, got 'never'"),
    (lambda: cells.SLSTM(N, H, forget="tanh"), "forget must be one of sigmoid, exp, got 'tanh'"),
    (lambda: cells.LSTM(N, H, proj_size=H), "proj_size must be a whole number from 1 to hidden_size - 1 = 3"),
    (lambda: cells.LSTM(N, H, proj_size=-1), "proj_size must be"),
    (lambda: cells.LayerNormLSTM(N, H, eps=0.0), "eps must be positive"),
    (lambda: cells.Leaky(N, H, tau=0.5), "tau must be finite and at least 1, got 0.5"),
    (lambda: cells.Leaky(N, H, tau=float("nan")), "tau must be finite"),
    (lambda: cells.Leaky(N, H, tau=1.0, learned=True), "tau must be finite and above 1"),
    (lambda: cells.Leaky(N, H, tau=[2.0, 3.0]), "tau must be one number or hidden_size = 4 of them, got 2"),
    (lambda: cells.Leaky(N, H, tau=torch.ones(2, 2)), "tau must be a number or a sequence of numbers"),
    (lambda: cells.create("leaky", N, H, tau="slow"), "tau must be a number or a sequence of numbers"),
    (lambda: cells.Skip(N, H, delays=1), r"delays must be different whole numbers of at least 2, got \(1,\)"),
    (lambda: cells.Skip(N, H, delays=()), "delays must be"),
    (lambda: cells.Skip(N, H, delays=(3, 3)), "delays must be"),
    (lambda: cells.create("lsmt", N, H), "unknown cell 'lsmt'; known are elman, elman-relu, lstm,"),
    (lambda: cells.create("gru", N, H, reset="before"), "'gru' has no option 'reset'; it takes bias, device, dtype"),
    (lambda: cells.create("skip", N, H, delay=3), "'skip' has no option 'delay'; it takes delays, nonlinearity"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refusals_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_representation_names_the_variant():
    assert "reset='before'" in repr(cells.create("gru-before", N, H))
    assert "tau=2.0..8.0, learned=False" in repr(cells.Leaky(N, 2, tau=[2, 8]))


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_pickling_and_state_dict_keep_every_value(name):
    cell = catalogue.build(name)
    x = catalogue.inputs(cell, 4, 2)
    loaded = catalogue.build(name)
    loaded.reset_parameters()  # pyright: ignore[reportCallIssue]
    loaded.load_state_dict(cell.state_dict())
    for other in (pickle.loads(pickle.dumps(cell)), copy.deepcopy(cell), loaded):
        assert repr(other) == repr(cell)
        assert_close(Recurrent(other)(x), Recurrent(cell)(x), tolerance=0)
