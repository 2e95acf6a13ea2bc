"""Runs of the CPU engine that are noted once for a layout of tensors, and replayed (see ``engines.cpu.tape``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ostinato.engines.cpu.library import library
from ostinato.engines.cpu.tape import Replay, Tensors, note, noting
from ostinato.program.evaluate import Run

MOST = 256
"""Layouts that are remembered; with more, all are forgotten."""


class Replays:
    """The replays of one run, which is noted for the first layout at once, and for others when they come again."""

    def __init__(self) -> None:
        self.found: dict[tuple, Replay | None] = {}
        self.seen: set[tuple] = set()

    def __call__(self, run: Callable[[list[Tensor | None]], Tensors], given: Tensors, about: Run,
                 reverse: bool) -> list[Tensor | None] | None:
        """What ``run`` gives for these tensors, or None where it is to be run itself.

        Args:
            run: works on the CPU engine and reads nothing of the tensors but their layout.
            given: plain tensors, without derivatives.
        """
        if about.sizes is not None or noting.tape is not None:
            return None
        key: Any = [about.lead, about.dtype, reverse, torch.get_num_threads(), library().parallel]
        for t in given:
            if t is None:
                key.append(None)
            elif t.is_cpu and not t.is_neg():
                key += (t.shape, t.stride(), t.dtype)
            else:
                return None
        key = tuple(key)  # all that the words of the calls depend on, but for addresses
        replay = self.found.get(key)
        if replay is None and key not in self.found:
            replay = self._noted(run, given, key)
        return None if replay is None else replay(given)

    def _noted(self, run: Callable[[list[Tensor | None]], Tensors], given: Tensors, key: tuple) -> Replay | None:
        if self.seen and key not in self.seen:
            self.seen.add(key)
            return None
        if len(self.seen) > MOST:
            self.found, self.seen = {}, set()
        self.seen.add(key)
        found = self.found[key] = note(run, given) if 0 not in key[0] else None
        return found
