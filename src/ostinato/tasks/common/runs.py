"""A task in a run folder: train it, go on with it, load it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.errors import InputError, unknown
from ostinato.files import load_tensors, read_json, save_tensors, write_atomic
from ostinato.tasks.common.kind import Answer, Example, Kind
from ostinato.tasks.common.store import Store
from ostinato.tasks.common.watch import Watcher
from ostinato.training.batches import Buckets, in_order
from ostinato.training.options import from_mapping
from ostinato.training.run import RunFolder
from ostinato.training.threads import threads
from ostinato.training.workers import Part, Workers

CHANGEABLE = ("epochs", "patience", "checkpoint_seconds", "checkpoint_steps", "devices", "strategy", "watch")
"""What --resume may change without making the run another one."""

LEAST = 40
"""Steps of an epoch: little data is read several times in one, or its training would be over before it began."""

KINDS = {
    "classify": "ostinato.tasks.classify:Classify",
    "translate": "ostinato.tasks.translate:Translate",
    "answer": "ostinato.tasks.answer:AnswerQuestions",
    "transcribe": "ostinato.tasks.transcribe:Transcribe",
    "forecast": "ostinato.tasks.forecast:Forecast",
    "caption": "ostinato.tasks.caption:Caption",
    "draw": "ostinato.tasks.draw:Draw",
    "compose": "ostinato.tasks.compose:Compose",
    "tag": "ostinato.tasks.tag:Tag",
    "parse": "ostinato.tasks.parse:Parse",
}
"""Where each task is; it is imported when it is needed."""


def kind_class(name: str) -> type[Kind]:
    """The class of a task by name."""
    if name not in KINDS:
        raise unknown("task", name, KINDS)
    module, _, attribute = KINDS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def check_needs(kind: Kind) -> None:
    """Say what has to be installed before any work is done.

    Raises:
        InputError: a module is missing.
    """
    missing = [name for name in kind.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{kind.name} needs {', '.join(missing)}: pip install 'ostinato[tasks]'")


@dataclasses.dataclass
class Held:
    """The examples that validate, as they are and encoded."""

    examples: list[Example]
    items: Sequence[Any]


class TaskTraining:
    """What the training loop has to know of a task."""

    def __init__(self, kind: Kind, model: nn.Module, train: Store, held: Held, run: RunFolder) -> None:
        self.kind, self.model, self.goal, self._run = kind, model, kind.goal, run
        self._train, self._held = train, held
        lengths = [kind.length(item) for item in train]
        self._buckets = Buckets(lengths, kind.options.batch, kind.options.seed, least=LEAST)
        self.batches = len(self._buckets)

    def start(self) -> tuple:
        return ()

    def loss(self, epoch: int, batch: int, carried: tuple, part: Part) -> tuple[Tensor, float, tuple]:
        """The mean loss of a part of one batch of examples of like length."""
        done = (epoch * self.batches + batch) / (self.batches * self.kind.options.epochs)
        self.kind.progress(self.model, done)
        places = self._buckets.epoch(epoch)[batch]
        mine = part.of(places)
        items = [self._train[int(i)] for i in (mine if len(mine) else places[:1])]
        loss, weight = self.kind.loss(self.model, self.kind.batch(items))
        return loss, weight if len(mine) else 0, ()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        self.kind.validating = True
        try:
            found, loss = run_batches(self.kind, self.model, self._held.items, with_loss=True)
        finally:
            self.kind.validating = False
        examples = self._held.examples
        self.kind.calibrate(examples, found)
        answers = [self.kind.finish(example, value) for example, value in zip(examples, found, strict=True)]
        return {"loss": loss, **self.kind.measure(examples, answers)}

    def save(self) -> None:
        """Keep the present weights, and what was learned about them on validation."""
        write_state(self.kind, self._run)
        save_tensors(self._run.model, self.model.state_dict(), {"task": self.kind.name})


@torch.no_grad()
def run_batches(
    kind: Kind, model: nn.Module, items: Sequence[Any], with_loss: bool = False,
    tick: Callable[[int], object] | None = None,
) -> tuple[list[Any], float]:  # fmt: skip
    """What a model finds in each item, in order; and the mean loss where it is asked for."""
    found: list[Any] = [None] * len(items)
    total = count = 0.0
    for places in in_order([kind.length(item) for item in items], max(kind.options.batch, 64)):
        some = [items[int(i)] for i in places]
        batch = kind.batch(some)
        for place, value in zip(places, kind.answer(model, batch, some), strict=True):
            found[place] = value
        if with_loss:
            loss, weight = kind.loss(model, batch)
            total, count = total + float(loss) * weight, count + weight
        if tick is not None:
            tick(len(some))
    return found, total / max(count, 1)


def answers_of(kind: Kind, model: nn.Module, examples: Sequence[Example],
               tick: Callable[[int], object] | None = None) -> list[Answer]:  # fmt: skip
    """The model's answer to each example."""
    items = [kind.encode(example) for example in examples]
    found, _ = run_batches(kind, model, items, tick=tick)
    return [kind.finish(example, value) for example, value in zip(examples, found, strict=True)]


def train(
    kind: Kind, path: Path, validation: Path | None, run: RunFolder, report: Callable[..., None] | None = None,
    resume: bool = False, overwrite: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Train in a run folder; whatever is wrong with the data is found before the folder is touched.

    Returns:
        what was done, for people and programs: steps, epochs, the best epoch and its measures.
    """
    from ostinato.training.loop import Trainer

    check_needs(kind)
    options = kind.options
    workers = Workers(options)
    torch.manual_seed(options.seed)
    if workers.first and not (resume and run.exists):
        run.check_free(overwrite)
    resume = resume and run.checkpoint.exists()  # without one it begins anew
    examples = kind.read(path)
    if validation is None:
        learned, held, count = kind.split(examples, options.held_out, options.seed, path)
    else:
        learned, held, count = examples, (), None
    with threads(options.threads):
        if workers.first:  # finds what is wrong with the data before the others are started
            if resume:
                kind.state = read_state(run)
            else:
                kind.prepare(learned)
            held = held if validation is None else kind.read(validation)
            data = Store(kind.encode(example) for example in learned)
            valid = Held(list(held), Store(kind.encode(example) for example in held))
            model = kind.model()
            config = {"task": kind.name, "options": dataclasses.asdict(options),
                      "data": {"train": str(path), "validation": str(validation or ""), "digest": digest(data)}}
            if resume and run.read_config().get("data", {}).get("digest") != config["data"]["digest"]:
                raise InputError(f"{run.path} was begun with other data: --resume needs the same")
            if not resume:
                run.clear()
            run.begin(config, json.dumps(kind.state, ensure_ascii=False))
        with workers:
            kind.state = workers.share(kind.state)
            if not workers.first:
                data, valid = Store(kind.encode(example) for example in learned), Held([], [])
                model = kind.model()
            known = digest(data)
            if workers.share(known) != known:
                raise InputError(f"{path} is not the same for all workers")
            task, watcher = TaskTraining(kind, model, data, valid, run), Watcher(model) if options.watch else None
            progress = Trainer(task, options, run, workers, report, watcher).fit()
        _, best = load(run)
        task = TaskTraining(kind, best, data, valid, run)
        measures = task.validate()
    return {
        "run": str(run.path), "task": kind.name, "parameters": sum(p.numel() for p in model.parameters()),
        "examples": len(data), "validation_examples": len(valid.examples), "validation_drawn": count is not None,
        "bad_lines": getattr(examples, "bad", 0), "steps": progress.step, "epochs": progress.epoch,
        "best_epoch": progress.best_epoch, "validation": measures,
    }  # fmt: skip


def digest(store: Store) -> str:
    """To know encoded data again."""
    total = sha256()
    for item in store:
        for name in sorted(item):
            total.update(np.ascontiguousarray(item[name]).data)
    return total.hexdigest()


def read_state(run: RunFolder) -> dict[str, Any]:
    """What the task of a run learned before and beside its training."""
    return read_json(run.vocabulary)


def write_state(kind: Kind, run: RunFolder) -> None:
    """Keep what the task knows beside its weights."""
    write_atomic(run.vocabulary, json.dumps(kind.state, ensure_ascii=False).encode())


def options_of_run(run: RunFolder, given: dict[str, Any], changeable: Sequence[str] = CHANGEABLE) -> Kind:
    """The task of a run, with those options given now that may change.

    Raises:
        InputError: no run, a task that is not known, or an option that the run has otherwise.
    """
    config = run.read_config()
    if config.get("task") not in KINDS:
        raise InputError(f"{run.path} is a run of the task {config.get('task')!r}; known here: {', '.join(KINDS)}")
    kind = kind_class(config["task"])
    options = from_mapping(kind.options_class, config.get("options") or {}, str(run.config))
    wanted = from_mapping(kind.options_class, given, "the command")
    for name in given:
        old, new = getattr(options, name), getattr(wanted, name)
        if old != new and name not in changeable:
            label = name.replace("_", "-")
            raise InputError(f"{run.path} was begun with {label} {old}, not {new}: --resume cannot change it")
    return kind(dataclasses.replace(options, **{n: getattr(wanted, n) for n in given if n in changeable}))


def load(run: RunFolder, **reading: Any) -> tuple[Kind, nn.Module]:
    """The task and the best model of a run; nothing that the files say is executed.

    Args:
        **reading: options of how files are read (``format``, ``text``, ...) in place of those of the training.

    Raises:
        InputError: no run, no model yet, a damaged file, or another version.
    """
    config = run.read_config()
    reading_names = tuple(config.get("options") or {})
    kind = options_of_run(run, reading, reading_names)
    if not run.model.exists():
        raise InputError(f"{run.path} has no trained model yet: go on with --resume until the first epoch ends")
    check_needs(kind)
    kind.state = read_state(run)
    tensors, about = load_tensors(run.model)
    try:
        model = kind.model()
        if about["task"] != kind.name:
            raise KeyError("task")
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{run.path} is damaged: its model does not fit together ({error})") from None
    return kind, model.eval()
