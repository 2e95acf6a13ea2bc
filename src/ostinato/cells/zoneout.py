"""Zoneout: units that keep their old value, at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ostinato.cell import Cell, State
from ostinato.cells.wrapper import Wrapper, check_probability, within


class Zoneout(Wrapper):
    """At every step each unit keeps its old value with probability p; in evaluation mode it takes the expectation::

        s~[t] = cell(x[t], s[t-1])
        d[t] ~ Bernoulli(p)                                         for each step and unit
        s[t] = d[t] s[t-1] + (1 - d[t]) s~[t]                       in training
        s[t] = p s[t-1] + (1 - p) s~[t]                             in evaluation

    Args:
        cell: any cell.
        p: the probability of keeping: one for all states, or by the states' names (those not named have 0), as in
            ``{"h": 0.05, "C": 0.5}``.

    Masks, true where the old value is kept: for each state one of its name, ``[B, *shape]`` at each step.

    Raises:
        TypeError: when ``cell`` is not a cell.
        ValueError: on a probability outside of [0, 1], or on a name that is no state.

    Source: Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations", ICLR 2017 (arXiv
    1606.01305), sections 3 and 3.3.

    >>> import torch
    >>> from ostinato import Recurrent, cells
    >>> rnn = Recurrent(cells.Zoneout(cells.LSTM(3, 5), p={"C": 0.5}))
    >>> {name: list(mask.shape) for name, mask in rnn.draw(torch.zeros(2, 7, 3)).items()}
    {'C': [2, 7, 5]}
    """

    p: tuple[float, ...]
    """For each state."""

    def __init__(self, cell: Cell, p: float | Mapping[str, float]) -> None:
        super().__init__(cell)
        names = [s.name for s in self.states]
        given = p if isinstance(p, Mapping) else dict.fromkeys(names, p)
        for name in given:
            if name not in names:
                raise ValueError(f"{type(cell).__name__} has no state {name!r}; it has {', '.join(names)}")
        self.p = tuple(check_probability(f"p of {name!r}", given.get(name, 0.0)) for name in names)

    def declare(self, states: Sequence[State]) -> None:
        """Have these states of the cell inside, each also as it was one step ago."""
        for s in states:
            delays = s.delays if 1 in s.delays else (1, *s.delays)
            self.add_state(s.name, s.shape, delays, within("cell", s.initial), s.symbols)

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        inputs, past, constants = self.split(args)
        own = [values[-len(s.delays) :] for s, values in zip(self.cell.states, past, strict=True)]
        new, output = self.inside(inputs, own, constants)
        zoned = [self._zoned(s.name, p, values[s.delays.index(1)], value)
                 for s, p, values, value in zip(self.states, self.p, past, new, strict=True)]
        return (*zoned, zoned[0] if output is new[0] else output)

    def _zoned(self, name: str, p: float, old: Tensor, new: Tensor) -> Tensor:
        if not p:
            return new
        return torch.where(self.draw(name, old, p), old, new) if self.training else p * old + (1 - p) * new

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={dict(zip((s.name for s in self.states), self.p, strict=True))}"
