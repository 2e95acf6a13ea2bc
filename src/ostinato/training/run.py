"""The folder of a run: what is in it, when it may be begun, gone on with, or read."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.files import read_json, write_atomic, write_json, writing

FORMAT = 1


class RunFolder:
    """The names of a run's files, and its configuration.

    ``config.json`` says what was asked for, ``model.safetensors`` holds the best weights so far, ``checkpoint/`` what
    going on needs, ``metrics.jsonl`` and ``tensorboard/`` the course of the training.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.model = self.path / "model.safetensors"
        self.program = self.path / "program.json"
        self.vocabulary = self.path / "vocabulary.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoint = self.path / "checkpoint" / "last.safetensors"
        self.tensorboard = self.path / "tensorboard"

    @property
    def exists(self) -> bool:
        return self.config.exists()

    def check_free(self, overwrite: bool) -> None:
        """Refuse a place where something is, unless it is a run and may be replaced.

        Raises:
            InputError: the folder holds a run, or anything else, or is a file.
        """
        if self.exists:
            if not overwrite:
                raise InputError(f"{self.path} holds a run: go on with --resume, or replace it with --overwrite")
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise InputError(f"{self.path} is not empty and holds no run: choose another folder")
        elif self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file, not a folder for a run")

    def clear(self) -> None:
        """Remove a run's own files, and nothing else that may be there."""
        for folder in (self.checkpoint.parent, self.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.config, self.model, self.program, self.vocabulary, self.metrics):
            file.unlink(missing_ok=True)

    def begin(self, config: dict[str, Any], vocabulary: str) -> None:
        """Make the folder, with its configuration last; where that fails, leave no folder that was not there."""
        made = not self.path.exists()
        try:
            with writing(self.path):
                self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.vocabulary, vocabulary.encode())
            write_json(self.config, {"format": FORMAT, "ostinato": version("ostinato"), **config})
        except InputError:
            if made:
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def read_config(self) -> dict[str, Any]:
        """The configuration, checked to be of this version.

        Raises:
            InputError: no run here, a damaged one, or one of another version.
        """
        if not self.path.is_dir():
            raise InputError(f"{self.path}: no such folder")
        if not self.exists:
            raise InputError(f"{self.path} holds no run: it has no config.json")
        config = read_json(self.config)
        if config.get("format") != FORMAT:
            raise InputError(
                f"{self.path} is a run of format {config.get('format')!r}, written by ostinato "
                f"{config.get('ostinato', '(unknown)')}; this version reads format {FORMAT}"
            )
        return config
