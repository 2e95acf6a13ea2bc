"""Handwritten digits read in two dimensions: a recurrence from all four corners, trained in less than a minute.

The digits are the 1,797 of scikit-learn (8 x 8 pixels), read in patches of 2 x 2; or those of a file, ``--images
train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz`` (MNIST's format), in patches of 4 x 4.
"""

import argparse
import gzip
from pathlib import Path

import torch
from torch import Tensor, nn

from ostinato import layers

HIDDEN, BATCH = 24, 64


class Reader(nn.Module):
    """The states in which the four directions end, one in each corner, say which digit it is."""

    def __init__(self, patch: int, cell: str) -> None:
        super().__init__()
        self.patches = layers.Patches(patch)
        self.recurrent = layers.Recurrent2d.create(cell, patch * patch, HIDDEN, merge="sum")
        self.readout = nn.Linear(4 * HIDDEN, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``[B, 10]`` of images ``[B, H, W]``."""
        x, _ = self.patches(images.unsqueeze(-1))  # [B, H', W', patch * patch]
        _, ends = self.recurrent(x)
        return self.readout(torch.cat([states[0] for states in ends], -1))


def bundled() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: images ``[1797, 8, 8]`` with values from 0 to 1, and labels."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels).float().view(-1, 8, 8) / 16, torch.tensor(labels)


def idx(path: Path) -> Tensor:
    """A file in MNIST's format, compressed: its last byte of the magic number is how many sizes follow."""
    with gzip.open(path) as file:
        content = bytearray(file.read())
    start = 4 + 4 * content[3]
    sizes = [int.from_bytes(content[at : at + 4]) for at in range(4, start, 4)]
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).view(sizes)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share that is recognised."""
    found = torch.cat([model(part).argmax(1) for part in images.split(256)])
    return (found == labels).double().mean().item()


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="images in MNIST's format, .gz")
    parser.add_argument("--labels", type=Path, help="their labels")
    parser.add_argument("--cell", default="lstm2d", help="lstm2d, or a name of ostinato.cells.names()")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--most", type=int, default=10000, help="how many digits to use, a fifth of them for the test")
    return parser.parse_args()


def main() -> None:
    """Train on four fifths of the digits, and say how many of the others are recognised."""
    given = options()
    torch.manual_seed(0)
    if given.images:
        images, labels, patch = idx(given.images).float() / 255, idx(given.labels).long(), 4
    else:
        images, labels, patch = *bundled(), 2
    order = torch.randperm(len(images))[: given.most]
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    model = Reader(patch, given.cell)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs=given.epochs,
                                                   steps_per_epoch=-(-len(train) // BATCH))
    for epoch in range(given.epochs):
        for part in train[torch.randperm(len(train))].split(BATCH):
            loss = nn.functional.cross_entropy(model(images[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1:2}: recognised {accuracy(model, images[test], labels[test]):.3f} of {len(test)}")


if __name__ == "__main__":
    main()
