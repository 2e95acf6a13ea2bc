"""The Tokenizer of Keras, to the letter: the class that the lecture's slides use and that Keras no longer offers.

The same arguments, attributes and results as ``keras.preprocessing.text`` had, whose class Keras still carries inside
(``keras.src.legacy.preprocessing.text``); texts are counted and numbered without a step of Python for each word.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from ostinato.engines.cpu.library import Unavailable
from ostinato.features.text.lexicon import TOGETHER, Lexicon, in_chunks, without_collecting

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""What separates words, beside ``split``."""

Text = str | list[str]
Mode = Literal["binary", "count", "freq", "tfidf"]
Analyzer = Callable[[str], Sequence[str]]


def text_to_word_sequence(input_text: str, filters: str = FILTERS, lower: bool = True, split: str = " ") -> list[str]:
    """The words of a text: lower-cased, each character of ``filters`` turned into ``split``, and split there.

    >>> text_to_word_sequence("The cat sat on the mat.")
    ['the', 'cat', 'sat', 'on', 'the', 'mat']
    """
    return _splitter(filters, lower, split)(input_text)


def _splitter(filters: str, lower: bool, split: str) -> Callable[[str], list[str]]:
    """What cuts one text after another into words."""
    table = str.maketrans(dict.fromkeys(filters, split))

    def words(text: str) -> list[str]:
        return list(filter(None, (text.lower() if lower else text).translate(table).split(split)))

    return words


def md5_hash(word: str) -> int:
    """A word's MD5 as a number: the same in every process."""
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)


def hashing_trick(text: str, n: int, hash_function: Callable[[str], int] | str | None = None, filters: str = FILTERS,
                  lower: bool = True, split: str = " ", analyzer: Analyzer | None = None) -> list[int]:
    """A text's words as numbers from 1 to n - 1, by a hash: no vocabulary, and two words may share a number.

    Args:
        text: what is cut into words.
        n: the size of the space; number 0 is never given.
        hash_function: ``"md5"``, which is the same in every process, or a function of a word. Default: Python's
            ``hash``, which differs from one process to the next.
        filters, lower, split: as for :func:`text_to_word_sequence`.
        analyzer: cuts the text into words instead.

    >>> hashing_trick("the cat and the dog", 50, "md5")
    [43, 32, 14, 43, 2]
    """
    chosen = md5_hash if hash_function == "md5" else hash_function or hash
    if isinstance(chosen, str):
        raise ValueError(f"hash_function must be 'md5', a function or None, got {hash_function!r}")
    words = analyzer(text) if analyzer else text_to_word_sequence(text, filters, lower, split)
    return [chosen(word) % (n - 1) + 1 for word in words]


def one_hot(input_text: str, n: int, filters: str = FILTERS, lower: bool = True, split: str = " ",
            analyzer: Analyzer | None = None) -> list[int]:
    """As :func:`hashing_trick` with Python's ``hash``: Keras's name for it, though its results are numbers."""
    return hashing_trick(input_text, n, hash, filters, lower, split, analyzer)


class Tokenizer:
    """Numbers the words of texts by how frequent they are, from 1 on; 0 is nobody's number.

    Args:
        num_words: numbers below this one are given out; rarer words are left out. Default: all.
        filters: characters that are turned into ``split``.
        lower: whether texts are lower-cased.
        split: what separates words.
        char_level: whether every character is a token.
        oov_token: stands for words that have no number, as number 1. Default: they are left out.
        analyzer: cuts a text into tokens, in place of ``filters``, ``lower`` and ``split``.
        document_count: how many texts were seen before.

    Attributes:
        word_counts: how often each word occurred, in the order of first occurrence.
        word_docs: in how many texts.
        word_index, index_word: word to number, and back; all words, whatever ``num_words`` is.
        index_docs: as ``word_docs``, by number.
        document_count: how many texts were seen.

    A text may be a list of tokens; it is then taken as it is, lower-cased where ``lower`` says so.

    Source: the lecture, "Using Keras for One-Hot Encoding".

    >>> tokenizer = Tokenizer(num_words=1000)
    >>> samples = ["The cat sat on the mat.", "The dog ate my homework."]
    >>> tokenizer.fit_on_texts(samples)
    >>> tokenizer.texts_to_sequences(samples)
    [[1, 2, 3, 4, 1, 5], [1, 6, 7, 8, 9]]
    >>> len(tokenizer.word_index), tokenizer.texts_to_matrix(samples).shape
    (9, (2, 1000))
    """

    def __init__(self, num_words: int | None = None, filters: str = FILTERS, lower: bool = True, split: str = " ",
                 char_level: bool = False, oov_token: str | None = None, analyzer: Analyzer | None = None,
                 document_count: int = 0) -> None:
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token, self.analyzer = char_level, oov_token, analyzer
        self.document_count = document_count
        self.word_counts: dict[str, int] = OrderedDict()
        self.word_docs: dict[str, int] = defaultdict(int)
        self.index_docs: dict[int, int] = defaultdict(int)
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def _cut(self) -> Callable[[Text], Sequence[str]]:
        """What cuts one text into tokens."""
        words = self.analyzer or _splitter(self.filters, self.lower, self.split)

        def cut(text: Text) -> Sequence[str]:
            if isinstance(text, list):
                return [token.lower() for token in text] if self.lower else text
            if self.char_level:
                return text.lower() if self.lower else text
            return words(text)

        return cut

    def fit_on_texts(self, texts: Iterable[Text]) -> None:
        """Count the words of texts, of a list or of a generator, and number them anew.

        Words counted before keep their counts. Of two as frequent, the one that came first is first.
        """
        cut, lexicon = self._cut(), self._lexicon()
        counts, documents = Counter(self.word_counts), Counter(self.word_docs)
        for chunk in in_chunks(texts):
            self.document_count += len(chunk)
            if lexicon is not None and set(map(type, chunk)) == {str}:
                lexicon.count(chunk)  # type: ignore[arg-type]
                continue
            _taken_out(lexicon, counts, documents)  # tokens that are given come as they are
            lexicon = None
            for text in chunk:
                tokens = cut(text)
                counts.update(tokens)
                documents.update(set(tokens))
        _taken_out(lexicon, counts, documents)
        self.word_counts = OrderedDict(counts)
        self.word_docs = defaultdict(int, documents)
        ranked = sorted(self.word_counts, key=self.word_counts.__getitem__, reverse=True)
        if self.oov_token is not None:
            ranked.insert(0, self.oov_token)
        # not from `enumerate` into both: a word that is the token for others too has its later number
        self.word_index = {word: number for number, word in enumerate(ranked, 1)}
        self.index_word = {number: word for word, number in self.word_index.items()}
        for word, count in self.word_docs.items():
            self.index_docs[self.word_index[word]] = count

    def _lexicon(self) -> Lexicon | None:
        """What counts and numbers words fast, where that is what a text is cut into."""
        if self.analyzer or self.char_level:
            return None
        try:
            return Lexicon(self.filters, self.lower, self.split, _splitter(self.filters, self.lower, self.split))
        except Unavailable:
            return None

    def fit_on_sequences(self, sequences: Sequence[Sequence[int]]) -> None:
        """Count in how many sequences each number occurs: what tf-idf needs where texts were never seen."""
        self.document_count += len(sequences)
        for sequence in sequences:
            for number in set(sequence):
                self.index_docs[number] += 1

    def _numbers(self) -> tuple[dict[str, int], int | None]:
        """The number of each word that has one of its own, or that of the token for others; and that token's."""
        other = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        if not self.num_words:
            return self.word_index, other
        numbers = {word: number for word, number in self.word_index.items() if number < self.num_words}
        return numbers, other

    def texts_to_sequences(self, texts: Iterable[Text]) -> list[list[int]]:
        """Each text as the numbers of its words; a word without one is left out, or is the ``oov_token``'s."""
        with without_collecting():
            return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[Text]) -> Iterator[list[int]]:
        """As :meth:`texts_to_sequences`, one text after another: any number of them, read about a megabyte ahead."""
        return itertools.chain.from_iterable(self._encoded(texts))

    def _encoded(self, texts: Iterable[Text]) -> Iterator[list[list[int]]]:
        """The numbers of texts, a chunk of them at a time; tokens that are given are looked up one by one."""
        numbers, other = self._numbers()
        cut, absent = self._cut(), -1 if other is None else other

        def looked_up(text: Text) -> list[int]:
            found = [numbers.get(token, other) for token in cut(text)]
            return [number for number in found if number is not None or self.oov_token is not None]  # type: ignore[misc]

        lexicon, table = None, np.zeros(0, np.int64)
        for chunk in in_chunks(texts):
            plain = set(map(type, chunk)) == {str}
            # a lexicon of all words takes longer to make than a few texts take without it
            if plain and lexicon is None and sum(map(len, chunk)) >= min(TOGETHER, 20 * len(numbers)):
                lexicon = self._lexicon()
                if lexicon is not None:
                    known = [word for word in numbers if isinstance(word, str) and word]  # those that a text can have
                    lexicon.add(known)
                    table = np.array([numbers[word] for word in known], np.int64)
            if plain and lexicon is not None:
                yield lexicon.encode(chunk, table, absent)  # type: ignore[arg-type]
            else:
                yield [looked_up(text) for text in chunk]

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The words of each sequence, with blanks between them."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Iterable[int]]) -> Iterator[str]:
        """As :meth:`sequences_to_texts`, one after another."""
        last, other = self.num_words or float("inf"), None
        if self.oov_token is not None and self.oov_token in self.word_index:
            other = self.index_word[self.word_index[self.oov_token]]
        for sequence in sequences:
            words = [self.index_word.get(number, other) if number < last else other for number in sequence]
            yield " ".join(word for word in words if word is not None)

    def texts_to_matrix(self, texts: Iterable[Text], mode: Mode = "binary") -> np.ndarray:
        """Texts as vectors: see :meth:`sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Sequence[Sequence[int]], mode: Mode = "binary") -> np.ndarray:
        """Sequences as vectors ``[N, num_words]`` of float64, or as many as there are words and one.

        Args:
            sequences: of numbers; those from ``num_words`` on are left out.
            mode: ``"binary"``: 1 for what occurs (one-hot); ``"count"``: how often; ``"freq"``: its share of the
                sequence; ``"tfidf"``: (1 + ln count) ln(1 + documents / (1 + documents with it)).

        Raises:
            ValueError: another mode, no dimension to be had, or tf-idf before anything was counted.
        """
        if mode not in ("binary", "count", "freq", "tfidf"):
            raise ValueError(f"unknown mode {mode!r}: binary, count, freq or tfidf")
        size = self.num_words or (len(self.word_index) + 1 if self.word_index else 0)
        if not size:
            raise ValueError("specify a dimension (`num_words`), or fit on some text data first")
        if mode == "tfidf" and not self.document_count:
            raise ValueError("fit the Tokenizer on some data before using tfidf mode")
        matrix = np.zeros((len(sequences), size))  # [N, V]
        for row, sequence in zip(matrix, sequences, strict=True):
            numbers, counts = np.unique(np.asarray(sequence, dtype=np.int64), return_counts=True)
            kept = numbers < size
            row[numbers[kept]] = counts[kept] / (len(sequence) if mode == "freq" else 1)
        if mode == "binary":
            matrix[matrix > 0] = 1
        elif mode == "tfidf":
            seen = np.array([self.index_docs.get(number, 0) for number in range(size)])  # [V]
            there = matrix > 0
            matrix[there] = 1 + np.log(matrix[there])
            matrix *= np.log(1 + self.document_count / (1 + seen))
        return matrix

    def get_config(self) -> dict[str, Any]:
        """The arguments and the counts, the latter as JSON texts."""
        tables = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
        names = ("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count")
        return {name: getattr(self, name) for name in names} | {
            name: json.dumps(getattr(self, name)) for name in tables}

    def to_json(self, **kwargs: Any) -> str:
        """All of it as JSON, as Keras's class writes it; ``kwargs`` are those of ``json.dumps``. No analyzer."""
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **kwargs)


def _taken_out(lexicon: Lexicon | None, counts: Counter[str], documents: Counter[str]) -> None:
    """Add what a lexicon counted; the words stay in the order in which they came."""
    if lexicon is not None:
        words = lexicon.words()
        counts.update(dict(zip(words, lexicon.counts.tolist(), strict=True)))
        documents.update(dict(zip(words, lexicon.documents.tolist(), strict=True)))


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """The Tokenizer that ``to_json`` wrote, Keras's or ours.

    Raises:
        ValueError: not JSON, or not a Tokenizer's.
    """
    try:
        config = dict(json.loads(json_string)["config"])
        tables = {name: json.loads(config.pop(name))
                  for name in ("word_counts", "word_docs", "index_docs", "index_word", "word_index")}
        tokenizer = Tokenizer(**config)
        tokenizer.word_counts = OrderedDict(tables["word_counts"])
        tokenizer.word_docs = defaultdict(int, tables["word_docs"])
        tokenizer.word_index = dict(tables["word_index"])
        tokenizer.index_docs = defaultdict(int, {int(k): v for k, v in tables["index_docs"].items()})
        tokenizer.index_word = {int(k): v for k, v in tables["index_word"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"this is no Tokenizer's JSON ({error})") from None
    return tokenizer
