"""Recurrence in two dimensions over images: each row is one run along its columns, fed with the row above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ostinato import cells
from ostinato.cell import Cell
from ostinato.cells.two_dimensional import Cell2d, LSTM2d, RowAbove
from ostinato.layers.images import Sizes, check_image, image_sizes
from ostinato.layers.parts import check_merge, merged, refuse
from ostinato.recurrent import Recurrent
from ostinato.recurrent.arguments import cell_dtype

CORNERS: dict[str, tuple[bool, bool]] = {
    "top-left": (False, False),
    "top-right": (False, True),
    "bottom-left": (True, False),
    "bottom-right": (True, True),
}
"""Where a direction starts: whether it goes up, and whether it goes left."""


class Recurrent2d(nn.Module):
    """Repeat a cell over the positions of a batch of images: each sees the neighbours it comes from::

        s[i,j] = f(x[i,j], s[i-1,j], s[i,j-1]; theta)      i = 1 .. H, j = 1 .. W; from the top left

    A row is one batched run of :class:`~ostinato.Recurrent` over its columns, of which the row above is an input; so
    there is no Python for a position, and the products with ``x`` and with the row above are one for a whole row. From
    another corner the image is read backwards: "above" is then the row that was read before, "left" the column.

    Args:
        parts: one cell for each direction, with weights of its own. A :class:`~ostinato.cells.Cell2d` (such as
            :class:`~ostinato.cells.LSTM2d`) gets the states of both neighbours; any other cell gets the first state of
            the one above as a part of its input (:class:`~ostinato.cells.RowAbove`), so it is built for inputs of width
            N + H.
        directions: for each of them the corner it starts from; default: the first of "top-left", "top-right",
            "bottom-left", "bottom-right".
        merge: ``"concat"`` (default; features side by side), ``"sum"``, ``"average"``, ``"mul"``, or None for a tuple.

    Raises:
        ValueError: no parts, more than there are directions, unknown or repeated directions, an unknown merge, or one
            cell given twice.
        TypeError: a part that is no cell.

    Source: Graves, Fernández and Schmidhuber, "Multi-Dimensional Recurrent Neural Networks", ICANN 2007; four
    directions: Graves and Schmidhuber, "Offline Handwriting Recognition with Multidimensional Recurrent Neural
    Networks", NIPS 2008.

    >>> layer = Recurrent2d([cells.GRU(3 + 5, 5), cells.LSTM2d(3, 5)], directions=("top-left", "bottom-right"))
    >>> output, ((h,), (h2, C2)) = layer(torch.ones(2, 4, 6, 3), lengths=torch.tensor([[4, 6], [2, 5]]))
    >>> output.shape, h.shape
    (torch.Size([2, 4, 6, 10]), torch.Size([2, 5]))
    """

    batch_first = True

    def __init__(
        self, parts: Sequence[Cell], directions: Sequence[str] | None = None, merge: str | None = "concat"
    ) -> None:
        super().__init__()
        corners = tuple(CORNERS)[: len(parts)] if directions is None else tuple(directions)
        _check_directions(parts, corners)
        in_two = [_in_two(part) for part in parts]
        recurrents = [Recurrent(part, batch_first=False, reverse=CORNERS[corner][1])
                      for part, corner in zip(in_two, corners, strict=True)]  # fmt: skip
        self._put_together(recurrents, corners, merge, [[s.name for s in part.above] for part in in_two])

    def _put_together(self, parts: Sequence[Recurrent], directions: Sequence[str], merge: str | None,
                      above: Sequence[Sequence[str]]) -> None:  # fmt: skip
        self.directions, self.merge = tuple(directions), check_merge(merge)
        self.above = [list(names) for names in above]  # for each direction, the states of the row above that it reads
        self.parts = nn.ModuleList(parts)

    @classmethod
    def of(cls, parts: Sequence[Recurrent], directions: Sequence[str], merge: str | None,
           above: Sequence[Sequence[str]]) -> Recurrent2d:  # fmt: skip
        """The layer of recurrences over a row that exist already, such as those of a file.

        Args:
            above: for each of them, the names of the states of the row above that are its inputs after ``x``.
        """
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._put_together(parts, directions, merge, above)
        return layer

    @classmethod
    def create(
        cls,
        name: str,
        input_size: int,
        hidden_size: int,
        *,
        directions: Sequence[str] = tuple(CORNERS),
        merge: str | None = "concat",
        **options: Any,
    ) -> Recurrent2d:
        """The layer with the same kind of cell in every direction.

        Args:
            name: "lstm2d", or a name of :func:`ostinato.cells.names`.
            input_size: N, the width of ``x[i,j]``.
            hidden_size: the width of a cell's hidden units.
            directions, merge: as above; by default all four directions, side by side.
            options: the cell's own.

        >>> Recurrent2d.create("gru", 3, 5, merge="sum")(torch.ones(2, 4, 6, 3))[0].shape
        torch.Size([2, 4, 6, 5])
        """
        if name == "lstm2d":
            return cls([LSTM2d(input_size, hidden_size, **options) for _ in directions], directions, merge)
        with torch.device("meta"):
            width = cells.output_size(cells.create(name, 1, hidden_size, **options))
        made = [cells.create(name, input_size + width, hidden_size, **options) for _ in directions]
        return cls(made, directions, merge)

    def forward(
        self, x: Tensor, initial: None = None, lengths: Sizes | None = None, mask: None = None, reset: None = None
    ) -> tuple[Any, tuple[tuple[Tensor, ...], ...]]:
        """Run all directions.

        Args:
            x: ``[B, H, W, N]``.
            lengths: ``[B, 2]``, the height and the width of each image; what lies below or on the right is padding.
            initial, mask, reset: not supported; they are here because :class:`Stack` hands on what it is given.

        Returns:
            (outputs ``[B, H, W, ...]``, zero at padding; for each direction the states where it ends, in the corner
            opposite to its own, ``[B, *shape]`` each: the summary of the whole image).

        Raises:
            ValueError, TypeError: naming the argument, what was expected and what came.
        """
        refuse("Recurrent2d", initial=initial, mask=mask, reset=reset)
        check_image(x)
        sizes = None if lengths is None else image_sizes(lengths, x).cpu()
        rows = x.permute(1, 2, 0, 3).contiguous()  # [H, W, B, N]
        outputs, finals = [], []
        for part, corner, names in zip(self.parts, self.directions, self.above, strict=True):
            assert isinstance(part, Recurrent)
            output, final = _sweep(part, names, rows, sizes, up=CORNERS[corner][0])
            outputs.append(output.permute(2, 0, 1, *range(3, output.dim())))  # [B, H, W, ...]
            finals.append(final)
        return merged(self.merge, outputs), tuple(finals)

    def extra_repr(self) -> str:
        return f"directions={self.directions}, merge={self.merge!r}"


def _in_two(part: Cell) -> Cell2d:
    return part if isinstance(part, Cell2d) else RowAbove(part)


def _check_directions(parts: Sequence[Cell], corners: tuple[str, ...]) -> None:
    if not parts:
        raise ValueError("Recurrent2d needs at least one cell")
    if len(parts) != len(corners):
        raise ValueError(f"expected a direction for each of {len(parts)} cells, got {len(corners)}")
    for corner in corners:
        if corner not in CORNERS:
            raise ValueError(f"directions must be among {', '.join(CORNERS)}, got {corner!r}")
    if len(set(corners)) != len(corners):
        raise ValueError(f"directions must differ, got {corners}")
    if len({id(part) for part in parts}) != len(parts):
        raise ValueError("the directions must have a cell each: each has its own weights")


def _sweep(part: Recurrent, names: Sequence[str], rows: Tensor, sizes: Tensor | None,
           up: bool) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """One direction over ``rows [H, W, B, N]``: outputs ``[H, W, B, ...]``, and the states where it ends."""
    cell = part.cell
    known = {s.name: s for s in cell.states}
    read = [known[name] for name in names]
    width, batch = rows.shape[1:3]
    dtype = cell_dtype(cell, [rows])
    starts = [cell.initial_value(s, dtype, rows.device) for s in read]
    above = [start.expand(width, batch, *s.shape) for s, start in zip(read, starts, strict=True)]
    finals = part.initial_states(batch)
    outputs = []
    for i, lengths, live in _order(len(rows), sizes, up):
        output, ends, states = part([rows[i], *above], lengths=lengths, return_all_states=True)
        outputs.append(output)
        above = [states[name] for name in names]
        finals = ends if live is None else _where(live, ends, finals)
        if live is not None:  # padding is zero, but a row that has nothing above it reads the initial values
            above = [v if s.initial == 0 else v.where(live.view(1, -1, *[1] * len(s.shape)), start)
                     for s, v, start in zip(read, above, starts, strict=True)]
    return torch.stack(outputs[::-1] if up else outputs), finals


def _order(height: int, sizes: Tensor | None, up: bool) -> Iterator[tuple[int, Tensor | None, Tensor | None]]:
    """The rows in turn: the number of each, how many of its columns count, and in which images it does: ``[B]``."""
    for i in range(height)[::-1] if up else range(height):
        if sizes is None:
            yield i, None, None
        else:
            heights, widths = sizes.unbind(1)
            yield i, widths * (i < heights), i < heights


def _where(live: Tensor, new: Sequence[Tensor], old: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The new states of the images ``live [B]``, the old ones of the others."""
    return tuple(torch.where(live.to(n.device).view(-1, *[1] * (n.dim() - 1)), n, o)
                 for n, o in zip(new, old, strict=True))
