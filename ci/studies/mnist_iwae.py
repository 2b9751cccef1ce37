"""How many nats `vae` needs for a binarized MNIST image: IWAE-5000 on the first 1,000 test images.

Run from the checkout:

    python ci/studies/mnist_iwae.py data.root=../shared/data/mnist

Words are options of the run (`train.steps=2000`, `seed=1`); --k and --n are of the measurement, which is
streamed: its memory does not grow with K. The test split is one draw of the gray values with a fixed seed.
The run itself stays in ZOO_HOME like any other, with its checkpoint; it is scored by `zoo score`.
"""

from __future__ import annotations

import argparse
import time

import torch

import zoo_core
from zoo_core.data.loading import to_unit
from zoo_core.seeds import Seeds
from zoo_core.types import Likelihood

BATCH = 250


def measure(run_dir: str, n: int, k: int) -> dict[str, tuple[float, float]]:
    """Return the mean and standard error of -log p, in nats, of the first n test images by kind."""
    run = zoo_core.load(run_dir)
    found: dict[str, list[Likelihood]] = {}
    with run.harness.quiet():
        for first in range(0, n, BATCH):
            index = torch.arange(first, min(first + BATCH, n))
            x = to_unit(run.data.test.examples(index), 2).to(run.device)
            noise = Seeds(0, index.tolist(), run.device)
            for entry in run.recipe.likelihoods(x, noise=noise, k=k):  # type: ignore[operator]
                found.setdefault(entry.name, []).append(entry)
    nats = {name: -torch.cat([part.log_prob for part in parts]) for name, parts in found.items()}
    return {name: (float(x.mean()), float(x.std() / len(x) ** 0.5)) for name, x in nats.items()}


def main() -> None:
    """Train, unless that run is there already, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="options of the run, a.b=c")
    parser.add_argument("--k", type=int, default=5000, help="importance samples")
    parser.add_argument("--n", type=int, default=1000, help="test images, from the first")
    given = parser.parse_args()
    options = dict(word.split("=", 1) for word in given.words)
    fixed = {"plugin": "vae", "data": "mnist-binarized", "eval.protocol": "none"}
    result = zoo_core.run({**fixed, "track.wandb": "off", **options})
    cost = result.cost
    print(f"trained: {cost.steps:,} steps, {cost.images_seen:,} images, {cost.train_seconds:.0f} s")
    start = time.monotonic()
    for name, (mean, error) in measure(result.run_dir, given.n, given.k).items():
        print(f"{name}: {mean:.2f} +- {error:.2f} nats a image, {given.n:,} test images")
    print(f"measured in {time.monotonic() - start:.0f} s; run: {result.run_dir}")


if __name__ == "__main__":
    main()
