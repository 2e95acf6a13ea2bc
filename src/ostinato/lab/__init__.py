"""The laboratory: tasks with known answers that show what each cell can remember.

A task draws its sequences from a seed, without end; a run trains one cell on it until it is solved or a budget of
sequences is spent; a table runs cells against lags.
"""

from ostinato.lab.task import Batch, Goal, Published, Settings, Task
from ostinato.lab.tasks import TASKS, find

__all__ = ["TASKS", "Batch", "Goal", "Published", "Settings", "Task", "find"]
