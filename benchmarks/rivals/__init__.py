"""JAX, ONNX Runtime and Keras's backends, in environments and processes of their own, as contestants.

The environment is build/bench/rivals-venv, made from rivals-requirements.txt when it is first needed (for Keras's
backends build/bench/keras-venv, from keras-requirements.txt). A worker process there answers over a pipe, so that its
turns and ours alternate while the other side waits; it keeps the time of its own runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import ROOT
from benchmarks.contest import Contestant

HERE = Path(__file__).parent
PAUSE = 0.01
"""Seconds in which the threads of the side that ran before stop waiting for more work in a loop."""


class Unavailable(Exception):
    """A rival that cannot be installed or started here."""


class Rival:
    """A worker process.

    Args:
        name: "jax", "onnx" or "keras": the module of this package that the worker runs.
        threads: how many it may use.
        interpreter: the Python that runs it. Default: that of the rivals' environment.
        settings: more for the process's environment.
    """

    def __init__(self, name: str, threads: int, interpreter: Path | None = None,
                 settings: Mapping[str, str] | None = None) -> None:
        environment = {**os.environ, **(settings or {}), "OMP_NUM_THREADS": str(threads), "NPROC": str(threads),
                       "JAX_PLATFORMS": "cpu"}
        if threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        command = [str(interpreter or python()), "-u", str(HERE / "worker.py"), name, str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.version = self.ask("version")

    def ask(self, *request: Any) -> Any:
        """The worker's answer to one request."""
        assert self.process.stdin and self.process.stdout
        try:
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
            fine, answer = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError):
            raise Unavailable("the rival's process ended") from None
        if not fine:
            raise Unavailable(answer)
        return answer

    def contestant(self, name: str, work: str, kind: str, cell: nn.Module, x: Tensor,
                   seed: Tensor | None = None) -> Contestant:
        """The rival's own network with a cell's weights, doing ``work`` ("training", "inference")."""
        weights = {key: value.detach().numpy() for key, value in cell.named_parameters()}
        self.ask("make", work, kind, weights, x.numpy(), None if seed is None else seed.numpy())
        return Remote(name, self)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


class Remote(Contestant):
    """What a worker was last asked to make, as a contestant."""

    def __init__(self, name: str, rival: Rival) -> None:
        super().__init__(name, lambda: None)
        self.rival = rival

    def answer(self) -> dict[str, Tensor]:
        found = {name: torch.from_numpy(value) for name, value in self.rival.ask("answer").items()}
        return {name: value.flatten() if name.startswith("final") else value for name, value in found.items()}

    def take(self, runs: int) -> float:
        time.sleep(PAUSE)
        seconds = self.rival.ask("take", runs)
        time.sleep(PAUSE)
        return seconds


def python(kind: str = "rivals") -> Path:
    """The interpreter of an environment of rivals, "rivals" or "keras", which is made if it is not there.

    Raises:
        Unavailable: when pip fails.
    """
    folder = ROOT / f"build/bench/{kind}-venv"
    found = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted, stamp = HERE / f"{kind}-requirements.txt", folder / "installed.txt"
    if stamp.exists() and stamp.read_text("utf-8") == wanted.read_text("utf-8"):
        return found
    print(f"installing what we are compared with in {folder} ...", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    done = subprocess.run([str(found), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(wanted)],
                          capture_output=True, text=True)
    if done.returncode:
        raise Unavailable("pip could not install the rivals: " + done.stderr.strip().rpartition("\n")[2])
    stamp.write_text(wanted.read_text("utf-8"), "utf-8")
    return found


@contextlib.contextmanager
def worker(name: str, options: argparse.Namespace) -> Iterator[Rival | None]:
    """A rival to race with, or None: not wanted, or not to be had here, which is said."""
    rival = None
    if not options.no_rivals:
        try:
            rival = Rival(name, torch.get_num_threads())
            print(f"rival: {rival.version}, {torch.get_num_threads()} threads")
        except Unavailable as error:
            print(f"without {name}: {error}", file=sys.stderr)
    try:
        yield rival
    finally:
        if rival:
            rival.close()
