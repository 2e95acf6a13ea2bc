"""``keras.preprocessing.sequence``."""

from ostinato.features.text import make_sampling_table, pad_sequences, skipgrams

__all__ = ["make_sampling_table", "pad_sequences", "skipgrams"]
