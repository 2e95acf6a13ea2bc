"""Masks before every product by certain weights, whatever the step around them looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

PRODUCTS = {"linear", "matmul", "__matmul__", "mm", "conv1d", "conv2d", "conv3d"}
"""Functions of an operand and a weight."""
SCALED = {"mul", "__mul__", "__rmul__", "multiply"}
"""Products with an operand ``[B, ...]`` on either side, if the weight is without a batch."""


class MaskedProducts(TorchFunctionMode):
    """While it is active, the operand of every product by one of the weights is replaced.

    Weights are followed through views and through operations that leave their shape; a product by a part of a weight,
    or by a weight that was dropped or normalised, is a product by the weight.

    Args:
        weights: by name.
        replace: gives, for a weight's name and the operand ``[B, ...]``, what takes the operand's place.
    """

    def __init__(self, weights: Mapping[str, Tensor], replace: Callable[[str, Tensor], Tensor]) -> None:
        super().__init__()
        self.replace = replace
        self.names = {id(w): name for name, w in weights.items()}
        self.alive: list[Tensor] = list(weights.values())  # so that no other tensor gets one's id
        self.unused = set(weights)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        found = [a for a in args if isinstance(a, Tensor)]
        weights = [a for a in found if id(a) in self.names]
        if not weights:
            return func(*args, **kwargs)
        weight, others = weights[0], [a for a in found if id(a) not in self.names]
        if name in PRODUCTS and len(args) > 1 and args[1] is weight and others:
            return func(self._masked(weight, args[0]), *args[1:], **kwargs)
        if name in SCALED and others and others[0].dim() > weight.dim():
            operand = self._masked(weight, others[0])
            return func(*[operand if a is others[0] else a for a in args], **kwargs)
        result = func(*args, **kwargs)
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, Tensor):
                if others and value.shape != weight.shape:
                    raise ValueError(f"recurrent dropout does not know what {name} does with {self.names[id(weight)]}: "
                                     "map the state by a linear map, a matrix product or a convolution")
                self.names[id(value)] = self.names[id(weight)]
                self.alive.append(value)
        return result

    def _masked(self, weight: Tensor, operand: Tensor) -> Tensor:
        name = self.names[id(weight)]
        self.unused.discard(name)
        return self.replace(name, operand)
