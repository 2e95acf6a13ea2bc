"""The folder of the laboratory's results: a file for every finished run, a checkpoint for one that was interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.files import read_json, write_json, writing
from ostinato.lab.options import Plan

MARK = "lab.json"
FORMAT = 1


class Store:
    """Where results are kept.

    Args:
        path: the folder; made where it is missing.
        resume: take the results that it holds for done.
        overwrite: remove them.

    Raises:
        InputError: the folder holds results and neither was asked for, or holds something else, or cannot be written.
    """

    def __init__(self, path: Path, resume: bool = False, overwrite: bool = False) -> None:
        self.path, self.results, self.checkpoints = path, path / "results", path / "checkpoints"
        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other")
        self._check(resume, overwrite)
        if not resume:
            for folder in (self.results, self.checkpoints):
                shutil.rmtree(folder, ignore_errors=True)
        with writing(path):
            for folder in (self.results, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
        write_json(path / MARK, {"format": FORMAT})

    def _check(self, resume: bool, overwrite: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file, not a folder for results")
        if (self.path / MARK).exists():
            if not (resume or overwrite):
                raise InputError(f"{self.path} holds results: go on with --resume, or replace them with --overwrite")
            if resume and (found := read_json(self.path / MARK).get("format")) != FORMAT:
                raise InputError(f"{self.path} holds results of format {found!r}; this version reads format {FORMAT}")
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise InputError(f"{self.path} is not empty and holds no results: choose another folder")

    def checkpoint(self, plan: Plan, seed: int) -> Path:
        """Where a run keeps its checkpoint."""
        return self.checkpoints / f"{plan.name(seed)}.safetensors"

    def get(self, plan: Plan, seed: int) -> dict[str, Any] | None:
        """The result of a run, or None while it has none."""
        file = self._file(plan, seed)
        return read_json(file) if file.exists() else None

    def put(self, plan: Plan, seed: int, result: dict[str, Any]) -> None:
        """Keep the result of a run, which needs its checkpoint no more."""
        write_json(self._file(plan, seed), result)
        self.checkpoint(plan, seed).unlink(missing_ok=True)

    def _file(self, plan: Plan, seed: int) -> Path:
        return self.results / f"{plan.name(seed)}.json"
