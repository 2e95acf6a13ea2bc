"""The benchmarks' harness: a wrong answer is refused, the others are timed in turns. No times are asserted."""

import json
import math

import pytest
import torch

from benchmarks import common, contest, networks, report
from benchmarks.contest import Contestant, WrongAnswer


def side(name: str, value: torch.Tensor, log: list[str] | None = None) -> Contestant:
    """A contestant that answers with a value."""

    def run() -> torch.Tensor:
        if log is not None:
            log.append(name)
        return value

    return Contestant(name, run, lambda found: {"output": found})


@pytest.mark.parametrize(
    "wrong", [torch.full((3,), 1.001), torch.tensor([1, 1, math.nan]), torch.tensor([1, 1, math.inf]), torch.ones(4)]
)
def test_a_wrong_answer_is_not_timed(wrong) -> None:
    log: list[str] = []
    with pytest.raises(WrongAnswer, match=r"other: output is .* off torch's"):
        contest.compare([side("torch", torch.ones(3), log), side("other", wrong, log)], 0.01)
    assert log == ["torch", "other"]


def test_a_missing_value_is_a_wrong_answer() -> None:
    silent = Contestant("other", lambda: None, lambda found: {})
    with pytest.raises(WrongAnswer, match="output is not in the values of both other and torch"):
        contest.check_same([side("torch", torch.ones(3)), silent])


def test_contestants_take_turns(monkeypatch) -> None:
    monkeypatch.setattr(contest, "TURN", 0)
    log: list[str] = []
    timing = contest.race([side(name, torch.ones(1), log) for name in "ab"], 0, most=3, least=3)
    assert "".join(log) == "aabb" + "ab" + "ba" + "ab"
    assert [len(timing.turns[name]) for name in "ab"] == [3, 3]
    assert timing.best("a", "b", "absent") in "ab"


def test_a_wrong_gradient_is_found() -> None:
    torch.manual_seed(0)
    cell = networks.Momentum(3, 4)
    x, seed = torch.randn(5, 2, 3), torch.randn(5, 2, 4)
    right = networks.training("loop", networks.Loop(cell), x, seed)
    contest.check_same([right, networks.training("ours", networks.recurrent(cell), x, seed)])
    with pytest.raises(WrongAnswer, match="ours: gradient of"):
        contest.check_same([right, networks.training("ours", networks.recurrent(cell), x, seed + 1)])


@pytest.mark.parametrize("name", [name for name, kind in networks.KINDS.items() if kind.torch])
def test_the_twins_are_the_same_network(name: str) -> None:
    torch.manual_seed(0)
    kind = networks.KINDS[name]
    assert kind.torch and kind.drop_in
    cell, x, seed = kind.make(3, 4), torch.randn(5, 1, 3), torch.randn(5, 1, 4)
    modules = [networks.like_torch(kind.torch, cell, 3, 4), networks.like_torch(kind.drop_in, cell, 3, 4),
               networks.recurrent(cell), networks.Loop(cell)]
    contest.check_same([networks.training(str(n), module, x, seed) for n, module in enumerate(modules)])


def test_a_report_is_saved_and_quoted(tmp_path, monkeypatch) -> None:
    about = {"command": "python -m benchmarks.some", "date": "2026-01-02", "quick": False, "machine": {"cores": 2}}
    made = common.Report("some", about)
    made.table("Times", "what", "ms").add("ours", common.ms(0.00123))
    made.save(tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    page = report.filled("before\n<!-- benchmark: some -->\nold\n<!-- end -->\nafter\n")
    assert "old" not in page and page.startswith("before\n") and page.endswith("after\n")
    assert "| ours | 1.23 |" in page and "`python -m benchmarks.some`, 2026-01-02: cores 2." in page
    assert report.filled(page) == page


def test_a_quick_run_is_not_quoted(tmp_path, monkeypatch) -> None:
    (tmp_path / "some.json").write_text(json.dumps({"quick": True}), "utf-8")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    with pytest.raises(SystemExit, match="not to be quoted"):
        report.result("some")
    with pytest.raises(SystemExit, match="run python -m benchmarks --only other"):
        report.result("other")


def test_every_benchmark_has_its_place_on_the_page() -> None:
    from benchmarks.__main__ import NAMES

    places = [m[2] for m in report.PLACE.finditer((common.ROOT / "docs/performance.md").read_text("utf-8"))]
    assert places == NAMES
    assert all((common.ROOT / "benchmarks" / f"{name}.py").exists() for name in NAMES)
