"""The answer to a question about a story, from its sentences: a recurrence that turns the question into its answer.

    s[i]   = both directions of a recurrence over the words of sentence i, their last states; q from the question alike
    z[t]   = sigmoid(Z [s[t], q[t], s[t] q[t]] + b)            how far sentence t answers the question, one number
    r[t]   = sigmoid(R [s[t], q[t], s[t] q[t]] + c)
    c[t]   = tanh(H [s[t], q[t], s[t] q[t]] + d)               the question that is left when sentence t is known
    h[t]   = z[t] r[t] c[t] + (1 - z[t]) h[t-1]
    q'[t]  = h[t] forwards + h[t] backwards                    the question of the next hop; the first has q everywhere
    d[0]   = tanh(D [h[T], q] + e),  d[k] = GRU(E y[k-1], d[k-1]),  p(y[k]) = softmax(V d[k] + f)

h[T] of the last hop (it reads forwards only) is the answer, which a decoder writes word by word: an answer may be words
together that training never saw together. As the recurrence is linear in its state, what h[t] holds of sentence u is
known: ``z[u] (1 - z[u+1]) ... (1 - z[t])``. That is the attention, of one hop on the sentences, or through all of them.

Source: Seo, Min, Farhadi and Hajishirzi, "Query-Reduction Networks for Question Answering", ICLR 2017 (arXiv
1606.04582). Here sentences are read by a recurrence, gates see sentence and question too, not only their product.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import cells
from ostinato.cell import Cell
from ostinato.decoding.beam import beam_search
from ostinato.recurrent import Recurrent
from ostinato.tasks.answer_read import Stories, Story, story_of_text
from ostinato.tasks.common.encoder import Encoder, Pool, RecurrentOptions
from ostinato.tasks.common.kind import Answer, Example, Kind, Measures, TaskOptions
from ostinato.tasks.common.store import Item
from ostinato.tasks.common.words import Lexicon, segment
from ostinato.training.goal import Goal
from ostinato.training.options import option

START, UNKNOWN, END = 0, 1, 2
"""Numbers of answer words that are none."""


@dataclass(frozen=True)
class AnswerOptions(RecurrentOptions, TaskOptions):
    """What ``ostinato train answer`` can be told."""

    story: str | None = option(None, "column with the story: a text, or a list of sentences; guessed where clear")
    question: str | None = option(None, "column with the question; guessed where it is clear")
    answer: str | None = option(None, "column with the answer; guessed where it is clear")
    header: bool | None = option(None, "the first line names the columns; guessed")
    format: str | None = option(None, "of the files: babi, jsonl, csv, tsv, parquet (by name and first line)")
    patience: int = option(0, "stop after so many epochs that are no better on validation (0: never)", low=0)
    cell: str = option("gru", "the recurrent step that reads words, by name (ostinato info lists them)")
    hidden_size: int = option(64, "its hidden units in each layer and direction", low=1)
    dropout: float = option(0.0, "share of the numbers that training drops before each recurrence", low=0, high=0.95)
    weight_decay: float = option(1e-3, "how strongly weights are drawn to zero", low=0)
    embedding_size: int = option(100, "numbers that a word becomes", low=1)
    memory_size: int = option(100, "numbers that a sentence and the question become", low=1)
    hops: int = option(3, "how often the story is read", low=1)
    vocabulary_size: int = option(30_000, "keep so many of the most frequent words", low=1)
    longest: int = option(200, "sentences that are read of a longer story, the last ones", low=1)
    beam: int = option(4, "how many beginnings of an answer are tried at once", low=1)


class Batch(NamedTuple):
    """Stories as tensors. Sentences that are the same are encoded once."""

    words: Tensor  # [S, L], each different sentence
    word_lengths: Tensor  # [S]
    sentences: Tensor  # [B, T], which sentence stands where
    lengths: Tensor  # [B]
    questions: Tensor  # [B], which sentence is the question
    answers: Tensor | None  # [B, K], with END and then -1


class Reduction(Cell):
    """One sentence met by a question; states and inputs are ``[B, N]``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.Z = nn.Linear(3 * size, 1)
        self.R = nn.Linear(3 * size, size)
        self.H = nn.Linear(3 * size, size)
        self.add_state("h", size)

    def step(self, s: Tensor, q: Tensor, h: Tensor) -> Tensor:
        both = self.both(s, q)  # [B, 3 N]
        z = torch.sigmoid(self.Z(both))  # [B, 1]
        return z * torch.sigmoid(self.R(both)) * torch.tanh(self.H(both)) + (1 - z) * h  # [B, N]

    @staticmethod
    def both(s: Tensor, q: Tensor) -> Tensor:
        return torch.cat([s, q, s * q], -1)

    def shares(self, s: Tensor, q: Tensor, live: Tensor, reverse: bool) -> Tensor:
        """How much of sentence u the state at t holds, ``[B, T, T]``: rows t, columns u; the rest of a row is nothing.

        Args:
            s: ``[B, T, N]``.
            q: ``[B, T, N]``.
            live: bool ``[B, T]``.
        """
        logit = self.Z(self.both(s, q)).squeeze(-1)  # [B, T]
        z = torch.sigmoid(logit) * live  # [B, T]
        kept = F.logsigmoid(-logit) * live  # [B, T], log(1 - z)
        total = (kept.flip(1).cumsum(1).flip(1) if reverse else kept.cumsum(1)).unsqueeze(2)  # [B, T, 1]
        past = torch.ones(z.shape[1], z.shape[1], dtype=torch.bool, device=z.device).tril()  # [T, T]
        gone = (total - total.transpose(1, 2)).masked_fill(~(past.T if reverse else past), -torch.inf)  # [B, T, T]
        return gone.exp() * z.unsqueeze(1) * live.unsqueeze(2)  # [B, T, T]


class Reader(nn.Module):
    """Words to sentences, sentences and question through the hops, the answer word by word."""

    def __init__(self, words: int, answers: int, options: AnswerOptions) -> None:
        super().__init__()
        size = options.memory_size
        self.word = nn.Embedding(words, options.embedding_size, padding_idx=0)
        nn.init.normal_(self.word.weight, std=0.3)
        self.encoder = Encoder(options.embedding_size, options)
        self.pool = Pool(self.encoder.size, "last", options.bidirectional)
        self.to_memory = nn.Linear(self.pool.size, size)
        self.ahead = nn.ModuleList(Recurrent(Reduction(size)) for _ in range(options.hops))
        self.back = nn.ModuleList(Recurrent(Reduction(size), reverse=True) for _ in range(options.hops - 1))
        self.dropout = nn.Dropout(options.dropout)
        self.begin = nn.Linear(2 * size, size)
        self.answer_word = nn.Embedding(answers, size)
        self.decoder = Recurrent(cells.GRU(size, size))
        self.head = nn.Linear(size, answers)

    def forward(self, batch: Batch) -> Tensor:
        """The logits of each word of the right answers, given those before it: ``[B, K, A]``."""
        assert batch.answers is not None
        first, _ = self.read(batch)  # [B, N]
        before = F.pad(batch.answers[:, :-1].clamp(min=0), (1, 0), value=START)  # [B, K]
        d, _ = self.decoder(self.answer_word(before), (first,))  # [B, K, N]
        return self.head(d)

    def read(self, batch: Batch, attention: bool = False) -> tuple[Tensor, Tensor]:
        """The decoder's first state ``[B, N]``; and, where asked for, each hop's attention ``[B, hops, T]``."""
        e = self.dropout(self.word(batch.words))  # [S, L, E]
        v = self.to_memory(self.pool(self.encoder(e, batch.word_lengths), batch.word_lengths))  # [S, N]
        s = self.dropout(v[batch.sentences])  # [B, T, N]
        asked = v[batch.questions]  # [B, N]
        q = asked.unsqueeze(1).expand_as(s).contiguous()  # [B, T, N]
        live = torch.arange(s.shape[1], device=s.device) < batch.lengths.unsqueeze(1)  # [B, T]
        shares: list[Tensor] = []
        ahead: Any
        back: Any
        for ahead, back in zip(self.ahead, [*self.back, None], strict=True):
            past, (h,) = ahead((s, q), lengths=batch.lengths)  # [B, T, N], [B, N]
            if attention:
                shares.append(ahead.cell.shares(s, q, live, False))
            if back is not None:
                future, _ = back((s, q), lengths=batch.lengths)  # [B, T, N]
                if attention:
                    shares[-1] = (shares[-1] + back.cell.shares(s, q, live, True)) / 2
                q = past + future  # [B, T, N]
        first = torch.tanh(self.begin(torch.cat([h, asked], 1)))  # [B, N]
        return first, _through(shares, batch.lengths) if attention else s.new_empty(0)

    def write(self, first: Tensor, longest: int, beam: int) -> tuple[list[list[int]], Tensor]:
        """The most probable answers, and the logarithms of their probabilities ``[B]``."""

        def step(words: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
            cell: Any = self.decoder.cell
            d = cell.step(self.answer_word(words), *states)  # [R, N]
            logits = self.head(d)  # [R, A]
            logits[:, :END] = -torch.inf
            return logits.log_softmax(1), (d,)

        found = beam_search(step, (first,), len(first), start=START, end=END, max_length=longest, beam=beam)
        return found.lists(), found.log_p[:, 0]


def _through(shares: Sequence[Tensor], lengths: Tensor) -> Tensor:
    """What the answer holds of each sentence at each hop: the last hop's own, then through the questions it met."""
    row = shares[-1][torch.arange(len(lengths)), lengths - 1]  # [B, T]
    rows = [row]
    for share in reversed(shares[:-1]):
        row = torch.bmm(row.unsqueeze(1), share).squeeze(1)  # [B, T]
        rows.append(row)
    return torch.stack(rows[::-1], 1)  # [B, hops, T]


class AnswerQuestions(Kind):
    """The task."""

    name = "answer"
    summary = "Learn to answer questions about short stories."
    help_examples = """
      ostinato train answer qa2_train.txt --test qa2_test.txt --out runs/qa2      (bAbI's format)
      ostinato train answer stories.jsonl --out runs/stories   (lines {"story": ..., "question": ..., "answer": ...})
      ostinato predict runs/qa2 "Mary got the milk. Mary went to the office. Where is the milk?"
    """
    options_class = AnswerOptions
    needs = ("sklearn", "matplotlib")
    goal = Goal("accuracy", more=True)
    options: AnswerOptions

    def read(self, path: Path, answered: bool = True) -> Iterable[Example]:
        return Stories(path, self.options, answered)

    def from_text(self, text: str) -> Example:
        return Example("the text", story_of_text(text))

    def as_text(self, example: Example) -> str:
        return " ".join([*example.given.sentences, example.given.question])

    def together(self, example: Example) -> Any:
        return example.given.number

    def prepare(self, examples: Iterable[Example]) -> None:
        longest = 0
        words: Counter[str] = Counter()
        answers: Counter[str] = Counter()
        commas: Counter[str] = Counter()
        for example in examples:
            words.update(word.lower() for text in self._read(example.given) for word in pieces(text))
            found = answer_words(example.gold)
            answers.update(found)
            longest = max(longest, len(found))
            commas.update(re.findall(r",\s*", example.gold))
        known = sorted(words, key=lambda word: (-words[word], word))[: self.options.vocabulary_size]
        self.state = {"words": known, "answers": sorted(answers), "longest": longest,
                      "comma": max(commas, key=commas.__getitem__) if commas else ", "}  # fmt: skip

    def _read(self, story: Story) -> list[str]:
        """The sentences that are read, then the question."""
        return [*story.sentences[-self.options.longest :], story.question]

    @property
    def lexicon(self) -> Lexicon:
        if self.__dict__.get("_lexicon_of") is not self.state:
            self._lexicon_of, self._lexicon = self.state, Lexicon(self.state["words"], ())
            self._answer_number = {word: i for i, word in enumerate(self.state["answers"], start=END + 1)}
        return self._lexicon

    def model(self) -> nn.Module:
        return Reader(self.lexicon.word_count, len(self.state["answers"]) + END + 1, self.options)

    def encode(self, example: Example) -> Item:
        texts = [self.lexicon.item(pieces(text))["words"] for text in self._read(example.given)]
        gold = [] if example.gold is None else answer_words(example.gold)
        answer = [self._answer_number.get(word, UNKNOWN) for word in gold] + [END] * bool(gold)
        return {"words": np.concatenate(texts), "lengths": np.array([len(text) for text in texts], np.int32),
                "answer": np.array(answer, np.int32)}  # fmt: skip

    def length(self, item: Item) -> int:
        return len(item["lengths"])

    def batch(self, items: Sequence[Item]) -> Batch:
        lengths = torch.tensor([len(item["lengths"]) - 1 for item in items])  # [B]
        number: dict[bytes, int] = {}
        places = torch.zeros(len(items), int(lengths.max()), dtype=torch.long)  # [B, T]
        questions = torch.zeros(len(items), dtype=torch.long)  # [B]
        for row, item in enumerate(items):
            texts = np.split(item["words"], item["lengths"].cumsum()[:-1])
            numbers = [number.setdefault(text.tobytes(), len(number)) for text in texts]
            places[row, : lengths[row]], questions[row] = torch.tensor(numbers[:-1]), numbers[-1]
        texts = [torch.from_numpy(np.frombuffer(text, np.int32).astype(np.int64)) for text in number]
        words = nn.utils.rnn.pad_sequence(texts, batch_first=True)  # [S, L]
        return Batch(words, torch.tensor([len(text) for text in texts]), places, lengths, questions,
                     self._targets([item["answer"] for item in items]))  # fmt: skip

    @staticmethod
    def _targets(answers: Sequence[np.ndarray]) -> Tensor | None:
        if not all(map(len, answers)):
            return None
        rows = [torch.from_numpy(answer.astype(np.int64)) for answer in answers]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)  # [B, K]

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        assert batch.answers is not None
        logits = model(batch)  # [B, K, A]
        words = F.cross_entropy(logits.flatten(0, 1), batch.answers.flatten(), ignore_index=-1, reduction="sum")
        return words / len(logits), len(logits)

    def answer(self, model: Any, batch: Batch, items: Sequence[Item]) -> list[Any]:
        first, attention = model.read(batch, attention=True)  # [B, N], [B, hops, T]
        words, log_p = model.write(first, self.state["longest"] + 2, self.options.beam)
        return [
            (found, float(p), rows[:, :length].numpy().round(4))
            for found, p, rows, length in zip(words, log_p.exp(), attention, batch.lengths, strict=True)
        ]

    def finish(self, example: Example, found: Any) -> Answer:
        numbers, p, attention = found
        text = self._text([self.state["answers"][number - END - 1] for number in numbers])
        read = example.given.sentences[-self.options.longest :]
        weights = [{"sentence": sentence, "hops": column.tolist()}
                   for sentence, column in zip(read, attention.T.astype(float).round(4), strict=True)]  # fmt: skip
        return Answer(text, text, {"probability": round(p, 6), "attention": weights})

    def _text(self, words: Sequence[str]) -> str:
        """Words as one text, with commas as training had them."""
        return " ".join(words).replace(" ,", ",").replace(", ", self.state["comma"])

    def measure(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Measures:
        right = [same(example.gold, answer.value) for example, answer in zip(examples, answers, strict=True)]
        return {"accuracy": float(np.mean(right))}

    def baseline(self, train: Iterable[Example], test: Iterable[Example]) -> Measures:
        from ostinato.tasks.answer_report import baselines

        return baselines(list(train), list(test))

    def report(self, examples: Sequence[Example], answers: Sequence[Answer], folder: Path) -> list[Path]:
        from ostinato.tasks.answer_report import write_report

        return write_report(examples, answers, folder)


def pieces(sentence: str) -> list[str]:
    """The words of a sentence, without the mark that ends it."""
    words = segment(sentence)
    return words[:-1] if len(words) > 1 and words[-1] in ".!?" else words


def answer_words(answer: str) -> list[str]:
    """The words of an answer; a comma is one of them.

    >>> answer_words("milk,football")
    ['milk', ',', 'football']
    """
    return re.findall(r",|[^\s,]+", answer)


def same(one: str, other: str) -> bool:
    """Whether two answers have the same words in the same order, capitals aside."""
    return answer_words(one.lower()) == answer_words(other.lower())
