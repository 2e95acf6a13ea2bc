"""A run: one cell, one task, one seed; online batches, Adam, clipping, until it is solved or the budget is spent.

This is no second training loop for tasks on data: there are no epochs here, no best weights to keep and nothing to
export. Sequences are drawn without end, validation decides one thing (solved?), and a table makes hundreds of runs of a
second each, for which a folder with logs would cost more than the run. What is the same is shared with ``training``:
checkpoints, interrupts, optimisers, schedules, threads.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from ostinato.files import digest
from ostinato.lab.measures import LOSSES, measure
from ostinato.lab.network import new_network
from ostinato.lab.options import Plan
from ostinato.lab.store import Store
from ostinato.lab.task import Batch, Draw
from ostinato.lab.tasks import find
from ostinato.training import checkpoint
from ostinato.training.checkpoint import Progress
from ostinato.training.interrupt import Interrupted, Interrupts
from ostinato.training.options import TrainingOptions
from ostinato.training.schedule import learning_rate, make_optimizer
from ostinato.training.threads import threads

CHECKPOINT_SECONDS = 60.0
Reporter = Callable[[str, Mapping[str, Any]], None]
"""Told what happens: "begin", "step", "check" or "end", and its numbers."""


def generator(seed: int, split: str, step: int = 0) -> Generator:
    """The source of one batch: another one for every seed, split and step."""
    return Generator().manual_seed(int(digest(f"{seed} {split} {step}")[:15], 16))


class Run:
    """Train one cell on one task from one seed.

    Args:
        plan: what is run.
        seed: decides the initial weights and every sequence.
        data: where a task reads its sequences that makes none.
        saved: a file to write checkpoints to, and to go on from where it exists.
        report: is told the course.

    Raises:
        InputError: the cell is unknown or refuses its options, or the data or the checkpoint cannot be read.
    """

    def __init__(
        self, plan: Plan, seed: int, data: Path | None = None, saved: Path | None = None, report: Reporter | None = None
    ) -> None:
        self.plan, self.seed, self.task = plan, seed, find(plan.task)
        self.draws: Mapping[str, Draw] = self.task.splits(data)
        torch.manual_seed(seed)
        s = plan.settings
        self.network = new_network(plan.cell, s.hidden_size, self.task.sizes(plan.lag), s.span or 0)
        self.options = TrainingOptions(
            optimizer="adam", learning_rate=s.learning_rate, schedule=s.schedule, warmup=0, clip=s.clip, seed=seed
        )
        self.optimizer = make_optimizer(self.network, self.options)
        self.total = math.ceil(s.sequences / s.batch)
        self.progress, self.saved, self.report = Progress(), saved, report or (lambda event, values: None)
        if saved is not None and saved.exists():
            self.progress, _ = checkpoint.load(saved, self.network, self.optimizer)

    def go(self) -> dict[str, Any]:
        """Train to the end, then test once.

        Returns:
            Whether it was solved (the test reached the goal), after how many sequences training ended, the measures of
            the test, and the plan. A run whose loss is not finite ends there, and is not solved.

        Raises:
            Interrupted: by Ctrl-C or SIGTERM, after a checkpoint where there is a file for it.
        """
        self.report("begin", {"step": self.progress.step, "total": self.total, "name": self.plan.name(self.seed)})
        started = time.monotonic()
        try:
            with threads(self.plan.settings.threads), Interrupts() as interrupts:
                end = self._train(interrupts)
                return self._result(end, time.monotonic() - started)
        finally:
            self.report("end", {})

    def _train(self, interrupts: Interrupts) -> str:
        """Returns how it ended: "goal", "budget" or "diverged"."""
        valid, saved_at = self._held_out("valid"), time.monotonic()
        while self.progress.step < self.total:
            if not self._step():
                return "diverged"
            step = self.progress.step
            if step % self.plan.settings.check == 0 and self._solved(valid, step):
                return "goal"
            if self.saved is not None and (interrupts.asked or time.monotonic() - saved_at > CHECKPOINT_SECONDS):
                checkpoint.save(self.saved, self.progress, (), self.network, self.optimizer)
                saved_at = time.monotonic()
            if interrupts.asked:
                raise Interrupted(interrupts.asked, step)
        return "budget"

    def _step(self) -> bool:
        """One update; false where the loss or the gradient is not finite."""
        step, s = self.progress.step, self.plan.settings
        batch = self.draws["train"](s.batch, self.plan.lag, generator(self.seed, "train", step))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.options, step, self.total)
        loss = LOSSES[self.task.loss][0](self.network(batch), batch)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), s.clip or math.inf).item()
        if not math.isfinite(norm) or not math.isfinite(loss.item()):
            return False
        self.optimizer.step()
        self.progress.step = step + 1
        self.report("step", {"loss": loss.item(), "sequences": (step + 1) * s.batch})
        return True

    def _held_out(self, split: str, step: int = 0) -> Batch:
        return self.draws[split](self.plan.settings.held_out, self.plan.lag, generator(self.seed, split, step))

    def _solved(self, valid: Batch, step: int) -> bool:
        """Whether the goal is passed on the validation sequences, and on others too, so that it was not luck.

        A rate that falls is made for the whole budget: then training goes on to its end.
        """
        return self._check(valid) and self.options.schedule == "constant" and self._check(self._held_out("valid", step))

    def _check(self, valid: Batch) -> bool:
        measures = self._measures(valid)
        if self.plan.goal.measure not in measures:
            measures |= self._examined()
        self.report("check", {"sequences": self.progress.step * self.plan.settings.batch, **measures})
        return self.plan.goal.beyond().met(measures)

    def _measures(self, batch: Batch) -> dict[str, float]:
        return measure(self.task.loss, self.network.answers(batch), batch)

    def _examined(self) -> dict[str, float]:
        return self.task.examine(self.network, self.plan.lag) if self.task.examine is not None else {}

    def _result(self, end: str, seconds: float) -> dict[str, Any]:
        measures = {**self._measures(self._held_out("test")), **self._examined()}
        solved = end != "diverged" and self.plan.goal.met(measures)
        return {
            **dataclasses.asdict(self.plan),
            "seed": self.seed,
            "goal": str(self.plan.goal),
            "solved": solved,
            "ended": end,
            "sequences": self.progress.step * self.plan.settings.batch,
            "test": {name: value if math.isfinite(value) else None for name, value in measures.items()},
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "seconds": round(seconds, 3),
        }


def check(plan: Plan) -> None:
    """Find what is wrong with a plan before any run of it, or of those before it, is begun.

    Raises:
        InputError: as :class:`Run`.
    """
    new_network(plan.cell, plan.settings.hidden_size, find(plan.task).sizes(plan.lag))




def stored_run(
    plan: Plan, seed: int, store: Store | None = None, report: Reporter | None = None, data: Path | None = None
) -> dict[str, Any]:
    """The result of a run: the one kept in a store, or that of a run from its checkpoint or from the beginning."""
    if store is None:
        return Run(plan, seed, data, None, report).go()
    result = store.get(plan, seed)
    if result is None:
        result = Run(plan, seed, data, store.checkpoint(plan, seed), report).go()
        store.put(plan, seed, result)
    return result
