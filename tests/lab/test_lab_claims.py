"""The cheaper claims of docs/memory.md, with fixed seeds."""

from __future__ import annotations

from typing import Any

from ostinato.lab.options import LabOptions, plan
from ostinato.lab.runs import Run


def result(task: str, cell: str, lag: int, sequences: int, bound: float) -> dict[str, Any]:
    return Run(plan(task, cell, lag, LabOptions(sequences=sequences, bound=bound)), 0).go()


def test_over_forty_steps_gates_learn_to_add_and_a_simple_network_does_not() -> None:
    assert result("adding", "gru", 40, 16_000, 0.02)["solved"]
    assert result("adding", "lstm", 40, 16_000, 0.02)["solved"]
    assert result("adding", "elman", 40, 16_000, 0.02)["test"]["mse"] > 0.1


def test_an_lstm_learns_to_clear_its_memory_and_an_average_does_not() -> None:
    lstm = result("clearing", "lstm", 10, 12_800, 0.003)
    assert lstm["solved"]
    assert lstm["test"]["tau at marks"] < lstm["test"]["tau between marks"] / 1.5  # with the same weights
    assert result("clearing", "running-average", 10, 12_800, 0.003)["test"]["mse"] > 0.03
