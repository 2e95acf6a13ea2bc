"""Runs of the laboratory: what counts as right, that they repeat and go on, and that a goal can be missed."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from close import assert_close

from ostinato import cells
from ostinato.errors import InputError
from ostinato.lab import TASKS, Batch, find
from ostinato.lab.measures import measure, right_sequences
from ostinato.lab.network import Network, new_network
from ostinato.lab.options import LabOptions, Plan, parse_cell, plan
from ostinato.lab.runs import Run, generator, stored_run
from ostinato.lab.store import Store
from ostinato.lab.table import Place, Row, Sizes, Table, make_table
from ostinato.training.interrupt import Interrupted

SMALL = LabOptions(hidden_size=8, batch=8, sequences=160, check=5, held_out=32)


def small(task: str = "latching", cell: str = "lstm", lag: int | None = 5, **changes: Any) -> Plan:
    return plan(task, cell, lag, dataclasses.replace(SMALL, **changes))


def without_seconds(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != "seconds"}


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not name.startswith("mnist")])
def test_every_task_trains_and_repeats(name: str) -> None:
    lag = None if find(name).lag is None else max(12, find(name).least_lag)
    chosen = plan(name, "gru", lag, LabOptions(hidden_size=5, batch=3, sequences=12, check=2, held_out=4))
    result, again = Run(chosen, 1).go(), Run(chosen, 1).go()
    assert without_seconds(result) == without_seconds(again)
    assert result["sequences"] <= 12 and find(name).goal.measure in result["test"]
    json.loads(json.dumps(result, allow_nan=False))
    assert without_seconds(Run(chosen, 2).go())["test"] != result["test"]


def test_a_run_takes_the_steps_of_adam_on_clipped_gradients() -> None:
    chosen = small("adding", "elman", 6, sequences=24, learning_rate=0.02, clip=0.05)
    run = Run(chosen, 3)
    torch.manual_seed(3)
    net = Network(cells.create("elman", 2, 8), 2, 1)
    adam = torch.optim.Adam(net.parameters(), lr=0.02)
    for step in range(3):
        batch = find("adding").draw(8, 6, generator(3, "train", step))
        outputs, _ = net.recurrent(batch.x)  # [8, 6, 8]
        loss = ((net.readout(outputs[:, -1])[:, 0] - batch.target) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in net.parameters() if p.grad is not None]).norm()
        for p in net.parameters():
            if p.grad is not None:
                p.grad *= min(1.0, 0.05 / (norm.item() + 1e-6))
        adam.step()
    run.go()
    assert_close(dict(run.network.state_dict()), dict(net.state_dict()))


def test_a_goal_is_reached_and_can_be_missed() -> None:
    easy = Run(small(lag=3, sequences=4000, learning_rate=0.02), 0).go()
    assert easy["solved"] and easy["ended"] == "goal" and easy["sequences"] < 4000
    hard = Run(small(lag=3), 0).go()
    assert not hard["solved"] and hard["ended"] == "budget" and hard["sequences"] == 160


def test_a_run_that_diverges_is_a_result() -> None:
    result = Run(small("adding", "elman-relu", 40, learning_rate=1e30, clip=0.0), 0).go()
    assert (result["ended"], result["solved"]) == ("diverged", False)
    json.loads(json.dumps(result, allow_nan=False))


def test_the_seeds_of_the_parts_are_apart() -> None:
    seen = {(seed, split, step): torch.rand(1, generator=generator(seed, split, step)).item()
            for seed in (0, 1, 10) for split in ("train", "valid", "test") for step in (0, 1, 10)}  # fmt: skip
    assert len(set(seen.values())) == len(seen)


def interrupting(at: int) -> Any:
    def report(event: str, values: Any) -> None:
        if event == "step" and values["sequences"] == at * 8:
            signal.raise_signal(signal.SIGINT)

    return report


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    chosen, store = small("adding", "gru", 9), Store(tmp_path / "lab")
    whole = Run(chosen, 4).go()
    with pytest.raises(Interrupted, match="after step 7"):
        stored_run(chosen, 4, store, interrupting(7))
    assert store.get(chosen, 4) is None and store.checkpoint(chosen, 4).exists()
    begun: list[int] = []
    again = stored_run(chosen, 4, Store(tmp_path / "lab", resume=True),
                       lambda event, values: begun.append(values["step"]) if event == "begin" else None)  # fmt: skip
    assert begun == [7] and without_seconds(again) == without_seconds(whole)
    assert not store.checkpoint(chosen, 4).exists()
    assert stored_run(chosen, 4, store, interrupting(1)) == again  # kept: nothing is run


def test_the_folder_of_results(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    store = Store(folder)
    store.put(small(), 0, {"solved": True})
    with pytest.raises(InputError, match="holds results: go on with --resume, or replace them with --overwrite"):
        Store(folder)
    assert Store(folder, resume=True).get(small(), 0) == {"solved": True}
    assert store.get(small(), 1) is None and store.get(small(learning_rate=0.5), 0) is None
    assert Store(folder, overwrite=True).get(small(), 0) is None
    with pytest.raises(InputError, match="exclude each other"):
        Store(folder, resume=True, overwrite=True)
    (folder / "lab.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="of format 99"):
        Store(folder, resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty and holds no results"):
        Store(other, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        Store(other / "thesis.tex")


def batch_of(answer: list[list[int]], target: Any, legal: Any = None) -> Batch:
    asked = torch.tensor(answer, dtype=torch.bool)
    return Batch(torch.zeros(*asked.shape, 1), asked, torch.tensor(target),
                 legal=None if legal is None else torch.tensor(legal))  # fmt: skip


def test_measures_by_hand() -> None:
    numbers = batch_of([[0, 1], [0, 1]], [0.5, 1.0])
    assert_close(torch.tensor(list(measure("squared", torch.tensor([[0.53], [0.9]]), numbers).values())),
                 torch.tensor([(0.0009 + 0.01) / 2, 0.5, 0.5]))  # fmt: skip
    classes = batch_of([[1, 1], [0, 1]], [1, 0, 1])
    found = measure("class", torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), classes)
    assert (found["accuracy"], found["right"]) == (pytest.approx(2 / 3), 0.5)
    assert found["loss"] == pytest.approx(math.log(1 + math.e) - 2 / 3)


def test_right_answers_where_several_may_come() -> None:
    chosen = batch_of([[1, 1], [1, 1]], [0, 0, 1, 1], [[True, True, False]] * 4)
    rated = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    assert right_sequences("next", rated, chosen).tolist() == [True, False]  # a tie is not apart
    sets = batch_of([[1, 0], [1, 1]], [[1.0, 1.0, 0.0]] * 3)
    rated = torch.tensor([[0.1, 3.0, -0.1], [1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
    assert right_sequences("legal", rated, sets).tolist() == [True, False]


def test_answers_in_pieces_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = find("reber").draw(13, 0, generator(0, "test"))
    net = new_network("lstm", 6, (7, 7), 0)
    whole = net(batch)
    monkeypatch.setattr("ostinato.lab.network.PIECE", 4 * batch.x.shape[1] * 6)
    assert_close(net.answers(batch), whole)


@pytest.mark.parametrize("name", cells.names("vectors"))
def test_every_cell_can_be_run(name: str) -> None:
    result = Run(small(cell=name, sequences=16, check=1, held_out=4), 0).go()
    assert result["sequences"] <= 16 and result["cell"] == name


def test_a_cell_with_options() -> None:
    assert parse_cell("leaky:tau=5.5:nonlinearity=relu") == ("leaky", {"tau": 5.5, "nonlinearity": "relu"})
    net = new_network("skip:delays=[3, 9]", 4, (2, 1))
    assert net.recurrent.cell.states[0].delays == (1, 3, 9)
    for cell, message in (
        ("convlstm", "unknown cell"),
        ("lstn", r"unknown cell 'lstn' \(did you mean 'lstm'\?\)"),
        ("lstm:tau=3", "has no option 'tau'"),
        ("leaky:tau=0.5", "tau must be finite and at least 1"),
        ("leaky:tau", "must be NAME=VALUE, got 'tau'"),
    ):
        with pytest.raises(InputError, match=message):
            new_network(cell, 4, (2, 1))


def test_gates_begin_open_for_the_span() -> None:
    torch.manual_seed(0)
    for name, gates, keep in (("lstm", 4, 1), ("gru", 3, 1)):
        bias = new_network(name, 500, (2, 1), 100).recurrent.cell.get_parameter("W.bias").detach()
        constants = 1 / (1 - torch.sigmoid(bias.chunk(gates)[keep]))
        assert 2 <= constants.min() < 5 and 95 < constants.max() <= 100
    assert new_network("elman", 5, (2, 1), 100).recurrent.cell.get_parameter("W.bias").abs().sum() == 0
    with pytest.raises(InputError, match="chrono needs a cell with a bias"):
        new_network("lstm:bias=false", 5, (2, 1), 100)


def test_the_span_is_the_lag_unless_told_otherwise() -> None:
    assert plan("adding", "lstm", 77, LabOptions()).settings.span == 77
    assert plan("adding", "lstm", 77, LabOptions(span=0)).settings.span == 0
    assert plan("reber", "lstm", None, LabOptions()).settings.span == 0


SHOWN = Table("adding", "mse at most 0.001", 3200, (10, 30), (
    Row("elman", (Place(2, 3), Place(1, 3)), 10), Row("skip:delays=5", (Place(0, 3), Place()), None)))  # fmt: skip


def test_a_table_in_words() -> None:
    assert SHOWN.as_markdown() == (
        "Task `adding`: seeds that reached mse at most 0.001 within 3,200 sequences.\n\n"
        "| cell | lag 10 | lag 30 | longest |\n| --- | ---: | ---: | ---: |\n"
        "| elman | 2/3 | 1/3 | 10 |\n| skip:delays=5 | 0/3 | – | – |\n"
    )
    assert SHOWN.as_csv() == "cell,lag 10,lag 30,longest\nelman,2/3,1/3,10\nskip:delays=5,0/3,,\n"
    assert SHOWN.as_json()["cells"][0] == {"cell": "elman", "longest": 10, "solved": [2, 1], "tried": [3, 3]}


def test_a_picture_is_the_same_every_time() -> None:
    from ostinato.lab.picture import draw

    one, again = draw(SHOWN), draw(SHOWN)
    assert one == again and one["png"].startswith(b"\x89PNG")
    text = one["svg"].decode()
    for label in ("skip:delays=5", "2/3", "longest lag learned", "within 3,200 sequences"):
        assert f">{label}" in text or label in text


def test_a_table_stops_where_a_cell_fails(tmp_path: Path) -> None:
    sizes = Sizes(("lstm",), (20, 2, 3), 2, dataclasses.replace(SMALL, sequences=2000, learning_rate=0.02))
    sizes = dataclasses.replace(sizes, options=dataclasses.replace(sizes.options, hidden_size=16, bound=0.9))
    made = make_table("latching", sizes, Store(tmp_path / "lab"))
    assert made.lags == (2, 3, 20) and made.rows[0].places[:2] == (Place(2, 2), Place(2, 2))
    few = dataclasses.replace(sizes, options=dataclasses.replace(SMALL, sequences=8, check=1))
    failed = make_table("latching", few, Store(tmp_path / "few")).rows[0]
    assert failed.places == (Place(0, 2), Place(), Place()) and failed.longest is None


def test_a_table_of_what_has_no_lag(tmp_path: Path) -> None:
    sizes = Sizes(("lstm",), (2,), 1, SMALL)
    for task, changed, message in (
        ("reber", sizes, "'reber' has no lag"),
        ("latching", dataclasses.replace(sizes, cells=("lstm", "lstn")), "unknown cell 'lstn'"),
        ("latching", dataclasses.replace(sizes, lags=(0, 5)), "needs a lag of at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            make_table(task, changed, Store(tmp_path / "lab", overwrite=True))
    assert not list((tmp_path / "lab" / "results").iterdir())
