"""The page of a run in a real browser: no error, no request, a slider that moves, and the library's own figures."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_runs import trained

from ostinato.inspect import gates
from ostinato.inspect.live import live
from ostinato.tasks import generate_run
from ostinato.tasks.generate_report import inspect_run
from ostinato.training.run import RunFolder

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
READ = "the clouds are"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), "lstm")


@pytest.fixture
def tab() -> Iterator[Any]:
    """A page of the browser; what goes wrong in it, and what it asks for, are in ``tab.said`` and ``tab.asked``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page: Any = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_default_timeout(180_000)
        page.said, page.asked = [], []
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("console", lambda line: page.said.append(line.text))
        page.on("request", lambda request: page.asked.append(request.url))
        yield page
        browser.close()


def shown(tab: Any, gate: str) -> list[float]:
    """The values of a gate's units as the page draws them now."""
    bars = tab.locator(f"#gates > div:text-is('{gate}') + .bars > i")
    return [float(bar.get_attribute("title").split(": ")[1]) for bar in bars.all()]


def test_the_slider_and_the_figures(run: Path, tab: Any, tmp_path: Path) -> None:
    file = tmp_path / "inside.html"
    file.write_text(inspect_run(RunFolder(run), READ), encoding="utf-8")
    tab.goto(file.as_uri())
    loaded = generate_run.load_model(RunFolder(run))
    ids = torch.tensor([loaded.vocabulary.encode(READ)])  # [1, T]
    below = loaded.model.layers[0](loaded.model.embedding(ids))[0].detach()
    expected = gates(loaded.model.layers[1], below)["f"][0]  # type: ignore[arg-type]  # [T, H]
    tab.locator("#step").focus()
    for step in range(3):
        assert tab.locator("#at").text_content() == str(step + 1)
        assert tab.locator("#text .now").text_content().strip() == READ[step].strip()
        torch.testing.assert_close(torch.tensor(shown(tab, "f")), expected[step], rtol=0, atol=6e-4)
        tab.keyboard.press("ArrowRight")
    assert tab.locator("#guesses").text_content().startswith("expects next: ")
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")  # a telephone shows all of it
    assert tab.said == [] and [url for url in tab.asked if not url.startswith(("file:", "data:"))] == []
    assert all(image.evaluate("i => i.complete && i.naturalWidth > 0") for image in tab.locator("img").all())


def test_live_reads_what_is_typed(run: Path, tab: Any) -> None:
    with live(lambda text: inspect_run(RunFolder(run), text)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        at = f"http://127.0.0.1:{server.server_port}"
        tab.goto(at)
        tab.locator("#input").fill("in France")
        tab.get_by_text("Read", exact=True).click()
        tab.wait_for_url("**/?input=in+France")
        assert tab.locator("#text").text_content() == "in France"
        assert tab.locator("#input").input_value() == "in France"
        tab.goto("about:blank")
        server.shutdown()
        thread.join(10)
    assert [url for url in tab.asked if not url.startswith((at, "data:", "about:"))] == []
    assert [line for line in tab.said if "favicon" not in line and "404" not in line] == []
