"""One time step as one native call whose memory, addresses and packed weights are made beforehand."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import torch
from torch import Tensor

from ostinato.engines.cpu.engine import CALL, CPU
from ostinato.engines.cpu.library import PackedWeights
from ostinato.program.ir import Program


class Step:
    """A loop for a batch of sequences, a step at a time. Everything lies where it lies from call to call.

    Args:
        loop: a program that :meth:`CPU.refusal` has nothing against.
        batch: how many sequences.

    Attributes:
        inputs: by name, ``[B, ...]``, to be filled before a call; those of part P and Q are given to :meth:`fix`.
        states: ``[D, B, ...]`` each, the last D values, oldest first.
        places: for each of ``inputs``, the word that says where a call reads it.
        emits: by name, ``[B, ...]``.
        words: the words of the call.
        call: one step: a native function and its two arguments; it gives a code, which is for ``check``.
    """

    def __init__(self, loop: Program, dtype: torch.dtype, batch: int) -> None:
        self.loop = loop
        self._engine = CPU(loop)
        plan = self._plan = self._engine.prepared(dtype)
        self.words = array("q", [0] * (plan.at_initial + 2 * len(plan.states)))
        self._base = self.words.buffer_info()[0]
        names, places = list(loop.inputs), [0] * plan.n_places
        self.inputs: dict[str, Tensor] = {}
        self.places: dict[str, int] = {}
        for at, i, kind, shape, _, dtype_of in plan.given:
            if kind == 2:
                value = self.inputs[names[i]] = torch.zeros((batch, *shape), dtype=dtype_of)
                self.places[names[i]] = CALL + at
                places[at : at + 3] = value.data_ptr(), 0, value.stride(0) if batch else 0
        outs = [plan.emit(spec, (1, batch), False) for spec in plan.emits]
        for (at, _, _, size, _), out in zip(plan.emits, outs, strict=True):
            places[at : at + 3] = out.data_ptr(), batch * size, size
        self.emits = {name: out[0] for name, out in zip(loop.emit, outs, strict=True)}
        self.states = [torch.zeros((depth, batch, *shape), dtype=dtype) for depth, shape in plan.states]
        addresses = [state.data_ptr() for state in self.states]
        words = [1, batch, 0, 0, torch.get_num_threads(), plan.library.parallel, self._base + 8 * CALL, 0, 0,
                 self._base + 8 * plan.at_initial, self._base + 8 * (plan.at_initial + len(plan.states))]
        self.words[: CALL + plan.n_places] = array("q", [*words, *places])
        self.words[plan.at_initial :] = array("q", addresses * 2)
        self.call = plan.library.run, plan.plan.handle, self._base
        self.check = plan.library.check
        self._fixed: list[Tensor] = []
        self._packed: PackedWeights | None = None

    def fix(self, values: Mapping[str, Tensor], halves: bool = False) -> None:
        """Give the inputs that stay as they are: parameters and per-sequence constants. Weights are packed, with
        ``halves`` rounded to bfloat16."""
        plan, names = self._plan, list(self.loop.inputs)
        self._fixed = []
        for at, i, kind, _, _, dtype in plan.given:
            if kind != 2:
                value = values[names[i]].detach().to(dtype).contiguous().clone()
                self.words[CALL + at] = value.data_ptr()
                self.words[CALL + at + 2] = value.stride(0) if kind == 1 and value.numel() else 0
                self._fixed.append(value)
        matrices: list[int] = []
        for i, _ in plan.weights:
            value = values[names[i]].detach()
            apart = value.stride()
            matrices += (value.data_ptr(), *(apart if len(apart) == 3 else (0, *apart)))
        self._packed = PackedWeights(plan.plan, matrices, halves)
        self.words[8] = self._packed.handle
