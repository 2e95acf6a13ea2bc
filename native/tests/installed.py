"""Asks an installed Ostinato for its CPU engine: what a wheel must pass before it is released."""

import torch

import ostinato
from ostinato.engines import cpu
from ostinato.engines.choice import engine

network, x = ostinato.Recurrent(ostinato.cells.LSTM(7, 30)), torch.randn(5, 9, 7)
outputs = []
for name in ("cpu", "reference"):
    with engine(name):
        outputs.append(network(x)[0])
torch.testing.assert_close(*outputs)
print(f"{ostinato.__file__}: {cpu.library().isa}")
