"""The trajectory that goes astray, and the teacher who puts the network back on it.

A NARX network learns to follow a trajectory, the Lorenz system's, from its own last three outputs alone. Taught, it is
given the true past at every step: its errors stay those of one step. Free, it reads its own outputs: a small error
grows until the network follows a trajectory of its own. Where a teacher comes back for a moment, it is put back.
Takes half a minute; ``--quick`` a few seconds; ``--out FILE`` draws the picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from ostinato import cells
from ostinato.layers import Feedback

DELAYS, WIDTH, DT = 3, 64, 0.04


def lorenz(batch: int, steps: int) -> Tensor:
    """Trajectories ``[B, T, 3]`` on the attractor, each number about 1: steps of 0.04, by the method of Runge and Kutta
    in four parts each."""

    def slope(s: Tensor) -> Tensor:
        x, y, z = s.unbind(-1)
        return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], -1)

    s, dt, path = torch.randn(batch, 3) * 5 + torch.tensor([0.0, 0.0, 25.0]), DT / 4, []
    for t in range(4 * (steps + 100)):
        a = slope(s)
        b = slope(s + dt / 2 * a)
        c = slope(s + dt / 2 * b)
        s = s + dt / 6 * (a + 2 * b + 2 * c + slope(s + dt * c))
        if t >= 400 and t % 4 == 0:  # past the way onto the attractor
            path.append(s)
    return (torch.stack(path, 1) - torch.tensor([0.0, 0.0, 24.0])) / torch.tensor([8.0, 9.0, 8.5])


def split(path: Tensor) -> tuple[Tensor, Tensor]:
    """The past before the first step ``[B, D, 3]``, and the targets ``[B, T, 3]``."""
    return path[:, :DELAYS], path[:, DELAYS:]


def train(model: Feedback, rounds: int) -> float:
    """Teacher forcing: all steps at once. Returns the last error of one step, relative to the numbers' own size."""
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, rounds)
    past, targets = split(lorenz(64, 100))
    silence = torch.zeros(*targets.shape[:2], 1)
    loss = torch.zeros(())
    for _ in range(rounds):
        outputs, _ = model(silence, targets, (past,))
        loss = nn.functional.mse_loss(outputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item() ** 0.5


@torch.no_grad()
def follow(model: Feedback, path: Tensor, put_back: int) -> dict[str, Tensor]:
    """The outputs on one new trajectory: taught, free, and free with a teacher for D steps at each multiple of
    ``put_back``."""
    past, targets = split(path)
    silence = torch.zeros(*targets.shape[:2], 1)
    own = (torch.arange(targets.shape[1]) % put_back < put_back - DELAYS).expand(targets.shape[:2])
    recurrent, name = model.recurrent, model.state
    return {
        "taught": model(silence, targets, (past,), feedback="teacher")[0],
        "free": model(silence, initial=(past,), feedback="free")[0],
        "put back": recurrent(silence, (past,), teacher={name: targets}, own=own)[0],
    }


def draw(targets: Tensor, found: dict[str, Tensor], put_back: int, file: Path) -> None:
    """The first number against time, for each way to run."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "ostinato"  # the same picture, the same file
    titles = {
        "taught": "train time: the teacher gives every y[t-1] .. y[t-3]",
        "free": "test time: the network reads its own outputs and goes astray",
        "put back": f"a teacher for three steps in every {put_back} puts it back",
    }
    figure, axes = pyplot.subplots(3, 1, figsize=(8, 6), sharex=True, sharey=True, layout="constrained")
    for axis, (name, outputs) in zip(axes, found.items(), strict=True):
        axis.plot(targets[0, :, 0], color="0.7", linewidth=3, label="the trajectory")
        axis.plot(outputs[0, :, 0], color="C3", linewidth=1.2, label="the network")
        axis.set_title(titles[name], fontsize=10, loc="left")
        if name == "put back":
            for t in range(put_back, targets.shape[1] + 1, put_back):
                axis.axvspan(t - DELAYS, t, color="C0", alpha=0.3, linewidth=0)
    axes[0].legend(loc="lower left", ncols=2, fontsize=8)
    axes[-1].set_xlabel("t")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)


def main() -> None:
    """Train, follow, say how far off each way is, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="train for a few seconds only")
    parser.add_argument("--out", type=Path, metavar="FILE", help="draw the picture into this file (.png, .svg)")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Feedback(cells.NARX(1, WIDTH, output_size=3, delays=DELAYS))
    print(f"error of one step after training: {train(model, 150 if options.quick else 3000):.4f}")
    print(f"in the loop while it was taught: {model.explain().parts['S']} operations")
    model.eval()
    path, put_back = lorenz(8, 203), 40
    targets = split(path)[1]
    found = follow(model, path, put_back)
    for name, outputs in found.items():
        print(f"error over {targets.shape[1]} steps, {name}: {(outputs - targets).square().mean().sqrt():.4f}")
    if options.out:
        draw(targets, found, put_back, options.out)
        print(f"drawn in {options.out}")


if __name__ == "__main__":
    main()
