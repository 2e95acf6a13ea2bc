"""The CPU engine: any loop as one call of a native library, without Python between the steps."""

from ostinato.engines.cpu.engine import CPU, refusal
from ostinato.engines.cpu.library import Library, Unavailable, library, unavailable
from ostinato.engines.cpu.values import CannotRun

__all__ = ["CPU", "CannotRun", "Library", "Unavailable", "library", "refusal", "unavailable"]
