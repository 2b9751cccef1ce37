"""How many of the ring's eight modes a model draws, and how many of its samples lie on one.

Run from the checkout:

    python ci/studies/ring.py wgan-gp gan --seeds 0 1 2

A mode is covered where at least 1/16 of the samples lie within three standard deviations of its mean, half of
what its share is. Options of the runs follow as words (`train.steps=4000`). A run that is there already is
loaded, not trained again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import zoo_core

WITHIN = 3.0
"""Standard deviations from a mode's mean within which a sample is the mode's."""
COVERED = 1 / 16
"""Of the samples: the least that a covered mode has."""


@dataclass(frozen=True)
class Cover:
    """How a set of points lies on a mixture's modes.

    Attributes:
        shares: of the samples within three standard deviations of each mode's mean.
    """

    shares: Tensor

    @property
    def covered(self) -> int:
        """Modes with at least a sixteenth of the samples."""
        return int((self.shares >= COVERED).sum())

    @property
    def on_modes(self) -> float:
        """Share of the samples that lie on any mode."""
        return float(self.shares.sum())


def cover(points: Tensor, means: Tensor, std: float) -> Cover:
    """Return how points (n, 2) lie on modes of the means (K, 2), which are farther apart than six std."""
    distance, nearest = torch.cdist(points.double(), means.double()).min(1)
    near = nearest[distance <= WITHIN * std]
    return Cover(torch.bincount(near, minlength=len(means)).double() / len(points))


def measure(plugin: str, seed: int, n: int, options: dict[str, str]) -> tuple[Cover, dict[str, Any]]:
    """Train a model on the ring, unless that run is there, and return its cover and its cost."""
    fixed = {"plugin": plugin, "data": "ring", "seed": seed, "eval.protocol": "none", "track.wandb": "off"}
    result = zoo_core.run({**fixed, **options})
    run = zoo_core.load(result.run_dir)
    density: Any = run.data.density
    return cover(run.sample(n), density.means, density.std), result.cost.model_dump()


def main() -> None:
    """Print one line for each model and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="+", help="models, and options of their runs, a.b=c")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n", type=int, default=2000, help="samples of each run")
    given = parser.parse_intermixed_args()
    options = dict(word.split("=", 1) for word in given.words if "=" in word)
    print("| model | seed | modes covered | on a mode | least share of a mode | training |")
    print("| --- | --- | --- | --- | --- | --- |")
    for plugin in (word for word in given.words if "=" not in word):
        for seed in given.seeds:
            found, cost = measure(plugin, seed, given.n, options)
            print(
                f"| {plugin} | {seed} | {found.covered} of {len(found.shares)} | {found.on_modes:.1%} "
                f"| {float(found.shares.min()):.1%} | {cost['train_seconds']:.0f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
