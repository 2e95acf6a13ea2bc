"""The progress of a training on a terminal: a bar, and a line for every epoch."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm


class Bar:
    """Draw what the training loop reports, on standard error; no bar where that is not a terminal.

    Args:
        unit: what a loss is of; it is shown in bits.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: tqdm[Any] | None = None

    def __call__(self, event: str, values: Mapping[str, Any]) -> None:
        if event == "begin":
            total, done = values["total"], values["step"]
            self._bar = tqdm(total=total, initial=done, unit="step", disable=None, file=sys.stderr, leave=False)
        elif event == "step" and self._bar is not None:
            self._bar.set_postfix_str(self._short(values["loss"]), refresh=False)
            self._bar.update()
        elif event == "warning":
            tqdm.write(f"watch: {values['text']}", file=sys.stderr)
        elif event == "epoch":
            best = "  best so far" if values["better"] else ""
            tqdm.write(f"epoch {values['epoch']:3}  {self._line(values)}  ({values['seconds']:.0f} s){best}",
                       file=sys.stderr)
        elif event == "end" and self._bar is not None:
            self._bar.close()

    def _short(self, loss: float) -> str:
        return f"{loss / math.log(2):.3f} bits"

    def _line(self, values: Mapping[str, Any]) -> str:
        train, valid = values["train/mean_loss"] / math.log(2), values["validation/loss"] / math.log(2)
        return f"bits per {self._unit}: train {train:.4f}, held out {valid:.4f}"


class TaskBar(Bar):
    """The same for a task that measures more than its loss."""

    def __init__(self) -> None:
        super().__init__("example")

    def _short(self, loss: float) -> str:
        return f"loss {loss:.3f}"

    def _line(self, values: Mapping[str, Any]) -> str:
        measured = {name.removeprefix("validation/"): v for name, v in values.items() if name.startswith("validation/")}
        loss = f"loss: train {values['train/mean_loss']:.4f}, validation {measured.pop('loss'):.4f}"
        return "; ".join([loss, *(f"{name.replace('_', ' ')} {value:.4f}" for name, value in measured.items())])
