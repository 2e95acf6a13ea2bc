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
from ostinato.features.text import Vocabulary
from ostinato.tasks.generate import GenerateOptions, GenerateTask, LanguageModel
from ostinato.training.files import digest, load_tensors, save_tensors
from ostinato.training.options import from_mapping
from ostinato.training.run import RunFolder

TASK = "generate"
CHANGEABLE = ("epochs", "patience", "checkpoint_seconds", "checkpoint_steps")
"""What --resume may change without making the run another one."""


@dataclass
class Loaded:
    """A trained language model and what belongs to it."""

    model: LanguageModel
    vocabulary: Vocabulary
    options: GenerateOptions


def save_model(model: LanguageModel, run: RunFolder) -> None:
    """Write the weights; options and vocabulary are in the folder since the run began."""
    save_tensors(run.model, model.state_dict())


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
    tensors, _ = load_tensors(run.model)
    model = LanguageModel(len(vocabulary), options)
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"{run.model} is damaged: it does not fit {run.config.name}") from None
    return Loaded(model.eval(), vocabulary, options)


def read_options(run: RunFolder, config: dict[str, Any]) -> GenerateOptions:
    """The options in a run's configuration."""
    options = config.get("options")
    if not isinstance(options, dict):
        raise InputError(f"{run.config} is damaged: it has no options")
    return from_mapping(GenerateOptions, options, str(run.config))


def read_vocabulary(run: RunFolder) -> Vocabulary:
    """The vocabulary in a run."""
    try:
        return Vocabulary.from_json(run.vocabulary.read_text(encoding="utf-8"))
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
    resume = resume and run.exists
    if resume and run.read_config().get("data") != data:
        raise InputError(f"{run.path} was begun with another text: --resume needs the same")
    if not resume:
        run.check_free(overwrite)
    vocabulary = Vocabulary.build(train_text, options.level, options.vocabulary_size)
    model = LanguageModel(len(vocabulary), options)
    train_ids, valid_ids = numbers(vocabulary, train_text), numbers(vocabulary, valid_text)
    task = GenerateTask(model, options, train_ids, valid_ids, lambda: save_model(model, run))
    if not resume:
        run.clear()
    run.begin(config, vocabulary.to_json())
    progress = Trainer(task, options, run, report).fit()
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


def numbers(vocabulary: Vocabulary, text: str) -> Tensor:
    """The numbers of a text's tokens, ``[N]``."""
    return torch.tensor(vocabulary.encode(text))


def measures(loss: float, level: str) -> dict[str, float]:
    """A loss in nats a token, in the units that people compare."""
    unit = "character" if level == "characters" else "word"
    perplexity = math.exp(min(loss, 700.0))  # larger ones overflow
    return {"loss": loss, f"bits_per_{unit}": loss / math.log(2), f"perplexity_per_{unit}": perplexity}
