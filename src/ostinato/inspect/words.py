"""The graph as Mermaid, for a page, and as lines, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ostinato.inspect.graph import Graph, Node
from ostinato.inspect.rows import Row
from ostinato.inspect.script import TEXT
from ostinato.inspect.unfolding import folded, unfolded

SHAPES = {"product": ('["', '"]'), "pointwise": ('("', '")'), "merge": ('("', '")'), "loss": ('("', '")')}
"""Brackets around a label; all others are pills."""


def mermaid(rows: Sequence[Row], steps: int, colours: Mapping[str, str]) -> str:
    """The unfolded graph (or, for 0 steps, the folded one) in Mermaid's language, a frame for each time."""
    graph = unfolded(rows, steps) if steps else folded(rows)
    number = {node.id: f"n{i}" for i, node in enumerate(graph.nodes)}
    out = ["flowchart BT"]
    for time in sorted({node.time for node in graph.nodes}):
        out.append(f'  subgraph t{str(time).replace("-", "m")}["t = {time}"]' if steps else '  subgraph step["step t"]')
        for node in graph.nodes:
            if node.time == time:
                left, right = SHAPES.get(node.kind, ('(["', '"])'))
                out.append(f"    {number[node.id]}{left}{_words(node)}{right}")
        out.append("  end")
    for edge in graph.edges:
        arrow = f"-. {edge.delay} .->" if edge.delay else "-->"
        out.append(f"  {number[edge.source]} {arrow} {number[edge.target]}")
    for key, colour in colours.items():
        row, name = key.split(".", 1)
        same = [number[n.id] for n in graph.nodes if n.kind == "product" and str(n.row) == row and name in n.parameters]
        if same:
            out.append(f"  style {','.join(same)} fill:{colour},color:#fff") if len(same) == 1 else out.extend(
                f"  style {n} fill:{colour},color:#fff" for n in same)
    return "\n".join([*out, ""])


def _words(node: Node) -> str:
    text = node.label if not node.detail else f"{node.label} = {node.detail}"
    return text.replace('"', "'").replace("<", "&lt;")


def text(rows: Sequence[Row], steps: int) -> str:
    """For a terminal: each row's step, what its states are read by, and how the steps hang together."""
    out = []
    for row in reversed(rows):
        fed = " and ".join(rows[b].name or f"row {b}" for b in row.below) or "the input"
        where = ", the last step alone" if row.last else ", from the last step to the first" if row.reverse else ""
        out.append(f"{row.name or 'map'} (reads {fed}{where})")
        out += _step(row)
    graph = unfolded(rows, steps)
    for index, row in enumerate(rows):
        for name in row.step.states:
            out.append(_chain(graph, index, name, row, steps))
    return "\n".join(out)


def _step(row: Row) -> list[str]:
    sources: dict[str, list[str]] = {}
    for a, b in row.step.edges:
        sources.setdefault(b, []).append(_label(row, a))
    sign = 1 if row.reverse else -1
    for read in row.step.reads:
        delay = f"{read.state}[t{'+' if sign > 0 else '-'}{read.delay}]"
        sources.setdefault(read.box, []).append(delay)
    lines = []
    for key, box in row.step.boxes.items():
        if box.kind == "input":
            continue
        own = f"{box.label} = {box.detail}" if box.detail else box.label
        used = f"  ({', '.join(box.parameters)})" if box.parameters and box.kind != "product" else ""
        kept = [name for name, maker in row.step.states.items() if maker == key]
        to = f"  => {', '.join(TEXT.at(name, 0) for name in kept)}" if kept else ""
        lines.append(f"  {', '.join(sources.get(key, ['below']))} -> [{own}]{used}{to}")
    return lines


def _label(row: Row, key: str) -> str:
    return row.step.boxes[key].label


def _chain(graph: Graph, index: int, name: str, row: Row, steps: int) -> str:
    """``h[0] -> h[1] -> h[2]``, with the delays that leap."""
    times = sorted({n.time for n in graph.nodes if n.id.startswith(f"{index}.state.{name}@")}, reverse=row.reverse)
    leaps = sorted({r.delay for r in row.step.reads if r.state == name})
    words = " -> ".join(f"{name}[{t}]" for t in times)
    taught = ", given by the teacher" if name in row.taught else ""
    return f"{words}   delay {', '.join(map(str, leaps)) or 'none'}{taught}"
