"""Images as sequences in two directions: their sizes, patches, and rows and columns read in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.cells.arguments import check_sizes
from ostinato.layers.parts import as_layer, refuse

Sizes = Tensor | Sequence[Sequence[int]]
"""The height and the width of each image: ``[B, 2]``."""


def check_image(x: Tensor) -> None:
    """Raise a ValueError unless ``x`` is ``[B, H, W, N]`` with at least one row and one column."""
    if x.dim() != 4 or 0 in x.shape[1:3]:
        raise ValueError(f"x must be [B, H, W, N] with at least one row and one column, got {list(x.shape)}")


def image_sizes(lengths: Sizes, x: Tensor) -> Tensor:
    """The sizes of the images ``x [B, H, W, N]`` as a tensor ``[B, 2]`` on their device.

    Raises:
        TypeError: when they are not whole numbers.
        ValueError: when they are not a height and a width for each image, or are larger than it.
    """
    sizes = torch.as_tensor(lengths, device=x.device)
    if sizes.is_floating_point() or sizes.dtype == torch.bool:
        raise TypeError(f"lengths must be whole numbers, got {sizes.dtype}")
    if list(sizes.shape) != [x.shape[0], 2]:
        raise ValueError(f"lengths must be the height and the width of each image, {[x.shape[0], 2]}, got "
                         f"{list(sizes.shape)}")
    wrong = ((sizes < 0) | (sizes > torch.tensor(x.shape[1:3], device=x.device))).any(1).nonzero()
    if len(wrong):
        raise ValueError(f"lengths must lie between 0 and the height and width {list(x.shape[1:3])}, image "
                         f"{int(wrong[0])} has {sizes[int(wrong[0])].tolist()}")
    return sizes


class Patches(nn.Module):
    """Cut images into patches that do not overlap, each of which becomes one position: ``[B, H, W, N]`` to
    ``[B, ceil(H / h), ceil(W / w), h * w * N]``, row after row of the patch. What a patch lacks at the edges is zero.

    Args:
        height, width: h and w; the width is by default the height.

    Raises:
        ValueError: on a size below 1.

    >>> small, _ = Patches(2)(torch.arange(12.0).view(1, 3, 4, 1))
    >>> small[0, 0, 1], small[0, 1, 1]
    (tensor([2., 3., 6., 7.]), tensor([10., 11.,  0.,  0.]))
    """

    batch_first = True

    def __init__(self, height: int, width: int | None = None) -> None:
        super().__init__()
        self.height, self.width = height, height if width is None else width
        check_sizes(height=self.height, width=self.width)

    def forward(
        self, x: Tensor, initial: None = None, lengths: Sizes | None = None, mask: None = None, reset: None = None
    ) -> tuple[Tensor, tuple[()]]:
        """The patches, and no states; ``lengths [B, 2]`` as for :class:`Recurrent2d`: padding counts as zero.

        Raises:
            ValueError, TypeError: naming the argument, what was expected and what came.
        """
        refuse("Patches", initial=initial, mask=mask, reset=reset)
        check_image(x)
        if lengths is not None:
            x = x.masked_fill(~live_positions(image_sizes(lengths, x), x).unsqueeze(-1), 0)
        high, wide = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -wide % self.width, 0, -high % self.height))
        x = x.unflatten(2, (-1, self.width)).unflatten(1, (-1, self.height))  # [B, H', h, W', w, N]
        return x.transpose(2, 3).flatten(3), ()

    def output_lengths(self, lengths: Sizes) -> Tensor:
        """How many patches images of these heights and widths have: ``[B, 2]``."""
        size = torch.tensor([self.height, self.width])
        lengths = torch.as_tensor(lengths)
        return (lengths + size.to(lengths) - 1) // size.to(lengths)

    def extra_repr(self) -> str:
        return f"height={self.height}, width={self.width}"


def live_positions(sizes: Tensor, x: Tensor) -> Tensor:
    """Bool ``[B, H, W]``, true where images ``x [B, H, W, N]`` of these sizes ``[B, 2]`` are not padded."""
    high = torch.arange(x.shape[1], device=x.device) < sizes[:, :1]  # [B, H]
    wide = torch.arange(x.shape[2], device=x.device) < sizes[:, 1:]  # [B, W]
    return high.unsqueeze(2) & wide.unsqueeze(1)


class ReNet(nn.Module):
    """Rows, then columns: one layer reads every row by itself, another every column of what the first put out.

    With ``Bidirectional`` layers every output has seen the whole image. All rows are one batch, and then all columns,
    so that it costs two calls; in exchange no state goes around a corner, as it does in :class:`Recurrent2d`.

    Args:
        across: what reads the rows: a cell, a ``Recurrent`` or a layer made of them.
        down: the same for the columns; its inputs are the outputs of ``across``.

    Raises:
        TypeError, ValueError: a part that is no layer, or has ``batch_first=False``.

    Source: Visin, Kastner, Cho, Matteucci, Courville and Bengio, "ReNet: A Recurrent Neural Network Based Alternative
    to Convolutional Networks", 2015 (arXiv 1505.00393); there :class:`Patches` come first, and columns before rows.

    >>> from ostinato import cells
    >>> from ostinato.layers import Bidirectional
    >>> across = Bidirectional(cells.GRU(3, 5), cells.GRU(3, 5))
    >>> layer = ReNet(across, Bidirectional(cells.GRU(10, 5), cells.GRU(10, 5), "sum"))
    >>> layer(torch.ones(2, 4, 6, 3), lengths=torch.tensor([[4, 6], [2, 5]]))[0].shape
    torch.Size([2, 4, 6, 5])
    """

    batch_first = True

    def __init__(self, across: nn.Module, down: nn.Module) -> None:
        super().__init__()
        self.across, self.down = as_layer(across, True), as_layer(down, True)

    def forward(
        self, x: Tensor, initial: None = None, lengths: Sizes | None = None, mask: None = None, reset: None = None
    ) -> tuple[Tensor, tuple[Any, Any]]:
        """Run both layers.

        Args:
            x: ``[B, H, W, N]``.
            lengths: ``[B, 2]``, the height and the width of each image; what lies below or on the right is padding.
            initial, mask, reset: not supported; they are here because :class:`Stack` hands on what it is given.

        Returns:
            (outputs ``[B, H, W, ...]``, zero at padding; final states of ``across``, whose batch is all rows, and of
            ``down``, whose batch is all columns: B * H and B * W).

        Raises:
            ValueError, TypeError: naming the argument, what was expected and what came.
        """
        refuse("ReNet", initial=initial, mask=mask, reset=reset)
        check_image(x)
        sizes = None if lengths is None else image_sizes(lengths, x)
        output, rows = _each_row(self.across, x, sizes)
        output, columns = _each_row(self.down, output.transpose(1, 2), None if sizes is None else sizes.flip(1))
        return output.transpose(1, 2), (rows, columns)


def _each_row(layer: nn.Module, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Any]:
    """A layer over all rows of images ``x [B, H, W, N]`` as one batch: outputs ``[B, H, W, ...]`` and final states."""
    lengths = None if sizes is None else live_positions(sizes, x).sum(2).flatten()  # [B * H]
    output, states = layer(x.flatten(0, 1), lengths=lengths)
    return output.unflatten(0, x.shape[:2]), states
