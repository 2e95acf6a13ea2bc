"""A language model in a run folder: train it, go on with it, load it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ostinato.errors import InputError
from ostinato.features.text import AnyVocabulary, build_vocabulary, vocabulary_from_json
from ostinato.files import digest
from ostinato.recurrent import Recurrent
from ostinato.recurrent.files import describe, read_model, restore, write_model
from ostinato.tasks.common.watch import Watcher
from ostinato.tasks.generate import GenerateOptions, GenerateTask, LanguageModel, new_model
from ostinato.training.options import from_mapping
from ostinato.training.run import RunFolder
from ostinato.training.workers import Workers

TASK = "generate"
PROGRAMS = "programs."  # in the weights' file, before the names of the tensors that belong to a layer's program
CHANGEABLE = ("epochs", "patience", "checkpoint_seconds", "checkpoint_steps", "devices", "strategy", "watch")
"""What --resume may change without making the run another one."""


@dataclass
class Loaded:
    """A trained language model and what belongs to it."""

    model: LanguageModel
    vocabulary: AnyVocabulary
    options: GenerateOptions


def save_model(model: LanguageModel, run: RunFolder) -> None:
    """Write the weights and the programs of the recurrent layers; options and vocabulary are in the folder already."""
    described = [describe(layer) for layer in model.layers]  # type: ignore[arg-type]
    tensors = dict(model.state_dict())
    for number, (_, own) in enumerate(described):
        tensors |= {f"{PROGRAMS}{number}.{name}": t for name, t in own.items() if name.startswith("variant.")}
    write_model(run.program, run.model, {"layers": [description for description, _ in described]}, tensors)


def load_model(run: RunFolder) -> Loaded:
    """The best model of a run; nothing that the files say is executed.

    Raises:
        InputError: no run, no model yet, a damaged file, or another version.
    """
    config = run.read_config()
    if config.get("task") != TASK:
        raise InputError(f"{run.path} is a run of the task {config.get('task')!r}, not {TASK!r}")
    if not run.model.exists():
        raise InputError(f"{run.path} has no trained model yet: go on with --resume until the first epoch ends")
    options = read_options(run, config)
    vocabulary = read_vocabulary(run)
    description, tensors = read_model(run.program, run.model)
    weights = {name: t for name, t in tensors.items() if not name.startswith(PROGRAMS)}
    try:
        layers = [_layer(number, d, tensors) for number, d in enumerate(description["layers"])]
        (size, embedding_size), width = weights["embedding.weight"].shape, weights["head.weight"].shape[1]
        model = LanguageModel(size, embedding_size, layers, width, options)
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{run.path} is damaged: its model does not fit together ({error})") from None
    if size != len(vocabulary):
        raise InputError(f"{run.path} is damaged: the model knows {size} tokens, the vocabulary {len(vocabulary)}")
    return Loaded(model.eval(), vocabulary, options)


def _layer(number: int, description: dict[str, Any], tensors: dict[str, Tensor]) -> Recurrent:
    """One recurrent layer, from its program and not from its class."""
    own: dict[str, Tensor] = {}
    for prefix in (f"layers.{number}.cell.", f"{PROGRAMS}{number}."):
        own |= {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    return restore(description, own)


def read_options(run: RunFolder, config: dict[str, Any]) -> GenerateOptions:
    """The options in a run's configuration."""
    options = config.get("options")
    if not isinstance(options, dict):
        raise InputError(f"{run.config} is damaged: it has no options")
    return from_mapping(GenerateOptions, options, str(run.config))


def read_vocabulary(run: RunFolder) -> AnyVocabulary:
    """The vocabulary in a run."""
    try:
        return vocabulary_from_json(run.vocabulary.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run.vocabulary}: no such file") from None
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{run.vocabulary} is damaged: {error}") from None


def split(text: str, held_out: float) -> tuple[str, str]:
    """The text, and the part at its end that is held out; cut after a line where there is one near."""
    cut = round(len(text) * (1 - held_out))
    line = text.rfind("\n", int(cut * 0.99), cut) + 1
    return text[: line or cut], text[line or cut :]


def options_to_resume(run: RunFolder, given: dict[str, Any]) -> GenerateOptions:
    """The options of the run, with those given now that may change.

    Raises:
        InputError: another option is given another value than the run has.
    """
    options = read_options(run, run.read_config())
    wanted = from_mapping(GenerateOptions, given, "the command")
    for name in given:
        old, new = getattr(options, name), getattr(wanted, name)
        if old != new and name not in CHANGEABLE:
            label = name.replace("_", "-")
            raise InputError(f"{run.path} was begun with {label} {old}, not {new}: --resume cannot change it")
    return dataclasses.replace(options, **{n: getattr(wanted, n) for n in given if n in CHANGEABLE})


def train(
    run: RunFolder,
    options: GenerateOptions,
    train_text: str,
    valid_text: str,
    report: Callable[..., None],
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train in a run folder and measure the best model on the held-out text.

    Everything that can be wrong with the input is found before the folder is touched.
    """
    from ostinato.training.loop import Trainer

    torch.manual_seed(options.seed)
    data = {"train": digest(train_text), "valid": digest(valid_text)}
    config = {"task": TASK, "options": dataclasses.asdict(options), "data": data}
    workers = Workers(options)
    resume = resume and run.exists
    if resume and run.read_config().get("data") != data:
        raise InputError(f"{run.path} was begun with another text: --resume needs the same")
    if workers.first and not resume:
        run.check_free(overwrite)
    vocabulary = build_vocabulary(train_text, options.level, options.vocabulary_size)
    model = new_model(len(vocabulary), options)
    train_ids, valid_ids = numbers(vocabulary, train_text), numbers(vocabulary, valid_text)
    task = GenerateTask(model, options, train_ids, valid_ids, lambda: save_model(model, run))
    if workers.part.world > task.streams:
        raise InputError(f"the text is read as {task.streams} streams, too few for {workers.part.world} processes: "
                         "give more text, a larger --batch or fewer --devices")  # fmt: skip
    if workers.first:
        if not resume:
            run.clear()
        run.begin(config, vocabulary.to_json())
    with workers:
        if workers.share(data) != data:
            raise InputError("the text is not the same for all workers")
        watcher = Watcher(model) if options.watch else None
        progress = Trainer(task, options, run, workers, report, watcher).fit()
    return {
        "run": str(run.path),
        "task": TASK,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": progress.step,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "prompt": next((w for w in train_text.split() if not vocabulary.missing(w)), ""),
        "validation": measures(progress.best or 0.0, options.level),
    }


def numbers(vocabulary: AnyVocabulary, text: str) -> Tensor:
    """The numbers of a text's tokens, ``[N]``."""
    return torch.tensor(vocabulary.encode(text))


def measures(loss: float, level: str) -> dict[str, float]:
    """A loss in nats a token, in the units that people compare."""
    unit = level.removesuffix("s")
    perplexity = math.exp(min(loss, 700.0))  # larger ones overflow
    return {"loss": loss, f"bits_per_{unit}": loss / math.log(2), f"perplexity_per_{unit}": perplexity}
