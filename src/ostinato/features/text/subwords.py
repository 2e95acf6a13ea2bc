"""Subwords: pieces of words, learned from text, so that some thousands of them write every word.

By Hugging Face's ``tokenizers``, an extra: ``pip install 'ostinato[text]'``. What is saved is that library's own file.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.files import write_atomic

NAMES = {
    "padding": ("<pad>", "[PAD]"),
    "unknown": ("<unk>", "[UNK]"),
    "begin": ("<s>", "[CLS]", "<bos>", "[BOS]", "<|endoftext|>"),
    "end": ("</s>", "[SEP]", "<eos>", "[EOS]", "<|endoftext|>"),
}
"""What the tokens that are no text are called: by us first, then in the files of others."""


def library() -> Any:
    """The package ``tokenizers``.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("tokenizers")
    except ModuleNotFoundError:
        raise InputError("subwords need the package tokenizers: pip install 'ostinato[text]'") from None


class Subwords:
    """Text to numbers of subwords, and back; made by :func:`train_subwords` or :meth:`load`.

    Any tokenizer of the package ``tokenizers`` will do. Of its own wishes to pad, to cut, and to put tokens around a
    text none is heard: what is done is what is asked for here. Text that spells a token such as ``</s>`` stays text.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.

    >>> from ostinato.features.text import train_subwords
    >>> subwords = train_subwords(["low lower lowest", "new newer newest"] * 9, size=280)
    >>> subwords.decode(subwords.encode("a newer low"))
    'a newer low'
    >>> [len(subwords) <= 280, subwords.padding, subwords.unknown, subwords.begin, subwords.end]
    [True, 0, 1, 2, 3]
    """

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        """How many tokens there are, those that are no text included."""
        return self.tokenizer.get_vocab_size()

    def __reduce__(self) -> tuple[Any, ...]:
        return Subwords.from_json, (self.to_json(),)

    def _special(self, kind: str) -> int:
        for name in NAMES[kind]:
            number = self.tokenizer.token_to_id(name)
            if number is not None:
                return number
        raise InputError(f"these subwords have no token for {kind}: none of {', '.join(NAMES[kind])}")

    @property
    def padding(self) -> int:
        """The number that fills up short sequences. This and the next three raise InputError where there is none."""
        return self._special("padding")

    @property
    def unknown(self) -> int:
        """The number of what cannot be written."""
        return self._special("unknown")

    @property
    def begin(self) -> int:
        """The number before a text."""
        return self._special("begin")

    @property
    def end(self) -> int:
        """The number after a text."""
        return self._special("end")

    def encode(self, text: str, begin: bool = False, end: bool = False) -> list[int]:
        """The numbers of a text's subwords, between those for begin and end where they are asked for."""
        return self.encode_batch([text], begin, end)[0]

    def encode_batch(self, texts: Iterable[str], begin: bool = False, end: bool = False) -> list[list[int]]:
        """As :meth:`encode`, of many texts, on all cores."""
        before, after = [self.begin] if begin else [], [self.end] if end else []
        return [[*before, *found.ids, *after] for found in self._encoded(list(texts))]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where in ``text`` each subword stands: from which character to before which.

        The subwords of one character (an emoji in four bytes) all stand where it stands.

        >>> from ostinato.features.text import train_subwords
        >>> text = "low lowest"
        >>> subwords = train_subwords([text] * 9, size=264)
        >>> [text[a:b] for a, b in subwords.offsets(text)]
        ['low', ' low', 'es', 't']
        """
        return self._encoded([text])[0].offsets

    def pieces(self, text: str) -> list[str]:
        """The subwords of a text as the vocabulary spells them."""
        return self._encoded([text])[0].tokens

    def _encoded(self, texts: list[str]) -> list[Any]:
        try:
            return self.tokenizer.encode_batch(texts, add_special_tokens=False)
        except Exception as error:  # the library has no other class; what it says is the reason
            raise InputError(f"this text cannot be written in these subwords: {error}") from None

    def decode(self, numbers: Iterable[int], specials: bool = False) -> str:
        """The text of numbers; the tokens that are no text are left out, or with ``specials`` written out.

        Raises:
            InputError: a number that is no token's.
        """
        given = [int(number) for number in numbers]
        for number in given:
            if not 0 <= number < len(self):
                raise InputError(f"subwords are numbered from 0 to {len(self) - 1}, got {number}")
        return self.tokenizer.decode(given, skip_special_tokens=not specials)

    def join(self, pieces: Iterable[str]) -> str:
        """The text of subwords as the vocabulary spells them; one that it has not is left out.

        >>> from ostinato.features.text import train_subwords
        >>> subwords = train_subwords(["low lower lowest"] * 9, size=280)
        >>> subwords.join(subwords.pieces("slow lower"))
        'slow lower'
        """
        numbers = map(self.tokenizer.token_to_id, pieces)
        return self.decode(number for number in numbers if number is not None)

    def to_json(self) -> str:
        """The tokenizer as the package's own JSON."""
        return self.tokenizer.to_str()

    @classmethod
    def from_json(cls, text: str) -> Subwords:
        """Read what :meth:`to_json`, or the package itself, wrote.

        Raises:
            InputError: not the JSON of a tokenizer.
        """
        try:
            return cls(library().Tokenizer.from_str(text))
        except InputError:
            raise
        except Exception as error:  # the library has no other class; what it says is the reason
            raise InputError(f"no tokenizer in the format of tokenizers ({error})") from None

    def save(self, path: str | Path) -> None:
        """Write the file that ``tokenizers.Tokenizer.from_file`` reads too, as ``tokenizer.json`` usually."""
        write_atomic(Path(path), self.tokenizer.to_str(pretty=True).encode())

    @classmethod
    def load(cls, path: str | Path) -> Subwords:
        """Read a file of :meth:`save`, or any ``tokenizer.json``.

        Raises:
            InputError: missing, not readable, or damaged.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise InputError(f"{path} is damaged: it is not UTF-8") from None
        try:
            return cls.from_json(text)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
