"""Rows of every format, which column is which, and a line for everything that is wrong with a file."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from corpus import DATA

from ostinato.errors import InputError
from ostinato.features.rows import Table, choose_columns, open_table


def rows(table: Table) -> list[dict[str, Any]]:
    return [dict(row.values) for row in table]


CONTENT = {
    "a.csv": 'text,label\n"one, two\nthree",x\nfour,y\n',
    "a.tsv": 'text\tlabel\none "two\tx\nfour\ty\n',
    "a.jsonl": '{"text": "one", "label": "x"}\n\n{"text": "four", "label": "y"}\n',
    "a.txt": "NUM:dist How far ?\nHUM:ind Who ?\n",
    "ft.txt": "__label__x __label__y one two\n__label__x four\n",
    "lines.txt": "one two\n\n four \n",
}
EXPECTED: dict[str, Any] = {
    "a.csv": [{"text": "one, two\nthree", "label": "x"}, {"text": "four", "label": "y"}],
    "a.tsv": [{"text": 'one "two', "label": "x"}, {"text": "four", "label": "y"}],
    "a.jsonl": [{"text": "one", "label": "x"}, {"text": "four", "label": "y"}],
    "a.txt": [{"label": "NUM", "fine": "dist", "text": "How far ?"}, {"label": "HUM", "fine": "ind", "text": "Who ?"}],
    "ft.txt": [{"label": ["x", "y"], "text": "one two"}, {"label": "x", "text": "four"}],
    "lines.txt": [{"text": "one two"}, {"text": "four"}],
}


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("packed", [False, True])
def test_formats(tmp_path: Path, name: str, packed: bool) -> None:
    data = ("\ufeff" + CONTENT[name]).replace("\n", "\r\n").encode()
    file = tmp_path / (name + ".gz" if packed else name)
    file.write_bytes(gzip.compress(data) if packed else data)
    table = open_table(file)
    assert rows(table) == EXPECTED[name]
    assert rows(table) == EXPECTED[name]  # again


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one", "two"], "label": [1, 0]}), file)
    assert rows(open_table(file)) == [{"text": "one", "label": 1}, {"text": "two", "label": 0}]
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"a\.parquet is not a whole Parquet file"):
        rows(open_table(file))


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "Czech.txt").write_text("Adam\n\nBok\n")
    (tmp_path / "names" / "Greek.txt").write_text("Xenos\n")
    assert rows(open_table(tmp_path / "names")) == [
        {"text": "Adam", "label": "Czech"}, {"text": "Bok", "label": "Czech"}, {"text": "Xenos", "label": "Greek"},
    ]  # fmt: skip
    for label in ("neg", "pos"):
        (tmp_path / "films" / label).mkdir(parents=True)
        (tmp_path / "films" / label / "1.txt").write_text(f"a {label}\nfilm\n")
    assert [row["text"] for row in rows(open_table(tmp_path / "films"))] == ["a neg film", "a pos film"]
    (tmp_path / "rt").mkdir()
    for label in ("neg", "pos"):
        (tmp_path / "rt" / f"polarity.{label}").write_text(f"a {label} film\n")
    assert [row["label"] for row in rows(open_table(tmp_path / "rt"))] == ["neg", "pos"]


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "missing field": ("a.csv", b"text,label\none,x\ntwo\nthree,y\n", r"a\.csv:3: 1 fields, where 2 are expected"),
    "encoding": ("a.csv", b"text,label\none,x\nd\xe9j\xe0,y\n", r"a\.csv:3: byte 0xe9 is not UTF-8; .*latin-1"),
    "quote": ("a.csv", b'text,label\n"one"x,x\ntwo,y\n', r"a\.csv:2: "),
    "open quote": ("a.csv", b'text,label\none,x\n"two,y\n', r"a\.csv:3: unexpected end of data"),
    "json": ("a.jsonl", b'{"text": "one"}\n{"text": \n', r"a\.jsonl:2: not JSON"),
    "json list": ("a.jsonl", b'{"text": "one"}\n[1]\n', r"a\.jsonl:2: an object with names is expected"),
    "zero": ("a.txt", b"one\ntw\0o\n", r"a\.txt:2: a zero byte"),
    "lone label": ("a.label", b"A:x one\nB:y\n", r"a\.label:2: a label and a text are expected"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_bad_line_is_named(tmp_path: Path, case: str) -> None:
    name, data, message = BROKEN[case]
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(InputError, match=message):
        rows(open_table(file, "label-first" if name.endswith(".label") else None))


@pytest.mark.parametrize("case", ["missing field", "encoding", "json", "zero"])
def test_bad_lines_are_skipped_and_counted(tmp_path: Path, case: str) -> None:
    name, data, _ = BROKEN[case]
    file = tmp_path / name
    file.write_bytes(data)
    table = open_table(file, skip_bad=True)
    assert len(rows(table)) == data.count(b"\n") - 1 - name.endswith(".csv")
    assert table.bad == 1
    rows(table)
    assert table.bad == 1


@pytest.mark.parametrize(("name", "data", "message"), [
    ("a.csv", b"", "a.csv is empty"),
    ("a.csv", b"text,label\n", "no rows"),
    ("a.csv", b"text,label,text\na,b,c\n", "the column 'text' is there more than once"),
    ("a.csv.gz", b"no gzip", "damaged after line 0"),
    ("a.csv.gz", gzip.compress(b"text,label\nx,y\n" * 999, mtime=0)[:-20], "damaged after line"),
])  # fmt: skip
def test_bad_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(InputError, match=message):
        rows(open_table(file))


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        open_table(tmp_path / "nowhere.csv")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="unknown format 'xml'"):
        open_table(tmp_path / "a.csv", "xml")
    with pytest.raises(InputError, match="unknown encoding 'utf-99'"):
        open_table(tmp_path / "a.csv", encoding="utf-99")


TEXT_LABEL = {"text": None, "label": None}


@pytest.mark.parametrize(("header", "told", "expected"), [
    (["id", "text", "author"], TEXT_LABEL, {"text": ("text",), "label": ("author",)}),
    (["Sentence", "Label"], TEXT_LABEL, {"text": ("Sentence",), "label": ("Label",)}),
    (["id", "title", "body", "topic"], {"text": "title,body", "label": None},
     {"text": ("title", "body"), "label": ("topic",)}),
    (["a", "b", "c"], {"text": "2", "label": "c"}, {"text": ("b",), "label": ("c",)}),
])  # fmt: skip
def test_columns_by_name(header: list[str], told: Any, expected: Any) -> None:
    assert choose_columns([dict.fromkeys(header, "v")] * 4, told, "f").of == expected


def test_columns_without_a_header() -> None:
    sentences = [f"sentence number {i}" for i in range(40)]
    pairs = [{"1": text, "2": str(i % 2)} for i, text in enumerate(sentences)]
    assert choose_columns(pairs, TEXT_LABEL, "f").of == {"text": ("1",), "label": ("2",)}
    news = [{"1": str(i % 4), "2": text, "3": text[::-1]} for i, text in enumerate(sentences)]
    assert choose_columns(news, TEXT_LABEL, "f").of == {"text": ("2", "3"), "label": ("1",)}


@pytest.mark.parametrize(("names", "told", "message"), [
    (["a", "b", "c"], TEXT_LABEL, "which column of f is the text"),
    (["text", "b", "c"], TEXT_LABEL, "which column of f is the label"),
    (["text", "label"], {"text": "body", "label": None}, "f has no column 'body' for the text; it has: text, label"),
])
def test_columns_that_are_not_clear(names: list[str], told: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_columns([dict.fromkeys(names, "v")] * 9, told, "f")


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
@pytest.mark.parametrize(("path", "options", "format", "count", "columns"), [
    ("sst2/train.tsv", {}, "tsv", 6920, {"text": ("1",), "label": ("2",)}),
    ("trec/TREC.train", {"encoding": "latin-1"}, "label-first", 5452, {"text": ("text",), "label": ("label",)}),
    ("ag_news_test/test.csv", {}, "csv", 7600, {"text": ("2", "3"), "label": ("1",)}),
    ("spooky/train.csv", {}, "csv", 19579, {"text": ("text",), "label": ("author",)}),
    ("surnames", {}, "folder", 20050, {"text": ("text",), "label": ("label",)}),
    ("mr_polarity", {"encoding": "latin-1"}, "folder", 10662, {"text": ("text",), "label": ("label",)}),
])
def test_real_files(path: str, options: Any, format: str, count: int, columns: Any) -> None:
    table = open_table(DATA / path, **options)
    assert table.format == format
    assert choose_columns([row.values for row in table.sample()], TEXT_LABEL, path).of == columns
    assert sum(1 for _ in table) == count


def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    """A folder that the hub's client takes for a data set, so that no network is needed."""
    datasets = pytest.importorskip("datasets")
    (tmp_path / "train.csv").write_text("text,label\ngood film,pos\nbad film,neg\n")
    (tmp_path / "test.csv").write_text("text,label\na film,pos\n")
    rows = list(open_table(f"hub:{tmp_path}:test"))
    assert [row.values for row in rows] == [{"text": "a film", "label": "pos"}]
    assert [row.place for row in open_table(f"hub:{tmp_path}")] == [f"hub:{tmp_path}: row {n}" for n in (1, 2)]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    folder = tmp_path / "numbers"
    folder.mkdir()
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features).to_parquet(folder / "train.parquet")
    assert [row.values["label"] for row in open_table(f"hub:{folder}:default:train")] == ["yes", "no"]
    for name, message in ((f"hub:{tmp_path}:dev", "cannot be read from the hub"), ("hub:", "is expected"),
                          ("hub:a:b:c:d", "is expected")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            list(open_table(name))
