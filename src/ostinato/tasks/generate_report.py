"""What a trained language model is and does, as one page."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ostinato.decoding.sampling import Sampler
from ostinato.errors import InputError
from ostinato.features.text import AnyVocabulary
from ostinato.inspect import (
    Spectrum,
    Traces,
    equations,
    gates,
    gradient_flow,
    pictures,
    report,
    saliency,
    spectra,
    states,
    timescales,
    unfold,
)
from ostinato.tasks.generate import LanguageModel, generate
from ostinato.tasks.generate_run import Loaded, load_model
from ostinato.training.run import RunFolder

LONGEST = 200
"""Tokens of the input that are looked at."""
FLOW = 64
"""Steps of it whose gradients are followed back."""
GUESSES = 5


def inspect_run(run: RunFolder, text: str | None = None) -> str:
    """The page of a run.

    Args:
        run: of the task ``generate``.
        text: what the model reads; by default what it writes itself.

    Raises:
        InputError: no run or a damaged one, or a text with fewer than two tokens or with tokens that the model does not
            know.
    """
    loaded = load_model(run)
    ids = _read(loaded, text)
    embedded = loaded.model.embedding(ids).detach()  # [1, T, E]
    tokens = [loaded.vocabulary.decode([int(i)]) for i in ids[0]]
    below = _inputs(loaded.model, embedded)
    known = ids[:, 1 : FLOW + 1]  # what comes after each step
    flow = gradient_flow(Network(loaded.model), embedded[:, : known.shape[1]],
                         lambda o: cross_entropy(o.mT, known, reduction="none"))
    found = [_layer(n, layer, x, tokens) for n, (layer, x) in enumerate(zip(loaded.model.layers, below, strict=True))]
    logits = _logits(loaded.model, embedded)
    words = report.advice(flow, [(name, traces) for name, traces, _ in found])
    sections = [("The model", _model(loaded)),
                ("What to know", report.paragraphs(words, "Nothing unusual was found on this input."))]
    if curves := _curves(run):
        sections.append(("Learning", curves))
    sections.append(("On its input", report.steps(found[-1][1], _guesses(logits, loaded.vocabulary))
                     + _saliency(loaded, embedded, tokens)))
    caption = (f"The norm of dL[t]/dh[k] for every step t and every k before it, over the first {known.shape[1]} "
               "steps, and the mean over t for each lag.")
    sections.append(("Gradients back in time", report.figure(flow.plot, caption) + report.listing(str(flow))))
    sections += [(name, html) for name, _, html in found]
    return report.page(f"Inside {run.path.name}", sections)


class Network(torch.nn.Module):
    """The layers and the head of a language model, without its embedding."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.layers, self.head = model.layers, model.head

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, E]`` to logits ``[B, T, V]``."""
        for layer in self.layers:
            x = layer(x)[0]
        return self.head(x)


def _read(loaded: Loaded, text: str | None) -> Tensor:
    """The tokens ``[1, T]``."""
    vocabulary = loaded.vocabulary
    if text is None:
        start = vocabulary.decode([1])
        text = start + generate(loaded.model, vocabulary, start, 120, Sampler(temperature=0.8, seed=0))
    if missing := vocabulary.missing(text):
        raise InputError(f"the input has {vocabulary.level} that the model does not know: "
                         f"{', '.join(map(repr, missing[:10]))}")
    ids = vocabulary.encode(text)[:LONGEST]
    if len(ids) < 2:
        raise InputError(f"the input has {len(ids)} tokens, and 2 are needed")
    return torch.tensor([ids])


@torch.no_grad()
def _inputs(model: LanguageModel, x: Tensor) -> list[Tensor]:
    """What each layer reads."""
    found = []
    for layer in model.layers:
        found.append(x)
        x = layer(x)[0]
    return found


@torch.no_grad()
def _logits(model: LanguageModel, embedded: Tensor) -> Tensor:
    return Network(model)(embedded)  # [1, T, V]


def _guesses(logits: Tensor, vocabulary: AnyVocabulary) -> list[list[tuple[str, float]]]:
    """The likeliest next tokens of every step."""
    best = logits[0].softmax(-1).topk(min(GUESSES, logits.shape[-1]))
    return [[(vocabulary.decode([int(i)]), float(p)) for p, i in zip(ps, indices, strict=True)]
            for ps, indices in zip(best.values, best.indices, strict=True)]


def _saliency(loaded: Loaded, embedded: Tensor, words: list[str]) -> str:
    """Which of the tokens read move the likeliest answer at the end."""
    answer = int(_logits(loaded.model, embedded)[0, -1].argmax())
    found = saliency(Network(loaded.model), embedded, lambda logits: logits[:, -1].log_softmax(-1)[:, answer].sum(),
                     words)
    likely = loaded.vocabulary.decode([answer])
    return report.figure(found.plot, f"How each token moves the log-probability of {likely!r} after the last one.")


def _model(loaded: Loaded) -> str:
    options = loaded.options
    return report.describe({
        "task": "generate: the next of the tokens, " + options.level,
        "cell": options.cell + (f" ({options.cell_options})" if options.cell_options else ""),
        "layers": options.layers, "hidden units": options.hidden_size, "vocabulary": len(loaded.vocabulary),
        "parameters": f"{sum(p.numel() for p in loaded.model.parameters()):,}"})


def _curves(run: RunFolder) -> str:
    """The losses of the training, from its record."""
    if not run.metrics.exists():
        return ""
    rows: list[dict[str, Any]] = [json.loads(line) for line in run.metrics.read_text("utf-8").splitlines() if line]
    curves = {name: [(r["step"], r[name]) for r in rows if name in r]
              for name in ("train/loss", "validation/loss", "train/gradient_norm")}
    curves = {name: points for name, points in curves.items() if points}
    return report.figure(lambda path: pictures.curves(curves, path), "Losses in nats a token, and the norm of the "
                         "gradient, against the step of training.") if curves else ""


def _layer(number: int, layer: Any, x: Tensor, words: list[str]) -> tuple[str, Traces, str]:
    """The section of one layer: its name, its gates (or states, if it has none), and what is shown."""
    name = f"Layer {number}: {layer.cell.name}"
    drawing = unfold(layer, x=x, title=layer.cell.name)
    html = report.figure(drawing.svg, "The layer, folded and unfolded over three steps.")
    html += report.listing(str(equations(layer, x)))
    for title, found in _spectra(layer).items():
        html += report.figure(found.plot, f"{title} by itself, without gates and nonlinearities: {found}.")
    try:
        traces = gates(layer, x, tokens=words)
    except InputError:  # a cell without gates
        traces = states(layer, x, tokens=words)
    html += report.figure(traces.plot, "Every unit at every step of the input.")
    tau = timescales(layer, x, tokens=words)
    if tau.values:
        html += report.figure(tau.plot, "Time constants in steps, of every unit at every step.")
    return name, traces, html


def _spectra(layer: Any) -> dict[str, Spectrum]:
    try:
        return dict(spectra(layer))
    except InputError:  # no square recurrent matrix
        return {}
