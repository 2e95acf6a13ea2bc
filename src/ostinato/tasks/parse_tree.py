"""The best tree, and trees as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
NEVER = -1e9
"""The score of an arc that must not be."""


def best_tree(scores: Scores) -> NDArray[np.int64]:
    """The tree with a single root whose arcs have the greatest sum of scores.

    Args:
        scores: ``[T, 1 + T]``: of each word, each head, the root first; what is not finite is never taken.

    Returns:
        the heads ``[T]``, from 0, the root.

    Source: Chu and Liu, "On the Shortest Arborescence of a Directed Graph", 1965; Edmonds, "Optimum Branchings", 1967;
    as a parser, McDonald et al., "Non-projective Dependency Parsing using Spanning Tree Algorithms", 2005.

    >>> best_tree(np.array([[1.0, -np.inf, 5.0], [2.0, 4.0, -np.inf]]))  # 1 <- 2 and 2 <- 1 would be a circle
    array([2, 0])
    """
    count = len(scores)
    s = np.full((count + 1, count + 1), NEVER)  # [1 + T, 1 + T]
    s[1:] = np.where(np.isfinite(scores), scores, NEVER)
    s[np.arange(count + 1), np.arange(count + 1)] = NEVER
    heads = s.argmax(1)
    if count and ((heads[1:] == 0).sum() != 1 or _cycle(heads)):
        usual = scores[np.isfinite(scores)]
        s[1:, 0] -= (np.ptp(usual) + 1) * (count + 1)  # so dear that there is one arc from the root
        heads = _arborescence(s)
    return heads[1:]


def _cycle(heads: NDArray[np.int64]) -> list[int]:
    """Nodes that go round in a circle, in no case the root 0; or nothing."""
    clear: set[int] = {0}
    for start in range(1, len(heads)):
        path, node = [], start
        while node not in clear and node not in path:
            path.append(node)
            node = int(heads[node])
        if node not in clear:
            return path[path.index(node) :]
        clear.update(path)
    return []


def _arborescence(s: Scores) -> NDArray[np.int64]:
    """The heads ``[N]`` of the best tree under node 0: greedily, and each circle as one node of a smaller graph."""
    heads = s.argmax(1)
    heads[0] = 0
    cycle = np.array(_cycle(heads), dtype=np.int64)  # [C]
    if not len(cycle):
        return heads
    rest = np.setdiff1d(np.arange(len(s)), cycle)  # [R], the root first
    gain = s[np.ix_(cycle, rest)] - s[cycle, heads[cycle]][:, None]  # [C, R]: of breaking the circle there
    leaving = s[np.ix_(rest, cycle)]  # [R, C]
    new = len(rest)
    smaller = np.full((new + 1, new + 1), NEVER)
    smaller[:new, :new] = s[np.ix_(rest, rest)]
    smaller[new, :new], smaller[:new, new] = gain.max(0), leaving.max(1)
    found = _arborescence(smaller)
    for i, node in enumerate(rest[1:], start=1):
        heads[node] = cycle[leaving[i].argmax()] if found[i] == new else rest[found[i]]
    entered = found[new]
    heads[cycle[gain[:, entered].argmax()]] = rest[entered]
    return heads


FONT, GAP, LEVEL, MARGIN = 14, 22, 26, 30
"""Sizes in pixels: of the letters, between words, between levels of arcs, around."""
APEX = 0.75
"""How far an arc reaches on its way to the points that it bends to."""


def draw(words: Sequence[str], trees: Sequence[Any], title: str = "") -> str:
    """A sentence and its tree as SVG; with two trees, what the second has otherwise is below, and red above.

    Args:
        words: of the sentence.
        trees: one or two, with ``heads``, ``relations``, and ``tags``.

    >>> from ostinato.tasks.parse_files import Tree
    >>> draw(["birds", "sing"], [Tree([2, 0], ["nsubj", "root"], ["NOUN", "VERB"])]).count("<path")
    2
    """
    shown = trees[0]
    widths = [FONT * 0.62 * max(len(word), len(tag), 4) for word, tag in zip(words, shown.tags, strict=True)]
    ends = np.cumsum([width + GAP for width in widths])
    middle = [MARGIN + end - GAP - width / 2 for end, width in zip(ends, widths, strict=True)]
    other = [a != b for a, b in zip(_arcs(shown), _arcs(trees[-1]), strict=True)]
    above, below = _levels(shown.heads), _levels(trees[-1].heads)
    line = MARGIN + FONT * bool(title) + APEX * LEVEL * (1 + max(above, default=0))
    depth = APEX * LEVEL * max((1 + level for level, is_other in zip(below, other, strict=True) if is_other), default=0)
    size = f"{2 * MARGIN + (ends[-1] if len(ends) else 0):.0f}", f"{line + 3 * FONT + depth + MARGIN:.0f}"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
             f'font-family="sans-serif" font-size="{FONT}" text-anchor="middle">',
             f'<text x="{MARGIN}" y="{FONT + 2}" text-anchor="start" fill="#666">{escape(title)}</text>']  # fmt: skip
    for i, word in enumerate(words):
        parts.append(f'<text x="{middle[i]:.1f}" y="{line + FONT + 2}">{escape(word)}</text>')
        parts.append(_small(middle[i], line + 2 * FONT + 2, shown.tags[i], "#666"))
        parts += _arc(middle, i, shown, above[i], line - 2, -1, "#c00" if other[i] else "#246")
        if other[i]:
            parts += _arc(middle, i, trees[-1], below[i], line + 2 * FONT + 8, 1, "#080")
    return "\n".join([*parts, "</svg>", ""])


def _arcs(tree: Any) -> list[tuple[int, str]]:
    return list(zip(tree.heads, tree.relations, strict=True))


def _small(x: float, y: float, text: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{FONT - 4}" fill="{colour}">{escape(text)}</text>'


def _levels(heads: Sequence[int]) -> list[int]:
    """How high each arc goes: above all that it spans."""
    spans = [(min(i, head), max(i, head)) if head else (i, i) for i, head in enumerate(heads, start=1)]
    levels = [0] * len(spans)
    for i in sorted(range(len(spans)), key=lambda i: spans[i][1] - spans[i][0]):
        low, high = spans[i]
        inside = [level for level, (a, b) in zip(levels, spans, strict=True)
                  if low <= a and b <= high and b - a < high - low]  # fmt: skip
        levels[i] = 1 + max(inside, default=0) if high > low else 0
    return levels


def _arc(middle: Sequence[float], i: int, tree: Any, level: int, y: float, way: int, colour: str) -> list[str]:
    """An arrow from the head to the word, up (-1) or down (1), with its relation."""
    x, head = middle[i], tree.heads[i]
    top = y + way * LEVEL * max(level, 1)
    start = middle[head - 1] + (4 if x > middle[head - 1] else -4) if head else x
    path = f"M{start:.1f},{y:.1f} C{start:.1f},{top:.1f} {x:.1f},{top:.1f} {x:.1f},{y:.1f}"
    height = y + way * APEX * LEVEL * max(level, 1)
    tip = f"M{x - 3:.1f},{y + 5 * way:.1f} L{x:.1f},{y:.1f} L{x + 3:.1f},{y + 5 * way:.1f}"
    label = _small((start + x) / 2, height - 3 if way < 0 else height + FONT - 4, tree.relations[i], colour)
    return [f'<path d="{path} {tip}" fill="none" stroke="{colour}"/>', label]
