"""Watch one call of ``step``: the list of tensor operations it performs.

The step is called with :class:`TraceTensor` in place of every tensor. Each operation arrives as an ATen operation with
real values behind it, is carried out, and is written down. Operations that change a tensor in place are written down as
what they amount to without doing so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ostinato.noise import Draw
from ostinato.program.direct import DIRECT
from ostinato.program.source import CannotTrace, refuse_custom_function, user_line

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Var:
    """A value of the recording."""

    index: int


@dataclass(slots=True)
class Entry:
    """One operation: its name, arguments (values as :class:`Var`), results and the user's line."""

    op: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outs: tuple[Var, ...]
    source: str
    stopped: bool
    old: Var | None = None
    """Where a value is changed in place: the one before, whose derivative it keeps if it is stopped."""


class Root:
    """What several views share: the recorded value of the whole."""

    __slots__ = ("fixed", "shape", "var", "version")

    def __init__(self, var: Var, shape: Sequence[int], fixed: str = "") -> None:
        self.var, self.shape, self.version, self.fixed = var, tuple(shape), 0, fixed


class Recorder:
    """The list of operations, the values' shapes and dtypes, and what each leaf is."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.shapes: list[tuple[int, ...]] = []
        self.dtypes: list[torch.dtype] = []
        self.leaves: dict[int, tuple[str, str]] = {}
        self.constants: dict[int, Tensor] = {}
        self.stored: dict[str, Var] = {}  # what the step left in attributes of the cell
        self.asked: dict[str, Draw] = {}  # the masks, by name
        self.draws = False  # whether an operation on the step's arguments draws random numbers
        self._constant_vars: dict[tuple[int, int], Var] = {}
        self._alive: list[Tensor] = []  # so that no other tensor gets one's id

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Var:
        self.shapes.append(tuple(shape))
        self.dtypes.append(dtype)
        return Var(len(self.shapes) - 1)

    def leaf(self, value: Tensor, kind: str, name: str) -> TraceTensor:
        """A tensor given to the step from outside."""
        var = self.new(value.shape, value.dtype)
        self.leaves[var.index] = (kind, name)
        fixed = f"{name!r}, a parameter or a buffer" if kind == "p" else ""
        return TraceTensor(value, self, Root(var, value.shape, fixed), (), var)

    def constant(self, value: Tensor) -> Var:
        """A plain tensor that the step met: a constant of the program, as it is now."""
        if value.requires_grad:
            raise CannotTrace("the step uses a tensor with a gradient that is neither an argument nor a parameter of "
                              "the cell; register it as a parameter", user_line())
        key = id(value), 0 if value.is_inference() else value._version
        if key not in self._constant_vars:
            self._alive.append(value)
            self._constant_vars[key] = self.new(value.shape, value.dtype)
            self.constants[self._constant_vars[key].index] = value.detach().clone()
        return self._constant_vars[key]

    def write(self, op: str, args: Sequence[Any], kwargs: dict[str, Any], outs: Sequence[Var],
              stopped: bool | None = None, old: Var | None = None) -> None:
        stopped = not torch.is_grad_enabled() if stopped is None else stopped
        self.entries.append(Entry(op, tuple(args), kwargs, tuple(outs), user_line(), stopped, old))

    def current(self, tensor: TraceTensor) -> Var:
        """The tensor's present value, after what was done in place to it or to what it is a view of."""
        if tensor.version != tensor.root.version:
            tensor.now = self.replay(tensor.root, tensor.path)[-1]
            tensor.version = tensor.root.version
        return tensor.now

    def replay(self, root: Root, path: Sequence[View]) -> list[Var]:
        """The values along a chain of views, from the whole to the part."""
        values = [root.var]
        for view in path:
            outs = [self.new(shape, view.dtype) for shape in view.shapes]
            self.write(view.op, [values[-1], *view.args], view.kwargs, outs, view.stopped)
            values.append(outs[view.index])
        return values

    def call(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Carry out one operation and write it down."""
        name = str(func)
        if func in _DECISIONS:
            raise CannotTrace("the step takes a number out of a tensor (a Python decision on values)", user_line())
        refuse_custom_function()
        self.draws |= torch.Tag.nondeterministic_seeded in func.tags
        if func._schema.is_mutable:
            return self._in_place(func, args, kwargs)
        noted = [self._note(a) for a in args], {k: self._note(v) for k, v in kwargs.items()}
        result = func(*map(_value, args), **{k: _value(v) for k, v in kwargs.items()})
        if result is None:
            return None  # a check of torch's
        results = [result] if isinstance(result, Tensor) else list(result)
        outs = [self.new(r.shape, r.dtype) for r in results]
        self.write(name, *noted, outs)
        made = [self._wrap(func, name, args, noted, results, i, outs) for i in range(len(results))]
        return made[0] if isinstance(result, Tensor) else tuple(made) if isinstance(result, tuple) else made

    def _wrap(self, func: Any, name: str, args: Sequence[Any], noted: Any, results: list[Tensor], i: int,
              outs: list[Var]) -> TraceTensor:
        source = args[0] if args else None
        if not (isinstance(source, TraceTensor) and func._schema.returns[0].alias_info is not None):
            return TraceTensor(results[i], self, Root(outs[i], results[i].shape), (), outs[i])
        shapes = tuple(tuple(r.shape) for r in results)
        view = View(name, tuple(noted[0][1:]), noted[1], shapes, results[i].dtype, i, not torch.is_grad_enabled())
        return TraceTensor(results[i], self, source.root, (*source.path, view), outs[i])

    def _in_place(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        target, short = args[0], func._schema.name.split("::")[1]
        if not isinstance(target, TraceTensor):
            raise CannotTrace(f"{short} writes into a tensor made without the step's inputs; make it from them, "
                              "for example with torch.zeros_like", user_line())
        if not short.endswith("_"):
            raise CannotTrace(f"{short} writes into a given tensor (out=); use what it returns", user_line())
        if target.root.fixed:
            raise CannotTrace(f"{short} changes {target.root.fixed}; what changes over time must be a declared state",
                              user_line())
        noted = [self._note(a) for a in args], {k: self._note(v) for k, v in kwargs.items()}
        func(*map(_value, args), **{k: _value(v) for k, v in kwargs.items()})
        out = self.new(target.value.shape, target.value.dtype)
        old = None if target.path else target.root.var
        self.write(f"aten.{short[:-1]}.{func._overloadname}", *noted, [out], old=old)
        self._write_back(target, out)
        return target

    def _write_back(self, target: TraceTensor, new: Var) -> None:
        """Put the changed part back into the whole, view by view."""
        chain = self.replay(target.root, target.path[:-1]) if target.path else []
        for view, base in zip(reversed(target.path), reversed(chain), strict=True):
            out = self.new(self.shapes[base.index], view.dtype)
            last = base == target.root.var
            self.write(*view.scatter(base, new, self.shapes[base.index]), [out], old=base if last else None)
            new = out
        target.root.var = new
        target.root.version += 1

    def _note(self, value: Any) -> Any:
        if isinstance(value, TraceTensor):
            return self.current(value)
        if isinstance(value, Tensor):
            return self.constant(value)
        if isinstance(value, (list, tuple)):
            return [self._note(v) for v in value]
        return value


@dataclass(frozen=True, slots=True)
class View:
    """One step from a whole to a part, and how to write the part back."""

    op: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype
    index: int
    stopped: bool

    def scatter(self, base: Var, new: Var, shape: tuple[int, ...]) -> tuple[str, list[Any], dict[str, Any]]:
        """The operation that gives ``base`` with this part replaced by ``new``."""
        name = self.op.split(".")[1]
        if name in ("slice", "select"):
            return f"aten.{name}_scatter.default", [base, new, *self.args], {}
        if name in ("view", "_unsafe_view", "unsqueeze", "squeeze", "alias"):
            return "aten.view.default", [new, list(shape)], {}
        if name in ("t", "transpose"):
            return self.op, [new, *self.args], {}
        if name == "permute":
            rank = len(shape)
            dims = [d % rank for d in self.args[0]]
            return self.op, [new, sorted(range(rank), key=dims.__getitem__)], {}
        raise CannotTrace(f"changing a tensor in place through {name}", user_line())


class TraceTensor(Tensor):
    """A tensor that writes down what is done to it."""

    value: Tensor
    recorder: Recorder
    root: Root
    path: tuple[View, ...]
    now: Var  # not ``var``: that is the variance, a method of every tensor
    version: int

    @staticmethod
    def __new__(cls, value: Tensor, recorder: Recorder, root: Root, path: tuple[View, ...], now: Var) -> TraceTensor:
        self = Tensor._make_wrapper_subclass(
            cls, value.shape, strides=value.stride(), dtype=value.dtype, device=value.device
        )
        self.value, self.recorder, self.root, self.path, self.now = value, recorder, root, path, now
        self.version = root.version
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not all([issubclass(kind, Tensor) for kind in types]):
            return NotImplemented  # it stands for a tensor, as Keras's variables do, and says itself for which
        direct, kwargs = DIRECT.get(func), kwargs or {}
        result = direct(_recorder(args, kwargs).call, *args, **kwargs) if direct else NotImplemented
        if result is NotImplemented:
            return super().__torch_function__(func, types, args, kwargs)
        return result

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _recorder(args, kwargs or {}).call(func, args, kwargs or {})


_DECISIONS = {aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default, aten.nonzero.default}


def _recorder(*values: Any) -> Recorder:
    """The recorder behind the first TraceTensor among the arguments."""
    for value in values:
        if isinstance(value, TraceTensor):
            return value.recorder
        if isinstance(value, (list, tuple, dict)):
            try:
                return _recorder(*(value.values() if isinstance(value, dict) else value))
            except LookupError:
                continue
    raise LookupError("no traced tensor among the arguments")


def _value(value: Any) -> Any:
    if isinstance(value, TraceTensor):
        return value.value
    return [_value(v) for v in value] if isinstance(value, (list, tuple)) else value
