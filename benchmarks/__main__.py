"""Run the benchmarks one after another, each in a process of its own: ``python -m benchmarks [--only NAME ...]``.

Every other option is handed to each of them; ``python -m benchmarks.train --help`` lists them.
"""

import argparse
import subprocess
import sys

NAMES = ["train", "grid", "fusion", "cells", "wrappers", "ragged", "calls", "stream", "memory", "checkpoint",
         "inference", "teacher", "image", "keras", "text"]


def main() -> None:
    """Exit with 1 when any of them failed, after all have run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    options, others = parser.parse_known_args()
    failed = []
    for name in options.only:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *others]).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
