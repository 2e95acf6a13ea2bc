"""Predict the next character or word, and write: the lecture's language model, from the text to the sample.

    e[t] = E x[t]                          the embedding of token x[t]
    h[t] = Recurrent(e)[t]                 one or more recurrent layers, any cell
    p(x[t+1] | x[1..t]) = softmax(V h[t] + c)

Trained with teacher forcing: the model is always given the true past, and the loss is the mean of
``-log p(x[t+1] | x[1..t])``. A text is cut into ``batch`` contiguous streams; the states are carried from one batch to
the next and the gradient is cut there (truncated back-propagation through time).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ostinato import cells
from ostinato.cell import Cell
from ostinato.decoding.sampling import Sampler
from ostinato.errors import InputError
from ostinato.features.text import LEVELS, SUBWORDS, AnyVocabulary
from ostinato.recurrent import Recurrent
from ostinato.tasks.common.encoder import make_cell
from ostinato.training.bptt import detached
from ostinato.training.goal import Goal
from ostinato.training.options import TrainingOptions, option
from ostinato.training.workers import Part

IGNORED = -100  # the target of a place that is only filled up
States = tuple[tuple[Tensor, ...], ...]
"""For each layer, its cell's states ``[B, ...]``."""


@dataclass(frozen=True)
class GenerateOptions(TrainingOptions):
    """What ``ostinato train generate`` can be told."""

    level: str = option("characters", "what a token is", choices=(*LEVELS, SUBWORDS))
    vocabulary_size: int = option(10_000, "keep so many of the most frequent tokens", low=2)
    cell: str = option("lstm", "the recurrent step, by name (ostinato info lists them)")
    cell_options: dict[str, Any] = field(default_factory=dict, metadata={"help": "the cell's own options, as tau=5"})
    layers: int = option(1, "recurrent layers, one on the other", low=1)
    hidden_size: int = option(256, "hidden units in each layer", low=1)
    embedding_size: int | None = option(None, "numbers that a token becomes (64; tied: as many as hidden units)", low=1)
    tied_embeddings: bool = option(False, "use the embedding as the output matrix too")
    dropout: float = option(0.0, "share of the numbers between layers that training drops", low=0, high=0.95)
    weight_dropout: float = option(0.0, "share of the recurrent weights that a training step drops", low=0, high=0.95)
    initial_scale: float | None = option(None, "draw all weights from [-scale, scale], not by the cell's rule", low=0)
    batch: int = option(16, "streams that the text is cut into", low=1)
    bptt: int = option(50, "steps that the gradient goes back", low=1)
    carry_state: bool = option(True, "begin each piece of so many steps with the states of the one before")
    held_out: float = option(0.1, "share of the text, at its end, that validates", low=0.001, high=0.9)


class LanguageModel(nn.Module):
    """Embedding, recurrent layers, and a linear map to the logits of the next token."""

    def __init__(
        self, size: int, embedding_size: int, layers: Sequence[Recurrent], width: int, options: GenerateOptions
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, embedding_size)
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(width, size)
        if options.tied_embeddings:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Tokens ``[B, T]`` to logits ``[B, T, V]``, and the states after the last step."""
        finals = []
        h = self.dropout(self.embedding(tokens))  # [B, T, E]
        for number, layer in enumerate(self.layers):
            h, final = layer(h, states[number] if states else None)  # [B, T, H], H the cell's output
            h = self.dropout(h)  # [B, T, H]
            finals.append(final)
        return self.head(h), tuple(finals)  # [B, T, V]


def new_model(size: int, options: GenerateOptions) -> LanguageModel:
    """A language model of ``size`` tokens with fresh weights."""
    width = cells.output_size(make_cell(options, 1))
    embedding_size = options.embedding_size or (width if options.tied_embeddings else 64)
    if options.tied_embeddings and embedding_size != width:
        raise InputError(f"tied embeddings are as wide as the output, {width}: --embedding-size {embedding_size}")
    widths = [embedding_size] + [width] * (options.layers - 1)
    layers = [Recurrent(_regularised(make_cell(options, w), options)) for w in widths]
    model = LanguageModel(size, embedding_size, layers, width, options)
    nn.init.zeros_(model.head.bias)
    if options.tied_embeddings:  # small, as a matrix to the logits is
        nn.init.normal_(model.embedding.weight, std=embedding_size**-0.5)
    if options.initial_scale is not None:
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -options.initial_scale, options.initial_scale)
    return model


def _regularised(cell: Cell, options: GenerateOptions) -> Cell:
    """With ``weight_dropout``, the same cell with some of its recurrent weights missing in every training step."""
    return cells.WeightDropout(cell, options.weight_dropout) if options.weight_dropout else cell


def streams(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cut tokens ``[N]`` into inputs and targets ``[count, L]``, one after the other; the last is filled up."""
    length = math.ceil((len(ids) - 1) / count)
    fill = count * length + 1 - len(ids)
    inputs = torch.cat([ids[:-1], ids.new_zeros(fill)]).view(count, length)  # [B, L]
    targets = torch.cat([ids[1:], ids.new_full((fill,), IGNORED)]).view(count, length)  # [B, L]
    return inputs, targets


class GenerateTask:
    """What the training loop has to know of a language model."""

    def __init__(
        self, model: LanguageModel, options: GenerateOptions, train: Tensor, valid: Tensor, keep: Callable[[], None]
    ) -> None:
        self.model, self.save = model, keep
        self.goal = Goal("loss")
        self._carry = options.carry_state
        self._valid, self._count = valid, min(options.batch, max(1, len(valid) // 1000))
        count = min(options.batch, (len(train) - 1) // options.bptt)
        if count < 1:
            raise InputError(
                f"the training text has {len(train)} tokens, fewer than one sequence of {options.bptt} and its target: "
                "give more text or a smaller --bptt"
            )
        if len(valid) < 2:
            raise InputError(f"the held-out text has {len(valid)} tokens, and 2 are needed: give more text")
        whole = (len(train) - 1) // count * count + 1  # every stream full: what is left over is not trained on
        self.streams = count
        self._inputs, self._targets = streams(train[:whole], count)  # [B, L] each
        self.batches = math.ceil(self._inputs.shape[1] / options.bptt)

    def start(self) -> States:
        return ()

    def loss(self, epoch: int, batch: int, carried: States, part: Part) -> tuple[Tensor, float, States]:
        """The mean loss of chunk number ``batch``; the chunks of an epoch are of nearly equal length."""
        length = self._inputs.shape[1]
        chunk = slice(batch * length // self.batches, (batch + 1) * length // self.batches)
        inputs, targets = part.of(self._inputs)[:, chunk], part.of(self._targets)[:, chunk]  # [B, T] each
        logits, states = self.model(inputs, carried)  # [B, T, V]
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())  # [B T, V] and [B T] to []
        return loss, targets.numel(), detached(states) if self._carry else ()

    def validate(self) -> dict[str, float]:
        loss = evaluate(self.model, self._valid, self._count)
        return {"loss": loss, "bits": loss / math.log(2)}


@torch.no_grad()
def evaluate(
    model: LanguageModel, ids: Tensor, count: int = 1, chunk: int = 256, tick: Callable[[int], object] | None = None
) -> float:
    """The mean of ``-log p`` (in nats) of tokens 2 to N of a text ``[N]``, the states carried through.

    Args:
        count: read the text as so many streams at once; one is exact, more are faster and each starts without a past.
        chunk: steps of one call; it changes memory and speed only.
        tick: told after each chunk how many steps it had.
    """
    inputs, targets = streams(ids, count)  # [B, L] each
    states: States = ()
    total = 0.0
    for start in range(0, inputs.shape[1], chunk):
        logits, states = model(inputs[:, start : start + chunk], states)  # [B, T, V]
        target = targets[:, start : start + chunk].flatten()  # [B T]
        total += cross_entropy(logits.flatten(0, 1).double(), target, reduction="sum", ignore_index=IGNORED).item()
        if tick is not None:
            tick(min(chunk, inputs.shape[1] - start))
    return total / (len(ids) - 1)


@torch.no_grad()
def generate(model: LanguageModel, vocabulary: AnyVocabulary, prompt: str, length: int, sampler: Sampler) -> str:
    """Write ``length`` tokens after a prompt, each drawn given all before it; returns what was written, as text.

    Raises:
        InputError: the prompt is empty, or has tokens that the vocabulary lacks.
    """
    missing = vocabulary.missing(prompt)
    if missing:
        kind = vocabulary.level
        raise InputError(f"the prompt has {kind} that the model does not know: {', '.join(map(repr, missing[:10]))}")
    ids = torch.tensor([vocabulary.encode(prompt)])  # [1, T]
    if not ids.numel():
        raise InputError("the prompt is empty")
    states: States = ()
    written: list[int] = []
    for _ in range(length):
        logits, states = model(ids, states)  # [1, T, V]
        last = logits[:, -1].clone()  # [1, V]
        last[:, 0] = -math.inf  # never <unk>
        ids = sampler(last).unsqueeze(1)  # [1, 1]
        written.append(int(ids))
    return vocabulary.decode(written)
