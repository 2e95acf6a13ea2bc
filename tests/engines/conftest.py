"""The generators of programs that the tests of other rooms have serve here too."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / room) for room in ("program", "recurrent")]
