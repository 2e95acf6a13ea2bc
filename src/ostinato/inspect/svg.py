"""The drawing as SVG: what is shared has one colour, whatever the step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from ostinato.inspect.graph import Graph, Node
from ostinato.inspect.layout import Drafter
from ostinato.inspect.places import SMALL, Curve, Layout, Panel, Place, Point, lines_of
from ostinato.inspect.rows import Row
from ostinato.inspect.unfolding import folded, unfolded

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9", "#6a3d9a", "#a6611a", "#1b7837", "#7f7f7f")
"""Of parameters, in their order: the first are those of Okabe and Ito, which colour-blind readers tell apart."""
INK, LINE, FAINT = "#1f2933", "#64748b", "#94a3b8"
STATE, STATE_EDGE = "#fff4d6", "#b7791f"
FONT = "DejaVu Sans, Verdana, Segoe UI, Helvetica, Arial, sans-serif"
FILLS = {"input": ("#e8edf3", LINE), "output": ("#ffffff", INK), "target": ("#e7f6ec", "#2f855a"),
         "loss": ("#fdeaea", "#c53030"), "constant": ("#e8edf3", LINE), "random": ("#f3e8fd", "#805ad5"),
         "state": (STATE, STATE_EDGE), "initial": ("#ffffff", STATE_EDGE), "pointwise": ("#ffffff", LINE),
         "merge": ("#ffffff", LINE)}
ROUND = ("input", "output", "target", "state", "initial", "constant", "random")


def draw(rows: Sequence[Row], steps: int, title: str) -> str:
    """The folded graph, an arrow, and the unfolded one."""
    graphs = [(folded(rows), 0), (unfolded(rows, steps), steps)]
    drafts = [Drafter(graph, rows, n).layout for graph, n in graphs]
    colours = colours_of(graphs[1][0])
    gap = 84.0
    width = drafts[0].width + gap + drafts[1].width
    height = max(d.height for d in drafts) + 64
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
           f'height="{height:.0f}" font-family="{FONT}" role="img" aria-label="{escape(title)}">',
           f"<title>{escape(title)}</title>", DEFS,
           f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
           f'<text x="24" y="32" font-size="17" font-weight="bold" fill="{INK}">{escape(title)}</text>',
           *_legend(colours, 32 + 11 * len(title) + 10)]
    x = 0.0
    for (graph, n), draft in zip(graphs, drafts, strict=True):
        y = 48 + (height - 64 - draft.height)
        out.append(f'<g transform="translate({x:.1f} {y:.1f})">')
        out += _graph(graph, draft, rows, colours, n)
        out.append("</g>")
        if not n:
            middle = x + draft.width + gap / 2 - 6
            out += _unfold_arrow(middle, 48 + (height - 64) - draft.height / 2)
        x += draft.width + gap
    return "\n".join([*out, "</svg>", ""])


DEFS = "<defs>" + "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6.5" markerHeight="6.5" orient="auto">'
    f'<path d="M0.5 0.8 L7.5 4 L0.5 7.2 Z" fill="{colour}"/></marker>'
    for name, colour in (("to", LINE), ("state", STATE_EDGE), ("taught", "#2f855a"))) + "</defs>"


def colours_of(graph: Graph) -> dict[str, str]:
    """One colour for each parameter, of each row."""
    names = dict.fromkeys((node.row, name) for node in graph.nodes for name in node.parameters)
    return {f"{row}.{name}": COLOURS[i % len(COLOURS)] for i, (row, name) in enumerate(names)}


def _legend(colours: Mapping[str, str], x: float) -> list[str]:
    out = [f'<text x="{x:.0f}" y="32" font-size="11" fill="{LINE}">shared by all steps:</text>']
    x += 122
    for key, colour in colours.items():
        name = key.split(".", 1)[1]
        out.append(f'<rect x="{x:.0f}" y="23" width="11" height="11" rx="2" fill="{colour}"/>')
        out.append(f'<text x="{x + 15:.0f}" y="32" font-size="11" fill="{INK}">{_styled(name)}</text>')
        x += 27 + 7 * len(name)
    return out if colours else []


def _unfold_arrow(x: float, y: float) -> list[str]:
    return [f'<path d="M{x - 26:.0f} {y - 5:.0f} h34 v-8 l18 13 l-18 13 v-8 h-34 z" fill="#dbe3ec"/>',
            f'<text x="{x:.0f}" y="{y + 32:.0f}" font-size="11" fill="{LINE}" text-anchor="middle">unfold</text>']


def _graph(graph: Graph, layout: Layout, rows: Sequence[Row], colours: Mapping[str, str], steps: int) -> list[str]:
    out = [line for panel in layout.panels for line in _panel(panel, rows, steps)]
    waits: dict[tuple[str, int], Curve] = {}
    for curve in layout.curves:
        out += _curve(curve, graph)
        if curve.edge.delay and not steps:
            waits.setdefault((curve.edge.source, curve.edge.delay), curve)
    for i, curve in enumerate(waits.values()):
        out += _square(curve, rows, graph.node(curve.edge.target), i)
    for node in graph.nodes:
        out += _node(node, layout.places[node.id], colours, steps)
    return out


def _panel(panel: Panel, rows: Sequence[Row], steps: int) -> list[str]:
    row = rows[panel.row]
    when = f"t = {panel.time}" if steps else "step t"
    name = f"{row.name}{', backwards' if row.reverse else ''}"
    words = f"{name} · {when}" if name else when
    return [f'<rect x="{panel.x:.1f}" y="{panel.y:.1f}" width="{panel.w:.1f}" height="{panel.h:.1f}" rx="12" '
            f'fill="#f7f9fb" stroke="#dbe3ec"/>',
            f'<text x="{panel.x + 8:.1f}" y="{panel.y + panel.h + 14:.1f}" font-size="10.5" fill="{LINE}" '
            f'stroke="#ffffff" stroke-width="4" paint-order="stroke">'
            f"{escape(words)}</text>"]


def _curve(curve: Curve, graph: Graph) -> list[str]:
    source, target = graph.node(curve.edge.source), graph.node(curve.edge.target)
    taught = source.kind == "target"
    through = ".state." in source.id or ".state." in target.id
    colour, mark = ("#2f855a", "taught") if taught else (STATE_EDGE, "state") if through else (LINE, "to")
    path = _cornered(curve.points) if curve.corners else _smooth(curve.points)
    return [f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{1.7 if through else 1.3}" '
            f'marker-end="url(#{mark})"/>']


def _square(curve: Curve, rows: Sequence[Row], target: Node, before: int) -> list[str]:
    """On an edge that goes back in time: how many steps it waits."""
    x, y = curve.points[2]
    back = rows[target.row].reverse
    x += (-1 if back else 1) * (24 + 28 * before)
    words = f"{'+' if back else '−'}{curve.edge.delay}"
    width = 8 + 6 * len(words)
    return [f'<rect x="{x - width / 2:.1f}" y="{y - 6:.1f}" width="{width}" height="12" rx="2" fill="{INK}"/>',
            f'<text x="{x:.1f}" y="{y + 3.3:.1f}" font-size="9" font-weight="bold" text-anchor="middle" '
            f'fill="#ffffff">{words}</text>']


def _smooth(points: Sequence[Point]) -> str:
    (x, y), *rest = points
    path = f"M{x:.1f} {y:.1f}"
    for u, v in rest:
        path += f" C{x:.1f} {(y + v) / 2:.1f} {u:.1f} {(y + v) / 2:.1f} {u:.1f} {v:.1f}"
        x, y = u, v
    return path


def _cornered(points: Sequence[Point]) -> str:
    """Straight lines with round corners."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        a, b = _towards(here, before), _towards(here, after)
        path += f" L{a[0]:.1f} {a[1]:.1f} Q{here[0]:.1f} {here[1]:.1f} {b[0]:.1f} {b[1]:.1f}"
    return path + f" L{points[-1][0]:.1f} {points[-1][1]:.1f}"


def _towards(a: Point, b: Point, radius: float = 8.0) -> Point:
    length = ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5
    share = min(radius, length / 2) / length if length else 0.0
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def _node(node: Node, place: Place, colours: Mapping[str, str], steps: int) -> list[str]:
    x, y = place.x - place.w / 2, place.y - place.h / 2
    product = node.kind == "product"
    shared = colours.get(f"{node.row}.{node.parameters[0]}") if node.parameters else None
    fill, edge = (shared or "#475569", "none") if product else FILLS[node.kind]
    dash = ' stroke-dasharray="4 3"' if node.kind == "initial" else ""
    radius = place.h / 2 if node.kind in ROUND else 6
    out = [f'<rect x="{x:.1f}" y="{y:.1f}" width="{place.w:.1f}" height="{place.h:.1f}" rx="{radius:.1f}" '
           f'fill="{fill}" stroke="{edge}" stroke-width="1.4"{dash}/>']
    lines = lines_of(node.detail)
    several = product and len(node.parameters) > 1
    label = ", ".join(map(_styled, node.parameters)) if several else _styled(node.label, _when(node, steps))
    chips = [] if product else node.parameters
    room = sum(14 + SMALL * len(p) for p in chips)
    base = y + (place.h / 2 + 4.5 if not lines else 18)
    out.append(f'<text x="{place.x - room / 2:.1f}" y="{base:.1f}" font-size="13" font-weight="bold" '
               f'text-anchor="middle" fill="{"#ffffff" if product else INK}">{label}</text>')
    for i, line in enumerate(lines):
        out.append(f'<text x="{place.x:.1f}" y="{base + 15 + 13 * i:.1f}" font-size="10" text-anchor="middle" '
                   f'fill="#475569">{_formula(line)}</text>')
    return out + _chips(chips, node.row, x + place.w - 6, y + 5, colours)


def _chips(names: Sequence[str], row: int, right: float, y: float, colours: Mapping[str, str]) -> list[str]:
    """The parameters that a box uses besides a product's."""
    out = []
    for name in reversed(names):
        width = 8 + SMALL * len(name)
        right -= width
        out.append(f'<rect x="{right:.1f}" y="{y:.1f}" width="{width:.1f}" height="14" rx="4" '
                   f'fill="{colours[f"{row}.{name}"]}"/>')
        out.append(f'<text x="{right + width / 2:.1f}" y="{y + 10.5:.1f}" font-size="9.5" font-weight="bold" '
                   f'text-anchor="middle" fill="#ffffff">{_styled(name)}</text>')
        right -= 3
    return out


def _when(node: Node, steps: int) -> str:
    """The time of what has one, for a label."""
    if node.kind not in ("input", "state", "initial", "target", "output") or node.label == "output":
        return ""
    return str(node.time).replace("-", "−") if steps else "t"


def _styled(text: str, when: str = "") -> str:
    """A name with its index lowered, a tilde put on top, and the time raised, as the lecture writes it."""
    base, _, sub = text.partition("_")
    base, sub = (base, sub) if base else (text, "")
    word = escape(base[0] + "\u0303" if len(base) == 2 and base[1] == "~" else base)
    out = f'<tspan font-style="{"italic" if len(base.rstrip("~")) == 1 else "normal"}">{word}</tspan>'
    if sub:
        out += f'<tspan dy="3" font-size="75%">{escape(sub)}</tspan><tspan dy="-3">\u200b</tspan>'
    return out + (f'<tspan dy="-5" font-size="68%">({when})</tspan>' if when else "")


def _formula(text: str) -> str:
    """A formula with its indices lowered."""
    out = ""
    for word in re.split(r"(_\w+)", text.replace("~", "\u0303")):
        out += f'<tspan dy="2" font-size="80%">{escape(word[1:])}</tspan><tspan dy="-2">\u200b</tspan>' if (
            word.startswith("_")) else escape(word)
    return out
