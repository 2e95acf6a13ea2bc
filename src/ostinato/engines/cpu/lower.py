"""A loop as a plan of the CPU engine: words, constants, and which tensor each of its arrays is.

Passes, each in a module of its own: ``translate`` (nodes to values), ``fuse`` (phrases to instructions), ``place``
(where values live), ``schedule`` (stages), ``assemble`` (words).
"""

from __future__ import annotations

from dataclasses import dataclass

from ostinato.engines.cpu.assemble import Assembler
from ostinato.engines.cpu.fuse import Fuser
from ostinato.engines.cpu.opcodes import MAGIC, VERSION
from ostinato.engines.cpu.place import Places
from ostinato.engines.cpu.schedule import Schedule
from ostinato.engines.cpu.translate import Translation
from ostinato.engines.cpu.values import Array
from ostinato.program.ir import Program


@dataclass(frozen=True, eq=False)
class Lowered:
    """A loop as words for the machine."""

    body: tuple[int, ...]
    """The words after the number of bytes of an element."""
    constants: tuple[float, ...]
    arrays: tuple[Array, ...]
    weights: tuple[int, ...]
    """For each weight, which of the loop's inputs it is."""
    room: tuple[int, ...]
    """For each emit, how many values from before the first step it holds: those of a state that is kept in it."""

    def words(self, bytes_: int) -> list[int]:
        """The plan for elements of 4 or 8 bytes."""
        return [MAGIC, VERSION, bytes_, *self.body]


def lower(loop: Program, ragged: bool = False) -> Lowered:
    """The plan of a loop.

    Args:
        ragged: for batches whose later steps have fewer sequences.

    Raises:
        CannotRun: naming the operation that the machine does not have.
    """
    t = Translation(loop)
    Fuser(t, [t.node(i) for i in (*loop.next.values(), *loop.emit.values())]).run()
    places = Places(t, loop, ragged)
    states = [t.states[s.name] for s in loop.states]
    made = Assembler(Schedule(places), states)
    names = {i: number for number, i in enumerate(loop.inputs.values())}
    room = [0] * len(places.emits)
    for state in states:
        if state.alias is not None:
            room[state.alias.which] = state.depth
    body = [*made.header(), *[word for stage in made.stages for word in stage]]
    weights = tuple(names[i] for i in made.weights)
    return Lowered(tuple(body), tuple(made.constants), tuple(made.arrays), weights, tuple(room))
