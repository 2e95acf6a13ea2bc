"""The loop over time of a Keras layer, on Ostinato's engine; all else of the layer stays Keras's."""

from __future__ import annotations

from typing import Any

import keras
import torch
from torch import Tensor

from ostinato.engines.choice import FallbackError, is_strict
from ostinato.keras.layers.past import Past
from ostinato.keras.layers.step import KerasStep, masks_of, parts_of, settings_of, variables_of
from ostinato.program import CannotTrace
from ostinato.recurrent import Recurrent
from ostinato.recurrent.weightless import Weightless

tree: Any = keras.tree


class Fused:
    """Mixed into a layer of Keras before its own class: runs the cell over time as one fused loop.

    Keras's layer checks, draws masks, keeps states and casts; this computes ``last_output, outputs, states`` from
    them. The cell's ``call`` is traced once for each kind of call, whatever cell it is.
    """

    def inner_loop(self: Any, sequences: Tensor, initial_state: Any, mask: Any, training: Any = False) -> tuple:
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        mask = tree.flatten(mask)[0] if mask is not None else None
        if sequences.is_meta or torch.compiler.is_compiling():  # a shape or a graph is asked for, and no loop is run
            return super().inner_loop(sequences, initial_state, mask, training)  # type: ignore[misc] # Keras's
        masks = masks_of(self.cell)[1] if training else []
        try:
            run = self._loop(sequences, states, bool(training), masks)
            named = {f"w{i}": v.value for i, v in enumerate(variables_of(self.cell))}
            x = sequences.transpose(0, 1)  # [T, B, ...]
            live = None if mask is None else mask.bool().transpose(0, 1)  # [T, B]
            if self.go_backwards:
                x, live = x.flip(0), None if live is None else live.flip(0)
            starts = self._starts(states)
            outputs, finals = run(named, x, starts, None, live, masks)
        except CannotTrace as refusal:
            return self._by_step(refusal, sequences, initial_state, mask, training)
        if live is not None:
            outputs = _held(outputs, live, self.zero_output_for_mask)
        last = outputs[-1]  # [B, n]
        return last, outputs.transpose(0, 1), self._ends(states, finals)

    def _starts(self: Any, states: list) -> list[Tensor]:
        """The states as the loop begins with them, ``[D, B, n]`` each."""
        if self.stateful:  # they are written over before the gradient is taken
            states = tree.map_structure(torch.clone, states)
        if isinstance(self.cell, Past):
            return [self.cell.history(state, i).transpose(0, 1) for i, state in enumerate(states)]
        return [state.unsqueeze(0) for state in tree.flatten(states)]

    def _ends(self: Any, states: list, finals: Any) -> Any:
        """The states that the loop ends with, nested as it was given them."""
        if isinstance(self.cell, Past):
            return [self.cell.row(final.transpose(0, 1)) for final in finals]
        return tree.pack_sequence_as(states, [final.squeeze(0) for final in finals])

    def _loop(self: Any, sequences: Tensor, states: list, training: bool, masks: list[Tensor]) -> Weightless:
        """What repeats the cell in this mode, made when it is first needed."""
        loops = self.__dict__.setdefault("_ostinato_loops", {})
        settings = [settings_of(part) for part in parts_of(self.cell)]
        made_for, loop = loops.get((training, len(masks)), (None, None))
        if made_for != settings:
            cell = KerasStep(self.cell, tree.map_structure(lambda s: s.detach(), states), training)
            loop = Weightless(Recurrent(cell, batch_first=False), {})
            loops[training, len(masks)] = settings, loop
        self.__dict__["_ostinato_last"] = loop
        return loop

    def _by_step(self: Any, refusal: CannotTrace, *call: Any) -> tuple:
        if is_strict():
            raise FallbackError(f"{self.name} would run step by step: {refusal}") from refusal
        self.__dict__["_ostinato_last"] = refusal
        return super().inner_loop(*call)  # type: ignore[misc]

    def explain(self: Any) -> str:
        """Which engine ran the last call and why, in words."""
        last = self.__dict__.get("_ostinato_last")
        if last is None:
            return f"{self.name} has not run yet"
        if isinstance(last, CannotTrace):
            return f"{self.name} runs as Keras's own loop, step by step: {last}"
        return str(last.recurrent.explain())


def _held(outputs: Tensor, live: Tensor, zero: bool) -> Tensor:
    """Outputs ``[T, B, n]``, where steps do not count: zero, or as at the last step that did."""
    if zero:
        return outputs
    steps = torch.arange(1, len(live) + 1, device=live.device).unsqueeze(1)  # [T, 1]
    latest = (steps * live).cummax(0).values  # [T, B], 0 before the first step that counts
    padded = torch.cat([torch.zeros_like(outputs[:1]), outputs])  # [1 + T, B, n]
    trailing = outputs.shape[2:]
    index = latest.reshape(*latest.shape, *[1] * len(trailing)).expand(*latest.shape, *trailing)
    return padded.gather(0, index)  # [T, B, n]
