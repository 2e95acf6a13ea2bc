"""The drawing shows the program: the same nodes, the same edges, at every step."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from catalogue import NAMES, build
from torch import nn

from ostinato import Cell, Recurrent, cells
from ostinato.errors import InputError
from ostinato.inspect import Graph, unfold
from ostinato.inspect.traced import program_of
from ostinato.layers import Bidirectional, HiddenToHidden, OneOutput, OutputToHidden, Stack
from ostinato.program import Program
from ostinato.program.ir import reachable

STEPS = 3
Pairs = set[tuple[str, str]]


class TwoSpeeds(Cell):
    """A user's own: two states, one of them two steps back, and an output that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Linear(3, 4)
        self.U = nn.Linear(4, 4, bias=False)
        self.V = nn.Linear(4, 2)
        self.add_state("fast", 4)
        self.add_state("slow", 4, delays=(1, 2))

    def step(self, x, fast, slow, slower):
        fast = torch.tanh(self.W(x) + self.U(slow) + fast)
        slow = 0.9 * slow + 0.1 * torch.sigmoid(fast - slower)
        return fast, slow, self.V(fast + slow)


def example(name: str) -> torch.Tensor | None:
    return torch.zeros(2, 1, 3, 3, 2, dtype=torch.float64) if name == "convlstm" else None


def contracted(program: Program, graph: Graph) -> Pairs:
    """The program's own edges, unrolled, between the boxes of the drawing that its nodes stand in."""
    live = reachable(program.nodes, [*program.next.values(), program.emit["output"]])
    boxes = {(i, n.time): n.id for n in graph.nodes if n.kind != "state" for i in n.nodes}
    pairs = set()
    for time in range(1, STEPS + 1):
        for i in live:
            if program.parts[i] == "P" or program.nodes[i].op == "read":
                continue
            for a in program.nodes[i].args:
                if program.nodes[a].op == "read":
                    source = f"0.state.{program.nodes[a]['state']}@{time - program.nodes[a]['delay']}"
                elif program.parts[a] == "P":
                    continue
                else:
                    source = boxes[a, time]
                pairs.add((source, boxes[i, time]))
        for name, i in program.next.items():
            if program.nodes[i].op != "read":
                pairs.add((boxes[i, time], f"0.state.{name}@{time}"))
        if program.nodes[out := program.emit["output"]].op != "read":
            pairs.add((boxes[out, time], f"0.output@{time}"))
    return {(a, b) for a, b in pairs if a != b}


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_that_of_the_program(name: str) -> None:
    cell = build(name)
    program, graph = program_of(cell, example(name)), unfold(cell, STEPS, example(name)).graph
    assert {(e.source, e.target) for e in graph.edges} == contracted(program, graph)
    assert all(n.id in {i for e in graph.edges for i in (e.source, e.target)} for n in graph.nodes if n.kind != "input")


def test_the_graph_of_a_users_cell() -> None:
    program, graph = program_of(TwoSpeeds()), unfold(TwoSpeeds(), STEPS).graph
    assert {(e.source, e.target) for e in graph.edges} == contracted(program, graph)
    delays = {(e.source, e.delay) for e in graph.edges if e.delay}
    assert ("0.state.slow@-1", 2) in delays and ("0.state.slow@1", 2) in delays and ("0.state.fast@2", 1) in delays


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_in_the_picture(name: str) -> None:
    cell = build(name)
    drawing = unfold(cell, 1, example(name))
    names = {name for n in drawing.graph.nodes for name in n.parameters}
    program = program_of(cell, example(name))
    assert len(names) == len({n["name"] for n in program.nodes if n.op == "p"})
    ET.fromstring(drawing.svg())


def test_a_skip_of_delay_reaches_over_steps() -> None:
    graph = unfold(cells.Skip(3, 4, delays=2), STEPS).graph
    long = {(e.source, e.target) for e in graph.edges if e.delay == 2}
    assert {source for source, _ in long} == {"0.state.h@-1", "0.state.h@0", "0.state.h@1"}
    assert {graph.node(t).label for _, t in long} == {"S_0"}


def test_folded_has_one_step_and_goes_back() -> None:
    graph = unfold(cells.LSTM(3, 4)).folded
    assert {n.time for n in graph.nodes} == {0}
    assert {(e.source, e.delay) for e in graph.edges if e.delay} == {("0.state.h@0", 1), ("0.state.C@0", 1)}


def test_a_backward_half_goes_the_other_way() -> None:
    graph = unfold(Bidirectional(cells.Elman(3, 4), cells.Elman(3, 4)), STEPS).graph
    back = {(e.source, graph.node(e.target).time) for e in graph.edges if e.delay and e.source.startswith("1.")}
    assert back == {("1.state.h@2", 1), ("1.state.h@3", 2), ("1.state.h@4", 3)}
    merged = {e.source for e in graph.edges if e.target == "2.merge@2"}
    assert merged == {"0.h@2", "1.h@2"}
    assert {e.target[0] for e in graph.edges if e.source == "x@1"} == {"0", "1"}


def test_an_upper_layer_reads_the_lower() -> None:
    graph = unfold(Stack([cells.Elman(3, 4), cells.GRU(4, 5)]), STEPS).graph
    upwards = {(e.source, graph.node(e.target).label) for e in graph.edges if e.target[0] == "1" and e.source[0] == "0"}
    assert upwards == {(f"0.h@{t}", "W") for t in (1, 2, 3)}


def test_the_three_designs() -> None:
    every = unfold(HiddenToHidden(cells.Elman(3, 4), 5), STEPS).graph
    assert [n.time for n in every.nodes if n.kind == "loss"] == [1, 2, 3]
    one = unfold(OneOutput(cells.Elman(3, 4), 5), STEPS).graph
    assert [n.time for n in one.nodes if n.kind == "loss"] == [3]
    assert [n.time for n in one.nodes if n.label == "V"] == [3]


def test_teacher_forcing_cuts_the_loop() -> None:
    design = OutputToHidden(3, 4, 5)
    taught, free = unfold(design, STEPS).graph, unfold(design, STEPS, feedback="free").graph
    into = lambda graph: {e.source for e in graph.edges if e.target == "0.state.o@1"}  # noqa: E731
    assert into(free) == {"0.o@1"} and into(taught) == set()
    assert taught.node("0.state.o@1").kind == "target" and free.node("0.state.o@1").kind == "state"
    assert {n.kind for n in unfold(design.eval(), STEPS).graph.nodes} == {n.kind for n in free.nodes}


def boxes_of(svg: str) -> list[tuple[float, float, float, float]]:
    found = re.findall(r'<rect x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)" rx="[\d.]+" fill="[^"]+" '
                       r'stroke="[^"]+" stroke-width="1.4"', svg.split("unfold</text>")[1])
    return [(float(x), float(y), float(x) + float(w), float(y) + float(h)) for x, y, w, h in found]


@pytest.mark.parametrize("name", NAMES)
def test_no_two_boxes_overlap(name: str) -> None:
    boxes = boxes_of(unfold(build(name), 2, example(name)).svg())
    assert len(boxes) > 6
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


def test_one_parameter_has_one_colour_at_every_step(tmp_path) -> None:
    picture = unfold(cells.Elman(3, 4), STEPS).svg(tmp_path / "elman.svg")
    assert (tmp_path / "elman.svg").read_text("utf-8") == picture
    products = re.findall(r'fill="(#\w+)" stroke="none" stroke-width="1.4"', picture)
    assert sorted(products) == ["#0072b2"] * 4 + ["#d55e00"] * 4


def test_mermaid_and_text() -> None:
    drawing = unfold(Recurrent(cells.Elman(3, 4)), 2)
    lines = drawing.mermaid().splitlines()
    assert lines[0] == "flowchart BT" and sum(" --> " in line or ".->" in line for line in lines) == len(
        drawing.graph.edges)
    assert sum("-. 1 .->" in line for line in lines) == 2 and sum(line.startswith("  subgraph") for line in lines) == 3
    assert str(drawing).splitlines()[-1] == "h[0] -> h[1] -> h[2]   delay 1"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: unfold(nn.Linear(2, 2)), "got a Linear"),
    (lambda: unfold(cells.Elman(3, 4), 0), "at least 1, got 0"),
    (lambda: unfold(cells.Elman(3, 4), feedback="maybe"), "'teacher' or 'free', got 'maybe'"),
    (lambda: unfold(cells.ConvLSTM(1, 2, grid=(3, 2))), "give an example x="),
])
def test_what_cannot_be_drawn_is_refused(call, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        call()


def test_the_figure_of_the_documentation_is_up_to_date() -> None:
    figure = Path(__file__).parents[2] / "docs" / "figures" / "unfold_lstm.svg"
    assert figure.read_text("utf-8") == unfold(cells.LSTM(8, 16)).svg()


def test_a_system_without_a_signal_is_drawn_from_its_states_alone() -> None:
    class Spiral(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.A = nn.Linear(2, 2, bias=False)
            self.add_state("s", 2)

        def step(self, s: torch.Tensor) -> torch.Tensor:
            return self.A(s)

    drawing = unfold(Spiral(), steps=2)
    kinds = {node.kind for node in drawing.graph.nodes}
    assert "input" not in kinds
    assert "s[t-1] -> [A]" in drawing.text()
