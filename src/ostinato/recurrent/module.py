"""Recurrent: the module that repeats a cell over a batch of sequences."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ostinato.cell import Cell
from ostinato.engines import compiled
from ostinato.recurrent.arguments import (
    Lengths,
    Tensors,
    autocasting,
    cell_dtype,
    check,
    listed,
    start_values,
)
from ostinato.recurrent.checkpoint import Checkpoint
from ostinato.recurrent.explanation import Explanation, explain
from ostinato.recurrent.masks import complete, shown
from ostinato.recurrent.programs import Programs, attribute_names, readings, signature_of
from ostinato.recurrent.stepper import Stepper
from ostinato.recurrent.streaming import Stream


class Recurrent(nn.Module):
    """Repeat a cell over the time steps of a batch of sequences: ``h[t] = f(h[t-1], x[t]; theta)``, t = 1 .. T.

    The cell's step is traced once into a program; T and B never matter to it. A cell whose step takes no input,
    ``s[t] = f(s[t-1]; theta)``, is called with ``steps=T`` and ``batch=B`` or ``initial=``.

    Args:
        cell: the step and its parameters.
        batch_first: inputs and outputs are ``[B, T, ...]`` (the default) or, if false, ``[T, B, ...]``.
        reverse: run from the last time step to the first; outputs stay at their time step.
        save: what is kept for the backward pass. None: the fewest bytes that spare every matrix product.
            ``"recompute"``: the fewest bytes at all, for most cells the states alone. A number: at most so many bytes
            per step and sequence (floats counted as float32).
        checkpoint: back-propagate in segments of so many steps, or, with ``"sqrt"``, of about sqrt(T): only the states
            between them are kept, the rest is made again on the way back. The gradient is the same.
        checkpoint_bytes: the same in at most so many bytes, as fast as they allow: more of them, less is made again.
            Inputs, outputs and their gradients, and those of the parameters, are not counted.

    Raises:
        TypeError: when ``cell`` is not a :class:`ostinato.Cell`.
        ValueError: when it declares no state, an argument is none of the above, or there are both ways to checkpoint.

    >>> from ostinato import Recurrent, cells
    >>> rnn = Recurrent(cells.GRU(3, 5))
    >>> outputs, (h,) = rnn(torch.zeros(2, 7, 3), lengths=[7, 4])
    >>> outputs.shape, h.shape
    (torch.Size([2, 7, 5]), torch.Size([2, 5]))
    """

    _handles: ClassVar[weakref.WeakValueDictionary[int, Recurrent]] = weakref.WeakValueDictionary()

    def __init__(self, cell: Cell, *, batch_first: bool = True, reverse: bool = False,
                 save: int | str | None = None, checkpoint: int | str | None = None,
                 checkpoint_bytes: int | None = None) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            found = f"the class {cell.__name__}" if isinstance(cell, type) else f"a {type(cell).__name__}"
            raise TypeError(f"Recurrent repeats an ostinato.Cell, got {found}")
        if not cell.states:
            raise ValueError(f"{type(cell).__name__} declares no state: call add_state() in its __init__")
        if save is not None and save != "recompute" and (not isinstance(save, int) or save < 0):
            raise ValueError(f"save must be None, 'recompute' or a number of bytes, got {save!r}")
        self.cell = cell
        self.batch_first = batch_first
        self.reverse = reverse
        self.save_policy = save
        unwanted = checkpoint is None and checkpoint_bytes is None
        self.checkpoint = None if unwanted else Checkpoint(checkpoint, checkpoint_bytes)
        self._programs = Programs(save)
        self._register_handle()

    def _register_handle(self) -> None:
        """A number by which a compiled graph finds this module; no other module has it in any process, for torch keeps
        compiled graphs on disk."""
        self._handle = secrets.randbits(62)
        self._handles[self._handle] = self
        self._names = attribute_names(self.cell)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._register_handle()

    @property
    def traces(self) -> int:
        """How many times the cell's step was traced: once for each kind of input and mode, never for another T or B."""
        return self._programs.traces

    def forward(
        self,
        x: Tensors = (),
        initial: Tensors | None = None,
        lengths: Lengths | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        *,
        constants: Tensors = (),
        drawn: Mapping[str, Tensor] | None = None,
        steps: int | None = None,
        batch: int | None = None,
        teacher: Mapping[str, Tensor] | None = None,
        own: Tensor | None = None,
        return_all_states: bool = False,
    ) -> tuple[Any, ...]:
        """Run the cell over all time steps.

        Args:
            x: one input or several, each ``[B, T, ...]`` (``[T, B, ...]`` without ``batch_first``). Floats narrower
                than the cell's parameters are widened; integers are passed as they are. None for an autonomous cell,
                whose ``step`` takes states only.
            initial: the states before the first step, in the order declared: ``[B, *shape]`` each, or
                ``[B, D, *shape]``, oldest first, for a state with a longest delay D > 1. Default: the declared values.
            lengths: how many steps of each sequence count, ``[B]``, from 0 to T, on any device; the rest is padding.
            mask: bool ``[B, T]`` (``[T, B]``); steps where it is false are padding, anywhere in a sequence.
            reset: bool ``[B, T]`` (``[T, B]``); a sequence starts anew (from the declared initial values) at a step
                where it is true and that is not padding.
            constants: one tensor or several, ``[B, ...]`` each, that stay the same at every step.
            drawn: random masks by name (dropout's, zoneout's), bool, as :meth:`draw` returns them; those that are not
                given are drawn anew.
            steps: T, for an autonomous cell.
            batch: B, for an autonomous cell that is not given ``initial`` either.
            teacher: by the name of a state, ``[B, T, *shape]`` (``[T, B, *shape]``): the values that it has after every
                step, in the place of those that ``step`` returns. The outputs remain the step's.
            own: bool ``[B, T]`` (``[T, B]``): where states with a teacher have their own value all the same. Without
                it no step waits for such a state, and what hung in the loop by it alone runs for all steps at once.
            return_all_states: also return every state at every step.

        Returns:
            ``(outputs, final states)``, or ``(outputs, final states, all states)``: outputs ``[B, T, ...]``, zero at
            padding; final states as ``initial``, each at its sequence's own end; all states by name,
            ``[B, T, *shape]``, zero at padding. A padded step changes no state, and no gradient flows into padding.

        Raises:
            ValueError, TypeError: naming the argument, what was expected and what came.
            FallbackError: under :func:`ostinato.strict`, when the step cannot be traced.
        """
        run = self._compiled if torch.compiler.is_compiling() else self._call
        return run(x, initial, lengths, mask, reset, constants, steps, batch, teacher, own, return_all_states, drawn)

    def _call(self, x: Tensors, initial: Tensors | None, lengths: Lengths | None, mask: Tensor | None,
              reset: Tensor | None, constants: Tensors, steps: int | None, batch: int | None,
              teacher: Mapping[str, Tensor] | None, own: Tensor | None, all_states: bool,
              drawn: Mapping[str, Tensor] | None) -> tuple[Any, ...]:
        first = next(iter(listed(x, "x") or self.cell.parameters()), None)
        if first is not None and autocasting(first.device):
            with torch.autocast(first.device.type, enabled=False):
                wide = [v.to(cell_dtype(self.cell)) if v.is_floating_point() else v for v in listed(x, "x")]
                return self._call(wide, initial, lengths, mask, reset, constants, steps, batch, teacher, own,
                                  all_states, drawn)
        given = check(self.cell, x, initial, lengths, mask, reset, constants, self.batch_first, drawn=drawn,
                      steps=steps, batch=batch, teacher=teacher, own=own)
        outputs, values, finals = self._programs.run(self.cell, given, self.reverse, all_states, self.checkpoint)
        ends = tuple(f.transpose(0, 1) if s.depth > 1 else f[0] for s, f in zip(self.cell.states, finals, strict=True))
        result = (self._given_out(outputs), ends)
        if not all_states:
            return result
        return (*result, {name: self._given_out(v) for name, v in values.items()})

    def _given_out(self, value: Tensor) -> Tensor:
        """``[T, B, ...]`` in the caller's layout."""
        return value.transpose(0, 1) if self.batch_first else value

    def _compiled(self, x: Tensors, initial: Tensors | None, lengths: Lengths | None, mask: Tensor | None,
                  reset: Tensor | None, constants: Tensors, steps: int | None, batch: int | None,
                  teacher: Mapping[str, Tensor] | None, own: Tensor | None, all_states: bool,
                  drawn: Mapping[str, Tensor] | None) -> tuple[Any, ...]:
        """The same call as one operation of a compiled graph."""
        if lengths is not None and not isinstance(lengths, Tensor):
            lengths = torch.tensor(lengths)
        tensors = [*self.cell.parameters(), *self.cell.buffers()]
        starts = [] if initial is None else listed(initial, "initial")
        read = readings(self.cell, self._names)
        outs = compiled.recurrent(self._handle, *read, listed(x, "x"), starts, lengths, mask, reset,
                                  listed(constants, "constants"), steps, batch, " ".join(teacher or ()),
                                  list((teacher or {}).values()), own, tensors, all_states, " ".join(drawn or ()),
                                  list((drawn or {}).values()))
        states = self.cell.states
        result = (outs[0], tuple(outs[1 : 1 + len(states)]))
        if not all_states:
            return result
        return (*result, dict(zip([s.name for s in states], outs[1 + len(states) :], strict=True)))

    def draw(self, x: Tensors = (), *, constants: Tensors = (),
             generator: torch.Generator | None = None, steps: int | None = None,
             batch: int | None = None) -> dict[str, Tensor]:
        """The random masks of a call, drawn but not used: to look at, and to give to one call or to many (``drawn=``).

        Args:
            x: inputs as for the call.
            constants: per-sequence constants as for the call.
            generator: where the numbers come from. Default: torch's own, as in a call; so after ``torch.manual_seed``
                this returns what the call would have used.
            steps, batch: T and B, for an autonomous cell.

        Returns:
            bool tensors by name: ``[B, T, ...]`` (``[T, B, ...]`` without ``batch_first``) for a mask of each step,
            ``[B, ...]`` for one of each sequence, that of the weight for a mask of a weight. Empty where nothing is
            random, as in evaluation mode.
        """
        given = check(self.cell, x, None, None, None, None, constants, self.batch_first, steps=steps, batch=batch)
        draws = self._programs.draws(self.cell, given)
        masks = complete(draws, {}, given.steps, given.batch, given.device, self.batch_first, generator)
        return shown(draws, masks, self.batch_first)

    def step(self, x: Tensors = (), states: Tensors | None = None, *, constants: Tensors = (),
             drawn: Mapping[str, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One time step, for streaming.

        Args:
            x: one input or several, ``[B, ...]`` each.
            states: as returned by the last step or as ``initial``; default: the declared initial values. An
                autonomous cell has its batch from them.
            drawn: random masks as for a call of one time step; by default each step draws its own.

        Returns:
            ``(output [B, ...], next states)``.
        """
        time = 1 if self.batch_first else 0
        xs = listed(x, "x")
        if any(v.dim() < time for v in xs):
            raise ValueError("x must be [B, ...], got a tensor without dimensions")
        steps = None if xs else 1
        outputs, ends = self([v.unsqueeze(time) for v in xs], states, constants=constants, drawn=drawn, steps=steps)
        return outputs.squeeze(time), ends

    def stream(self, initial: Tensors | None = None, *, constants: Tensors = ()) -> Stream:
        """A stream that takes chunks of any size and carries the states from one to the next.

        Raises:
            ValueError: when this module runs in reverse, which needs the whole sequence.
        """
        return Stream(self, initial, constants)

    def stepper(self, x: Tensors = (), initial: Tensors | None = None, *, constants: Tensors = (),
                drawn: Mapping[str, Tensor] | None = None, weights: str | None = None) -> Stepper:
        """A step a call at the least cost, for serving; see :class:`ostinato.recurrent.stepper.Stepper`.

        Args:
            x: inputs of one step, ``[B, ...]`` each, as an example of their shapes and dtypes; none for an autonomous
                cell.
            initial: the states to begin with. Default: the declared initial values.
            drawn: random masks for all steps to come; those that are not given are drawn now.
            weights: "bfloat16" for weights of half the size, where steps are faster with them. Default: as they are.

        Raises:
            ValueError: when this module runs in reverse.
            FallbackError: when the CPU engine cannot run the step; when bfloat16 weights are not faster.
        """
        return Stepper(self, x, initial, constants, drawn, weights)

    def explain(self, x: Tensors | None = None, *, constants: Tensors = (), steps: int | None = None,
                batch: int | None = None, teacher: Mapping[str, Tensor] | None = None) -> Explanation:
        """Which engine runs and why, bytes saved and matrix products per step.

        Args:
            x: inputs as for a call, and with them the others; default: like the latest call.

        Raises:
            ValueError: without ``x`` before the first call.
        """
        if x is not None:
            given = check(self.cell, x, None, None, None, None, constants, self.batch_first, steps=steps, batch=batch,
                          teacher=teacher)
            self._programs.program(self.cell, signature_of(given))
            self._programs.taught = given.teacher.kinds
        return explain(self.cell, self._programs)

    def initial_states(self, batch: int) -> tuple[Tensor, ...]:
        """The declared initial states for a batch, as ``initial`` takes them."""
        dtype = cell_dtype(self.cell)
        device = next(iter(self.cell.parameters()), torch.empty(0)).device
        starts = start_values(self.cell, None, batch, dtype, device)
        return tuple(v.transpose(0, 1) if s.depth > 1 else v[0]
                     for s, v in zip(self.cell.states, starts, strict=True))

    def extra_repr(self) -> str:
        shown = {"batch_first": (self.batch_first, True), "reverse": (self.reverse, False),
                 "save": (self.save_policy, None), "checkpoint": (self.checkpoint, None)}
        return ", ".join(f"{name}={value}" for name, (value, default) in shown.items() if value != default)


def _run_compiled(handle: int, whole: list[int], real: list[float], text: str, x: list[Tensor],
                  initial: list[Tensor], lengths: Tensor | None, mask: Tensor | None, reset: Tensor | None,
                  constants: list[Tensor], steps: int | None, batch: int | None, taught: str, values: list[Tensor],
                  own: Tensor | None, parameters: list[Tensor], all_states: bool, drawn: str,
                  masks: list[Tensor]) -> list[Tensor]:
    """What a compiled graph runs: the module's call with the graph's tensors for its parameters."""
    module = Recurrent._handles[handle]
    names = [n for n, _ in (*module.cell.named_parameters(), *module.cell.named_buffers())]
    with nn.utils.stateless._reparametrize_module(module.cell, dict(zip(names, parameters, strict=True)),
                                                  tie_weights=True):
        teacher = dict(zip(taught.split(), values, strict=True)) or None
        outs = module._call(x, initial or None, lengths, mask, reset, constants, steps, batch, teacher, own,
                            all_states, dict(zip(drawn.split(), masks, strict=True)))
    return [outs[0], *outs[1], *(outs[2].values() if all_states else ())]


compiled.define_recurrent(_run_compiled)
