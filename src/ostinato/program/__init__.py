"""What a step becomes: a small typed program, traced once, rewritten, differentiated, saved.

``trace`` makes one from a cell; ``to_json`` and ``from_json`` write and read it; ``linearity`` says whether a state
could be computed by a parallel scan. The intermediate form is in ``ir``, its operations in ``ops``.
"""

from ostinato.program.ir import Node, Program, StateVar
from ostinato.program.linear import Linearity, linearity
from ostinato.program.serialize import from_json, to_json
from ostinato.program.source import CannotTrace
from ostinato.program.trace import InputSpec, Signature, trace
from ostinato.program.verify import InvalidProgram, verify

__all__ = [
    "CannotTrace",
    "InputSpec",
    "InvalidProgram",
    "Linearity",
    "Node",
    "Program",
    "Signature",
    "StateVar",
    "from_json",
    "linearity",
    "to_json",
    "trace",
    "verify",
]
