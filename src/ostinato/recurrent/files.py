"""Save a recurrence and load it where its class is not known. Reading a file executes nothing from it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.cell import State
from ostinato.errors import InputError
from ostinato.files import digest, load_tensors, read_json, save_tensors, write_atomic, writing
from ostinato.program import CannotTrace, InputSpec, InvalidProgram, Signature, from_json, to_json
from ostinato.program.loaded import ProgramCell, Variant
from ostinato.program.lower import kind_of
from ostinato.recurrent.module import Recurrent

FORMAT = 1
PROGRAM, WEIGHTS = "program.json", "model.safetensors"


class ModelFileError(InputError):
    """A saved model that is missing, damaged, changed, or of another version."""


def save(recurrent: Recurrent, folder: str | os.PathLike[str]) -> None:
    """Write ``program.json`` and ``model.safetensors`` into a folder; :func:`load` needs nothing else.

    Args:
        recurrent: called at least once, so that its inputs are known.

    Raises:
        ValueError: when it was never called, or when its step has no program.
        InputError: when the folder cannot be written; what was there before stays.
    """
    description, tensors = describe(recurrent)
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / PROGRAM, folder / WEIGHTS, description, tensors)


def write_model(program: Path, weights: Path, description: Any, tensors: dict[str, Tensor]) -> None:
    """Write a description and the tensors that belong to it; the tensors' file names the description's digest."""
    text, fresh = json.dumps(description, indent=1), program.with_name(f".{program.name}.new")
    try:
        write_atomic(fresh, text.encode())  # whatever can fail comes before the first of the two has its name
        save_tensors(weights, tensors, {"program": digest(text)})
        with writing(program):
            os.replace(fresh, program)
    finally:
        fresh.unlink(missing_ok=True)


def read_model(program: Path, weights: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What :func:`write_model` wrote.

    Raises:
        ModelFileError: when a file is missing, damaged, or does not belong to the other.
    """
    try:
        description = read_json(program)
        text = program.read_text(encoding="utf-8")
        tensors, data = load_tensors(weights)
    except InputError as error:
        raise ModelFileError(str(error)) from None
    if not isinstance(data, dict) or data.get("program") != digest(text):
        raise ModelFileError(f"{program} is damaged, or not the one that {weights} was saved with")
    return description, tensors


def load(folder: str | os.PathLike[str]) -> Recurrent:
    """The recurrence saved in a folder, in evaluation mode; its cell is made of programs, not of its class.

    Raises:
        ModelFileError: when a file is missing, damaged, does not belong to the other, or is of another version.
    """
    folder = Path(folder)
    description, tensors = read_model(folder / PROGRAM, folder / WEIGHTS)
    try:
        return restore(description, tensors).eval()
    except InvalidProgram as error:
        raise ModelFileError(f"{folder}: {error}") from None


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
        "states": [[s.name, list(s.shape), list(s.delays), s.initial, s.symbols] for s in cell.states],
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
    if not programs.found:
        raise ValueError("call the module once before saving it: its program depends on its inputs")
    traced = [key[0] for key, found in programs.found.items() if not isinstance(found, CannotTrace)]
    signatures = {_kinds(signature): signature for signature in traced or [next(iter(programs.found))[0]]}
    modes = [(module, module.training) for module in cell.modules()]
    variants = []
    try:
        for training in (False, True):
            cell.train(training)
            variants += [_variant(recurrent, signature, training) for signature in signatures.values()]
    finally:
        for module, training in modes:
            module.training = training
    return variants


def _kinds(signature: Signature) -> tuple:
    """What a saved program is found by."""
    return tuple(tuple((s.shape, kind_of(s.dtype)) for s in specs) for specs in (signature.inputs, signature.constants))


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
        states = [State(str(name), tuple(shape), tuple(delays), initial if isinstance(initial, str) else float(initial),
                        *symbols)  # what was saved before there were symbols has none
                  for name, shape, delays, initial, *symbols in description["states"]]
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
        _check_variants(variants, states, {**parameters, **buffers})
        cell = ProgramCell(str(description["cell"]), states, variants, parameters, buffers)
        return Recurrent(cell, batch_first=bool(description["batch_first"]), reverse=bool(description["reverse"]),
                         save=description["save"])
    except InvalidProgram:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"the saved recurrence is damaged: {type(error).__name__} {error}") from None


def _check_variants(variants: Sequence[Variant], states: Sequence[State], tensors: dict[str, Tensor]) -> None:
    """There must be a program; each must have the cell's states and results, and find every parameter in its shape."""
    if not variants:
        raise ValueError("there is no program in it")
    wanted = [(s.name, s.shape, s.depth, s.initial) for s in states]
    for s in states:
        if isinstance(s.initial, str) and (s.initial not in tensors or tuple(tensors[s.initial].shape) != s.shape):
            raise ValueError(f"the state {s.name!r} begins with {s.initial!r}, which is not in the file, or of another "
                             "shape")
    results = {"output", *(f"state.{s.name}" for s in states)}
    for v in variants:
        if [(s.name, s.shape, s.depth, s.initial) for s in v.program.states] != wanted:
            raise ValueError("a program has other states than the cell")
        if set(v.program.emit) != results:
            raise ValueError(f"a program gives {sorted(v.program.emit)}, not {sorted(results)}")
        for name, i in v.program.inputs.items():
            node = v.program.nodes[i]
            found = {**tensors, **v.program.tensors}.get(name)
            if node.op == "p" and (found is None or tuple(found.shape) != node.shape):
                raise ValueError(f"the program needs {name} {list(node.shape)}, the file has "
                                 f"{None if found is None else list(found.shape)}")
