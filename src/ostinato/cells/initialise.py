"""Initial values of the cells' parameters, one gate at a time.

A fused map holds the rows of several gates. Its fan-out and its orthogonality are those of each gate, so each block of
rows is drawn by itself.

Sources: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010;
Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
ICLR 2014; Jozefowicz, Zaremba and Sutskever, "An Empirical Exploration of Recurrent Network Architectures", ICML 2015
(the forget gate's bias of 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def input_map(linear: nn.Linear, gates: int = 1) -> None:
    """Glorot-uniform weights for each gate's block of rows of ``[gates * H, N]``, and a bias of zero."""
    for block in linear.weight.chunk(gates):
        nn.init.xavier_uniform_(block)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


@torch.no_grad()
def recurrent_map(linear: nn.Linear, gates: int = 1) -> None:
    """Orthogonal weights for each gate's block of rows of ``[gates * H, N]``, and a bias of zero."""
    for block in linear.weight.chunk(gates):
        if block.is_meta:  # nothing to draw, and torch would import its compiler for the shapes of a QR decomposition
            continue
        # The QR decomposition behind it has no half precision.
        drawn = torch.empty_like(block, dtype=torch.promote_types(block.dtype, torch.float32))
        block.copy_(nn.init.orthogonal_(drawn))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


@torch.no_grad()
def gate_bias(bias: Tensor | None, gate: int, value: float, gates: int) -> None:
    """Set one gate's part of a fused bias ``[gates * H]``; without a bias, nothing."""
    if bias is not None:
        bias.chunk(gates)[gate].fill_(value)
