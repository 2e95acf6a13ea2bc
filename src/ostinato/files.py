"""Files that are whole or absent: written beside, synced, renamed. Tensors with their digest; no pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ostinato.errors import InputError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write (a full disk, no permission) into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_atomic(path: Path, data: bytes) -> None:
    """Put ``data`` in ``path``: after a crash at any moment the old file or the new one is there, whole.

    Raises:
        InputError: the disk is full, or the folder cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with writing(path):
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON that people can read."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: missing, not readable, or not a JSON object.
    """
    value = read_json_value(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: it is not a JSON object")
    return value


def read_json_value(path: Path) -> Any:
    """Whatever is in a JSON file.

    Raises:
        InputError: missing, not readable, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path} is damaged: it is not JSON") from None


def save_tensors(path: Path, tensors: Mapping[str, Tensor], data: Any = None) -> None:
    """Tensors and a JSON value as one safetensors file, with a digest over both."""
    own = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    text = json.dumps(data)
    about = json.dumps({"data": data, "sha256": _digest(own, text)})
    # one entry: the library writes several in any order, and the same content should be the same file
    write_atomic(path, safetensors.torch.save(own, metadata={"ostinato": about}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        InputError: missing, truncated, or changed since it was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # clone: tensors inside the file's buffer start where it pleases, and sums can differ with alignment
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    try:
        about = json.loads(metadata["ostinato"])
        data, whole = about["data"], about["sha256"] == _digest(tensors, json.dumps(about["data"]))
    except (KeyError, TypeError, json.JSONDecodeError):
        raise InputError(f"{path} is not a file of ostinato's, or damaged") from None
    if not whole:
        raise InputError(f"{path} is damaged: its content is not what was written")
    return tensors, data


def digest(text: str) -> str:
    """The SHA-256 of a text, to know it again."""
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
