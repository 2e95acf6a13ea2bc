"""The rivals' side of the pipe: ``worker.py jax|onnx|keras THREADS``. It runs in their environment.

Requests and answers are pickles on standard input and output: ("version",), ("make", work, kind, weights, x, seed),
("answer",), ("take", runs); the answer is (True, value) or (False, what went wrong).
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import time
from typing import Any


def limit_cores(threads: int) -> None:
    """Thread pools take the number of cores that they are allowed to run on."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def take(run: Any, runs: int) -> float:
    """Seconds for one run, of ``runs`` in a row, after one that is not timed: the worker has just been asleep."""
    run()
    begin = time.perf_counter()
    for _ in range(runs):
        run()
    return (time.perf_counter() - begin) / runs


def main() -> None:
    """Answer until standard input ends."""
    name, threads = sys.argv[1], int(sys.argv[2])
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    limit_cores(threads)
    made: Any = None
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        try:
            rival = importlib.import_module(f"{name}_side")
            match request:
                case ("version",):
                    answer: Any = rival.VERSION
                case ("make", *arguments):
                    made, answer = rival.make(*arguments, threads=threads), None
                    made.run()
                case ("answer",):
                    answer = made.answer()
                case ("take", runs):
                    answer = take(made.run, runs)
                case _:
                    raise ValueError(f"unknown request {request[0]!r}")
            result = (True, answer)
        except Exception as error:  # it is raised again on the other side
            result = (False, f"{type(error).__name__}: {error}")
        pickle.dump(result, answers)
        answers.flush()


if __name__ == "__main__":
    main()
