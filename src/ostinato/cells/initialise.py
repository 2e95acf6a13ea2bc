"""Initial values of a cell's parameters: what the cells start from, and what a user may choose instead.

A fused map holds the rows of several gates. Its fan-out, its orthogonality and its spectrum are those of each gate, so
each block of rows is drawn by itself: ``gates`` says how many there are (``len(cell.gates)``).

>>> from ostinato import cells
>>> from ostinato.cells import initialise
>>> cell = cells.Elman(3, 4, nonlinearity="relu")
>>> initialise.identity(cell.U)
>>> cell.U.weight[1].tolist()
[0.0, 1.0, 0.0, 0.0]
>>> initialise.chrono(cells.LSTM(3, 4), t_max=1000)  # remember up to 1000 steps
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Map = nn.Linear | nn.Conv2d
"""A map with a weight and perhaps a bias."""


@torch.no_grad()
def glorot(linear: Map, gates: int = 1) -> None:
    """Glorot-uniform weights: from ``-a`` to ``a`` with ``a = sqrt(6 / (fan_in + fan_out))``; a bias of zero.

    Args:
        linear: a map whose weight is ``[gates * H, N]`` (or a convolution's, ``[gates * H, N, k, k]``).
        gates: how many blocks of rows to draw one by one.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
    2010, equation 16.
    """
    for block in linear.weight.chunk(gates):
        nn.init.xavier_uniform_(block)
    _no_bias(linear)


@torch.no_grad()
def orthogonal(linear: Map, gates: int = 1) -> None:
    """Orthogonal weights, which keep the length of what they map; a bias of zero.

    Where a block ``[H, R]`` is not square, its rows (``H <= R``) or its columns are orthonormal.

    Source: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", ICLR 2014.
    """
    for block in linear.weight.chunk(gates):
        if block.is_meta:  # nothing to draw, and torch would import its compiler for the shapes of a QR decomposition
            continue
        # The QR decomposition behind it has no half precision.
        drawn = torch.empty_like(block, dtype=torch.promote_types(block.dtype, torch.float32))
        block.copy_(nn.init.orthogonal_(drawn))
    _no_bias(linear)


@torch.no_grad()
def identity(linear: nn.Linear, scale: float = 1.0, gates: int = 1) -> None:
    """``scale`` times the identity: a state that no input disturbs stays as it is; a bias of zero.

    Raises:
        ValueError: where a block is not square.

    Source: Le, Jaitly and Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015
    (arXiv 1504.00941).
    """
    for block in _square(linear, gates, "identity"):
        block.copy_(scale * torch.eye(len(block), dtype=block.dtype, device=block.device))
    _no_bias(linear)


@torch.no_grad()
def spectral_radius(linear: nn.Linear, radius: float, gates: int = 1) -> None:
    """Scale the weights that there are, so that the largest absolute eigenvalue of each block is ``radius``.

    Raises:
        ValueError: where a block is not square, or is (nearly) nilpotent, so that no scale gives it a radius.

    Source: Jaeger, "The 'echo state' approach to analysing and training recurrent neural networks", GMD report 148,
    2001.
    """
    for block in _square(linear, gates, "spectral_radius"):
        if block.is_meta:
            continue
        found = torch.linalg.eigvals(block.double()).abs().max().item()
        # The eigenvalues of a nilpotent matrix come out as roots of the rounding, not as zero.
        if found < 1e-3 * block.abs().max().item() or found == 0:
            raise ValueError(f"no scale gives this {len(block)} x {len(block)} map the spectral radius {radius}: its "
                             "eigenvalues are all zero (no loop of connections)")
        block.mul_(radius / found)


def forget_bias(cell: nn.Module, value: float = 1.0) -> None:
    """Set the bias of the gate that keeps the state, so that a new network remembers.

    Where a gate only writes, as in :class:`~ostinato.cells.MinimalGRU`, whose ``1 - f`` keeps, its bias becomes
    ``-value``.

    Raises:
        ValueError: where the cell has no such gate, or no bias.

    Source: Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation 12, 2000; Jozefowicz, Zaremba and
    Sutskever, "An Empirical Exploration of Recurrent Network Architectures", ICML 2015.
    """
    kept = _gate(cell, "keep")
    with torch.no_grad():
        if kept is not None:
            kept.fill_(value)
        else:
            _needed(cell, _gate(cell, "write"), "forget_bias").fill_(-value)


def chrono(cell: nn.Module, t_max: float) -> None:
    """Draw the gates' biases so that the units' time constants are spread from 2 to ``t_max`` steps::

        b_keep = log(u),  b_write = -b_keep,  u uniform from 1 to t_max - 1, one for each unit

    A unit whose keeping gate is ``sigmoid(log u)`` forgets over ``1 + u`` steps.

    Args:
        cell: one whose gates are named (``cell.keep``, ``cell.write``): the LSTMs, the GRUs and their like.
        t_max: the longest dependency that is expected, in steps; above 2.

    Raises:
        ValueError: on a ``t_max`` out of range, or where the cell has no gate that keeps or writes, or no bias.

    Source: Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018 (arXiv 1804.11188), equation 16.
    """
    if not (math.isfinite(t_max) and t_max > 2):
        raise ValueError(f"t_max must be finite and above 2, got {t_max!r}")
    kept, written = _gate(cell, "keep"), _gate(cell, "write")
    some = _needed(cell, written if kept is None else kept, "chrono")
    with torch.no_grad():
        drawn = torch.empty_like(some).uniform_(1, t_max - 1).log_()
        if kept is not None:
            kept.copy_(drawn)
        if written is not None:
            written.copy_(-drawn)


def _gate(cell: nn.Module, role: str) -> Tensor | None:
    """The biases ``[H]`` of the gate with that role."""
    gate, shift = getattr(cell, role, None), getattr(cell, "shift", None)
    if gate is None or shift is None:
        return None
    gates = getattr(cell, "gates", ())
    return shift.detach().chunk(len(gates))[gates.index(gate)]


def _needed(cell: nn.Module, found: Tensor | None, who: str) -> Tensor:
    if found is None:
        what = "bias" if getattr(cell, "keep", None) or getattr(cell, "write", None) else "gate that keeps or writes"
        raise ValueError(f"{who} needs a cell with a {what}; {type(cell).__name__} has none")
    return found


def _square(linear: nn.Linear, gates: int, who: str) -> tuple[Tensor, ...]:
    blocks = linear.weight.detach().chunk(gates)
    for block in blocks:
        if block.shape[0] != block.shape[1]:
            raise ValueError(f"{who} needs square maps, got {gates} of {list(block.shape)}; gates= says how many there "
                             "are")
    return blocks


def _no_bias(linear: Map) -> None:
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
