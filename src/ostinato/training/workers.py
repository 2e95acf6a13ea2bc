"""The processes that train one model together, each with its part of every batch.

They are started as torchrun starts them, by torchrun itself (on one machine or several) or by the first of them, which
starts its own command again ``devices - 1`` times. PyTorch's DistributedDataParallel, through Lightning Fabric, adds
up the gradients; the first process alone validates and writes files.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from ostinato.errors import InputError
from ostinato.training.interrupt import Interrupted
from ostinato.training.options import TrainingOptions

STARTED = "TORCHELASTIC_RUN_ID"
"""The environment variable by which a process knows that it was started as one of several."""
READY = "OSTINATO_READY"
"""In a process that the first has started: the pipe on which it says that it has come as far as to be connected."""
PATIENCE = timedelta(hours=2)
"""How long a process waits for one that is silent but not gone: longer than any validation."""


class LostWorker(InputError):
    """Another process of the training is gone."""


@dataclass(frozen=True)
class Part:
    """Which examples of a batch, or which streams of a text, are this process's: every ``world``-th.

    >>> Part(1, 2).of([10, 11, 12, 13, 14])
    [11, 13]
    """

    rank: int = 0
    world: int = 1

    def of(self, places: Any) -> Any:
        return places[self.rank :: self.world]


class Workers:
    """One process, or all of them, as they see each other; a context in which they are connected.

    Args:
        options: how many processes (``devices``), unless torchrun says it.

    Raises:
        InputError: torchrun and ``devices`` disagree, or the program cannot be started again.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self._children: list[subprocess.Popen] = []
        self._ready: list[int] = []
        self._set: list[str] = []
        self._parent = os.getppid()
        if STARTED in os.environ:
            self.part = Part(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
            self._local = int(os.environ["LOCAL_WORLD_SIZE"])
            if options.devices not in (1, self._local):
                raise InputError(f"torchrun started {self._local} processes on this machine, and --devices is "
                                 f"{options.devices}: leave it out")  # fmt: skip
        else:
            self.part, self._local = Part(0, options.devices), options.devices
        if not self.many and options.strategy == "ddp":
            raise InputError("--strategy ddp is for more than one process: give --devices 2, or use torchrun")
        if self.many and not torch.distributed.is_gloo_available():
            raise InputError("this build of PyTorch has no gloo, by which processes train together")

    @property
    def many(self) -> bool:
        return self.part.world > 1

    @property
    def first(self) -> bool:
        """Whether this is the process that validates, writes files and speaks."""
        return self.part.rank == 0

    def __enter__(self) -> Self:
        """Start the other processes where torchrun has not, and wait until all are there."""
        if not self.many:
            self.fabric = Fabric(accelerator="cpu", devices=1)
            return self
        if STARTED not in os.environ:
            self._start()
        elif READY in os.environ:
            os.write(int(os.environ[READY]), b".")
        strategy = DDPStrategy(process_group_backend="gloo", timeout=PATIENCE)
        self.fabric = Fabric(accelerator="cpu", devices=self._local, num_nodes=self.part.world // self._local,
                             strategy=strategy)  # fmt: skip
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        try:
            self.fabric.launch()
        except RuntimeError as error:
            self._close()
            raise InputError(f"the {self.part.world} processes did not find each other ({error})") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._close()
        if self.first:
            return
        if error is None:
            sys.exit()  # it was started for the training alone, and what comes after is the first's
        if isinstance(error, (LostWorker, Interrupted)) and os.getppid() == self._parent:
            sys.exit(1)  # the first, which started it, says why

    def share(self, value: Any) -> Any:
        """The first process's value, in all."""
        if not self.many:
            return value
        with self.watching():
            return self.fabric.broadcast(value)

    def gather(self, values: Sequence[float]) -> Tensor:
        """Some numbers of each process, in all of them: ``[world, len(values)]``."""
        found = torch.zeros(self.part.world, len(values), dtype=torch.float64)
        found[self.part.rank] = torch.tensor(values)
        if self.many:
            with self.watching():
                torch.distributed.all_reduce(found)
        return found

    def join(self, carried: tuple[tuple[Tensor, ...], ...]) -> tuple[tuple[Tensor, ...], ...]:
        """The states of all streams, for the first process, from those of each process's own."""
        if not self.many or not carried:
            return carried
        parts: list[Any] = [None] * self.part.world
        with self.watching():
            torch.distributed.gather_object(carried, parts if self.first else None)
        return self._interleaved(parts) if self.first else carried

    def _interleaved(self, parts: list[Any]) -> tuple[tuple[Tensor, ...], ...]:
        def whole(rows: list[Tensor]) -> Tensor:
            found = rows[0].new_empty(sum(len(r) for r in rows), *rows[0].shape[1:])
            for rank, r in enumerate(rows):
                found[rank :: len(rows)] = r
            return found

        return tuple(
            tuple(whole([part[layer][i] for part in parts]) for i in range(len(parts[0][layer])))
            for layer in range(len(parts[0]))
        )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around what fails when another process is gone: LostWorker is raised for it, and other errors stay."""
        try:
            yield
        except RuntimeError as error:
            if self.many and _is_broken_connection(str(error)):
                raise LostWorker(self.who_is_gone()) from error
            raise

    def who_is_gone(self) -> str:
        """In words, which process ended, and how."""
        until = time.monotonic() + 3
        while self._children and time.monotonic() < until:
            for rank, child in enumerate(self._children, start=1):
                if code := child.poll():
                    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                    return f"worker {rank} (process {child.pid}) {how}"
            time.sleep(0.05)
        return "worker 0 is gone" if not self.first else "another worker is gone"

    def _start(self) -> None:
        command = _own_command()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = str(self.part.world)
        common = {STARTED: "ostinato", "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": "0",
                  "GROUP_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.part.world))}
        for rank in range(1, self.part.world):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            ready, say = os.pipe()
            environment = {**threads, **os.environ, **common, **own, READY: str(say)}
            # in a session of its own: Ctrl-C is for the first alone, which tells the others
            child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[say],
                                     start_new_session=True)  # fmt: skip
            os.close(say)
            self._children.append(child)
            self._ready.append(ready)
        common |= {"RANK": "0", "LOCAL_RANK": "0"}
        self._set = [name for name in common if name not in os.environ]
        os.environ.update(common)
        try:
            heard = [os.read(ready, 1) for ready in self._ready]  # nothing, where it ended before
            if not all(heard):
                raise LostWorker(f"{self.who_is_gone()} before the training began")
        except BaseException:  # Ctrl-C too: no process is left behind; what it was is raised again
            for child in self._children:
                child.kill()
            self._close()
            raise
        finally:
            for ready in self._ready:
                os.close(ready)

    def _close(self) -> None:
        if self.many and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for child in self._children:
            try:
                child.wait(10)  # as a rule it has ended too
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children = []
        for name in self._set:
            os.environ.pop(name, None)


def _is_broken_connection(message: str) -> bool:
    return any(words in message for words in ("onnection closed", "onnection reset", "roken pipe", "gloo/transport"))


def _own_command() -> list[str]:
    """How this program was started, to start it again."""
    import __main__

    if getattr(__main__, "__spec__", None) is not None:
        return [sys.executable, "-m", __main__.__spec__.name.removesuffix(".__main__"), *sys.argv[1:]]
    if not hasattr(__main__, "__file__"):
        raise InputError("more than one device starts the program again: call it from a file or by the command")
    return [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
