"""What the rules share."""

from __future__ import annotations

from collections.abc import Callable

from ostinato.program.ir import Ref

Rule = Callable[..., "Ref | list[Ref | None]"]


def expanded(ref: Ref, shape: tuple[int, ...]) -> Ref:
    """A node with its last dimensions repeated to that shape."""
    if ref.node.op != "const" and len(ref.shape) < len(shape):
        ref = ref.reshape(shape=(1,) * (len(shape) - len(ref.shape)) + ref.shape)
    return ref if ref.shape == shape else ref.expand(shape=shape)
