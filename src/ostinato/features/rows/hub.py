"""Rows of a data set on the Hugging Face hub, streamed by the package ``datasets`` (an extra)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ostinato.errors import InputError

PREFIX = "hub:"


def is_hub(path: str | Path) -> bool:
    """Whether DATA is a name on the hub: ``hub:NAME``, ``hub:NAME:SPLIT``, ``hub:NAME:CONFIGURATION:SPLIT``."""
    return str(path).startswith(PREFIX)


def hub_rows(path: str | Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a data set with their places; numbers that stand for labels come as the labels' names.

    Raises:
        InputError: ``datasets`` is not installed, a name has too many parts, or the data set cannot be read.
    """
    name, *rest = str(path).removeprefix(PREFIX).split(":")
    if not name or len(rest) > 2:
        raise InputError(f"{path}: hub:NAME, hub:NAME:SPLIT or hub:NAME:CONFIGURATION:SPLIT is expected")
    configuration, split = (rest[0] if len(rest) == 2 else None), (rest[-1] if rest else "train")
    try:
        import datasets
    except ImportError:
        raise InputError(f"{path} needs the package datasets: pip install 'ostinato[hub]'") from None
    try:
        data = datasets.load_dataset(name, configuration, split=split, streaming=True)
        labels = {column: feature.names for column, feature in (data.features or {}).items()
                  if isinstance(feature, datasets.ClassLabel)}  # fmt: skip
        for number, row in enumerate(data, start=1):
            yield f"{path}: row {number}", {k: labels[k][v] if k in labels and v >= 0 else v for k, v in row.items()}
    except Exception as error:  # that package and those below it raise errors of many kinds
        raise InputError(f"{path} cannot be read from the hub: {' '.join(str(error).split())[:300]}") from None
