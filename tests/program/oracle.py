"""What the tests of programs compare with: the plain loop over a cell's own step, under torch's autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from close import assert_close
from torch import Tensor, nn

from ostinato import Cell, Recurrent
from ostinato.engines import eager
from ostinato.program import InputSpec, Program, Signature, trace

SIZES = ((3, 2), (1, 1))
"""(T, B) of the comparisons: neither batch is one of those that a step is traced with."""


class Written(Cell):
    """A cell whose step is a function of the cell and the step's arguments; parameters are given by their shapes."""

    def __init__(self, function: Callable[..., Any], states: Mapping[str, Any], shapes: Mapping[str, Sequence[int]],
                 parts: Mapping[str, nn.Module | Tensor | int | float] | None = None) -> None:
        super().__init__()
        self.function = function
        for name, state in states.items():
            self.add_state(name, **(state if isinstance(state, dict) else {"size": state}))
        for i, (name, shape) in enumerate(shapes.items()):
            value = torch.randn(*shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
            self.register_parameter(name, nn.Parameter(0.5 * value))
        for name, part in (parts or {}).items():
            setattr(self, name, part)
        self.double()

    def step(self, *args: Tensor) -> Any:
        return self.function(self, *args)


def written(function: Callable[..., Any], hidden: int = 4, **parts: Any) -> Written:
    """A cell with one state ``h`` and the parameters ``W`` [3, H], ``U`` [H, H], ``v`` [H]; its input is [B, 3]."""
    shapes = {"W": (3, hidden), "U": (hidden, hidden), "v": (hidden,)}
    return Written(function, {"h": hidden}, shapes, parts)


def program_of(cell: Cell, *inputs: Sequence[int], constants: Sequence[Sequence[int]] = ()) -> Program:
    """The program of a cell for float64 inputs of these feature shapes (if none is given, one of [3], or images of the
    cell's grid)."""
    specs = [tuple(InputSpec(tuple(shape), torch.float64) for shape in shapes)
             for shapes in (inputs or ((3, *getattr(cell, "grid", ())),), constants)]
    return trace(cell, Signature(specs[0], specs[1], torch.float64, torch.device("cpu")))


def drawn(shape: Sequence[int], seed: int = 0, scale: float = 0.8) -> Tensor:
    """Random values, the same at every call."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return scale * (2 * torch.rand(tuple(shape), generator=generator, dtype=torch.float64) - 1)


def leaves(cell: Cell, steps: int, batch: int, features: Sequence[Any], constants: Sequence[Sequence[int]] = (),
           scale: float = 0.8) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Inputs [B, T, ...] (a tensor among ``features`` stands for integers: its values are repeated), initial states
    and constants, all of which take gradients."""
    xs = []
    for i, feature in enumerate(features):
        if isinstance(feature, Tensor):
            count = batch * steps
            xs.append(feature.repeat(-(-count // feature.shape[0]), *[1] * (feature.dim() - 1))[:count].unflatten(
                0, (batch, steps)))
        else:
            xs.append(drawn((batch, steps, *feature), i, scale).requires_grad_())
    starts = [drawn(s.initial_shape(batch), 20 + i, scale).requires_grad_() for i, s in enumerate(cell.states)]
    given = [drawn((batch, *shape), 40 + i).requires_grad_() for i, shape in enumerate(constants)]
    return xs, starts, given


def by_steps(cell: Cell, xs: Sequence[Tensor], starts: Sequence[Tensor], constants: Sequence[Tensor] = ()
             ) -> tuple[Tensor, ...]:
    """Outputs [B, T, ...] and final states of the plain loop."""
    history = [v.transpose(0, 1) if s.depth > 1 else v.unsqueeze(0) for s, v in zip(cell.states, starts, strict=True)]
    outputs, _, finals = eager.run(cell, [x.transpose(0, 1) for x in xs], list(constants), history)
    ends = [f.transpose(0, 1) if s.depth > 1 else f[0] for s, f in zip(cell.states, finals, strict=True)]
    return outputs.transpose(0, 1), *ends


def total(values: Sequence[Tensor]) -> Tensor:
    """A sum with a different weight for every element."""
    weighted = [(v * torch.linspace(0.5, 1.5, v.numel(), dtype=v.dtype).reshape(v.shape)).sum()
                for v in values if v.requires_grad and v.is_floating_point()]
    return torch.stack(weighted).sum() if weighted else torch.zeros(())


def gradients(values: Sequence[Tensor], wrt: Sequence[Tensor]) -> list[Tensor | None]:
    """Of ``total``, by everything that takes a gradient."""
    summed = total(values)
    if not summed.requires_grad:
        return [None] * len(wrt)
    return list(torch.autograd.grad(summed, wrt, allow_unused=True, materialize_grads=True))


def assert_as_by_steps(cell: Cell, features: Sequence[Any] = (), constants: Sequence[Sequence[int]] = (),
                       save: int | str | None = None, sizes: Sequence[tuple[int, int]] = SIZES, scale: float = 0.8,
                       twin: Cell | None = None) -> Recurrent:
    """A traced run has the outputs, final states and gradients of the plain loop (over ``twin``, if there is one), and
    was traced once. ``features`` are as for :func:`program_of`."""
    recurrent, features = Recurrent(cell, save=save), features or ((3, *getattr(cell, "grid", ())),)
    for steps, batch in sizes:
        xs, starts, given = leaves(cell, steps, batch, features, constants, scale)
        wrt = [v for v in (*xs, *starts, *given, *cell.parameters()) if v.requires_grad]
        outputs, ends = recurrent(xs, starts, constants=given)
        assert recurrent.explain().traced, recurrent.explain().reason
        other = twin or cell
        actual, expected = (outputs, *ends), by_steps(other, xs, starts, given)
        also = [v for v in (*xs, *starts, *given, *other.parameters()) if v.requires_grad]
        assert_close(actual, expected, name=f"values at T={steps}, B={batch}")
        assert_close(gradients(actual, wrt), gradients(expected, also), name=f"gradients at T={steps}, B={batch}")
    assert recurrent.traces == 1
    return recurrent
