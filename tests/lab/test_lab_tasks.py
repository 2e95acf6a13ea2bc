"""The laboratory's tasks: every generator against a definition of its own, written here in another way."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from close import assert_close
from torch import Generator, Tensor

from ostinato.errors import InputError
from ostinato.lab import TASKS, Batch, Goal, find
from ostinato.lab.draws import between
from ostinato.lab.images import bundled, mnist, read_idx
from ostinato.lab.tasks.counting import batch_of
from ostinato.lab.tasks.reber import string

DRAWN = [name for name, task in TASKS.items() if task.data is None]


def drawn(name: str, count: int = 40, lag: int | None = None, seed: int = 3) -> Batch:
    task = find(name)
    return task.draw(count, task.check_lag(lag), Generator().manual_seed(seed))


def answers(batch: Batch, values: Tensor) -> list[list]:
    """The values ``[M, ...]`` of each sequence's own answers."""
    counts = batch.answer.sum(1).tolist()
    return [part.tolist() for part in values.split(counts)]


def symbols(batch: Batch) -> list[list[int]]:
    """The one-hot symbols of each sequence, without the padding."""
    lengths = [batch.x.shape[1]] * len(batch.x) if batch.lengths is None else batch.lengths.tolist()
    return [row[:n].argmax(-1).tolist() for row, n in zip(batch.x, lengths, strict=True)]


@pytest.mark.parametrize("name", DRAWN)
def test_a_batch_is_whole_and_repeats(name: str) -> None:
    one, again, other = drawn(name), drawn(name), drawn(name, seed=4)
    task = find(name)
    width, answer_width = task.sizes(task.check_lag(None))
    assert one.x.shape == (40, one.answer.shape[1], width)
    assert one.answer.any(1).all() and len(one.target) == one.answer.sum()
    assert torch.equal(one.x, again.x) and torch.equal(one.target, again.target)
    assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x)
    if one.lengths is not None:
        padding = torch.arange(one.x.shape[1]) >= one.lengths[:, None]
        assert one.x[padding].abs().sum() == 0 and not (one.answer & padding).any()
    if task.loss in ("class", "next"):
        assert one.target.min() >= 0 and one.target.max() < answer_width


@pytest.mark.parametrize("name", [name for name in DRAWN if find(name).lag is not None])
def test_the_least_lag_works_and_a_shorter_one_is_refused(name: str) -> None:
    least = find(name).least_lag
    assert len(drawn(name, 5, least).x) == 5
    with pytest.raises(InputError, match=f"'{name}' needs a lag of at least {least}, got {least - 1}"):
        find(name).check_lag(least - 1)


@pytest.mark.parametrize("lag", [2, 3, 50, 51])
def test_adding_and_multiplication_by_hand(lag: int) -> None:
    for name, combine in (("adding", sum), ("multiplication", math.prod)):
        batch = drawn(name, lag=lag)
        for row, answer in zip(batch.x.tolist(), batch.target.tolist(), strict=True):
            places = [t for t, (_, mark) in enumerate(row) if mark == 1]
            assert len(places) == 2 and places[0] < lag // 2 <= places[1]
            assert all(0 <= number < 1 and mark in (0, 1) for number, mark in row)
            assert answer == pytest.approx(combine(row[t][0] for t in places), rel=1e-6)
        assert batch.answer.nonzero()[:, 1].unique().tolist() == [lag - 1]


def test_always_answering_one_has_the_variance_of_the_sum() -> None:
    target = drawn("adding", 200_000, 4).target
    assert ((target - 1) ** 2).mean().item() == pytest.approx(1 / 6, rel=0.01)  # of two uniform numbers: 2 / 12


@pytest.mark.parametrize("markers", [2, 3])
@pytest.mark.parametrize("lag", [10, 77, 100])
def test_temporal_order_by_hand(markers: int, lag: int) -> None:
    batch = drawn(f"order-{markers}", 200, lag)
    bounds = {2: [(0.1, 0.2), (0.5, 0.6)], 3: [(0.1, 0.2), (0.33, 0.43), (0.66, 0.76)]}[markers]
    for row, answer in zip(symbols(batch), batch.target.tolist(), strict=True):
        assert lag <= len(row) <= 1.1 * lag and row[0] == 6 and row[-1] == 7
        found = [(t, s) for t, s in enumerate(row) if s < 2]
        assert answer == int("".join(str(s) for _, s in found), 2)
        assert all(low * lag - 1 <= t <= high * lag for (t, _), (low, high) in zip(found, bounds, strict=True))
    assert batch.target.unique().tolist() == list(range(2**markers))


def test_copying_by_hand() -> None:
    batch = drawn("copying", 20, 7)
    for row, target in zip(symbols(batch), answers(batch, batch.target), strict=True):
        digits, rest = row[:10], row[10:]
        assert all(1 <= d <= 8 for d in digits)
        assert rest == [0] * 6 + [9] + [0] * 10 and target == [0] * 17 + digits


def test_long_lag_by_hand() -> None:
    batch = drawn("long-lag", 20, 6)
    for row, target in zip(symbols(batch), answers(batch, batch.target), strict=True):
        assert row in ([0, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]) and target == [2, 3, 4, 5, 6, row[0]]


def reber_language(longest: int) -> set[str]:
    """All Reber strings up to a length, from the grammar's table of moves, breadth first."""
    moves = {"0T": 1, "0P": 2, "1S": 1, "1X": 3, "2T": 2, "2V": 4, "3X": 2, "3S": 5, "4P": 3, "4V": 5, "5E": 6}
    words, found = {("B", 0)}, set()
    while words:
        words = {(w + m[1], end) for w, node in words for m, end in moves.items() if int(m[0]) == node}
        found |= {w for w, node in words if node == 6}
        words = {(w, node) for w, node in words if node != 6 and len(w) < longest}
    return found


def test_reber_strings_are_exactly_those_of_the_automaton() -> None:
    language = {f"B{t}{w}{t}E" for w in reber_language(9) for t in "TP"}
    assert {"BTBTXSETE", "BPBPVVEPE"} <= language and len(language) > 20
    made = set()
    for coins in itertools.product((0, 1), repeat=11):
        rest = iter(coins)
        try:
            made.add("".join(s for s, _ in string(rest)) + "E")
        except RuntimeError:  # more coins needed: a longer string
            continue
    assert {w for w in made if len(w) <= 13} == language


def test_what_may_follow_in_a_reber_string() -> None:
    language = {f"B{t}{w}{t}E" for w in reber_language(14) for t in "TP"}
    batch = drawn("reber", 200)
    assert batch.legal is not None
    legal, target = answers(batch, batch.legal), answers(batch, batch.target)
    for row, sets, nexts in zip(symbols(batch), legal, target, strict=True):
        text = "".join("BTSXVPE"[s] for s in row)
        assert ["BTSXVPE"[s] for s in nexts] == [*text[1:], "E"]
        if len(text) > 12:
            continue
        for t, allowed in enumerate(sets):
            follow = {w[t + 1] for w in language if w.startswith(text[: t + 1]) and len(w) > t + 1}
            assert {"BTSXVPE"[s] for s, ok in enumerate(allowed) if ok} == follow


def test_a_reber_stream_is_string_after_string() -> None:
    batch = drawn("reber-continual", 10, 300)
    assert batch.legal is not None
    for row, sets in zip(symbols(batch), answers(batch, batch.legal), strict=True):
        text, at = "".join("BTSXVPE"[s] for s in row), 0
        while (end := text.find(text[at + 1] + "EB", at + 2) + 1) and end > 1:
            assert text[at] == "B" and text[end - 1] == text[at + 1]
            assert sets[end] == [True] + [False] * 6  # after the last E: B
            at = end + 1


def recognises(text: str, letters: str) -> bool:
    n = len(text) // len(letters)
    return n > 0 and text == "".join(letter * n for letter in letters)


@pytest.mark.parametrize("letters", ["ab", "abc"])
def test_what_may_follow_in_counting_by_brute_force(letters: str) -> None:
    """A symbol may follow a prefix if some string up to a length, tried one by one, has the two as its beginning."""
    every = (map("".join, itertools.product(letters, repeat=n)) for n in range(1, 10))
    words = [w for some in every for w in some if recognises(w, letters)]
    counts = [1, 2]
    batch = batch_of(counts, len(letters))
    names = [*letters, "S", "T"]
    for row, sets in zip(symbols(batch), answers(batch, batch.target), strict=True):
        text = "".join(names[s] for s in row)
        assert text[0] == "S"
        for t, allowed in enumerate(sets):
            follow = {(w + "T")[t] for w in words if w.startswith(text[1 : t + 1]) and len(w) >= t}
            assert {name for name, ok in zip(names, allowed, strict=True) if ok} == follow
    assert batch.answer.sum(1).tolist() == [n * len(letters) + 1 for n in counts]


def test_parity_latching_and_clearing_by_hand() -> None:
    parity = drawn("parity", 20, 9)
    for row, target in zip(parity.x[..., 0].tolist(), answers(parity, parity.target), strict=True):
        assert target == [sum(row[: t + 1]) % 2 for t in range(9)]
    latching = drawn("latching", 400, 30)
    assert torch.equal(latching.x[:, 0, 0], 2.0 * latching.target - 1)
    assert latching.x[:, 1:].std().item() == pytest.approx(0.2, rel=0.05)
    clearing = drawn("clearing", 20, 6)
    for row, target in zip(clearing.x.tolist(), answers(clearing, clearing.target), strict=True):
        total = 0.0
        for (number, mark), answer in zip(row, target, strict=True):
            total = number + (0.0 if mark else total)
            assert answer == pytest.approx(total / 6, abs=1e-5)
    assert 0.1 < drawn("clearing", 200, 6).x[..., 1].mean().item() < 0.23


def test_between_is_even_and_within() -> None:
    low, high = torch.tensor([0, 10]), torch.tensor([3, 12])
    values = torch.stack([between(low, high, 2, Generator().manual_seed(s)) for s in range(200)])
    assert values[:, 0].unique().tolist() == [0, 1, 2] and values[:, 1].unique().tolist() == [10, 11]


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    draws = find("digits").splits(None)
    parts = {split: draws[split](2000, 0, Generator().manual_seed(0)) for split in ("valid", "test")}
    assert [len(p.x) for p in parts.values()] == [359, 360] and parts["test"].x.shape[1:] == (64, 1)
    rows = {image.tobytes(): label for image, label in zip(*load_digits(return_X_y=True), strict=True)}
    test = parts["test"]
    found = [rows[np.asarray(image * 16, dtype=np.float64).tobytes()] for image in test.x[..., 0].numpy()]
    assert found == test.target.tolist()
    permuted = find("digits-permuted").splits(None)["test"](5, 0, Generator())
    assert_close(permuted.x.sort(1).values, test.x[:5].sort(1).values)
    assert not torch.equal(permuted.x, test.x[:5])
    seen = [draws["train"](64, 0, Generator().manual_seed(s)).x.sum().item() for s in (0, 0, 1)]
    assert seen[0] == seen[1] != seen[2]
    train = {row.numpy().tobytes() for row in bundled()["train"].pixels}
    assert not train & {row.numpy().tobytes() for row in bundled()["test"].pixels}


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 24), ("t10k", 5)):
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx(rng.integers(0, 256, (count, 3, 4))))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(rng.integers(0, 10, count)))
    return tmp_path


def test_mnist_from_a_folder(folder: Path) -> None:
    import gzip

    parts = mnist(folder)
    assert {split: len(images.digits) for split, images in parts.items()} == {"train": 22, "valid": 2, "test": 5}
    pixels = read_idx(folder / "t10k-images-idx3-ubyte")
    assert_close(parts["test"].pixels[3], torch.from_numpy(pixels[3].reshape(-1) / 255).float())
    plain = folder / "t10k-labels-idx1-ubyte"
    labels = read_idx(plain)
    plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert read_idx(plain).tolist() == labels.tolist()


@pytest.mark.parametrize("spoil", [lambda d: b"", lambda d: d[:-1], lambda d: d + b"\0", lambda d: b"\0\0\x09" + d[3:]])
def test_a_damaged_file_of_mnist(folder: Path, spoil) -> None:
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(InputError, match="train-images-idx3-ubyte is damaged"):
        mnist(folder)


def test_files_that_do_not_belong_together(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(23)))
    with pytest.raises(InputError, match="the train images and labels do not belong together"):
        mnist(folder)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_idx(folder / "t10k-labels-idx1-ubyte")


def test_data_where_it_does_not_belong() -> None:
    for name, path, message in (
        ("adding", Path("x"), "makes its own sequences"),
        ("digits", Path("x"), "read no data"),
        ("mnist", None, "--data FOLDER"),
    ):
        with pytest.raises(InputError, match=message):
            find(name).splits(path)
    with pytest.raises(InputError, match="'digits' has no lag"):
        find("digits").check_lag(5)
    with pytest.raises(InputError, match=r"unknown task 'addin' \(did you mean 'adding'\?\)"):
        find("addin")


def test_goals() -> None:
    assert Goal("mse", 0.1, "at most").met({"mse": 0.1}) and not Goal("mse", 0.1, "at most").met({"mse": math.nan})
    assert not Goal("right", 0.9, "at least").met({"right": 0.89})
    assert str(Goal("right", 0.9, "at least")) == "right at least 0.9"
