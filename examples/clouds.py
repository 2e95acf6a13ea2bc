"""The lecture's next word: "the clouds are in the ___".

A language model of words learns from a few hundred sentences that a small grammar writes, and is asked which word comes
next. The last sentence needs no more than the words just before it; "I grew up in France ... I speak fluent ___" needs
what was said long before, which the state carries. Takes a quarter of a minute.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import torch

from ostinato.tasks import generate_run
from ostinato.tasks.generate import GenerateOptions
from ostinato.training.run import RunFolder

PAIRS = (("clouds", "sky"), ("fish", "sea"), ("birds", "trees"), ("trains", "station"), ("books", "library"))
COUNTRIES = (("France", "French"), ("Spain", "Spanish"), ("Norway", "Norwegian"), ("Greece", "Greek"))
ASIDES = ("I like music", "we had a garden", "the winters were cold", "my sister sings", "it rained a lot")
PROMPTS = ("the clouds are in the", "I grew up in France . my sister sings . we had a garden . I speak fluent")


def sentence(draw: random.Random) -> str:
    """A sentence of the grammar."""
    if draw.random() < 0.5:
        thing, place = draw.choice(PAIRS)
        return f"{draw.choice(('the', 'all', 'many'))} {thing} are {draw.choice(('', 'now '))}in the {place} ."
    country, language = draw.choice(COUNTRIES)
    asides = " . ".join(draw.sample(ASIDES, draw.randint(1, 3)))
    return f"I grew up in {country} . {asides} . I speak fluent {language} ."


def main() -> None:
    """Learn, and say which words are likeliest."""
    draw = random.Random(0)
    text = "\n".join(sentence(draw) for _ in range(3000)) + "\n"
    options = GenerateOptions(level="words", hidden_size=64, dropout=0.1, epochs=30, patience=0, bptt=40,
                              learning_rate=1e-2, threads=1)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        generate_run.train(run, options, *generate_run.split(text, options.held_out), lambda *said: None)
        loaded = generate_run.load_model(run)
    for prompt in PROMPTS:
        ids = torch.tensor([loaded.vocabulary.encode(prompt)])  # [1, T]
        with torch.no_grad():
            p, best = loaded.model(ids)[0][0, -1].softmax(0).topk(3)  # [3]
        words = [f"{loaded.vocabulary.tokens[int(i)]} {share:.2f}" for i, share in zip(best, p.tolist(), strict=True)]
        print(f"{prompt} ___  {', '.join(words)}")


if __name__ == "__main__":
    main()
