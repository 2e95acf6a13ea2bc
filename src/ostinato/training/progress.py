"""The progress of a training on a terminal: a bar, and a line for every epoch."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm


class Bar:
    """Draw what the training loop reports, on standard error; no bar where that is not a terminal."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: tqdm[Any] | None = None

    def __call__(self, event: str, values: Mapping[str, Any]) -> None:
        if event == "begin":
            total, done = values["total"], values["step"]
            self._bar = tqdm(total=total, initial=done, unit="step", disable=None, file=sys.stderr, leave=False)
        elif event == "step" and self._bar is not None:
            self._bar.set_postfix_str(f"{values['loss'] / math.log(2):.3f} bits", refresh=False)
            self._bar.update()
        elif event == "epoch":
            self._line(values)
        elif event == "end" and self._bar is not None:
            self._bar.close()

    def _line(self, values: Mapping[str, Any]) -> None:
        train, valid = values["train/mean_loss"] / math.log(2), values["validation/loss"] / math.log(2)
        best = "  best so far" if values["better"] else ""
        seconds = values["seconds"]
        text = f"epoch {values['epoch']:3}  bits per {self._unit}: train {train:.4f}, held out {valid:.4f}"
        tqdm.write(f"{text}  ({seconds:.0f} s){best}", file=sys.stderr)
