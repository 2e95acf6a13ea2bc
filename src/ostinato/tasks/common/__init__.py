"""What the tasks share: how one is described, trained in a run folder, saved, loaded, evaluated and asked."""

from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.runs import load, train
from ostinato.tasks.common.store import Item, Store

__all__ = ["Answer", "Example", "Item", "Kind", "Measures", "Store", "TaskOptions", "load", "train"]
