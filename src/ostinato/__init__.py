"""Ostinato: recurrent neural networks. One step, written as its equation, repeated fast."""

from ostinato import cells
from ostinato.cell import Cell
from ostinato.engines.choice import FallbackError, engine, strict
from ostinato.program import CannotTrace
from ostinato.recurrent import ModelFileError, Recurrent, load, save

__version__ = "0.1.0"
__all__ = [
    "CannotTrace",
    "Cell",
    "FallbackError",
    "ModelFileError",
    "Recurrent",
    "__version__",
    "cells",
    "engine",
    "load",
    "save",
    "strict",
]
