"""Options: one dataclass field each, from which the command line, the TOML file and the checks are made."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from ostinato.errors import InputError, unknown

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop")
STRATEGIES = ("auto", "ddp")
SCHEDULES = ("constant", "linear", "cosine", "plateau", "halving")


def option(
    default: Any, help: str, low: float | None = None, high: float | None = None, choices: Sequence[str] = ()
) -> Any:
    """A dataclass field that is an option: its default, what it does, and what it may be."""
    rules = {"help": help, "low": low, "high": high, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=rules)


@dataclass(frozen=True)
class TrainingOptions:
    """What the training loop can be told, whatever the task."""

    epochs: int = option(10, "how often the training data is read", low=1)
    patience: int = option(3, "stop after so many epochs without a better validation loss (0: never)", low=0)
    optimizer: str = option("adamw", "how the gradient becomes a step", choices=OPTIMIZERS)
    learning_rate: float = option(4e-3, "the highest learning rate", low=0)
    schedule: str = option(
        "cosine", "how the rate changes: plateau halves it when validation does not improve, halving after every "
        "epoch but the first --hold", choices=SCHEDULES
    )  # fmt: skip
    hold: int = option(4, "epochs before the schedule halving begins to halve", low=0)
    warmup: int = option(20, "steps in which the rate rises from zero", low=0)
    weight_decay: float = option(0.0, "how strongly weights are drawn to zero", low=0)
    clip: float = option(1.0, "the largest gradient norm (0: do not clip)", low=0)
    clip_value: float = option(0.0, "then the largest absolute value in a gradient (0: do not clip)", low=0)
    average: float = option(0.0, "keep a running average of the weights, this slow (0: none)", low=0, high=0.99999)
    seed: int = option(0, "the same seed gives the same numbers", low=0)
    threads: int | None = option(None, "compute with so many threads (as many as torch chooses)", low=1)
    devices: int = option(1, "train with so many processes, each with its part of every batch", low=1)
    strategy: str = option("auto", "how processes train together: ddp adds up their gradients", choices=STRATEGIES)
    watch: bool = option(False, "log how gradients flow and whether gates are stuck, and warn (4% of the time)")
    checkpoint_seconds: float = option(60.0, "write a checkpoint so often (0: only at the end of epochs)", low=0)
    checkpoint_steps: int = option(0, "also write one every so many steps (0: no)", low=0)


class OptionsClass(Protocol):
    """Any dataclass whose fields are made by :func:`option`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Options = TypeVar("Options", bound=OptionsClass)


def from_mapping(kind: type[Options], values: Mapping[str, Any], source: str) -> Options:
    """Check every value and make the dataclass.

    Raises:
        InputError: an unknown name, a value of another type, out of range, or not among the choices.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}
    types = typing.get_type_hints(kind)
    checked = {}
    for name, value in values.items():
        key = name.replace("-", "_")
        if key not in fields:
            raise unknown(f"option in {source}", name, (f.replace("_", "-") for f in fields))
        checked[key] = _check(key, value, types[key], fields[key].metadata)
    return kind(**checked)


def read_toml(path: str | Path) -> dict[str, Any]:
    """The table of a TOML file, dashes in its names read as underscores."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    return {name.replace("-", "_"): value for name, value in table.items()}


def named_value(option: str, text: str) -> tuple[str, Any]:
    """``NAME=VALUE``, the value read as TOML where it is that, and as text otherwise.

    Raises:
        InputError: there is no ``=``.

    >>> named_value("cell-options", "tau=5.0"), named_value("cell-options", "reset=before")
    (('tau', 5.0), ('reset', 'before'))
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{option} must be NAME=VALUE, got {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _check(name: str, value: Any, wanted: Any, rules: Mapping[str, Any]) -> Any:
    """The value in the wanted type, or an InputError that says what is wanted."""
    label = name.replace("_", "-")
    allowed = typing.get_args(wanted) or (wanted,)  # ``int | None`` has two
    if value is None and type(None) in allowed:
        return None
    if typing.get_origin(wanted) is dict:
        if not isinstance(value, dict):
            raise InputError(f"{label} must be a table of names and values, got {value!r}")
        return dict(value)
    kind = allowed[0]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise InputError(f"{label} must be {_NAMES[kind]}, got {value!r}")
    if rules["choices"] and value not in rules["choices"]:
        raise unknown(label, str(value), rules["choices"])
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_range(label, value, rules["low"], rules["high"])
    return value


def _check_range(label: str, value: float, low: float | None, high: float | None) -> None:
    if not math.isfinite(value):
        raise InputError(f"{label} must be a finite number, got {value}")
    if low is not None and value < low:
        raise InputError(f"{label} must be at least {low}, got {value}")
    if high is not None and value > high:
        raise InputError(f"{label} must be at most {high}, got {value}")


_NAMES: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
