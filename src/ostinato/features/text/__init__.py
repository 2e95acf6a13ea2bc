"""Text to numbers and back: segments and n-grams, one-hot vectors, the Tokenizer of Keras, subwords, padding.

A text file is read strictly (:func:`read_text`); a :class:`Vocabulary` numbers the characters or words of one text, as
language models want them; a :class:`Tokenizer` numbers the words of many, as Keras does.
"""

from ostinato.features.text.ngrams import ngram_list, ngrams
from ostinato.features.text.onehot import OneHot, one_hot_vectors
from ostinato.features.text.sequences import (
    make_sampling_table,
    pad_sequences,
    skipgrams,
    timeseries_dataset_from_array,
    vectorize_sequences,
)
from ostinato.features.text.subword_training import train_subwords
from ostinato.features.text.subwords import Subwords
from ostinato.features.text.terms import TermVectors
from ostinato.features.text.tokenizer import (
    Tokenizer,
    hashing_trick,
    one_hot,
    text_to_word_sequence,
    tokenizer_from_json,
)
from ostinato.features.text.vocabulary import (
    LEVELS,
    SUBWORDS,
    UNKNOWN,
    AnyVocabulary,
    SubwordVocabulary,
    Vocabulary,
    build_vocabulary,
    read_text,
    tokenize,
    vocabulary_from_json,
)

__all__ = [
    "LEVELS",
    "SUBWORDS",
    "UNKNOWN",
    "AnyVocabulary",
    "OneHot",
    "SubwordVocabulary",
    "Subwords",
    "TermVectors",
    "Tokenizer",
    "Vocabulary",
    "build_vocabulary",
    "hashing_trick",
    "make_sampling_table",
    "ngram_list",
    "ngrams",
    "one_hot",
    "one_hot_vectors",
    "pad_sequences",
    "read_text",
    "skipgrams",
    "text_to_word_sequence",
    "timeseries_dataset_from_array",
    "tokenize",
    "tokenizer_from_json",
    "train_subwords",
    "vectorize_sequences",
    "vocabulary_from_json",
]
