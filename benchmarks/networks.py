"""The same network on every side: our cells, torch.nn's modules, a Python loop; and what one training step of it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contest import Contestant, gradients
from ostinato import Cell, Recurrent, cells, layers


class OwnLSTM(Cell):
    """LSTM as a user would write it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W, self.U = nn.Linear(input_size, 4 * hidden_size), nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.add_state("h", hidden_size)
        self.add_state("c", hidden_size)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (self.W(x) + self.U(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Momentum(Cell):
    """A cell that no library has: ``v = 0.9 v + 0.1 (W_v x + U_v h)``, ``h = f h + (1 - f) tanh(v)``."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W, self.U = nn.Linear(input_size, 2 * hidden_size), nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.add_state("h", hidden_size)
        self.add_state("v", hidden_size)

    def step(self, x: Tensor, h: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        f, a = (self.W(x) + self.U(h)).chunk(2, -1)
        f, v = torch.sigmoid(f), 0.9 * v + 0.1 * a
        return f * h + (1 - f) * torch.tanh(v), v


@dataclass(frozen=True)
class Kind:
    """A cell to measure: how many products ``[H, N + H]`` a step has, and who has the same cell."""

    make: Callable[[int, int], Cell]
    products: int
    torch: Callable[..., nn.RNNBase] | None = None
    drop_in: Callable[..., nn.RNNBase] | None = None


KINDS = {
    "LSTM": Kind(cells.LSTM, 4, nn.LSTM, layers.LSTM),
    "GRU": Kind(cells.GRU, 3, nn.GRU, layers.GRU),
    "RNN": Kind(cells.Elman, 1, nn.RNN, layers.RNN),
    "leaky": Kind(cells.Leaky, 1),
    "GRU reset-before": Kind(lambda n, h: cells.GRU(n, h, reset="before"), 3),
    "own": Kind(Momentum, 2),
}

BIASES = {"weight_ih_l0": "W.weight", "weight_hh_l0": "U.weight", "bias_ih_l0": "W.bias", "bias_hh_l0": "U.bias"}


class Loop(nn.Module):
    """A cell's step in a plain Python loop, under torch's own autograd: ``[T, B, N]`` to ``[T, B, H]``."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        states, outputs = self.cell.initial_states(x.shape[1]), []
        for x_t in x.unbind(0):
            states, output = self.cell.split_result(self.cell.step(x_t, *states))
            outputs.append(output)
        return torch.stack(outputs), states


def recurrent(cell: Cell, save: int | str | None = None) -> Recurrent:
    """Our module, time first as torch.nn's is."""
    return Recurrent(cell, batch_first=False, save=save)


def like_torch(make: Callable[..., nn.RNNBase], cell: Cell, input_size: int, hidden_size: int) -> nn.RNNBase:
    """``torch.nn``'s module, or our drop-in, with the weights of a cell; a bias that the cell lacks is zero."""
    module, own = make(input_size, hidden_size), dict(cell.named_parameters())
    zero = torch.zeros_like(own["W.bias"])
    module.load_state_dict({theirs: own.get(mine, zero) for theirs, mine in BIASES.items()})
    return module


def states_of(result: tuple) -> dict[str, Tensor]:
    """Output and final states of a module's call, by name."""
    output, states = result
    states = [states] if isinstance(states, Tensor) else states
    return {"output": output, **{f"final state {n}": s.flatten() for n, s in enumerate(states)}}


def training(name: str, module: nn.Module, x: Tensor, seed: Tensor, **given: Any) -> Contestant:
    """Forward, and backward of all parameters (not of the input), for the gradient ``seed`` of the output.

    Args:
        name: what tables call it.
        module: gives (output, final states).
        x: ``[T, B, N]``.
        seed: ``[T, B, H]``.
        **given: other arguments of the module's call.
    """
    trained = {key: p for key, p in module.named_parameters() if p.requires_grad}
    named = {BIASES.get(key, key.removeprefix("module.").removeprefix("cell.")): p for key, p in trained.items()}
    parameters = list(named.values())
    # Where torch.nn has two biases that are only ever added up, a cell has one: they have the same gradient.
    doubled = isinstance(module, nn.RNNBase) and module.mode != "GRU"

    def run() -> tuple[tuple, tuple[Tensor, ...]]:
        result = module(x, **given)
        return result, gradients(result[0], seed, parameters)

    def keep(found: tuple) -> dict[str, Tensor]:
        grads = {f"gradient of {key}": g for key, g in zip(named, found[1], strict=True)
                 if not (doubled and key == "U.bias")}
        return states_of(found[0]) | grads

    return Contestant(name, run, keep)


def inference(name: str, module: nn.Module, x: Tensor) -> Contestant:
    """Forward, without gradients."""

    def run() -> tuple:
        with torch.inference_mode():
            return module(x)

    return Contestant(name, run, states_of)


def useful_flops(steps: int, batch: int, inputs: int, hidden: int, products: int) -> int:
    """Floating-point operations in a training step's matrix products, the input's gradient not among them.

    Forward ``2 (N + H)``, the weights' gradients ``2 (N + H)``, the state's gradient ``2 H``, for each step, sequence
    and row of ``W`` and ``U``.
    """
    return steps * batch * products * hidden * (4 * (inputs + hidden) + 2 * hidden)
