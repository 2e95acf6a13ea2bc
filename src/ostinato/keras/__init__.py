"""Keras, with recurrent layers that run on Ostinato's engine: ``from ostinato.keras import Sequential``.

The layers of :mod:`ostinato.keras.layers` are Keras's own but for the loop over time. All else is Keras itself, handed
on under the same names: ``Model``, ``Input``, ``optimizers``, ``callbacks`` and so on. Needs ``pip install
'ostinato[keras]'`` and Keras's PyTorch backend, which is chosen here where nothing else was.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

_TORCH = 'set KERAS_BACKEND=torch in the environment, or os.environ["KERAS_BACKEND"] = "torch" before keras is imported'

if "keras" not in sys.modules:  # afterwards it is too late
    _named = os.environ.setdefault("KERAS_BACKEND", "torch")
    if _named != "torch":
        raise ImportError(f"ostinato.keras runs on Keras's PyTorch backend, and KERAS_BACKEND is {_named!r}: {_TORCH}")
try:
    import keras
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise
    raise ImportError("ostinato.keras needs Keras 3: pip install 'ostinato[keras]'") from None
if keras.config.backend() != "torch":
    raise ImportError(f"ostinato.keras runs on Keras's PyTorch backend, and Keras was imported with "
                      f"{keras.config.backend()!r}: {_TORCH}")

from ostinato.keras import layers, preprocessing  # noqa: E402 # keras is there now
from ostinato.keras.models import Sequential  # noqa: E402

for _name, _part in vars(keras).items():
    if isinstance(_part, ModuleType) and not _name.startswith("_") and _name not in ("layers", "preprocessing", "src"):
        sys.modules.setdefault(f"{__name__}.{_name}", _part)  # for `from ostinato.keras.optimizers import Adam`

__all__ = ["Sequential", "layers", "preprocessing"]


def __getattr__(name: str) -> Any:
    return getattr(keras, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(keras)})
