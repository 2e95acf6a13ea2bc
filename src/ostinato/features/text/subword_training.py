"""How subwords are learned from text: byte pairs, WordPiece, Unigram.

The same texts give the same byte pairs and word pieces. The trainer of Unigram adds up in the order of a hash that each
process draws anew: of two trainings some rare pieces may differ. Save what was trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ostinato.errors import InputError, unknown
from ostinato.features.text.subwords import NAMES, Subwords, library

SPECIALS = [names[0] for names in NAMES.values()]
TWICE = 2
"""How often at least a pair must occur to become one piece."""
AT_ONCE = 10_000


def train_subwords(texts: Iterable[str], kind: str = "bpe", size: int = 8000, lower: bool = False,
                   progress: bool | None = None) -> Subwords:
    """Learn subwords from texts, which may come from a generator.

    Args:
        texts: of any length, lines for example.
        kind: ``"bpe"``: byte pairs; writes every text, and gives back every text to the letter. ``"unigram"``: the
            pieces that make the text most probable; gives back what has no unknown character. ``"wordpiece"``: words
            and punctuation apart; blanks and new lines are not kept, and decoding puts them where prose has them.
        size: how many tokens there are at most, four of them padding, unknown, begin and end (numbers 0 to 3).
        lower: write lower case only; offsets are into the text as it was.
        progress: draw a bar; by default on a terminal.

    Raises:
        InputError: another kind, no text, something that is no text, a size too small for the characters that occur
            (for byte pairs 260 always do), or ``tokenizers`` is not installed.

    Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016 (arXiv 1508.07909);
    Schuster and Nakajima, "Japanese and Korean Voice Search", 2012; Kudo, "Subword Regularization", 2018 (arXiv
    1804.10959).

    >>> subwords = train_subwords(["the cat sat on the mats"] * 5, kind="wordpiece", size=60)
    >>> subwords.pieces("the mats")
    ['the', 'mats']
    """
    if kind not in KINDS:
        raise unknown("kind of subwords", kind, KINDS)
    if size < len(SPECIALS) + 1:
        raise InputError(f"size must be at least {len(SPECIALS) + 1}, got {size}")
    package = library()
    tokenizer = KINDS[kind](package, size, package.normalizers.Lowercase() if lower else None, _seen(texts, progress))
    if len(tokenizer.get_vocab()) > size:
        raise InputError(f"a size of {size} is too small: the characters alone take {len(tokenizer.get_vocab())}")
    return Subwords(tokenizer)


def _seen(texts: Iterable[str], progress: bool | None) -> Iterator[str]:
    """The texts, each looked at, and a bar of how many there were."""
    from tqdm import tqdm

    if isinstance(texts, str):
        raise InputError("texts are a list or a generator of texts, not one text")
    disable = {None: None, True: False, False: True}[progress]
    blank = True
    for number, text in enumerate(tqdm(texts, unit=" texts", leave=False, disable=disable)):
        if not isinstance(text, str):
            raise InputError(f"text {number} is no text: {text!r}")
        blank = blank and not text.strip()
        yield text
    if blank:
        raise InputError("subwords are learned from text, and there is none")


def _apart(package: Any, cut: Any) -> Any:
    """``<`` is a piece of its own: else text that spells ``</s>`` would become the piece of that name."""
    return package.pre_tokenizers.Sequence([package.pre_tokenizers.Split("<", "isolated"), cut])


def _bpe(package: Any, size: int, normalizer: Any, texts: Iterator[str]) -> Any:
    tokenizer = package.Tokenizer(package.models.BPE(unk_token=SPECIALS[1]))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = _apart(package, package.pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=size, min_frequency=TWICE, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _wordpiece(package: Any, size: int, normalizer: Any, texts: Iterator[str]) -> Any:
    """The trainer numbers the pieces ``##a`` in the order of a hash with a random seed, and breaks ties by number. So
    they are given to it, in order, as tokens that are there already."""
    cut = package.pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in texts
                    for word, _ in cut.pre_tokenize_str(normalizer.normalize_str(text) if normalizer else text))
    inner = [f"##{c}" for c in sorted(set().union(*(word[1:] for word in words)))]

    def again() -> Iterator[str]:
        for word, count in words.items():
            for done in range(0, count, AT_ONCE):
                yield " ".join([word] * min(AT_ONCE, count - done))

    learned = package.Tokenizer(package.models.WordPiece())
    learned.pre_tokenizer = cut
    learned.train_from_iterator(again(), package.trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=TWICE, special_tokens=[*SPECIALS, *inner], show_progress=False))
    tokenizer = package.Tokenizer(package.models.WordPiece(vocab=learned.get_vocab(), unk_token=SPECIALS[1]))
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cut
    tokenizer.decoder = package.decoders.WordPiece()
    return tokenizer


def _unigram(package: Any, size: int, normalizer: Any, texts: Iterator[str]) -> Any:
    tokenizer = package.Tokenizer(package.models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = _apart(package, package.pre_tokenizers.Metaspace(prepend_scheme="never"))
    tokenizer.decoder = package.decoders.Metaspace(prepend_scheme="never")
    trainer = package.trainers.UnigramTrainer(vocab_size=size, special_tokens=SPECIALS, unk_token=SPECIALS[1],
                                              show_progress=False)  # fmt: skip
    letters: set[str] = set()

    def read() -> Iterator[str]:
        for text in texts:
            letters.update(text)
            yield text

    try:
        tokenizer.train_from_iterator(read(), trainer)
    except InputError:
        raise
    except Exception:  # the library has no other class, and raises it for one reason
        needed = len(letters) + len(SPECIALS)
        raise InputError(f"a size of {size} is too small: the characters alone take {needed}") from None
    return tokenizer


KINDS: dict[str, Callable[[Any, int, Any, Iterator[str]], Any]] = {
    "bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram}  # fmt: skip
