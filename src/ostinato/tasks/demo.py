"""The demonstration: a character language model of the language reference that every Python carries."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ostinato.decoding.sampling import Sampler
from ostinato.errors import InputError
from ostinato.tasks.baselines import NGram
from ostinato.tasks.generate import GenerateOptions, evaluate, generate
from ostinato.tasks.generate_run import load_model, numbers, train
from ostinato.training.run import RunFolder
from ostinato.training.threads import threads

# One thread: the products of a step are too small to share, and waiting for another core costs more on a busy machine.
OPTIONS = GenerateOptions(cell="gru", epochs=3, patience=0, batch=16, bptt=32, learning_rate=5e-3, threads=1)
PROMPT = "The "


@dataclass(frozen=True)
class Parts:
    """The text, cut in three contiguous parts."""

    train: str
    valid: str
    test: str


def reference() -> Parts:
    """The topics of ``pydoc_data.topics`` in the order of their names: 90 % to train, 5 % to validate, 5 % to test."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name].strip() + "\n" for name in sorted(topics))
    first, second = (text.rindex("\n", 0, len(text) * percent // 100) + 1 for percent in (90, 95))
    return Parts(text[:first], text[first:second], text[second:])


def run_demo(
    run: RunFolder, options: GenerateOptions, report: Callable[..., None], overwrite: bool = False
) -> dict[str, Any]:
    """Train, compare with the baselines on the test part, write a sample, and check what was saved."""
    with threads(options.threads):
        return _demo(run, options, report, overwrite)


def _demo(run: RunFolder, options: GenerateOptions, report: Callable[..., None], overwrite: bool) -> dict[str, Any]:
    parts, started = reference(), time.monotonic()
    result = train(run, options, parts.train, parts.valid, report, overwrite=overwrite)
    seconds = time.monotonic() - started
    loaded = load_model(run)
    test, again = numbers(loaded.vocabulary, parts.test), load_model(run)
    losses = {"model": evaluate(loaded.model, test)}
    start = test[:1000]
    if evaluate(loaded.model, start) != evaluate(again.model, start):
        raise InputError(f"{run.path}: the saved model predicts otherwise when it is loaded again")
    tokens, targets = (np.array(loaded.vocabulary.encode(text)) for text in (parts.train, parts.test))
    for name, order in (("unigram", 1), ("5-gram", 5)):
        losses[name] = NGram(order, len(loaded.vocabulary)).fit(tokens).loss(targets)
    sample = generate(loaded.model, loaded.vocabulary, PROMPT, 300, Sampler(temperature=0.5, seed=1))
    bits = {name: loss / math.log(2) for name, loss in losses.items()}
    counts = {"characters": len(parts.train), "test_characters": len(parts.test)}
    return {**result, **counts, "seconds": seconds, "test_bits": bits, "sample": PROMPT + sample}
