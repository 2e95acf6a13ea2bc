"""A cell of one's own, trained on the adding problem of Hochreiter and Schmidhuber (1997, section 5.4).

A sequence is 30 random numbers, two of them marked; the answer is the sum of those two. Always answering 1 has an error
of 0.167: to do better, a network must find the marks and keep what it read there. Takes a few seconds.
"""

import torch
from torch import Tensor, nn

import ostinato


class Ledger(ostinato.Cell):
    """m[t] = m[t-1] + sigmoid(W x[t] + U m[t-1]) * tanh(V x[t])"""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W = nn.Linear(input_size, hidden_size)
        self.U = nn.Linear(hidden_size, hidden_size, bias=False)
        self.V = nn.Linear(input_size, hidden_size)
        nn.init.constant_(self.W.bias, -2)  # begin with the gate nearly shut
        self.add_state("m", hidden_size)

    def step(self, x: Tensor, m: Tensor) -> Tensor:
        return m + torch.sigmoid(self.W(x) + self.U(m)) * torch.tanh(self.V(x))


class Adder(nn.Module):
    """The cell over the sequence, then a read-out of its last state."""

    def __init__(self, cell: ostinato.Cell, hidden_size: int) -> None:
        super().__init__()
        self.recurrent = ostinato.Recurrent(cell)
        self.readout = nn.Linear(hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, (last,) = self.recurrent(x)
        return self.readout(last).squeeze(-1)


def adding(batch: int, steps: int = 30) -> tuple[Tensor, Tensor]:
    """Sequences ``[B, T, 2]`` of numbers and marks, one mark in each half, and their answers ``[B]``."""
    numbers, marks, rows = torch.rand(batch, steps), torch.zeros(batch, steps), torch.arange(batch)
    marks[rows, torch.randint(steps // 2, (batch,))] = 1
    marks[rows, torch.randint(steps // 2, steps, (batch,))] = 1
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1)


@torch.no_grad()
def error(model: nn.Module) -> float:
    """Mean squared error on sequences it was not trained on."""
    x, y = adding(1000)
    return nn.functional.mse_loss(model(x), y).item()


def main() -> None:
    """Train, and say how well it went."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # a second thread costs more than tensors this small gain
    model = Adder(Ledger(2, 16), 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    print(f"error before training: {error(model):.4f}")
    for _ in range(300):
        x, y = adding(64)
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = error(model)
    print(f"error after training:  {after:.4f}")
    print("learned to add" if after < 0.01 else "did not learn to add (expected an error below 0.01)")


if __name__ == "__main__":
    main()
