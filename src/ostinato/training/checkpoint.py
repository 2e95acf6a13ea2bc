"""Everything a training needs to go on as if it had never stopped, in one file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.errors import InputError
from ostinato.files import load_tensors, save_tensors
from ostinato.training.average import Average

FORMAT = 1
Carried = tuple[tuple[Tensor, ...], ...]
"""What goes from one batch to the next: for each layer, its states."""


Read = tuple[dict[str, Tensor], dict[str, Any]]


@dataclass
class Progress:
    """How far a training is."""

    epoch: int = 0
    """Epochs finished, validation included."""
    batch: int = 0
    """Batches of the present epoch that are done."""
    step: int = 0
    best: float | None = None
    """What the task watches, at the best epoch so far."""
    best_loss: float | None = None
    """The held-out loss there: of two epochs as good, the one with the lower loss is better."""
    best_epoch: int = 0
    worse_epochs: int = 0
    """Epochs since."""
    rate_factor: float = 1.0
    """What the plateau schedule has made of the learning rate."""
    loss_sum: float = 0.0
    """Of the training losses of the present epoch."""
    metrics_size: int = 0
    """Bytes of ``metrics.jsonl`` written by now."""


def save(path: Path, progress: Progress, carried: Carried, model: nn.Module, optimizer: Optimizer,
         average: Average | None = None) -> None:
    """Write a checkpoint; the one before stays whole until this one is."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in (average.values if average else {}).items()}
    tensors["random.torch"] = torch.get_rng_state()
    for layer, states in enumerate(carried):
        tensors |= {f"carried.{layer}.{i}": state for i, state in enumerate(states)}
    plain: dict[str, Any] = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            (tensors if isinstance(value, Tensor) else plain)[f"optimizer.{number}.{name}"] = value
    data = {
        "format": FORMAT,
        "progress": dataclasses.asdict(progress),
        "carried": [len(states) for states in carried],
        "optimizer": plain,
    }
    save_tensors(path, tensors, data)


def read(path: Path) -> Read:
    """What is in a checkpoint.

    Raises:
        InputError: the file is damaged, or of another version.
    """
    tensors, data = load_tensors(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{path} is not a checkpoint of format {FORMAT}")
    return tensors, data


def put(found: Read, path: Path, model: nn.Module, optimizer: Optimizer,
        average: Average | None = None) -> tuple[Progress, Carried]:
    """Put what was read in the model, its average, the optimiser and torch's generator.

    Raises:
        InputError: it is of another model.
    """
    tensors, data = found
    model_part = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    try:
        model.load_state_dict(model_part)
        if average is not None:
            average.load({n.removeprefix("average."): v for n, v in tensors.items() if n.startswith("average.")})
    except (RuntimeError, KeyError):
        raise InputError(f"{path} is the checkpoint of another model") from None
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *data["optimizer"].items()]:
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random.torch"])
    carried = tuple(
        tuple(tensors[f"carried.{layer}.{i}"] for i in range(count)) for layer, count in enumerate(data["carried"])
    )
    return Progress(**data["progress"]), carried


def load(path: Path, model: nn.Module, optimizer: Optimizer) -> tuple[Progress, Carried]:
    """Read a checkpoint and put it in its place."""
    return put(read(path), path, model, optimizer)
