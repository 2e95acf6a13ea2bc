"""Ostinato: recurrent neural networks. One step, written as its equation, repeated fast."""

from ostinato.cell import Cell
from ostinato.recurrent import Recurrent

__version__ = "0.1.0"
__all__ = ["Cell", "Recurrent", "__version__"]
