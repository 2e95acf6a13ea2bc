"""The three designs of the lecture: where the output is, and where the recurrence.

With the lecture's names: x the input, a what the hidden units sum up, h the hidden units, o the output, y-hat the
probabilities, y the target, L the loss; U and W the maps to the hidden units from the input and from the recurrence, V
that to the output; b and c the biases. Our cells call the map of the input ``W`` and the recurrent map ``U``, as in
all of the catalogue; :func:`lecture_parameters` gives them the lecture's names.

Source: the lecture, "Three design patterns of RNNs" and "Design 1: Forward Calculation"; Goodfellow, Bengio and
Courville, "Deep Learning", 2016, section 10.2 and figures 10.3 to 10.5.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.cell import Cell
from ostinato.cells import Elman, OutputRecurrence, output_size
from ostinato.layers.feedback import Feedback, Share
from ostinato.layers.parts import Lengths, Tensors
from ostinato.recurrent import Recurrent


class HiddenToHidden(nn.Module):
    """Design 1, an output at each step and a recurrence between hidden units::

        a[t] = b + W h[t-1] + U x[t]
        h[t] = tanh(a[t])
        o[t] = c + V h[t]
        y_hat[t] = softmax(o[t])
        L = - sum over t of log y_hat[t][y[t]]

    The first two lines are ``cells.Elman``; any other cell may be in their place.

    Args:
        cell: what makes h: a cell, or a ``Recurrent`` of one.
        classes: K, the width of ``o``.

    Parameters: the cell's, ``V.weight [K, H]`` and its bias c, ``V.bias [K]``.

    >>> from ostinato import cells
    >>> design = HiddenToHidden(cells.Elman(3, 5), classes=4)
    >>> x, y = torch.ones(2, 7, 3), torch.zeros(2, 7, dtype=torch.long)
    >>> o, (h,) = design(x, lengths=[7, 4])
    >>> o.shape, probabilities(o).shape, log_loss(o, y, lengths=[7, 4]).shape
    (torch.Size([2, 7, 4]), torch.Size([2, 7, 4]), torch.Size([]))
    """

    def __init__(self, cell: Cell | Recurrent, classes: int) -> None:
        super().__init__()
        self.recurrent, self.V = _read_out(cell, classes)

    def forward(self, x: Tensors, initial: Tensors | None = None, lengths: Lengths | None = None,
                mask: Tensor | None = None, reset: Tensor | None = None, *,
                constants: Tensors = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs o ``[B, T, K]``, and the cell's final states; the arguments are those of ``Recurrent``."""
        h, states = self.recurrent(x, initial, lengths, mask, reset, constants=constants)  # [B, T, H]
        return self.V(h), states


class OutputToHidden(nn.Module):
    """Design 2, an output at each step and a recurrence from it to the hidden units::

        a[t] = b + W o[t-1] + U x[t]
        h[t] = tanh(a[t])
        o[t] = c + V h[t]
        y_hat[t] = softmax(o[t])
        L = - sum over t of log y_hat[t][y[t]]

    In training, the target stands in the place of ``o[t-1]`` (teacher forcing): ``y[t-1]``, one-hot. Then no step waits
    for the one before, and all run at once. At test time the output itself comes back. See ``layers.Feedback``.

    Args:
        input_size: N, the width of ``x``.
        hidden_size: H, the number of hidden units.
        classes: K, the width of ``o``.
        feedback: what training has in the place of ``o[t-1]``; as for ``Feedback``, "teacher" by default.
        seed: of scheduled sampling.

    >>> design = OutputToHidden(3, 5, classes=4)
    >>> x, y = torch.ones(2, 7, 3), torch.zeros(2, 7, dtype=torch.long)
    >>> design(x, y)[0].shape, design.feedback.explain().engine, design.eval()(x)[0].shape
    (torch.Size([2, 7, 4]), 'none', torch.Size([2, 7, 4]))
    """

    def __init__(self, input_size: int, hidden_size: int, classes: int, feedback: Share = "teacher",
                 seed: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.feedback = Feedback(OutputRecurrence(input_size, hidden_size, output_size=classes), feedback, seed=seed)

    def forward(self, x: Tensor, targets: Tensor | None = None, initial: Tensors | None = None,
                lengths: Lengths | None = None, mask: Tensor | None = None, reset: Tensor | None = None, *,
                feedback: Share | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs o ``[B, T, K]``, and the last of each sequence; ``targets`` are the classes y, ``[B, T]``. A
        target that is no class, at padding, is not looked at.

        Raises:
            ValueError: when the targets are not ``[B, T]``.
            TypeError: when they are no whole numbers.
        """
        if targets is not None:
            _check_classes(targets, x.shape[:2], "[B, T]")
            at = torch.arange(self.classes, device=targets.device)
            targets = (targets.unsqueeze(-1) == at).to(x.dtype)  # [B, T, K]
        return self.feedback(x, targets, initial, lengths, mask, reset, feedback=feedback)


class OneOutput(nn.Module):
    """Design 3, a recurrence between hidden units and one output, at the end of the sequence::

        a[t] = b + W h[t-1] + U x[t]
        h[t] = tanh(a[t])
        o = c + V h[tau]
        y_hat = softmax(o)
        L = - log y_hat[y]

    The first two lines are ``cells.Elman``; any other cell may be in their place: h is its first state. ``tau`` is each
    sequence's own last step.

    Args:
        cell: what makes h: a cell, or a ``Recurrent`` of one.
        classes: K, the width of ``o``.

    Parameters: the cell's, ``V.weight [K, H]`` and its bias c, ``V.bias [K]``.

    >>> from ostinato import cells
    >>> o, states = OneOutput(cells.GRU(3, 5), classes=4)(torch.ones(2, 7, 3), lengths=[7, 4])
    >>> o.shape
    torch.Size([2, 4])
    """

    def __init__(self, cell: Cell | Recurrent, classes: int) -> None:
        super().__init__()
        self.recurrent, self.V = _read_out(cell, classes)

    def forward(self, x: Tensors, initial: Tensors | None = None, lengths: Lengths | None = None,
                mask: Tensor | None = None, reset: Tensor | None = None, *,
                constants: Tensors = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output o ``[B, K]``, and the cell's final states; the arguments are those of ``Recurrent``."""
        _, states = self.recurrent(x, initial, lengths, mask, reset, constants=constants)
        deep = self.recurrent.cell.states[0].depth > 1
        return self.V(states[0][:, -1] if deep else states[0]), states  # [B, H] to [B, K]


def _read_out(cell: Cell | Recurrent, classes: int) -> tuple[Recurrent, nn.Linear]:
    """The recurrence, and ``V`` and ``c`` for its first state."""
    recurrent = cell if isinstance(cell, Recurrent) else Recurrent(cell)
    like = next(recurrent.parameters(), torch.empty(0))
    return recurrent, nn.Linear(output_size(recurrent.cell), classes, device=like.device, dtype=like.dtype)


def probabilities(o: Tensor) -> Tensor:
    """``y_hat = softmax(o)``: ``[..., K]``."""
    return torch.softmax(o, -1)


def log_loss(o: Tensor, y: Tensor, lengths: Lengths | None = None, reduction: str = "sum") -> Tensor:
    """The lecture's loss: ``L = sum over t of L[t] = - sum over t of log p(y[t] | x[1], ..., x[t])``.

    Args:
        o: unnormalised log-probabilities, ``[B, T, K]``, or ``[B, K]`` (design 3).
        y: the right class of each, ``[B, T]`` or ``[B]``.
        lengths: how many steps of each sequence count, ``[B]``; the rest adds nothing, whatever ``y`` is there.
        reduction: "sum" over steps and sequences (default), "mean" over all steps that count, or "none": each step's.

    Raises:
        ValueError: on shapes that do not fit, lengths for an output that has no steps, or an unknown reduction.
        TypeError: when y are no whole numbers.

    >>> log_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long), lengths=[3, 1]).item() / 4
    1.3862943649291992
    """
    _check_classes(y, o.shape[:-1], "as o without its last dimension")
    if reduction not in ("sum", "mean", "none"):
        raise ValueError(f"reduction must be sum, mean or none, got {reduction!r}")
    if lengths is None:
        return F.cross_entropy(o.movedim(-1, 1), y, reduction=reduction)
    if y.dim() != 2:
        raise ValueError(f"lengths count the steps of o [B, T, K], got o {list(o.shape)}")
    counts = torch.arange(y.shape[1], device=y.device) < torch.as_tensor(lengths, device=y.device).unsqueeze(1)
    return F.cross_entropy(o.movedim(-1, 1), y.masked_fill(~counts, IGNORED), reduction=reduction,
                           ignore_index=IGNORED)


IGNORED = -100


def _check_classes(y: Any, shape: Any, words: str) -> None:
    if not isinstance(y, Tensor) or y.is_floating_point() or y.dtype == torch.bool:
        raise TypeError(f"targets must be whole numbers, a tensor {list(shape)}, got "
                        f"{y.dtype if isinstance(y, Tensor) else type(y).__name__}")
    if y.shape != shape:
        raise ValueError(f"targets must be {words}, {list(shape)}, got {list(y.shape)}")


def lecture_parameters(design: HiddenToHidden | OutputToHidden | OneOutput) -> dict[str, Tensor]:
    """A design's parameters by the lecture's names: ``U [H, N]``, ``W [H, H]`` (``[H, K]`` in design 2), ``V [K, H]``,
    ``b [H]``, ``c [K]``.

    Raises:
        ValueError: when its cell is not the lecture's: an ``Elman`` with a tanh and a bias.
    """
    cell = design.feedback.recurrent.cell if isinstance(design, OutputToHidden) else design.recurrent.cell
    if not isinstance(cell, (Elman, OutputRecurrence)) or cell.nonlinearity != "tanh" or cell.W.bias is None:
        raise ValueError(f"the lecture's parameters are those of cells.Elman, this design has a {cell}")
    V = cell.V if isinstance(cell, OutputRecurrence) else design.V
    assert isinstance(V, nn.Linear)
    return {"U": cell.W.weight, "W": cell.U.weight, "V": V.weight, "b": cell.W.bias, "c": V.bias}
