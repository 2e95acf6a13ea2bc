"""How the edges of a drawing run between its boxes."""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.inspect.graph import Edge, Graph, Node
from ostinato.inspect.places import MARGIN, Curve, Places, Point, state_of
from ostinato.inspect.rows import Row


class Drafter(Places):
    """Places the nodes of a graph, and draws its edges.

    Args:
        graph: unfolded over ``steps``, or folded (0).
        rows: what it was made of.
        steps: how many.
    """

    def __init__(self, graph: Graph, rows: Sequence[Row], steps: int) -> None:
        super().__init__(graph, rows, steps)
        for edge in graph.edges:
            self._route(edge)
        self._frame()

    def _route(self, edge: Edge) -> None:
        source, target = self.graph.node(edge.source), self.graph.node(edge.target)
        if ".state." in source.id:
            curve = self._read(edge, source, target)
        elif ".state." in target.id:
            curve = self._write(edge, source, target)
        elif source.kind == "target":
            a, b = self.layout.places[source.id], self.layout.places[target.id]
            curve = Curve(edge, [(a.x - a.w / 2, a.y), (b.x + b.w / 2, b.y)], True)
        else:
            curve = self._upwards(edge, source, target)
        self.layout.curves.append(curve)

    def _upwards(self, edge: Edge, source: Node, target: Node) -> Curve:
        """Within a step: from the top of one box to the bottom of another."""
        a, b = self.layout.places[source.id], self.layout.places[target.id]
        between: list[Point] = []
        if source.row == target.row and source.kind != "input":
            keys = tuple(n.id.split("@")[0].split(".", 1)[-1] for n in (source, target))
            layers = self.layers[source.row]
            inset = self._left(source.time) + (self.column - layers.width) / 2
            for x, layer in layers.paths.get(keys, ()):  # type: ignore[call-overload]
                x = inset + (layers.width - x if self.rows[source.row].reverse else x)
                y = self._level(source.row, layer)
                between += [(x, y + 20), (x, y - 20)]
        elif target.row > source.row + 1 or (source.kind == "input" and (target.row > 0 or self._raised(target))):
            first = source.kind == "input"
            side = self._left(source.time) + (self.column - 7 if first else 7)
            begin = self.bottom[0] if first else self.bottom[source.row + 1]
            between = [(side, begin - 8), (side, b.y + b.h / 2 + 16)]
        return Curve(edge, [(a.x, a.y - a.h / 2), *between, (b.x, b.y + b.h / 2)])

    def _raised(self, node: Node) -> bool:
        """Whether a box stands above others of its step."""
        return self.layers[node.row].layer[node.id.split("@")[0].split(".", 1)[1]] > 0

    def _outermost(self, node: Node, left: bool) -> bool:
        """Whether nothing stands between a box and its panel's side."""
        place = self.layout.places[node.id]
        others = [self.layout.places[n.id] for n in self.graph.nodes
                  if n.row == node.row and n.time == node.time and n.id != node.id and ".state." not in n.id]
        return not any(abs(o.y - place.y) < 40 and (o.x < place.x if left else o.x > place.x) for o in others)

    def _write(self, edge: Edge, source: Node, target: Node) -> Curve:
        """From a box to the state that it makes, in the direction of time."""
        a, b = self.layout.places[source.id], self.layout.places[target.id]
        way = -1 if self.rows[source.row].reverse else 1
        end = (b.x - way * b.w / 2, b.y)
        side = b.x - way * (b.w / 2 + 18 - 3 * self._place_of(source.row, state_of(target)))
        if self._outermost(source, left=way < 0):
            return self._wire(edge, (a.x + way * a.w / 2, a.y), side, end)
        x, y = a.x + way * a.w / 4, a.y - a.h / 2
        return Curve(edge, [(x, y), (x, y - 11), (side, y - 11), (side, b.y), end], True)

    def _place_of(self, row: int, state: str) -> int:
        """Which of its row's states this is: their wires run side by side."""
        return min(list(self.rows[row].step.states).index(state), 3)

    def _wire(self, edge: Edge, start: Point, side: float, end: Point) -> Curve:
        """Sideways, with a step up or down at ``side``."""
        if abs(start[1] - end[1]) < 3:
            return Curve(edge, [start, (end[0], start[1])], True)
        return Curve(edge, [start, (side, start[1]), (side, end[1]), end], True)

    def _read(self, edge: Edge, source: Node, target: Node) -> Curve:
        """From a state to a box of a later step: straight on, or over the steps between."""
        a, b = self.layout.places[source.id], self.layout.places[target.id]
        row = self.rows[target.row]
        way = -1 if row.reverse else 1
        door = self._left(target.time) + (self.column if row.reverse else 0.0)
        outer = self._outermost(target, left=way > 0)
        if self.steps and edge.delay == 1:
            start = (a.x + way * a.w / 2, a.y)
            side, lane = door - way * (6 + 3 * self._place_of(target.row, state_of(source))), b.y + b.h / 2 + 10
            if outer:
                return self._wire(edge, start, side, (b.x - way * b.w / 2, b.y))
            foot = b.x - way * b.w / 4
            return Curve(edge, [start, (side, a.y), (side, lane), (foot, lane), (foot, b.y + b.h / 2)], True)
        rank = self._rank(row, state_of(source), edge.delay)
        roof = self.top[target.row] - 8 - 11 * (rank - 1)
        side = door - way * (3 + 3 * rank)
        foot = b.x - way * b.w / 4
        lane = b.y + b.h / 2 + 10
        up = a.x + way * (4 * (rank - 1) - 6)
        path = [(up, a.y - a.h / 2), (up, roof), (side, roof)]
        path += [(side, b.y), (b.x - way * b.w / 2, b.y)] if outer else [(side, lane), (foot, lane),
                                                                        (foot, b.y + b.h / 2)]
        return Curve(edge, path, True)

    def _frame(self) -> None:
        """Move everything to where the drawing begins."""
        layout = self.layout
        boxes = [(p.x - p.w / 2, p.y - p.h / 2, p.x + p.w / 2, p.y + p.h / 2) for p in layout.places.values()]
        boxes += [(p.x, p.y, p.x + p.w, p.y + p.h) for p in layout.panels]
        boxes += [(x, y, x, y) for c in layout.curves for x, y in c.points]
        left, top = min(b[0] for b in boxes) - MARGIN, min(b[1] for b in boxes) - MARGIN
        layout.width = max(b[2] for b in boxes) - left + MARGIN
        layout.height = max(b[3] for b in boxes) - top + MARGIN
        for p in (*layout.places.values(), *layout.panels):
            p.x, p.y = p.x - left, p.y - top
        for c in layout.curves:
            c.points = [(x - left, y - top) for x, y in c.points]
