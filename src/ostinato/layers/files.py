"""Save a layer and load it where the classes of its cells are not known. Reading a file executes nothing from it.

A folder has ``layers.json``, which says how the layer is put together (its kind, its options, its parts, the programs
of its recurrences), and ``layers.safetensors`` with the tensors, which names the digest of the other.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.errors import InputError
from ostinato.files import writing
from ostinato.layers.bidirectional import Bidirectional
from ostinato.layers.decay import ExponentialDecay, InverseSigmoidDecay, LinearDecay
from ostinato.layers.designs import HiddenToHidden, OneOutput, OutputToHidden
from ostinato.layers.drop_in import GRU, LSTM, RNN
from ostinato.layers.feedback import Feedback
from ostinato.layers.images import Patches, ReNet
from ostinato.layers.recurrent2d import Recurrent2d
from ostinato.layers.stack import Stack
from ostinato.layers.tdnn import TDNN
from ostinato.program import InvalidProgram
from ostinato.recurrent import ModelFileError, Recurrent
from ostinato.recurrent.files import describe as describe_recurrent
from ostinato.recurrent.files import read_model, restore, write_model

FORMAT = 1
LAYERS, WEIGHTS = "layers.json", "layers.safetensors"
DECAYS = {kind.__name__: kind for kind in (ExponentialDecay, InverseSigmoidDecay, LinearDecay)}


class Kind(NamedTuple):
    """How a kind of layer is taken apart and put together again."""

    parts: tuple[str, ...]
    """The attributes that are layers, or lists of them."""
    options: Callable[[Any], dict[str, Any]]
    """What its parameters and parts do not tell, in plain values."""
    build: Callable[..., nn.Module]
    """``build(*parts, **options)``."""


def _attributes(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda layer: {name: getattr(layer, name) for name in names}


def _feedback(layer: Feedback) -> dict[str, Any]:
    return {"feedback": _share(layer.feedback), "state": layer.state, "seed": layer.seed}


def _share(feedback: Any) -> Any:
    """A feedback in plain values.

    Raises:
        ValueError: when it is a function of the user's.
    """
    if type(feedback).__name__ in DECAYS and isinstance(feedback, tuple(DECAYS.values())):
        return {"decay": type(feedback).__name__, **dataclasses.asdict(feedback)}
    if callable(feedback):
        raise ValueError(f"a feedback that is a function cannot be saved, only {', '.join(DECAYS)} can: set "
                         '.feedback to one of them, or to "teacher" or "free"')
    return feedback


def _build_feedback(recurrent: Recurrent, feedback: Any, **options: Any) -> Feedback:
    if isinstance(feedback, Mapping):
        values = dict(feedback)
        feedback = DECAYS[values.pop("decay")](**values)
    return Feedback(recurrent, feedback, **options)


def _build_output_to_hidden(feedback: Feedback, classes: int) -> OutputToHidden:
    design = OutputToHidden(1, 1, classes)
    design.feedback = feedback
    return design


DROP_IN = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
TDNN_OPTIONS = ("input_size", "context", "stride", "edges", "nonlinearity", "batch_first")
KINDS: dict[type[nn.Module], Kind] = {
    Stack: Kind(("layers",), _attributes("dropout", "residual"), Stack),
    Bidirectional: Kind(("forward_layer", "backward_layer"), _attributes("merge"), Bidirectional),
    ReNet: Kind(("across", "down"), _attributes(), ReNet),
    Recurrent2d: Kind(("parts",), _attributes("directions", "merge", "above"), Recurrent2d.of),
    Patches: Kind((), _attributes("height", "width"), Patches),
    TDNN: Kind((), lambda t: {**_attributes(*TDNN_OPTIONS)(t), "output_size": t.W.out_features,
                              "bias": t.W.bias is not None}, TDNN),
    Feedback: Kind(("recurrent",), _feedback, _build_feedback),
    HiddenToHidden: Kind(("recurrent",), lambda d: {"classes": d.V.out_features}, HiddenToHidden),
    OutputToHidden: Kind(("feedback",), _attributes("classes"), _build_output_to_hidden),
    OneOutput: Kind(("recurrent",), lambda d: {"classes": d.V.out_features}, OneOutput),
    RNN: Kind((), _attributes(*DROP_IN, "nonlinearity"), RNN),
    LSTM: Kind((), _attributes(*DROP_IN, "proj_size"), LSTM),
    GRU: Kind((), _attributes(*DROP_IN), GRU),
}  # fmt: skip
"""The layers that can be saved, beside ``Recurrent`` itself."""
NAMES = {kind.__name__: kind for kind in KINDS}


def save(layer: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Write a layer into a folder, as ``layers.json`` and ``layers.safetensors``; :func:`load` needs nothing else.

    Args:
        layer: a ``Stack``, ``Bidirectional``, ``ReNet``, ``Recurrent2d``, ``Patches``, ``TDNN``, ``Feedback``, one of
            the three designs, ``RNN``, ``LSTM`` or ``GRU``, or a ``Recurrent``; the recurrences in it called at least
            once, so that their inputs are known.

    Raises:
        TypeError: when it is another layer, or has one in it.
        ValueError: when a recurrence was never called or has no program, two parts share a parameter, or a feedback is
            a function.
        InputError: when the folder cannot be written; what was there before stays.
    """
    _check_sharing(layer)
    tensors: dict[str, Tensor] = {}
    tree = _describe(layer, "", tensors)
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / LAYERS, folder / WEIGHTS, {"format": FORMAT, "layer": tree}, tensors)


def load(folder: str | os.PathLike[str]) -> nn.Module:
    """The layer saved in a folder, in evaluation mode; the cells in it are made of programs, not of their classes.

    Raises:
        ModelFileError: when a file is missing, damaged, does not belong to the other, or is of another version.

    >>> import tempfile
    >>> from ostinato import cells
    >>> deep = Stack([TDNN(3, 5, 2, causal=True), cells.GRU(5, 4)]).eval()
    >>> x = torch.ones(2, 7, 3)
    >>> outputs, _ = deep(x)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(deep, folder)
    ...     torch.equal(load(folder)(x)[0], outputs)
    True
    """
    folder = Path(folder)
    description, tensors = read_model(folder / LAYERS, folder / WEIGHTS)
    if description.get("format") != FORMAT:
        raise ModelFileError(f"{folder}: layers saved in format {description.get('format')!r}, this version of "
                             f"Ostinato reads {FORMAT}")
    try:
        return _restore(description["layer"], "", tensors).eval()
    except InputError as error:  # a recurrence's own
        raise ModelFileError(f"{folder}: {error}") from None
    except (InvalidProgram, KeyError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        message = str(error).replace("\n", " ")
        raise ModelFileError(f"{folder}: the saved layer is damaged: {type(error).__name__} {message}") from None


def _check_sharing(layer: nn.Module) -> None:
    """Raise a ValueError where two layers have one recurrence: they would be loaded as two."""
    seen: dict[nn.Module, str] = {}
    for name, module in layer.named_modules(remove_duplicate=False):
        if isinstance(module, Recurrent) and seen.setdefault(module.cell, name) != name:
            raise ValueError(f"{seen[module.cell]} and {name} share a cell, and a saved layer has one for each")


def _describe(layer: nn.Module, path: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A layer as JSON; its tensors are added to ``tensors``, with the layer's path before their names."""
    if type(layer) is Recurrent:
        tree, own = describe_recurrent(layer)
        tensors |= {path + name: value for name, value in own.items()}
        return {"kind": "Recurrent", "recurrent": tree}
    kind = KINDS.get(type(layer))
    if kind is None:
        raise TypeError(f"a {type(layer).__name__} cannot be saved, only Recurrent, {', '.join(NAMES)}: keep its "
                        "state_dict() and the code that makes it")
    parts = {}
    for name in kind.parts:
        part = getattr(layer, name)
        several = dict(part.named_children()) if isinstance(part, nn.ModuleList) else None
        parts[name] = (_describe(part, f"{path}{name}.", tensors) if several is None else
                       [_describe(each, f"{path}{name}.{i}.", tensors) for i, each in several.items()])
    own = _own(layer, kind)
    tensors |= {path + name: value.detach().contiguous().clone() for name, value in own.items()}
    frozen = [name for name, value in own.items() if isinstance(value, nn.Parameter) and not value.requires_grad]
    return {"kind": type(layer).__name__, "options": kind.options(layer), "parts": parts, "frozen": frozen}


def _own(layer: nn.Module, kind: Kind) -> dict[str, Tensor]:
    """The parameters and buffers that belong to no part."""
    prefixes = tuple(f"{name}." for name in kind.parts)
    return {name: value for name, value in layer.state_dict(keep_vars=True).items() if not name.startswith(prefixes)}


def _restore(tree: Mapping[str, Any], path: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """What :func:`_describe` took apart."""
    within = {name.removeprefix(path): value for name, value in tensors.items() if name.startswith(path)}
    if tree["kind"] == "Recurrent":
        return restore(tree["recurrent"], within)
    if tree["kind"] not in NAMES:
        raise ValueError(f"a layer of the kind {tree['kind']!r}, known are Recurrent, {', '.join(NAMES)}")
    kind = KINDS[NAMES[tree["kind"]]]
    parts: list[Any] = []
    for name in kind.parts:
        part = tree["parts"][name]
        parts.append([_restore(each, f"{path}{name}.{i}.", tensors) for i, each in enumerate(part)]
                     if isinstance(part, list) else _restore(part, f"{path}{name}.", tensors))
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # the weights come from the file
        layer = kind.build(*parts, **tree["options"])
    expected = _own(layer, kind)
    missing = [path + name for name in expected if name not in within]
    if missing:
        raise ValueError(f"there is no {missing[0]} in it")
    layer.load_state_dict({name: within[name] for name in expected}, strict=False, assign=True)
    for name in tree["frozen"]:
        layer.get_parameter(name).requires_grad_(False)
    return layer
