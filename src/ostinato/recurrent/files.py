"""Save a recurrence and load it where its class is not known. Reading a file executes nothing from it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ostinato.cell import State
from ostinato.program import CannotTrace, InputSpec, InvalidProgram, Signature, from_json, to_json
from ostinato.program.loaded import ProgramCell, Variant
from ostinato.recurrent.module import Recurrent

FORMAT = 1
PROGRAM, WEIGHTS = "program.json", "model.safetensors"


class ModelFileError(ValueError):
    """A saved model that is missing, damaged, changed, or of another version."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then give it its own: it is there whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save(recurrent: Recurrent, folder: str | os.PathLike[str]) -> None:
    """Write ``program.json`` and ``model.safetensors`` into a folder; :func:`load` needs nothing else.

    Args:
        recurrent: called at least once, so that its inputs are known.

    Raises:
        ValueError: when it was never called, or when its step has no program.
        OSError: when the folder cannot be written; what was there before stays.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    description, tensors = describe(recurrent)
    weights = safetensors.torch.save(tensors)
    description["weights"] = hashlib.sha256(weights).hexdigest()
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / PROGRAM, json.dumps(description, indent=1).encode())


def load(folder: str | os.PathLike[str]) -> Recurrent:
    """The recurrence saved in a folder, in evaluation mode; its cell is made of programs, not of its class.

    Raises:
        ModelFileError: when a file is missing, damaged, does not belong to the other, or is of another version.
    """
    folder = Path(folder)
    description = _json(folder / PROGRAM)
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{folder / WEIGHTS}: {error.strerror}") from None
    if description.get("weights") != hashlib.sha256(weights).hexdigest():
        raise ModelFileError(f"{folder / WEIGHTS} is damaged, or not the file that {PROGRAM} was saved with")
    try:
        return restore(description, safetensors.torch.load(weights)).eval()
    except (SafetensorError, InvalidProgram) as error:
        raise ModelFileError(f"{folder}: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ModelFileError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelFileError(f"{path} does not hold a saved recurrence")
    return data


def describe(recurrent: Recurrent) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A recurrence as JSON and tensors by name.

    Raises:
        ValueError: when it was never called, or when its step has no program.
    """
    cell = recurrent.cell
    parameters = {name: p for name, p in cell.named_parameters()}
    buffers = {name: b for name, b in cell.named_buffers()}
    tensors = {name: t.detach().contiguous().clone() for name, t in (*parameters.items(), *buffers.items())}
    variants = []
    for k, v in enumerate(_variants(recurrent)):
        tensors |= {f"variant.{k}.{name}": t.contiguous() for name, t in v.program.tensors.items()}
        variants.append({"training": v.training, "inputs": _specs(v.inputs), "constants": _specs(v.constants),
                         "program": to_json(v.program)})
    return {
        "format": FORMAT,
        "cell": cell.name if isinstance(cell, ProgramCell) else type(cell).__name__,
        "states": [[s.name, list(s.shape), list(s.delays), s.initial] for s in cell.states],
        "batch_first": recurrent.batch_first,
        "reverse": recurrent.reverse,
        "save": recurrent.save_policy,
        "parameters": sorted(parameters),
        "frozen": sorted(name for name, p in parameters.items() if not p.requires_grad),
        "buffers": sorted(buffers),
        "variants": variants,
    }, tensors


def _variants(recurrent: Recurrent) -> list[Variant]:
    """The programs to save: of every kind of input seen so far, in both modes."""
    cell, programs = recurrent.cell, recurrent._programs
    if isinstance(cell, ProgramCell):
        return list(cell.variants)
    signatures = list(dict.fromkeys(signature for signature, _ in programs.found))
    if not signatures:
        raise ValueError("call the module once before saving it: its program depends on its inputs")
    mode = cell.training
    variants = []
    try:
        for training in (False, True):
            cell.train(training)
            variants += [_variant(recurrent, signature, training) for signature in signatures]
    finally:
        cell.train(mode)
    return variants


def _variant(recurrent: Recurrent, signature: Signature, training: bool) -> Variant:
    program = recurrent._programs.program(recurrent.cell, signature)
    if isinstance(program, CannotTrace):
        raise ValueError(f"{type(recurrent.cell).__name__} cannot be saved, its step has no program: {program}")
    return Variant(training, signature.inputs, signature.constants, program)


def _specs(specs: Sequence[InputSpec]) -> list[list[Any]]:
    return [[list(s.shape), str(s.dtype).removeprefix("torch.")] for s in specs]


def _spec(data: Any) -> InputSpec:
    shape, dtype = data
    if dtype not in DTYPES:
        raise ValueError(f"inputs of dtype {dtype!r}")
    return InputSpec(tuple(int(n) for n in shape), DTYPES[dtype])


DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
          "int64": torch.int64, "bool": torch.bool}


def restore(description: dict[str, Any], tensors: dict[str, Tensor]) -> Recurrent:
    """A recurrence from what :func:`describe` gave.

    Raises:
        ModelFileError: when the description is damaged or of another version.
        InvalidProgram: when a program in it is not one.
    """
    if description.get("format") != FORMAT:
        raise ModelFileError(f"saved in format {description.get('format')!r}, this version of Ostinato reads {FORMAT}")
    try:
        states = [State(str(name), tuple(shape), tuple(delays), float(initial))
                  for name, shape, delays, initial in description["states"]]
        frozen = set(description["frozen"])
        parameters = {name: nn.Parameter(tensors[name], requires_grad=name not in frozen)
                      for name in description["parameters"]}
        buffers = {name: tensors[name] for name in description["buffers"]}
        variants = []
        for k, v in enumerate(description["variants"]):
            prefix = f"variant.{k}."
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            variants.append(Variant(bool(v["training"]), tuple(map(_spec, v["inputs"])),
                                    tuple(map(_spec, v["constants"])), from_json(v["program"], own)))
        _check_tensors(variants, {**parameters, **buffers})
        cell = ProgramCell(str(description["cell"]), states, variants, parameters, buffers)
        return Recurrent(cell, batch_first=bool(description["batch_first"]), reverse=bool(description["reverse"]),
                         save=description["save"])
    except InvalidProgram:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"the saved recurrence is damaged: {type(error).__name__} {error}") from None


def _check_tensors(variants: Sequence[Variant], tensors: dict[str, Tensor]) -> None:
    """Every parameter that a program names must be there, in its shape."""
    for v in variants:
        for name, i in v.program.inputs.items():
            node = v.program.nodes[i]
            found = {**tensors, **v.program.tensors}.get(name)
            if node.op == "p" and (found is None or tuple(found.shape) != node.shape):
                raise ValueError(f"the program needs {name} {list(node.shape)}, the file has "
                                 f"{None if found is None else list(found.shape)}")
