"""The page of a run: whole, needing no network, with the numbers that the library gives."""

from __future__ import annotations

import json
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import torch
from close import assert_close
from inspect_runs import trained

from ostinato.cli import run_command
from ostinato.errors import InputError
from ostinato.inspect import gates
from ostinato.inspect.live import live
from ostinato.tasks import generate_run
from ostinato.tasks.generate_report import inspect_run
from ostinato.training.run import RunFolder


@pytest.fixture(scope="module", params=["lstm", "elman"])
def run(request, tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), request.param)


class Reader(HTMLParser):
    """Which elements are open, and what refers to something outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "input", "link", "br"):
            self.open.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith(("data:", "#"))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page(run: Path, tmp_path: Path, capsys) -> None:
    page = tmp_path / "inside.html"
    text = "I speak fluent"
    assert run_command(["inspect", str(run), "--input", text, "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    html = page.read_text("utf-8")
    reader = Reader()
    reader.feed(html)
    assert reader.open == [] and reader.outside == [] and "http://" not in re.sub(r"base64,[^\"]*", "", html)
    assert html.count("<figure>") >= 6 and "Layer 1:" in html and "tanh(" in html
    data = json.loads(re.findall(r'id="data">(.*?)</script>', html, re.DOTALL)[0].replace("<\\/", "</"))
    assert data["tokens"] == list(text) and len(data["guesses"]) == len(text)
    loaded = generate_run.load_model(RunFolder(run))
    ids = torch.tensor([loaded.vocabulary.encode(text)])
    probabilities = loaded.model(ids)[0][0, -1].softmax(-1).detach()
    token, p = data["guesses"][-1][0]
    assert loaded.vocabulary.encode(token) == [int(probabilities.argmax())]
    assert abs(p - float(probabilities.max())) < 1e-3
    if "f" in data["traces"]:
        below = loaded.model.layers[0](loaded.model.embedding(ids))[0].detach()
        expected = gates(loaded.model.layers[1], below)["f"][0]  # type: ignore[arg-type]
        assert_close(torch.tensor(data["traces"]["f"]), (expected * 1000).round() / 1000)


@pytest.mark.parametrize("run", ["elman"], indirect=True)
def test_without_an_input_it_reads_what_it_writes(run: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.html", tmp_path / "b.html"
    for page in (first, second):
        assert run_command(["inspect", str(run), "--out", str(page)]) == 0
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(("text", "words"), [("ж", "does not know: 'ж'"), ("a", "has 1 tokens, and 2 are needed")])
def test_bad_input_is_one_line(run: Path, tmp_path: Path, capsys, text: str, words: str) -> None:
    assert run_command(["inspect", str(run), "--input", text, "--out", str(tmp_path / "a.html")]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "a.html").exists()


@pytest.mark.parametrize("run", ["elman"], indirect=True)
def test_live(run: Path, capsys) -> None:
    with live(lambda text: inspect_run(RunFolder(run), text)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        at = f"http://127.0.0.1:{server.server_port}"
        try:
            first = urlopen(at, timeout=60).read().decode()
            assert "<textarea" in first and "Gradients back in time" in first
            asked = urlopen(f"{at}/?{urlencode({'input': 'France <b>'})}", timeout=60)
        except HTTPError as error:
            asked = error
        assert asked.status == 422
        said = asked.read().decode()
        assert "does not know: " in said and "France &lt;b&gt;</textarea>" in said and "<b>" not in said
        page = urlopen(f"{at}/?{urlencode({'input': 'in France'})}", timeout=60).read().decode()
        form = page[page.index("<form>") : page.index("</form>") + 7]
        assert page.replace(form, "") == inspect_run(RunFolder(run), "in France")
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{at}/favicon.ico", timeout=60)
        with pytest.raises(InputError, match="cannot be used"):
            live(lambda text: "", server.server_port)
        server.shutdown()
        thread.join(10)
    for words in (["--live", "--out", "a.html"], [], ["--live", "--input", "a b"]):
        assert run_command(["inspect", str(run), *words]) == 2
        assert "give --out FILE.html for a page, or --live" in capsys.readouterr().err
