"""What is true of one cell only: its limits, its memory, and what its paper promises."""

import catalogue
import numpy as np
import pytest
import torch
from close import assert_close
from torch.nn.functional import conv2d

from ostinato import Recurrent, cells, engine, load, save
from ostinato.cells import initialise

N, H = 3, 4


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_every_cell_runs_on_the_cpu_engine(name):
    rnn = Recurrent(catalogue.build(name))
    x = catalogue.inputs(rnn.cell, 4, 2)
    with engine("cpu"):
        rnn(x.requires_grad_())[0].sum().backward()
    assert rnn.explain(x).engine == "cpu"


@pytest.mark.parametrize(("name", "state"), [("mingru", "h"), ("minlstm", "h"), ("running-average", "mu")])
def test_linear_in_its_state(name, state):
    rnn = Recurrent(catalogue.build(name))
    said = rnn.explain(catalogue.inputs(rnn.cell, 2, 2))
    assert said.linear[state].linear and said.products == 0


def test_running_average_of_the_input_itself():
    cell = cells.RunningAverage(2, alpha=[0.5, 0.9], dtype=torch.float64)
    assert not list(cell.parameters())
    x = torch.randn(3, 20, 2, dtype=torch.float64)
    outputs, (mu,) = Recurrent(cell)(x)
    alpha = np.array([0.5, 0.9])
    expected = sum((1 - alpha) * alpha ** (19 - t) * x[:, t].numpy() for t in range(20))
    assert_close(mu, expected)
    assert_close(outputs[:, -1], expected)
    plain = Recurrent(cells.RunningAverage(2))
    assert_close(plain(torch.ones(1, 3, 2))[0][0, :, 1], torch.tensor([0.1, 0.19, 0.271]))


def test_a_spectrum_is_geometric():
    assert cells.Spectrum(3, 48).values(5) == pytest.approx((3, 6, 12, 24, 48))
    assert cells.Spectrum(3, 48).values(1) == (3,)
    learned = cells.Leaky(N, 3, tau=cells.Spectrum(2, 200), learned=True, dtype=torch.float64)
    assert_close(learned.time_constants(), torch.tensor([2.0, 20.0, 200.0], dtype=torch.float64))


def test_clockwork_runs_each_module_at_its_own_rate():
    rnn = Recurrent(cells.ClockworkRNN(N, 6, periods=(1, 3, 4)))
    outputs, _ = rnn(torch.randn(2, 13, N))
    moved = torch.cat([torch.ones(2, 1, 6, dtype=torch.bool), (outputs.diff(dim=1) != 0)], 1)
    for unit, period in enumerate((1, 1, 3, 3, 4, 4)):
        assert moved[0, :, unit].nonzero().flatten().tolist() == list(range(0, 13, period))


def test_clockwork_counts_each_sequence_for_itself():
    rnn, x = Recurrent(cells.ClockworkRNN(N, 6, periods=(1, 3, 4))), torch.randn(2, 13, N)
    reset = torch.zeros(2, 13, dtype=torch.bool)
    reset[1, 5] = True
    outputs, _ = rnn(x, reset=reset)
    assert_close(outputs[1, 5:], rnn(x[1:, 5:])[0][0])
    outputs, (h, clock) = rnn(x, lengths=[13, 5])
    assert clock[1].tolist() == [0, 0, 2, 2, 1, 1]
    assert_close(rnn(x[1:, 5:], (h[1:], clock[1:]))[0], rnn(x[1:])[0][:, 5:])


def test_clockwork_does_not_listen_to_faster_units():
    cell = cells.ClockworkRNN(N, 4, periods=(1, 2), dtype=torch.float64)
    outputs, _ = Recurrent(cell)(torch.randn(2, 9, N, dtype=torch.float64))
    outputs[..., 2:].sum().backward()
    assert cell.U.weight.grad is not None
    assert_close(cell.U.weight.grad[:, :2], torch.zeros(4, 2, dtype=torch.float64), tolerance=0)
    assert bool((cell.U.weight.grad[2:, 2:] != 0).all())


@pytest.mark.parametrize("density", [1.0, 0.2])
def test_reservoir(density, tmp_path):
    cell = cells.Reservoir(N, 30, spectral_radius=0.7, leak=0.5, density=density, input_scale=0.25)
    assert float(torch.linalg.eigvals(cell.U.weight).abs().max()) == pytest.approx(0.7, rel=1e-4)
    assert (cell.U.weight != 0).sum(1).tolist() == [30 * density] * 30
    assert 0.2 < cell.W.weight.abs().max() <= 0.25 and 0.1 < cell.W.bias.abs().max() <= 0.25
    x = torch.randn(2, 80, N, requires_grad=True)
    rnn, read_out = Recurrent(cell), torch.nn.Linear(30, 1)
    read_out(rnn(x)[0]).sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in cell.parameters())
    assert x.grad is not None and read_out.weight.grad is not None
    save(rnn, tmp_path)
    assert not any(p.requires_grad for p in load(tmp_path).parameters())
    # The echo: whatever it starts from, it comes to depend on the input alone.
    ends = [rnn(x.detach(), (torch.full((2, 30), start),))[1][0] for start in (-1.0, 1.0)]
    assert float((ends[0] - ends[1]).abs().max()) < 1e-4


def test_a_map_without_a_loop_has_no_spectral_radius():
    cell = cells.Reservoir(N, 3)
    with torch.no_grad():
        cell.U.weight.copy_(torch.randn(3, 3).triu(1))  # each unit sees only those after it
    with pytest.raises(ValueError, match="no loop of connections"):
        initialise.spectral_radius(cell.U, 0.9)


def test_convolutions_are_torchs():
    cell = catalogue.build("convlstm", input_size=2, hidden_size=3)
    image = torch.randn(4, 2, *cell.get_parameter("p_i").shape[1:], dtype=torch.float64)
    assert isinstance(cell, cells.ConvLSTM)
    assert_close(cell.convolved(cell.W, image), conv2d(image, cell.W.weight, cell.W.bias, padding=1))
    wide = cells.ConvLSTM(2, 3, grid=(6, 4), kernel_size=5, dtype=torch.float64)
    image = torch.randn(4, 2, 6, 4, dtype=torch.float64)
    assert_close(wide.convolved(wide.W, image), conv2d(image, wide.W.weight, wide.W.bias, padding=2))


def test_lmu_remembers_a_window():
    """From m one can read what came in up to ``window`` steps ago: u(t - s) = sum of m_i P_i(2 s / window - 1)."""
    order, window = 12, 40.0
    cell = cells.LegendreMemory(1, 2, order=order, window=window, dtype=torch.float64)
    with torch.no_grad():
        cell.e_h.weight.zero_()
        cell.e_x.weight.fill_(1)
    time = torch.arange(200, dtype=torch.float64)
    u = torch.sin(2 * torch.pi * time / 50) + 0.5 * torch.cos(2 * torch.pi * time / 31)
    _, (_, m) = Recurrent(cell)(u.reshape(1, -1, 1))
    for ago in (0, 10, 20, 35):
        value = np.polynomial.legendre.legval(2 * (ago + 0.5) / window - 1, m[0].detach().numpy())
        assert value == pytest.approx(float(u[-1 - ago]), abs=0.05)


def test_mogrifier_and_rhn_contain_the_simple_networks():
    gates = catalogue.build("lstm-mogrifier")
    assert isinstance(gates, cells.MogrifierLSTM)
    plain = cells.LSTM(3, 5, dtype=torch.float64)
    plain.load_state_dict({k: v for k, v in gates.state_dict().items() if k[0] in "WU"})
    for linear in (*gates.Q, *gates.R):
        torch.nn.init.zeros_(linear.get_parameter("weight"))  # 2 sigmoid(0) is 1
    x = catalogue.inputs(gates, 6, 2)
    assert_close(Recurrent(gates)(x)[0], Recurrent(plain)(x)[0])
    carry = cells.RecurrentHighway(N, H, transform_bias=-1e4)
    h = torch.randn(2, H)
    assert_close(carry(torch.randn(2, N), h), h, tolerance=0)


def test_antisymmetric_turns_without_growing():
    """Without an input, a step is a rotation: |h| grows by epsilon^2 at most, whatever U is."""
    cell = cells.Antisymmetric(1, 6, epsilon=0.01, gamma=1e-9, bias=False, dtype=torch.float64)
    h = 1e-3 * torch.randn(1, 6, dtype=torch.float64)  # where tanh is straight
    with torch.no_grad():
        _, (end,) = Recurrent(cell)(torch.zeros(1, 500, 1, dtype=torch.float64), (h,))
    assert float(end.norm() / h.norm()) == pytest.approx(1, abs=0.1)
    assert float((end - h).norm() / h.norm()) > 0.1


def test_the_original_lstm_never_forgets():
    cell = cells.OriginalLSTM(N, H)
    torch.nn.init.constant_(cell.W.bias[:H].detach(), -1e4)  # nothing is written
    C = torch.randn(2, H)
    _, (_, end) = Recurrent(cell)(torch.randn(2, 300, N), (torch.zeros(2, H), C))
    assert_close(end, C, tolerance=0)
