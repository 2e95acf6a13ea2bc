"""The course of a training: one JSON object a line, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.files import writing
from ostinato.training.run import RunFolder


class Log:
    """Append to ``metrics.jsonl`` and ``tensorboard/``.

    Args:
        run: where they are.
        size: bytes of ``metrics.jsonl`` to keep: what was written after the checkpoint gone on from is written again.
        step: the step gone on from; TensorBoard forgets what it saw after it.
    """

    def __init__(self, run: RunFolder, size: int = 0, step: int = 0) -> None:
        self._run = run
        with writing(run.metrics):
            self._file = open(run.metrics, "ab")  # noqa: SIM115
            if self._file.tell() < size:
                self._file.close()
                raise InputError(f"{run.metrics} is damaged: it is shorter than the checkpoint says")
            self._file.truncate(size)
            run.tensorboard.mkdir(exist_ok=True)
            self._events = _Events(run.tensorboard, step)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Add numbers under their names."""
        line = json.dumps({"step": step, **values}) + "\n"
        with writing(self._run.metrics):
            self._file.write(line.encode())
            self._file.flush()  # for those who watch it grow
        with writing(self._run.tensorboard):
            for name, value in values.items():
                self._events.scalar(name, value, step)

    def sync(self) -> int:
        """Have it all on the disk; returns the size of ``metrics.jsonl``."""
        with writing(self._run.metrics):
            self._file.flush()
            os.fsync(self._file.fileno())
        with writing(self._run.tensorboard):
            self._events.file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Let go of the files."""
        with writing(self._run.path), self._file:
            self._events.file.close()


class _Events:
    """TensorBoard's event file, written in this thread: its usual writer loses a full disk's error in another one."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        # made by protobuf when it is imported: a type checker sees no names in the module
        self._event, session = vars(event_pb2)["Event"], vars(event_pb2)["SessionLog"]
        self._scalar = scalar
        self.file = RecordWriter(str(folder / f"events.out.tfevents.{int(time.time()):010}.{step}"))
        self._write(file_version="brain.Event:2")
        if step:
            self._write(step=step + 1, session_log=session(status=session.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        self._write(step=step, summary=self._scalar(name, value))

    def _write(self, **values: Any) -> None:
        self.file.write(self._event(wall_time=time.time(), **values).SerializeToString())
