"""The module that repeats a cell over a batch of sequences, its streams, and its files."""

from ostinato.recurrent.explanation import Explanation
from ostinato.recurrent.files import ModelFileError, load, save
from ostinato.recurrent.module import Recurrent
from ostinato.recurrent.streaming import Stream

__all__ = ["Explanation", "ModelFileError", "Recurrent", "Stream", "load", "save"]
