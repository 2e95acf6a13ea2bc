"""Text to numbers and back: strict reading, and a vocabulary of characters, of words, or of subwords."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ostinato.errors import InputError, unknown
from ostinato.features.text.subword_training import train_subwords
from ostinato.features.text.subwords import Subwords

UNKNOWN = "<unk>"
LEVELS = ("characters", "words")
SUBWORDS = "subwords"
FORMAT = 1
# A new line is a token, so that a model of words can write lines; <unk> and its like stay whole.
_WORD = re.compile(r"\n|<\w+>|\w+(?:['’-]\w+)*|[^\w\s]")
_GLUED_LEFT, _GLUED_RIGHT = frozenset(".,;:!?)]}%’"), frozenset("([{")


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, new lines as ``\\n``, a byte order mark dropped.

    Raises:
        InputError: the file is missing, a folder, not readable, empty, or not UTF-8 (with the offset of the byte).
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a text file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise InputError(f"{path} is not UTF-8 text: byte 0x{byte:02x} at offset {error.start}") from None
    if not text.strip():
        raise InputError(f"{path} is empty" if not text else f"{path} holds nothing but blanks")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def tokenize(text: str, level: str) -> Sequence[str]:
    """The characters of a text, or its words, punctuation marks and new lines."""
    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    return text if level == "characters" else _WORD.findall(text)


class Vocabulary:
    """Tokens and their numbers; number 0 is ``<unk>``, for every token that is not listed.

    >>> v = Vocabulary.build("abba", "characters")
    >>> v.tokens, v.encode("abc"), v.decode([1, 2])
    (('<unk>', 'a', 'b'), [1, 2, 0], 'ab')
    """

    def __init__(self, level: str, tokens: Iterable[str]) -> None:
        if level not in LEVELS:
            raise unknown("level", level, LEVELS)
        self.level = level
        self.tokens = tuple(tokens)
        self._index = {token: number for number, token in enumerate(self.tokens)}
        if not self.tokens or self.tokens[0] != UNKNOWN or len(self._index) != len(self.tokens):
            raise InputError(f"a vocabulary starts with {UNKNOWN} and lists every token once")

    @classmethod
    def build(cls, text: str, level: str = "characters", size: int = 10_000) -> Vocabulary:
        """The ``size`` most frequent tokens of a text (``<unk>`` included), in sorted order.

        Words that occur once stay out, so that a model sees ``<unk>`` in training and learns when to expect it.
        """
        counts = Counter(tokenize(text, level))
        counts.pop(UNKNOWN, None)
        least = 2 if level == "words" else 1
        ranked = sorted((t for t, n in counts.items() if n >= least), key=lambda t: (-counts[t], t))
        return cls(level, (UNKNOWN, *sorted(ranked[: size - 1])))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's tokens, 0 for those not listed."""
        return [self._index.get(token, 0) for token in tokenize(text, self.level)]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of a sequence of numbers; words are joined as prose usually is."""
        tokens = [self.tokens[n] for n in numbers]
        return "".join(tokens) if self.level == "characters" else _join(tokens)

    def missing(self, text: str) -> list[str]:
        """The tokens of a text that are not listed, each once, in order of appearance."""
        return list(dict.fromkeys(t for t in tokenize(text, self.level) if t not in self._index))

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, "level": self.level, "tokens": self.tokens}, ensure_ascii=False, indent=0)


class SubwordVocabulary:
    """The same for byte pairs that are learned from the text: they write every text, so that none is missing."""

    level = SUBWORDS

    def __init__(self, subwords: Subwords) -> None:
        self._subwords = subwords
        self.tokens = tuple(subwords.tokenizer.id_to_token(i) for i in range(len(subwords)))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's subwords."""
        return self._subwords.encode(text)

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of a sequence of numbers."""
        return self._subwords.decode(numbers)

    def missing(self, text: str) -> list[str]:
        """What cannot be written: nothing."""
        return []

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, "level": self.level, "tokenizer": self._subwords.to_json()})


AnyVocabulary = Vocabulary | SubwordVocabulary


def build_vocabulary(text: str, level: str, size: int = 10_000) -> AnyVocabulary:
    """A vocabulary of the tokens of a text: characters, words, or subwords that are learned from it.

    Raises:
        InputError: an unknown level, or of subwords a size too small for the bytes (260).

    >>> v = build_vocabulary("low lower lowest " * 9, "subwords", 300)
    >>> v.decode(v.encode("slow lower"))
    'slow lower'
    """
    if level == SUBWORDS:
        return SubwordVocabulary(train_subwords(text.splitlines(keepends=True), size=size))
    return Vocabulary.build(text, level, size)


def vocabulary_from_json(text: str) -> AnyVocabulary:
    """Read what ``to_json`` of a vocabulary wrote.

    Raises:
        InputError: not JSON, another format, or not a vocabulary.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not a vocabulary: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"not a vocabulary of format {FORMAT}")
    if data.get("level") == SUBWORDS:
        return SubwordVocabulary(Subwords.from_json(str(data.get("tokenizer"))))
    tokens = data.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
        raise InputError("not a vocabulary: its tokens are not a list of strings")
    return Vocabulary(str(data.get("level")), tokens)


def _join(tokens: Sequence[str]) -> str:
    parts: list[str] = []
    last = "\n"
    for token in tokens:
        glued = token == "\n" or last == "\n" or token in _GLUED_LEFT or last in _GLUED_RIGHT
        parts.append(token if glued else f" {token}")
        last = token
    return "".join(parts)
