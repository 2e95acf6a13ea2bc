"""A look into a training from time to time: how gradients flow, whether gates are stuck, where a NaN comes from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.engines.choice import FallbackError
from ostinato.errors import InputError
from ostinato.inspect.boxes import read
from ostinato.inspect.gates import gates
from ostinato.inspect.replay import replay
from ostinato.recurrent import Recurrent
from ostinato.recurrent.adjoints import observing
from ostinato.training.vanishing import back_ratio

SHARE = 0.04
"""Of the time of a training that looking may take."""
FIRST = 10
"""Steps before the first look."""
FACTOR = 10.0
"""By how much the gradient must change over a sequence to be called vanishing or exploding."""
AGAIN = 3
"""Looks in a row that must find the same before it is said."""
STUCK = 0.5
"""Share of a gate's units that never move."""
ADVICE = {
    "vanish": "the gradient vanishes on its way back: try a gated cell (lstm, gru), a forget bias, skip connections or "
    "leaky units, or look whether so long a past is needed",
    "explode": "the gradient grows on its way back: try --clip 1 or less, a lower --learning-rate, a gated cell",
    "stuck": "try a lower --learning-rate, or another beginning of its bias",
}


class Watcher:
    """Measures the recurrences of a model while it trains.

    Args:
        model: with :class:`~ostinato.Recurrent` in it, anywhere.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parts = {name or "recurrence": m for name, m in model.named_modules() if isinstance(m, Recurrent)}
        self._begun, self._spent, self._steps = time.monotonic(), 0.0, 0
        self._found: Counter[str] = Counter()
        self._said: set[str] = set()

    def due(self) -> bool:
        """Whether the share of the time allows another look."""
        self._steps += 1
        passed = time.monotonic() - self._begun
        return bool(self._parts) and self._steps >= FIRST and self._spent <= SHARE * passed

    def look(self, loss: Callable[[], Tensor]) -> tuple[dict[str, float], list[str]]:
        """Numbers for the log, and what is to be said aloud, each once.

        Args:
            loss: runs the model on a batch; nothing of it is kept.
        """
        started = time.monotonic()
        numbers: dict[str, float] = {}
        problems: list[tuple[str, str]] = []
        with _calls(self._parts) as calls:
            try:
                with observing(self._parts) as seen:
                    value = loss()
            except (InputError, FallbackError) as error:
                self._parts = {}
                return {}, [f"the training cannot be watched: {error}"]
        for name, observed in seen.items():
            recurrent, (x, initial, lengths) = self._parts[name], calls[name]
            given = observed.gradients(value)
            ratio, counts = back_ratio(recurrent, observed, given, x, initial, lengths)
            there = ratio.detach()[counts & (ratio > 0)]
            if len(there):
                rate, steps = float(there.log().mean().exp()), ratio.shape[1]
                numbers[f"watch/{name}/gradient per step"] = rate
                problems += _verdict(name, rate, steps)
            problems += self._gates(name, recurrent, x, initial, lengths, numbers)
        self._spent += time.monotonic() - started
        return numbers, list(self._new(problems))

    def _gates(self, name: str, recurrent: Recurrent, x: Any, initial: Any, lengths: Any,
               numbers: dict[str, float]) -> list[tuple[str, str]]:  # fmt: skip
        try:
            found = gates(recurrent, x, initial, lengths)
        except (InputError, FallbackError):  # no gate, or masks that are drawn anew
            return []
        problems = []
        for gate, (low, high) in found.saturation().items():
            numbers[f"watch/{name}/{gate} below 0.05"], numbers[f"watch/{name}/{gate} above 0.95"] = low, high
        for gate, units in found.stuck().items():
            width = found[gate].shape[2:].numel()
            if len(units) > STUCK * width:
                said = f"{name}: {len(units)} of {width} units of gate {gate} are stuck open or shut: {ADVICE['stuck']}"
                problems.append((f"{name} {gate}", said))
        return problems

    def _new(self, problems: list[tuple[str, str]]) -> Iterator[str]:
        """Those that were found often enough in a row, and not said before."""
        keys = {key for key, _ in problems}
        self._found = Counter({key: self._found[key] + 1 for key in keys})
        for key, said in problems:
            if self._found[key] >= AGAIN and key not in self._said:
                self._said.add(key)
                yield said

    def not_finite(self, loss: Callable[[], Tensor]) -> str:
        """Where the first number that is none comes from: layer, step, value; nothing where that is not seen."""
        with _calls(self._parts) as calls, torch.no_grad():
            loss()
        for name, (x, initial, lengths) in calls.items():
            inputs = x if isinstance(x, (list, tuple)) else [x]
            if not all(v.isfinite().all() for v in inputs):
                return f"the inputs of {name} are not finite"
            bad = [n for n, p in self._parts[name].cell.named_parameters() if not p.isfinite().all()]
            if bad:
                return f"the parameter {name}.cell.{bad[0]} is not finite"
            try:
                found = _first_bad(self._parts[name], x, initial, lengths)
            except (InputError, FallbackError):
                continue
            if found:
                return f"first in {name}, {found}"
        return ""


def _verdict(name: str, rate: float, steps: int) -> list[tuple[str, str]]:
    change = rate**steps
    if 1 / FACTOR <= change <= FACTOR:
        return []
    kind = "vanish" if change < 1 else "explode"
    said = f"{name}: times {rate:.3g} a step back, {change:.2g} over {steps} steps: {ADVICE[kind]}"
    return [(f"{name} {kind}", said)]


def _first_bad(recurrent: Recurrent, x: Any, initial: Any, lengths: Any) -> str:
    """The first step of any sequence where a value of the cell is not finite, and what it is called."""
    with torch.no_grad():
        seen = replay(recurrent, x, initial, lengths)
        names = read(seen.program).name
        values = seen.values(list(names))
    first: tuple[int, str] | None = None
    for name, value in zip(names.values(), values, strict=True):
        bad = ~value.flatten(1).isfinite().all(1).unflatten(0, seen.lead) & seen.live  # [B, T]
        if bad.any():
            step = int(bad.any(0).nonzero()[0])
            if first is None or step < first[0]:
                first = (step, name)
    return "" if first is None else f"at step {first[0]}: {first[1]}"


@contextmanager
def _calls(parts: dict[str, Recurrent]) -> Iterator[dict[str, tuple[Any, Any, Any]]]:
    """While this is open, what the recurrences are called with: x, initial, lengths."""
    found: dict[str, tuple[Any, Any, Any]] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: tuple, named: dict[str, Any]) -> None:
            values = dict(zip(("x", "initial", "lengths"), given, strict=False)) | named
            x = values["x"]
            held = x.detach() if isinstance(x, Tensor) else [v.detach() for v in x]
            found[name] = held, values.get("initial"), values.get("lengths")

        return note

    handles = [part.register_forward_pre_hook(hook(name), with_kwargs=True) for name, part in parts.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
