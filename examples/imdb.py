"""Sentiment of film reviews with a simple recurrent network, as in Chollet's "Deep Learning with Python", 6.2.1.

    python examples/imdb.py imdb.npz                  # Keras's file: integers, the most frequent word first
    python examples/imdb.py train.tsv test.tsv        # two files, on each line a label (0 or 1), a tab and a text

The 10,000 most frequent words, the last 500 words of a review, an embedding of 32 numbers, 32 units, RMSprop, batches
of 128, a fifth of the training reviews to validate. Prints the history of training, then the accuracy on the test
reviews.
"""

from __future__ import annotations

import argparse
import csv
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.keras import Sequential, utils
from ostinato.keras.layers import Dense, Embedding, SimpleRNN
from ostinato.keras.preprocessing.sequence import pad_sequences
from ostinato.keras.preprocessing.text import Tokenizer

WORDS, LENGTH = 10_000, 500
Split = tuple[list[list[int]], np.ndarray]


class Lists(pickle.Unpickler):
    """Reads arrays of lists of numbers, which is how Keras's file holds reviews, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if name in ("_reconstruct", "ndarray", "dtype", "scalar") and module.partition(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def array_of(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of an .npz file."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return Lists(file).load() if dtype.hasobject else np.frombuffer(file.read(), dtype).reshape(shape)


def from_npz(path: Path) -> tuple[Split, Split]:
    """Keras's file, as ``keras.datasets.imdb.load_data(num_words=10000)`` reads it: 1 begins a review, 2 is rare."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name: array_of(archive, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        sys.exit(f"{path}: not Keras's imdb.npz ({error})")

    def numbered(reviews: np.ndarray) -> list[list[int]]:
        return [[1, *(word + 3 if word + 3 < WORDS else 2 for word in review)] for review in reviews]

    return (numbered(arrays["x_train"]), arrays["y_train"]), (numbered(arrays["x_test"]), arrays["y_test"])


def read_tsv(path: Path) -> tuple[list[str], np.ndarray]:
    """Texts and labels of a file with a label, a tab and a text on each line; a line of headings is passed over."""
    texts, labels = [], []
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
                if len(row) == 2 and row[0] in ("0", "1"):
                    labels.append(int(row[0]))
                    texts.append(row[1])
                elif number > 1:
                    sys.exit(f"{path}, line {number}: expected a label (0 or 1), a tab and a text")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"{path}: cannot be read ({error})")
    if len(set(labels)) < 2:
        sys.exit(f"{path}: needs reviews with the label 0 and with the label 1")
    return texts, np.array(labels)


def from_tsv(train: Path, test: Path) -> tuple[Split, Split]:
    """Two files of texts; the words are those of the first."""
    (texts, labels), (others, other_labels) = read_tsv(train), read_tsv(test)
    tokenizer = Tokenizer(num_words=WORDS)
    tokenizer.fit_on_texts(texts)
    return (tokenizer.texts_to_sequences(texts), labels), (tokenizer.texts_to_sequences(others), other_labels)


def main() -> None:
    """Read, train, test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="imdb.npz, or two TSV files: train and test")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if len(options.data) > 2 or (len(options.data) == 2) == (options.data[0].suffix == ".npz"):
        parser.error("give one .npz file, or two TSV files")
    split = from_npz(*options.data) if len(options.data) == 1 else from_tsv(*options.data)
    (x_train, y_train), (x_test, y_test) = split
    x_train, x_test = pad_sequences(x_train, maxlen=LENGTH), pad_sequences(x_test, maxlen=LENGTH)
    utils.set_random_seed(options.seed)
    order = np.random.default_rng(options.seed).permutation(len(x_train))  # validation takes the last ones

    model: Any = Sequential()
    model.add(Embedding(WORDS, 32))
    model.add(SimpleRNN(32))
    model.add(Dense(1, activation="sigmoid"))
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])
    model.summary()
    model.fit(x_train[order], y_train[order], epochs=options.epochs, batch_size=128, validation_split=0.2, verbose=2)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test: loss {loss:.3f}, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
