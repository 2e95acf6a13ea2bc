"""Which column is which: by names that are clear, by what is in them, or as told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ostinato.errors import InputError

KNOWN: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "review", "content", "question", "document", "tweet", "message", "comment", "body",
             "utterance", "description", "headline", "title", "name", "surname"),
    "label": ("label", "class", "category", "sentiment", "author", "language", "intent", "topic", "target", "rating",
              "stars", "polarity", "y"),
    "story": ("story", "context", "passage", "paragraph"),
    "question": ("question", "query"),
    "answer": ("answer", "answers", "target"),
    "source": ("source", "src", "input", "de", "fr", "grapheme", "word"),
    "target": ("target", "tgt", "output", "en", "translation", "phoneme", "phonemes"),
}  # fmt: skip
"""For each role, the names that say it, the clearest first."""

FEW = 0.5
"""Labels repeat: a column is one of labels when fewer than this share of its values are different."""


@dataclass(frozen=True)
class Columns:
    """For each role the columns that play it; several are joined by a blank."""

    of: Mapping[str, tuple[str, ...]]

    def text(self, role: str, values: Mapping[str, Any], place: str) -> str:
        """The value of a role as text.

        Raises:
            InputError: a column is missing in this row, or empty.
        """
        parts = [str(self._value(name, values, place)) for name in self.of[role]]
        return " ".join(part.strip() for part in parts)

    def raw(self, role: str, values: Mapping[str, Any], place: str) -> Any:
        """The value of a role played by one column, as it is in the file.

        Raises:
            InputError: the column is missing in this row, or empty.
        """
        return self._value(self.of[role][0], values, place)

    def _value(self, name: str, values: Mapping[str, Any], place: str) -> Any:
        value = values.get(name)
        if value is None or value == "" or value != value:  # NaN differs from itself
            state = "is empty" if name in values else "is missing"
            raise InputError(f"{place}: the column {name!r} {state}")
        return value


def is_header(fields: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a first line names columns: one that is wanted, or a known one and none long or a number."""
    names = [field.strip().lower() for field in fields]
    if any(name in fields for name in wanted):
        return True
    known = {name for group in KNOWN.values() for name in group} | {"id", "index"}
    return bool(set(names) & known) and all(len(name) < 40 and not name.isdigit() for name in names)


def choose_columns(rows: Sequence[Mapping[str, Any]], told: Mapping[str, str | None], path: Any) -> Columns:
    """The columns of each role.

    Args:
        rows: some of the values.
        told: for each role, in order, what the user said (``"title,body"``, ``"2"``), or None to guess.
        path: the file, for messages.

    Raises:
        InputError: a column that is not there, or a role that is not clear.
    """
    names = list(rows[0])
    chosen: dict[str, tuple[str, ...]] = {}
    for role, said in told.items():
        if said is not None:
            chosen[role] = tuple(_existing(part.strip(), names, role, path) for part in said.split(","))
    for role, said in told.items():
        if said is None:
            taken = {name for columns in chosen.values() for name in columns}
            chosen[role] = _guess(role, rows, [n for n in names if n not in taken], list(told), path)
    return Columns(chosen)


def _existing(name: str, names: list[str], role: str, path: Any) -> str:
    if name in names:
        return name
    if name.isdigit() and 1 <= int(name) <= len(names):
        return names[int(name) - 1]
    raise InputError(f"{path} has no column {name!r} for the {role}; it has: {', '.join(names)}")


def _guess(role: str, rows: Sequence[Mapping[str, Any]], free: list[str], roles: list[str],
           path: Any) -> tuple[str, ...]:
    lower = {name.lower().strip(): name for name in reversed(free)}
    for known in KNOWN.get(role, (role,)):
        if known in lower:
            return (lower[known],)
    numbered = all(name.isdigit() for name in rows[0])  # a file without a header
    if numbered and set(roles) == {"text", "label"}:
        labels = _label_columns(rows, free if role == "label" else list(rows[0]))
        if role == "label" and len(labels) >= 1:
            return (labels[0],)
        texts = [name for name in free if name not in labels[:1]]
        if role == "text" and texts and (labels or len(free) == 1):
            return tuple(texts)
    if numbered and len(free) == len(roles) - roles.index(role):
        return (free[0],)
    if len(free) == 1 and role == roles[-1]:
        return (free[0],)
    have = ", ".join(rows[0])
    raise InputError(f"which column of {path} is the {role}? It has: {have}. Say --{role} COLUMN")


def _label_columns(rows: Sequence[Mapping[str, Any]], names: list[str]) -> list[str]:
    """Columns of few different, short values; the one with the fewest first."""
    found = []
    for name in names:
        values = [str(row.get(name)) for row in rows]
        different = len(set(values))
        if (different <= FEW * len(values) or len(values) < 4) and max(map(len, values)) < 60:
            found.append((different, max(map(len, values)), name))
    return [name for *_, name in sorted(found)]
