"""The tasks, one small file a family."""

from __future__ import annotations

from collections.abc import Mapping

from ostinato.errors import unknown
from ostinato.lab.task import Task
from ostinato.lab.tasks.adding import ADDING, MULTIPLICATION
from ostinato.lab.tasks.clearing import CLEARING
from ostinato.lab.tasks.copying import COPYING
from ostinato.lab.tasks.counting import AN_BN, AN_BN_CN
from ostinato.lab.tasks.digits import DIGITS, DIGITS_PERMUTED, MNIST, MNIST_PERMUTED
from ostinato.lab.tasks.latching import LATCHING
from ostinato.lab.tasks.long_lag import LONG_LAG
from ostinato.lab.tasks.order import ORDER_2, ORDER_3
from ostinato.lab.tasks.parity import PARITY
from ostinato.lab.tasks.reber import CONTINUAL_REBER, REBER

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        ADDING, MULTIPLICATION, ORDER_2, ORDER_3, COPYING, LONG_LAG, LATCHING, REBER, CONTINUAL_REBER, AN_BN, AN_BN_CN,
        PARITY, CLEARING, DIGITS, DIGITS_PERMUTED, MNIST, MNIST_PERMUTED,
    )
}  # fmt: skip
"""Every task by its name."""


def find(name: str) -> Task:
    """The task with that name.

    Raises:
        InputError: there is none; the message says which there are.

    >>> find("adding").lag
    100
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
