"""``keras.preprocessing`` as it was: ``text`` and ``sequence``."""

from __future__ import annotations

from typing import Any

import keras

from ostinato.keras.preprocessing import sequence, text

__all__ = ["sequence", "text"]


def __getattr__(name: str) -> Any:
    return getattr(keras.preprocessing, name)
