"""What a training works towards on held-out data."""

from __future__ import annotations

from typing import NamedTuple


class Goal(NamedTuple):
    """Which measure is watched, and whether more of it is better."""

    measure: str
    more: bool = False

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value beats the best so far."""
        return than is None or (value > than if self.more else value < than)
