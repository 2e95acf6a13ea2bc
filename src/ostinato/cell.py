"""A cell: one step of a recurrent network, its parameters and its states.

The classical form is ``s[t] = f(s[t-1], x[t]; theta)`` (the lecture, "Dynamical system driven by external signal"):
``f`` is :meth:`Cell.step`, ``theta`` are the module's parameters, and ``s`` are the states it declares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato import noise


class State(NamedTuple):
    """What :meth:`Cell.add_state` declares."""

    name: str
    shape: tuple[int, ...]
    delays: tuple[int, ...]
    initial: float | str
    """A number, or the path of a parameter or buffer of the cell, ``[*shape]``."""
    symbols: int | None = None
    """K, where its values are the numbers of symbols, 0 to K - 1."""

    @property
    def depth(self) -> int:
        """How many past values are kept: the longest delay."""
        return max(self.delays)

    def initial_shape(self, batch: int) -> tuple[int, ...]:
        """``[B, *shape]``, or ``[B, D, *shape]`` (oldest first) where the longest delay D is over one."""
        history = (self.depth,) if self.depth > 1 else ()
        return (batch, *history, *self.shape)


class Cell(nn.Module):
    """One step of a recurrent network. Subclass it, declare the states, write ``step``.

    ``step(x, ..., states, ..., constants, ...)`` receives the inputs of one time step, the states in the order
    declared (each once for every delay), then the per-sequence constants; every tensor is ``[B, ...]``. It returns
    the next states in the order declared, optionally followed by an output; without one, the output is the first
    state.

    >>> class Leaky(Cell):
    ...     "h[t] = (1 - 1/tau) h[t-1] + (1/tau) tanh(W x[t] + U h[t-1])"
    ...     def __init__(self, input_size, hidden_size, tau=10.0):
    ...         super().__init__()
    ...         self.W = nn.Linear(input_size, hidden_size)
    ...         self.U = nn.Linear(hidden_size, hidden_size, bias=False)
    ...         self.tau = tau
    ...         self.add_state("h", hidden_size)
    ...     def step(self, x, h):
    ...         return (1 - 1 / self.tau) * h + (1 / self.tau) * torch.tanh(self.W(x) + self.U(h))
    >>> Leaky(3, 4).states
    (State(name='h', shape=(4,), delays=(1,), initial=0.0, symbols=None),)
    """

    inputs: int = 1
    """How many inputs ``step`` takes before the states; a cell around this one asks."""
    recurrent: Sequence[str] = ("U",)
    """The parameters, or modules with parameters, that map a state: what recurrent dropout and weight dropout act on.
    A bias is none of them."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, State] = {}

    def add_state(
        self, name: str, size: int | Sequence[int], delays: Sequence[int] = (1,), initial: float | str = 0.0,
        symbols: int | None = None,
    ) -> None:  # fmt: skip
        """Declare something that changes over time.

        Args:
            name: how the state is called; unique in the cell.
            size: its feature size or shape, without the batch.
            delays: which past values ``step`` reads: ``(1,)`` the last one, ``(1, d)`` with a skip through time,
                ``(1, ..., D)`` for D output delays.
            initial: what the state is before the first step and after a reset: a number for every element, or the
                name (the path, with dots) of a parameter or buffer of the cell, of the state's shape.
            symbols: K, for a state whose values are the numbers of symbols, 0 to K - 1: a call refuses initial values
                and a teacher's values that are none of them. Default: any values.

        Raises:
            ValueError: on a name used twice, a size, a delay or a count of symbols below one, or a delay given twice.
        """
        if "_states" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}.__init__ must call super().__init__() before add_state()")
        shape = (size,) if isinstance(size, int) else tuple(int(n) for n in size)
        delays = tuple(int(d) for d in delays)
        if not name.isidentifier():
            raise ValueError(f"a state's name must be an identifier, got {name!r}")
        if name in self._states:
            raise ValueError(f"state {name!r} is declared twice in {type(self).__name__}")
        if any(n < 1 for n in shape):
            raise ValueError(f"state {name!r}: sizes must be at least 1, got {shape}")
        if not delays or min(delays) < 1 or len(set(delays)) != len(delays):
            raise ValueError(f"state {name!r}: delays must be different whole numbers from 1 up, got {delays}")
        if symbols is not None and symbols < 1:
            raise ValueError(f"state {name!r}: symbols must be at least 1, got {symbols}")
        first = initial if isinstance(initial, str) else float(initial)
        self._states[name] = State(name, shape, delays, first, symbols)

    def begin(self, name: str, initial: float | str) -> None:
        """Let a declared state begin with something else; ``initial`` as for :meth:`add_state`.

        Raises:
            KeyError: when no state has that name.
        """
        self._states[name] = self._states[name]._replace(initial=initial)

    @property
    def states(self) -> tuple[State, ...]:
        """The declared states, in order."""
        return tuple(self._states.values())

    def step(self, *args: Any) -> Any:
        """One time step; every cell writes its own."""
        raise TypeError(f"{type(self).__name__} has no step(): write one that returns the next states")

    def initial_states(
        self, batch: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> tuple[Tensor, ...]:
        """The states before the first step: ``[B, *shape]`` each, or ``[B, D, *shape]`` with a longest delay D > 1."""
        first = next((p for p in self.parameters() if p.is_floating_point()), None)
        if first is not None:
            dtype, device = dtype or first.dtype, device or first.device
        return tuple(self.initial_value(s, dtype, device).expand(s.initial_shape(batch)).clone() for s in self.states)

    def initial_value(
        self, state: State, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        """What one of its states begins with: a number ``[]``, or its parameter ``[*shape]``.

        Raises:
            ValueError: when there is no tensor of that name and the state's shape.
        """
        if not isinstance(state.initial, str):
            return torch.full((), state.initial, dtype=dtype, device=device)
        value: Any = self
        for part in state.initial.split("."):
            value = getattr(value, part, None)
        if not isinstance(value, Tensor) or tuple(value.shape) != state.shape:
            found = list(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ValueError(
                f"{type(self).__name__}: state {state.name!r} begins with {state.initial!r}, which must be a parameter "
                f"or buffer {list(state.shape)}, it is {found}"
            )
        return value.to(dtype=dtype or value.dtype, device=device or value.device)

    def draw(self, name: str, like: Tensor, p: float, each: str = "step") -> Tensor:
        """A random mask, for a step to use: bool, true with probability ``p``.

        :class:`ostinato.Recurrent` draws the masks of a call before it begins, shows them (``Recurrent.draw``) and
        takes them (``drawn=``); a step that is called by itself draws its own.

        Args:
            name: how the mask is called; asked for twice in a step, it is one and the same.
            like: a tensor of the mask's shape: ``[B, ...]``, or anything where ``each`` is ``"call"``.
            p: the probability of true.
            each: what it is drawn for: ``"step"``, anew at every step; ``"sequence"``, once for each sequence of a
                call, the same at all its steps; ``"call"``, once for all sequences (for a mask of a weight).

        Raises:
            ValueError: on a probability outside of [0, 1] or an unknown ``each``.
        """
        return noise.draw(self, name, like, p, each)

    def forward(self, *args: Any) -> Any:
        """Calling a cell is one step, as for torch.nn's cells."""
        return self.step(*args)

    def split_result(self, result: Any) -> tuple[tuple[Tensor, ...], Tensor]:
        """What ``step`` returned, as (next states, output).

        Raises:
            ValueError: when the count or a shape is not as declared.
        """
        values = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        states, name = self.states, type(self).__name__
        if not states:
            raise ValueError(f"{name} declares no state: call add_state() in __init__")
        if len(values) not in (len(states), len(states) + 1):
            raise ValueError(
                f"{name}.step must return {len(states)} next states ({', '.join(s.name for s in states)}) and at most "
                f"one output, it returned {len(values)} values"
            )
        for value in values:
            if not isinstance(value, Tensor):
                raise ValueError(f"{name}.step must return tensors, it returned a {type(value).__name__}")
        for state, value in zip(states, values, strict=False):
            if tuple(value.shape[1:]) != state.shape:
                raise ValueError(
                    f"{name}.step returned {tuple(value.shape)} for the next state {state.name!r}, "
                    f"expected [B, {', '.join(map(str, state.shape))}]"
                )
        return values[: len(states)], values[-1] if len(values) > len(states) else values[0]

    def extra_repr(self) -> str:
        return ", ".join(
            f"{s.name}{list(s.shape)}" + (f" delays={s.delays}" if s.delays != (1,) else "") for s in self.states
        )
