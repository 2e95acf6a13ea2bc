"""Notice that a cell has changed, without reading all of it at every call."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from operator import is_, itemgetter
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.program.trace import tensors_of


def fingerprint(cell: nn.Module) -> tuple[tuple, tuple]:
    """What a step's Python may read besides its arguments: the modes of the modules; and their kinds, numbers,
    functions and plain tensors, the shapes of the parameters and which of them are one and the same.

    A change of these makes a new program; a change of a parameter's values does not.
    """
    first: dict[int, str] = {}
    tensors = tuple((name, first.setdefault(id(value), name), tuple(value.shape))
                    for _, _, name, value in tensors_of(cell))
    modules = list(cell.modules())
    kinds = tuple((type(module), *[(key, _told(value)) for key, value in module.__dict__.items()
                                   if isinstance(value, READ) and key != "training"]) for module in modules)
    return tuple(module.training for module in modules), (kinds, tensors)


READ = (int, float, str, tuple, list, Tensor, FunctionType, BuiltinFunctionType, type(None))


def _told(value: Any) -> Any:
    """A value as something that can be compared with a later one."""
    if isinstance(value, Tensor):
        return id(value), None if value.is_inference() else value._version
    if isinstance(value, (tuple, list)):
        return type(value), *map(_told, value)
    return value if isinstance(value, READ) else type(value)


OWN = set(nn.Module().__dict__) - {"training"}
"""The attributes that every module has for itself."""


class Watch:
    """A cell as it is now. While :meth:`unchanged` says so, :func:`fingerprint` gives the same.

    Whatever is no tensor is kept, so that nothing new can be taken for it; no tensor is kept alive.
    """

    def __init__(self, cell: nn.Module) -> None:
        self.modules = list(cell.modules())
        self.kinds = list(map(type, self.modules))
        self.tables: list[tuple[dict[str, Any], int, Callable[[dict[str, Any]], Any], list[Any]]] = []
        self.tensors: list[tuple[dict[str, Any], str, int, torch.Size]] = []
        self.loose: list[tuple[Any, Any]] = []
        for module in self.modules:
            self._add(module.__dict__, [key for key in module.__dict__ if key not in OWN])
            for table in (module._parameters, module._buffers, module._modules):
                self._add(table, list(table))

    def _add(self, table: dict[str, Any], keys: list[str]) -> None:
        plain = []
        for key in keys:
            value = table[key]
            if isinstance(value, Tensor):
                self.tensors.append((table, key, id(value), value.shape))
            else:
                plain.append(key)
            if isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and "_parameters" in table):
                self.loose.append((weakref.ref(value) if isinstance(value, Tensor) else (lambda value=value: value),
                                   _told(value)))
        get = itemgetter(*plain, *plain[:1], *plain[:1]) if plain else lambda table: ()
        self.tables.append((table, len(table), get, list(get(table))))

    def unchanged(self, cell: nn.Module) -> bool:
        """Whether it is the same cell, no attribute, module, parameter or buffer was replaced, and no list or plain
        tensor changed."""
        if cell is not self.modules[0] or list(map(type, self.modules)) != self.kinds:
            return False
        for table, count, get, values in self.tables:
            if len(table) != count:
                return False
            try:
                if not all(map(is_, get(table), values)):
                    return False
            except KeyError:
                return False
        for table, key, identity, shape in self.tensors:
            value = table.get(key)
            if value is None or id(value) != identity or value.shape != shape:
                return False
        return all(_told(find()) == told for find, told in self.loose)
