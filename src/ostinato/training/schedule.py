"""Optimisers by name, and the learning rate as a function of the step alone (so that it resumes by itself)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from ostinato.errors import unknown
from ostinato.training.options import OPTIMIZERS, TrainingOptions

FLOOR = 0.02
"""The share of the highest rate that the falling schedules end at."""


def learning_rate(options: TrainingOptions, step: int, total: int) -> float:
    """The rate of step number ``step`` (from 0) of ``total``: a linear rise, then the schedule.

    >>> options = TrainingOptions(learning_rate=1.0, schedule="linear", warmup=2)
    >>> [round(learning_rate(options, step, 4), 2) for step in range(4)]
    [0.5, 0.76, 0.51, 0.27]
    """
    done = min(step / max(total, 1), 1.0)
    epoch = min(int(done * options.epochs + 1e-9), options.epochs - 1)
    factor = {
        "linear": FLOOR + (1 - FLOOR) * (1 - done),
        "cosine": FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)),
        "halving": 0.5 ** max(0, epoch + 1 - options.hold),
    }.get(options.schedule, 1.0)
    rise = min((step + 1) / options.warmup, 1.0) if options.warmup else 1.0
    return options.learning_rate * rise * factor


def make_optimizer(model: nn.Module, options: TrainingOptions) -> Optimizer:
    """The optimiser that the options name; matrices decay, biases and other vectors do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate = options.learning_rate
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))
    if options.optimizer == "adam":
        return torch.optim.Adam(groups, lr=rate)
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate)
    if options.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate)
    raise unknown("optimizer", options.optimizer, OPTIMIZERS)
