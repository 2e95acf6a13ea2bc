"""The Tokenizer against the class that Keras still carries inside: fitting and encoding 100 MB of text, line by line.

The text is what lies in ../shared/data (or where OSTINATO_DATA says), again and again with other numbers in it so that
the vocabulary goes on growing. The two take turns; both must find the same words and numbers. Memory is the peak
of a process of its own that streams from a file, beyond what it had before.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common

TARGET = 5.0
MB = 2**20
DATA = Path(os.environ.get("OSTINATO_DATA", common.ROOT.parent / "shared" / "data"))
SOURCES = ("wikitext2_valid_test", "tinyshakespeare", "multi30k", "ag_news_test", "spooky", "sst2")


def lines(size: int) -> list[str]:
    """Lines of real text, of so many characters together."""
    files = [file for name in SOURCES for file in sorted((DATA / name).rglob("*"))
             if file.suffix in (".txt", ".csv", ".tsv", ".en", ".de") and file.is_file()]  # fmt: skip
    plain = [line for file in files for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line]
    if not plain:
        raise SystemExit(f"no text in {DATA}: set OSTINATO_DATA to the folder that holds {', '.join(SOURCES)}")
    found: list[str] = []
    total = turn = 0
    while total < size:
        for i, line in enumerate(plain):
            found.append(f"{line} {turn}x{i}" if i % 5 == 0 else line)
            total += len(found[-1]) + 1
            if total >= size:
                break
        turn += 1
    return found


def make(name: str) -> Any:
    """One of the two classes, fresh."""
    if name == "ours":
        from ostinato.features.text import Tokenizer
    else:
        os.environ.setdefault("KERAS_BACKEND", "torch")
        from keras.src.legacy.preprocessing.text import Tokenizer  # type: ignore[no-redef]
    return Tokenizer(num_words=20_000, oov_token="<unk>")


def child(name: str, file: Path) -> None:
    """Fit on and encode a file, streaming; print by how much memory grew, in MB."""

    def read() -> Iterator[str]:
        with open(file, encoding="utf-8") as text:
            yield from text

    tokenizer = make(name)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    tokenizer.fit_on_texts(read())
    for _ in tokenizer.texts_to_sequences_generator(read()):
        pass
    print(_peak() - before)


def _peak() -> float:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run(options: argparse.Namespace, report: common.Report) -> None:
    """Fitting, encoding, memory."""
    texts = lines((5 if options.quick else options.size) * MB)
    characters = sum(map(len, texts)) / 1e6
    times: dict[str, dict[str, list[float]]] = {part: {"legacy": [], "ours": []} for part in ("fit", "encode")}
    for _ in range(1 if options.quick else options.rounds):
        found = {}
        for name in ("legacy", "ours"):
            tokenizer, started = make(name), time.perf_counter()
            tokenizer.fit_on_texts(texts)
            times["fit"][name].append(time.perf_counter() - started)
            started = time.perf_counter()
            sequences = tokenizer.texts_to_sequences(texts)
            times["encode"][name].append(time.perf_counter() - started)
            flat = np.fromiter(itertools.chain.from_iterable(sequences), np.int64)
            found[name] = tokenizer, flat, np.fromiter(map(len, sequences), np.int64)
            del sequences
        for table in ("word_counts", "word_docs", "word_index", "document_count"):
            assert getattr(found["legacy"][0], table) == getattr(found["ours"][0], table), table
        assert all(np.array_equal(a, b) for a, b in zip(found["legacy"][1:], found["ours"][1:], strict=True))
        words = len(found["ours"][0].word_index)
        del found
    table = report.table(f"Tokenizer, {characters:.0f} million characters in {len(texts):,} lines, {words:,} words",
                         "part", "legacy, s", "ours, s", "times faster")  # fmt: skip
    for part, by in times.items():
        medians = {name: statistics.median(values) for name, values in by.items()}
        table.add(part, *(f"{medians[name]:.2f}" for name in ("legacy", "ours")),
                  common.ratio(medians["legacy"] / medians["ours"], TARGET))  # fmt: skip
        report.figures.append({"part": part, "seconds": by})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text("\n".join(texts), encoding="utf-8")
        grown = {name: _memory(name, file) for name in ("legacy", "ours")}
    memory = report.table("Memory of fitting and encoding, streaming", "side", "grew by, MB")
    for name, megabytes in grown.items():
        memory.add(name, f"{megabytes:.0f}")


def _memory(name: str, file: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.text", "--child", name, str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=common.ROOT)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        parser = common.parser(__doc__)
        parser.add_argument("--size", type=int, default=100, help="MB of text.  [100]")
        parser.add_argument("--rounds", type=int, default=3, help="how often each is timed.  [3]")
        common.main(run, "text", parser)
