"""The one training loop, on Lightning Fabric: any task, held-out validation, early stopping, checkpoints.

A run that is killed and resumed gives the numbers of one that was not, bit for bit: a batch is a function of its epoch
and its place, a learning rate and what chance draws of its step, and everything else that lasts is in the checkpoint.

Several processes (:mod:`ostinato.training.workers`) take the same steps, each with its part of the batch; a gradient is
that of the whole batch's mean loss, however the parts weigh.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.errors import InputError
from ostinato.training import checkpoint
from ostinato.training.average import Average
from ostinato.training.checkpoint import Carried, Progress
from ostinato.training.goal import Goal
from ostinato.training.interrupt import Interrupted, Interrupts
from ostinato.training.log import Log
from ostinato.training.options import TrainingOptions
from ostinato.training.run import RunFolder
from ostinato.training.schedule import learning_rate, make_optimizer
from ostinato.training.threads import threads
from ostinato.training.workers import LostWorker, Part, Workers

LOG_STEPS = 10
Reporter = Callable[[str, Mapping[str, Any]], None]
"""Told what happens: "begin", "step", "warning", "epoch" or "end", and its numbers."""


class Task(Protocol):
    """What the loop has to know of a task."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def goal(self) -> Goal:
        """The measure of :meth:`validate` that decides which weights are best."""
        ...

    @property
    def batches(self) -> int:
        """Batches in one epoch."""
        ...

    def start(self) -> Carried:
        """What the first batch of an epoch is given from before."""
        ...

    def loss(self, epoch: int, batch: int, carried: Carried, part: Part) -> tuple[Tensor, float, Carried]:
        """For a part of one batch: its mean loss, over how much it is the mean, and what is carried on, detached."""
        ...

    def validate(self) -> Mapping[str, float]:
        """Measures on held-out data, among them the one of the goal."""
        ...

    def save(self) -> None:
        """Keep the present weights as the best."""
        ...


class Watching(Protocol):
    """What looks into a training from time to time."""

    def due(self) -> bool:
        """Told before every step; whether to look."""
        ...

    def look(self, loss: Callable[[], Tensor]) -> tuple[dict[str, float], list[str]]:
        """Numbers for the log, and warnings."""
        ...

    def not_finite(self, loss: Callable[[], Tensor]) -> str:
        """Where the first number that is none comes from."""
        ...


class _Loss(nn.Module):
    """The loss as a module, so that what goes round a model (gradients that are added up) goes round all of it."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task, self.model = task, task.model

    def forward(self, *given: Any) -> tuple[Tensor, float, Carried]:
        return self._task.loss(*given)


class Trainer:
    """Train a task in a run folder, from its checkpoint where there is one.

    Args:
        workers: the processes that share the work, connected.
        watcher: what looks into it, in the first process.
    """

    def __init__(self, task: Task, options: TrainingOptions, run: RunFolder, workers: Workers,
                 report: Reporter | None = None, watcher: Watching | None = None) -> None:  # fmt: skip
        self._watcher = watcher if workers.first else None
        self.task, self.options, self.run, self._workers = task, options, run, workers
        self._report = (report if workers.first else None) or (lambda event, values: None)
        self._progress = Progress()
        self._carried: Carried = ()
        self._before: Carried = ()
        optimizer = make_optimizer(task.model, options)
        self._average = Average(task.model, options.average)
        found = workers.share(checkpoint.read(run.checkpoint) if workers.first and run.checkpoint.exists() else None)
        if found is not None:
            self._progress, carried = checkpoint.put(found, run.checkpoint, task.model, optimizer, self._average)
            self._carried = tuple(tuple(workers.part.of(state) for state in states) for states in carried)
        self._fabric = workers.fabric
        self._model, self._optimizer = self._fabric.setup(_Loss(task), optimizer)
        self._bare_optimizer: Optimizer = optimizer
        self._saved_at = time.monotonic()

    def fit(self) -> Progress:
        """Train to the last epoch, or until validation has been no better for ``patience`` epochs.

        Raises:
            Interrupted: by Ctrl-C or SIGTERM, after writing a checkpoint.
            InputError: the loss or the gradient is not finite, the disk is full, or another process is gone.
        """
        if self._workers.first:
            self._log = Log(self.run, self._progress.metrics_size, self._progress.step)
        self._report("begin", {"step": self._progress.step, "total": self.task.batches * self.options.epochs})
        try:
            with threads(self.options.threads), Interrupts() as interrupts:
                while not self._done():
                    self._epoch(interrupts)
        except LostWorker as lost:
            self._give_up(lost)
        finally:
            self._report("end", {})
            if self._workers.first:
                self._log.close()
        return self._progress

    def _done(self) -> bool:
        p, patience = self._progress, self.options.patience
        return p.epoch >= self.options.epochs or bool(patience and p.worse_epochs >= patience)

    def _epoch(self, interrupts: Interrupts) -> None:
        p, total = self._progress, self.task.batches
        started = time.monotonic()
        self._model.train()
        if p.batch == 0:
            self._carried, p.loss_sum = self.task.start(), 0.0
        while p.batch < total:
            self._step(total, interrupts)
        self._carried = ()
        measures: dict[str, float] = {}
        if self._workers.first:
            try:
                with interrupts.at_once():
                    self._model.eval()
                    with self._average.in_place():
                        measures = dict(self.task.validate())
            except KeyboardInterrupt:
                self._stop(interrupts.asked)
        self._end_epoch(self._workers.share(measures), time.monotonic() - started)

    def _step(self, total: int, interrupts: Interrupts) -> None:
        p, workers = self._progress, self._workers
        rate = learning_rate(self.options, p.step, total * self.options.epochs) * p.rate_factor
        for group in self._bare_optimizer.param_groups:
            group["lr"] = rate
        self._before = self._carried
        if self._watcher is not None and self._watcher.due():
            self._set_chance()
            numbers, warnings = self._watcher.look(self._this_loss)
            self._write({"epoch": p.epoch + 1, **numbers})
            for warning in warnings:
                self._report("warning", {"text": warning})
        self._set_chance()
        loss, weight, self._carried = self._model(p.epoch, p.batch, self._carried, workers.part)
        # what is decided is decided by all alike: the loss of the whole, whether to stop, whether to write a checkpoint
        all_weights, losses, asked, due = workers.gather(
            [weight, loss.item(), interrupts.asked, self._checkpoint_due()]).unbind(1)  # [world] each
        value = ((losses * all_weights).sum() / all_weights.sum()).item() if workers.many else losses.item()
        self._check_finite("loss", value, rate)
        self._optimizer.zero_grad()
        with workers.watching():  # gradients are averaged over processes, whatever their parts weigh
            self._fabric.backward(loss * (weight * len(losses) / all_weights.sum()).item() if workers.many else loss)
        limit = self.options.clip or math.inf  # an infinite limit measures the norm and scales by one
        norm = self._clip(limit)
        self._check_finite("gradient", norm, rate)
        if self.options.clip_value:
            nn.utils.clip_grad_value_(self.task.model.parameters(), self.options.clip_value)
        self._optimizer.step()
        self._average.update(p.step + 1)
        p.batch, p.step, p.loss_sum = p.batch + 1, p.step + 1, p.loss_sum + value
        if p.step % LOG_STEPS == 0:
            values = {"train/loss": value, "train/gradient_norm": norm, "train/learning_rate": rate}
            self._write({"epoch": p.epoch + 1, **values})
        self._report("step", {"step": p.step, "loss": value, "learning_rate": rate})
        if stop := int(asked.max()) if workers.many else interrupts.asked:
            self._stop(stop)
        if due[0]:
            self._save()

    def _this_loss(self) -> Tensor:
        """The loss of the present batch once more, for those who look at it."""
        p = self._progress
        return self.task.loss(p.epoch, p.batch, self._before, self._workers.part)[0]

    def _set_chance(self) -> None:
        """What chance draws in a step depends on the seed, the step and the process alone."""
        number = (self.options.seed << 40) + (self._progress.step << 8) + self._workers.part.rank
        torch.default_generator.manual_seed(number % 2**63)

    def _write(self, values: dict[str, Any]) -> None:
        if self._workers.first:
            self._log.write(self._progress.step, values)

    def _clip(self, limit: float) -> float:
        """Scale the gradient down to a norm of ``limit``; returns the norm it had."""
        found = self._fabric.clip_gradients(self._model, self._optimizer, max_norm=limit, error_if_nonfinite=False)
        assert found is not None
        return found.item()

    def _check_finite(self, what: str, value: float, rate: float) -> None:
        if not math.isfinite(value):
            step = self._progress.step + 1
            where = self._watcher.not_finite(self._this_loss) if self._watcher is not None else ""
            raise InputError(
                f"the {what} is {value} at step {step} (learning rate {rate:.3g}{where and '; '}{where}): the training "
                "diverged; try a lower --learning-rate, or a --clip of 1 or less"
            )

    def _end_epoch(self, measures: dict[str, float], seconds: float) -> None:
        p, goal = self._progress, self.task.goal
        value = measures[goal.measure]
        self._check_finite(f"held-out {goal.measure}", value, self._bare_optimizer.param_groups[0]["lr"])
        loss = measures.get("loss", value)
        better = goal.better(value, p.best) or (value == p.best and p.best_loss is not None and loss < p.best_loss)
        p.epoch += 1
        values = {f"validation/{name}": value for name, value in measures.items()}
        values = {"epoch": p.epoch, "train/mean_loss": p.loss_sum / p.batch, **values}
        self._write({**values, "seconds": round(seconds, 3)})
        p.batch = 0
        if better:
            p.best, p.best_loss, p.best_epoch, p.worse_epochs = value, loss, p.epoch, 0
            if self._workers.first:
                with self._average.in_place():
                    self.task.save()
        else:
            p.worse_epochs += 1
            p.rate_factor *= 0.5 if self.options.schedule == "plateau" else 1.0
        self._save()
        self._report("epoch", {**values, "seconds": seconds, "better": better})

    def _checkpoint_due(self) -> bool:
        """Whether one is to be written after the present step."""
        every, seconds = self.options.checkpoint_steps, self.options.checkpoint_seconds
        by_step = bool(every) and (self._progress.step + 1) % every == 0
        return by_step or (bool(seconds) and time.monotonic() - self._saved_at >= seconds)

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        carried = self._workers.join(self._carried)
        if self._workers.first:
            p = self._progress
            p.metrics_size = self._log.sync()
            checkpoint.save(self.run.checkpoint, p, carried, self.task.model, self._bare_optimizer, self._average)

    def _stop(self, asked: int) -> Any:
        self._save()
        raise Interrupted(asked, self._progress.step)

    def _give_up(self, lost: LostWorker) -> Any:
        """Another process is gone: nothing of the last whole step is lost, unless it is in that process's states."""
        if not self._workers.first:
            raise lost
        if not self._carried:
            self._save()
        step = checkpoint.read(self.run.checkpoint)[1]["progress"]["step"] if self.run.checkpoint.exists() else 0
        raise LostWorker(f"{lost} at step {self._progress.step}; the checkpoint is of step {step}: go on with --resume")
