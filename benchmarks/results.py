"""What the tasks reach on real data: ``make results`` trains, tests once, and writes the table of ``docs/results.md``.

A row that has been run is kept in ``build/results`` and not run again, so that the whole can be stopped and gone on
with; ``ARGS="trec sst2"`` runs only these. The data is in ``../shared/data`` or where ``OSTINATO_DATA`` says.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, machine
from ostinato.features.images import read_idx
from ostinato.features.rows import open_table
from ostinato.files import read_json, write_atomic, write_json

DATA = Path(os.environ.get("OSTINATO_DATA", ROOT.parent / "shared" / "data"))
BUILD = ROOT / "build" / "results"
PAGE = ROOT / "docs" / "results.md"
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Result:
    """One row: data made ready, the options of the training, and the measure that is reported."""

    data: str
    task: str
    prepare: Callable[[Path], list[str]]
    """Write files to a folder; returns the words after ``ostinato train TASK``, the folder's files by their names."""
    measure: str
    goal: str
    options: Sequence[str] = ()


def write_csv(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Texts and labels with a first line of names."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def trec(folder: Path) -> list[str]:
    """The official split; coarse labels."""
    for name in ("train", "test"):
        table = open_table(DATA / "trec" / f"TREC.{name}", encoding="latin-1")
        write_csv(folder / f"{name}.csv", [(row.values["text"], row.values["label"]) for row in table])
    return ["train.csv", "--test", "test.csv"]


def sst2(folder: Path) -> list[str]:
    """The official split."""
    files = {name: str(DATA / "sst2" / f"{name}.tsv") for name in ("train", "dev", "test")}
    vectors = str(DATA / "glove_50d_8k" / "glove.6B.50d.8k.txt")
    return [files["train"], "--validation", files["dev"], "--test", files["test"], "--vectors", vectors]


def every_tenth(rows: Pairs, folder: Path) -> list[str]:
    """Lines 10, 20, ... test."""
    write_csv(folder / "train.csv", [row for i, row in enumerate(rows, start=1) if i % 10])
    write_csv(folder / "test.csv", rows[9::10])
    return ["train.csv", "--test", "test.csv"]


def surnames(folder: Path) -> list[str]:
    """Every tenth line of the files in name order tests."""
    table = open_table(DATA / "surnames")
    return every_tenth([(row.values["text"], row.values["label"]) for row in table], folder)


def spooky(folder: Path) -> list[str]:
    """Every tenth line of train.csv tests."""
    table = open_table(DATA / "spooky" / "train.csv")
    return every_tenth([(row.values["text"], row.values["author"]) for row in table], folder)


def ag_news(folder: Path) -> list[str]:
    """The first 6,600 of the test file learn, the last 1,000 test."""
    values = [row.values for row in open_table(DATA / "ag_news_test" / "test.csv")]
    rows = [(f"{v['2']} {v['3']}", v["1"]) for v in values]
    write_csv(folder / "train.csv", rows[:6600])
    write_csv(folder / "test.csv", rows[-1000:])
    return ["train.csv", "--test", "test.csv"]


def multi30k(folder: Path) -> list[str]:
    """German to English, segmented and lower-cased as it comes; test 2016."""
    parts = {"train": "train", "val": "val", "test": "test_2016_flickr"}
    for part, name in parts.items():
        for language in ("de", "en"):
            file = DATA / "multi30k" / "tok" / f"{name}.lc.norm.tok.{language}"
            write_atomic(folder / f"{part}.{language}", file.read_bytes())
    return ["train", "--validation", "val", "--test", "test", "--source", "de", "--target", "en"]


def babi(name: str) -> Callable[[Path], list[str]]:
    """One of bAbI's tasks, 10,000 examples; the supporting lines are not used."""
    train, test = (str(DATA / "babi_a" / f"{name}_{part}.txt") for part in ("train", "test"))
    return lambda folder: [train, "--test", test]


def wnut17(folder: Path) -> list[str]:
    """The official split."""
    data, vectors = DATA / "wnut17", DATA / "glove_50d_8k" / "glove.6B.50d.8k.txt"
    return [str(data / "wnut17train.conll"), "--validation", str(data / "emerging.dev.conll"), "--test",
            str(data / "emerging.test.annotated"), "--vectors", str(vectors)]  # fmt: skip


def ner_btc(folder: Path) -> list[str]:
    """Section f tests, the first half of h validates, the rest learns."""
    texts = {name: (DATA / "ner_btc" / f"{name}.conll").read_text(encoding="utf-8").strip() for name in "abefgh"}
    last = texts["h"].split("\n\n")
    half = len(last) // 2
    parts = {"train": [*(texts[name] for name in "abeg"), *last[half:]], "dev": last[:half], "test": [texts["f"]]}
    for name, sentences in parts.items():
        write_atomic(folder / f"{name}.conll", ("\n\n".join(sentences) + "\n").encode())
    vectors = str(DATA / "glove_50d_8k" / "glove.6B.50d.8k.txt")
    return ["train.conll", "--validation", "dev.conll", "--test", "test.conll", "--vectors", vectors]


def ud_ewt(folder: Path) -> list[str]:
    """The official split."""
    train, dev, test = (str(DATA / "ud_ewt" / f"en_ewt-ud-{part}.conllu") for part in ("train", "dev", "test"))
    return [train, "--validation", dev, "--test", test, "--vectors",
            str(DATA / "glove_50d_8k" / "glove.6B.50d.8k.txt")]  # fmt: skip


def cmudict(folder: Path) -> list[str]:
    """Every tenth word tests."""
    lines = (DATA / "cmudict" / "cmudict.dict").read_text(encoding="utf-8").splitlines(keepends=True)
    write_atomic(folder / "train.dict", "".join(line for i, line in enumerate(lines, 1) if i % 10).encode())
    write_atomic(folder / "test.dict", "".join(lines[9::10]).encode())
    return ["train.dict", "--test", "test.dict", "--format", "first-word"]


DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def fsdd(column: str) -> Callable[[Path], list[str]]:
    """The official split: takes 0 to 4 test."""

    def prepare(folder: Path) -> list[str]:
        rows: dict[str, list[tuple[str, ...]]] = {"train": [], "test": []}
        for file in sorted((DATA / "fsdd" / "recordings").glob("*.wav")):
            digit, speaker, take = file.stem.split("_")
            rows["test" if int(take) < 5 else "train"].append((str(file), digit, speaker, DIGITS[int(digit)]))
        for name, part in rows.items():
            with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as out:
                csv.writer(out).writerows([("path", "digit", "speaker", "text"), *part])
        option = [] if column == "text" else ["--label", column]
        return ["train.csv", "--test", "test.csv", *option]

    return prepare


def cursive(folder: Path) -> list[str]:
    """Every tenth sequence tests."""
    with zipfile.ZipFile(DATA / "cursive_sam" / "bigbank_3500.json.zip") as pack:
        name = next(n for n in pack.namelist() if n.endswith(".json") and not n.startswith("__MACOSX"))
        entries = json.loads(pack.read(name))
    for part, some in (("train", [e for i, e in enumerate(entries, 1) if i % 10]), ("test", entries[9::10])):
        with zipfile.ZipFile(folder / f"{part}.json.zip", "w", zipfile.ZIP_DEFLATED) as pack:
            pack.writestr(name, json.dumps(some))
    return ["train.json.zip", "--test", "test.json.zip"]


def ts(name: str) -> Callable[[Path], list[str]]:
    """The archive's split."""
    train, test = (str(DATA / f"tsc_{name}" / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    return lambda folder: [train, "--test", test]


def ett(folder: Path) -> list[str]:
    """Twelve months learn, four validate, four test; each later part begins with the 168 hours before it."""
    head, *rows = (DATA / "ett_h1" / "ETTh1.csv").read_text(encoding="utf-8").splitlines()
    before, ends = 168, (8640, 11520, 14400)
    for name, begin, end in (("train", 0, ends[0]), ("valid", ends[0] - before, ends[1]), ("test", ends[1] - before,
                                                                                           ends[2])):  # fmt: skip
        write_atomic(folder / f"{name}.csv", "\n".join([head, *rows[begin:end], ""]).encode())
    return ["train.csv", "--validation", "valid.csv", "--test", "test.csv", "--target", "OT"]


def m4(folder: Path) -> list[str]:
    """The official split: each test series is its whole history and the 48 hours after it, which are forecast once."""
    train, test = (list(csv.reader((DATA / "m4_hourly" / f"Hourly-{part}.csv").open(encoding="utf-8")))
                   for part in ("train", "test"))  # fmt: skip
    write_atomic(folder / "train.csv", (DATA / "m4_hourly" / "Hourly-train.csv").read_bytes())
    rows = [[*filter(None, one), *other[1:]] for one, other in zip(train[1:], test[1:], strict=True)]
    longest = max(map(len, rows))
    with open(folder / "test.csv", "w", newline="", encoding="utf-8") as out:
        head = [f"V{i + 1}" for i in range(longest)]
        csv.writer(out).writerows([head, *(row + [""] * (longest - len(row)) for row in rows)])
    return ["train.csv", "--test", "test.csv", "--horizon", "48", "--season", "24", "--lookback", "168", "--origins",
            "last"]  # fmt: skip


def sheep(folder: Path) -> list[str]:
    """The set's own parts."""
    file = DATA / "sketch_sheep" / "aaron_sheep.npz"
    return [f"{file}:train", "--validation", f"{file}:valid", "--test", f"{file}:test"]


def flickr(folder: Path) -> list[str]:
    """The split beside the images; all five captions of an image."""
    data = DATA / "flickr8k_a"
    parts = dict(line.split("\t") for line in (data / "split.tsv").read_text(encoding="utf-8").splitlines())
    with open(data / "captions.txt", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for part in ("train", "dev", "test"):
        with open(folder / f"{part}.csv", "w", newline="", encoding="utf-8") as out:
            some = [(row["image"], row["caption"]) for row in rows if parts[row["image"]] == part]
            csv.writer(out).writerows([("image", "caption"), *some])
    return ["train.csv", "--validation", "dev.csv", "--test", "test.csv", "--images", str(data / "images"), "--flip"]


def strips(folder: Path) -> list[str]:
    """Two to five digits of MNIST side by side: 8,000 strips of its training images, 1,000 of its test images."""
    from PIL import Image

    random = np.random.default_rng(0)
    for part, name, count in (("train", "train", 8000), ("test", "t10k", 1000)):
        images = read_idx(DATA / "mnist" / f"{name}-images-idx3-ubyte.gz")
        labels = read_idx(DATA / "mnist" / f"{name}-labels-idx1-ubyte.gz")
        (folder / part).mkdir(exist_ok=True)
        rows = []
        for number in range(count):
            chosen = random.integers(len(images), size=random.integers(2, 6))
            file = f"{part}/{number}.png"
            Image.fromarray(np.hstack(list(images[chosen]))).save(folder / file)
            rows.append((file, " ".join(DIGITS[labels[i]] for i in chosen)))
        with open(folder / f"{part}.csv", "w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([("image", "caption"), *rows])
    return ["train.csv", "--test", "test.csv", "--height", "32"]


def chorales(folder: Path) -> list[str]:
    """The official parts, a frame a quarter note."""
    file = DATA / "jsb_chorales" / "jsb-chorales-quarter.json"
    return [f"{file}:train", "--validation", f"{file}:valid", "--test", f"{file}:test"]


ROWS = {
    "trec": Result("trec, 6 kinds of questions", "classify", trec, "accuracy", ".925"),
    "sst2": Result("sst2, with `glove_50d_8k`", "classify", sst2, "accuracy", ".835"),
    "surnames": Result("surnames, 18 languages", "classify", surnames, "accuracy", ".855"),
    "ag_news": Result("ag_news_test, first 6,600 / last 1,000", "classify", ag_news, "accuracy", ".90"),
    "spooky": Result("spooky, 3 authors", "classify", spooky, "accuracy", ".855"),
    "qa1": Result("babi_a QA1, one supporting fact", "answer", babi("qa1_single-supporting-fact"), "accuracy", "1.00"),
    "qa6": Result("babi_a QA6, yes or no", "answer", babi("qa6_yes-no-questions"), "accuracy", ".99"),
    "qa12": Result("babi_a QA12, conjunction", "answer", babi("qa12_conjunction"), "accuracy", "1.00"),
    "qa15": Result("babi_a QA15, basic deduction", "answer", babi("qa15_basic-deduction"), "accuracy", ".90"),
    "qa20": Result("babi_a QA20, motivations", "answer", babi("qa20_agents-motivations"), "accuracy", "1.00"),
    "qa2": Result("babi_a QA2, two supporting facts", "answer", babi("qa2_two-supporting-facts"), "accuracy", ".90"),
    "qa4": Result("babi_a QA4, two relations", "answer", babi("qa4_two-arg-relations"), "accuracy", "1.00"),
    "qa7": Result("babi_a QA7, counting", "answer", babi("qa7_counting"), "accuracy", ".95"),
    "qa9": Result("babi_a QA9, negation", "answer", babi("qa9_simple-negation"), "accuracy", ".99"),
    "qa18": Result("babi_a QA18, size", "answer", babi("qa18_size-reasoning"), "accuracy", ".92"),
    "wnut17": Result("wnut17, with `glove_50d_8k`", "tag", wnut17, "f1", ".24"),
    "ner_btc": Result("ner_btc, section f, with `glove_50d_8k`", "tag", ner_btc, "f1", ".71"),
    "pos": Result("ud_ewt, universal tags, with `glove_50d_8k`", "tag", ud_ewt, "accuracy", ".952"),
    "ud_ewt": Result("ud_ewt trees, with `glove_50d_8k`", "parse", ud_ewt, "las", ".845",
                     ["--threads", "1"]),
    "fsdd": Result("fsdd, digits", "classify", fsdd("digit"), "accuracy", ".987"),
    "speakers": Result("fsdd, speakers", "classify", fsdd("speaker"), "accuracy", ".993"),
    "fsdd_letters": Result("fsdd, spelled, share not exact", "transcribe", fsdd("text"), "not_exact", ".08"),
    "fsdd_words": Result("fsdd, one of ten words, share not exact", "transcribe", fsdd("text"), "not_exact", ".02",
                         ["--closed"]),
    "cursive": Result("cursive_sam, characters", "transcribe", cursive, "character_error_rate", ".008"),
    "gunpoint": Result("GunPoint", "classify", ts("GunPoint"), "accuracy", ".985"),
    "italy": Result("ItalyPowerDemand", "classify", ts("ItalyPowerDemand"), "accuracy", ".965"),
    "motions": Result("BasicMotions", "classify", ts("BasicMotions"), "accuracy", "1.00"),
    "vowels": Result("JapaneseVowels", "classify", ts("JapaneseVowels"), "accuracy", ".985"),
    "ett": Result("ett_h1, oil temperature, 24 h", "forecast", ett, "mse", ".0260"),
    "m4": Result("m4_hourly", "forecast", m4, "owa", ".50", ["--learning-rate", "3e-3"]),
    "sheep": Result("sketch_sheep", "draw", sheep, "nats_per_step", "1.00", ["--epochs", "12", "--threads", "1"]),
    "chorales": Result("jsb_chorales, a frame a quarter note", "compose", chorales, "nats_per_frame", "8.35"),
    "flickr": Result("flickr8k_a, 640 images to learn from, CIDEr-D", "caption", flickr, "cider", "above both"),
    "strips": Result("strips of MNIST digits in words, share not exact", "caption", strips, "error_rate", ".03"),
    "cmudict": Result("cmudict, phonemes", "translate", cmudict, "token_error_rate", ".075"),
    "multi30k": Result("multi30k de to en, test 2016", "translate", multi30k, "bleu", "32", ["--epochs", "8"]),
}


SEEDS, SHORT = 3, 300
"""Runs of a row, where one takes less than so many seconds."""


def run(name: str) -> dict[str, Any]:
    """Train and test one row in a process of its own; short runs with three seeds."""
    row, folder = ROWS[name], BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    words = ["train", row.task, *row.prepare(folder), *row.options]
    found: list[dict[str, Any]] = []
    while not found or (len(found) < SEEDS and found[0]["seconds"] < SHORT):
        found.append(_one(name, folder, words, len(found)))
    shown = " ".join(["ostinato", *words, "--out", "run"]).replace(str(DATA), "DATA")
    result = {"command": shown, "date": time.strftime("%Y-%m-%d"), "machine": machine(), **found[0],
              "reached": [one["test"]["measures"][row.measure] for one in found]}  # fmt: skip
    write_json(BUILD / f"{name}.json", result)
    return result


def _one(name: str, folder: Path, words: list[str], seed: int) -> dict[str, Any]:
    said = folder / f"said-{seed}.json"
    command = [sys.executable, "-m", "ostinato", *words, "--out", f"run-{seed}", "--seed", str(seed), "--json"]
    started = time.monotonic()
    with open(said, "wb") as out:
        process = subprocess.Popen([*command, "--resume"], cwd=folder, stdout=out)
        _, status, used = os.wait4(process.pid, 0)  # its own peak, which no other process has a part in
    if status:
        raise SystemExit(f"{name} failed: see above")
    return {"seconds": time.monotonic() - started, "peak_mb": used.ru_maxrss / 1024, **read_json(said)}


def page() -> None:
    """Write the table of what has been run; a row that was run elsewhere stays as the page has it."""
    begin, end = "<!-- results -->", "<!-- end -->"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    old, _, after = rest.partition(end)
    lines: list[str] = []
    commands: list[str] = []
    for name, row in ROWS.items():
        file = BUILD / f"{name}.json"
        if not file.exists():
            lines += [line for line in old.splitlines() if line.startswith(f"| {row.data} | {row.measure} |")]
            commands += [line for line in old.splitlines() if line.startswith(f"- {row.data}: ")]
            continue
        result = read_json(file)
        each, instead = result["reached"], result["test"].get("instead", {})
        others = [value for key, value in instead.items() if key.split(", ")[-1].endswith(row.measure)]
        peak = f"{result['peak_mb']:,.0f}" if result["peak_mb"] else "not measured"
        digits = {"bleu": 1, "mse": 4}.get(row.measure, 3)
        shown = " / ".join(f"{value:.{digits}f}" for value in others)
        reached = f"**{sum(each) / len(each):.{digits}f}**"
        if len(each) > 1:
            reached += f" ({', '.join(f'{value:.{digits}f}' for value in each)})"
        lines.append(f"| {row.data} | {row.measure} | {reached} | {row.goal} | {shown} | "
                     f"{result['parameters']:,} | {result['seconds'] / 60:.1f} | {peak} |")
        about = result["machine"]
        where = f"{about['processor']}, {about['cores']} cores, load {about['busy']} at the end"
        seeds = "seed 0" if len(each) == 1 else f"seeds 0 to {len(each) - 1}"
        commands.append(f"- {row.data}: `{result['command']}`, {result['date']}, {seeds}, {where}.")
    head = f"| data | measure | reached | goal | instead | parameters | minutes | MB |\n{'|---' * 8}|"
    table = "\n".join([head, *lines, "", *commands])
    write_atomic(PAGE, f"{before}{begin}\n{table}\n{end}{after}".encode())


def main(names: Sequence[str]) -> None:
    """Run those named, or all, and write the page."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in names or ROWS:
        if not (BUILD / f"{name}.json").exists():
            run(name)
        page()


if __name__ == "__main__":
    main(sys.argv[1:])
