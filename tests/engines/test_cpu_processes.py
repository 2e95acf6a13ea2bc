"""The CPU engine in forked children, in a DataLoader's workers, and in several Python threads at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from comparing import native

pytestmark = native

SETTING = """
    import os, signal, sys, threading
    import torch
    from ostinato import Recurrent, cells
    from ostinato.engines.choice import engine

    signal.alarm(120)  # what waits for threads that are not there would wait for ever
    os.register_at_fork(after_in_child=lambda: signal.alarm(60))
    torch.manual_seed(0)
    torch.set_num_threads(2)
    # PyTorch's own operations do hang in a forked child where they use threads: above 32,768 elements.
    network, x = Recurrent(cells.GRU(24, 40)), torch.randn(8, 90, 24)

    def forward(x=x):
        with engine("cpu"), torch.no_grad():
            return network(x)[0]

    def gradients():
        with engine("cpu"):
            return torch.autograd.grad(network(x)[0].square().sum(), list(network.parameters()))

    wanted, wanted_gradients = forward(), gradients()

    def same():
        found = gradients()
        return torch.equal(forward(), wanted) and all(map(torch.equal, found, wanted_gradients))
"""


def run(code: str) -> None:
    """Run the setting and ``code`` in a process of its own, with two threads; its assertions are ours."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SETTING) + textwrap.dedent(code)],
                          capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr


def test_a_forked_child_runs_again() -> None:
    run("""
        def forked(work):
            child = os.fork()
            if child:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            try:
                os._exit(work())
            finally:
                os._exit(99)

        def differs():
            return 0 if torch.equal(forward(), wanted) else 1

        assert forked(differs) == 0
        assert forked(lambda: forked(differs)) == 0, "a child of a child"
        assert same(), "and the parent goes on"
    """)


def test_workers_of_a_data_loader() -> None:
    run("""
        class Outputs(torch.utils.data.Dataset):
            def __len__(self):
                return 4

            def __getitem__(self, i):
                return forward(x[2 * i : 2 * i + 2])

        loader = torch.utils.data.DataLoader(Outputs(), num_workers=2, batch_size=None)
        assert torch.equal(torch.cat(list(loader)), wanted)
        assert same()
    """)


def test_python_threads_at_once() -> None:
    run("""
        good = []
        threads = [threading.Thread(target=lambda: good.append(all(same() for _ in range(5)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert good == [True] * 4
    """)
