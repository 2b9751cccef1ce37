"""Damage that the 64 axes of effnet-lite0 do not see: FD on them, FD-full and KD of it.

Run from the checkout; the table is that of docs/evaluation.md, "The complement of the axes":

    python ci/studies/complement.py [--images 200] [--steps 10]

Images of one half of emoji's training split are scored against the other half, as `zoo audit` does: as they
are; with white noise, as a measure; changed in the space of features, each image's features moved by the same
vector orthogonal to all axes; and changed as images. For the last, every image is moved by gradient steps, by
at most LARGEST of its range a value, so that its features go along one direction orthogonal to the axes and
stay where they are on the axes, and is rounded to bytes.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from zoo_core.data.loading import quantize
from zoo_core.seeds import generator
from zoo_eval.audit.checks import Bench, bench
from zoo_eval.audit.damage import noise
from zoo_eval.extractors.effnet import EffNetLite0
from zoo_eval.metrics.frechet import frechet_distance
from zoo_eval.metrics.kernel import kernel_distance
from zoo_eval.reference import scoring_config

LARGEST = 16 / 255
BATCH = 40


def complement(network: EffNetLite0) -> Tensor:
    """Return the projector (1280, 1280) float64 onto what is orthogonal to all axes."""
    axes, _ = torch.linalg.qr(network._axes[1])
    return torch.eye(len(axes)).double() - axes @ axes.T


def features(network: EffNetLite0, levels: Tensor) -> Tensor:
    """Return (n, 1280) float64 of bytes (n, 3, H, W)."""
    with torch.no_grad():
        return torch.cat([network.embed(part.float() / 255) for part in levels.split(BATCH)]).double()


def moved(network: EffNetLite0, levels: Tensor, rest: Tensor, toward: Tensor, steps: int) -> Tensor:
    """Return images whose features went along a direction, and stayed on the axes.

    Args:
        levels: bytes (n, 3, H, W).
        rest: as `complement` returns it.
        toward: (1280,) in it, of length 1.
        steps: of the signed gradient, from half of `LARGEST` down.
    """
    on_axes = (torch.eye(len(rest)).double() - rest).float()
    found = []
    for part in levels.split(BATCH):
        start = part.float() / 255
        with torch.no_grad():
            before = network.embed(start)
        x = start.clone()
        for k in range(steps):
            x.requires_grad_(True)
            change = network.embed(x) - before
            stray = (change @ on_axes).square().sum(1)
            (gain,) = torch.autograd.grad((change @ toward.float() - stray).sum(), x)
            x = x.detach() + LARGEST / 2 * (1 - k / steps) * gain.sign()
            x = torch.minimum(torch.maximum(x, start - LARGEST), start + LARGEST).clamp(0, 1)
        found.append(quantize(2 * x.detach() - 1, 256))
    return torch.cat(found)


def columns(network: EffNetLite0, real: Tensor, fake: Tensor) -> list[float]:
    """Return FD on the axes, FD on all features, and KD of two sets of features."""
    kd, _ = kernel_distance(real, fake, subsets=20, subset_size=len(fake) // 2)
    on_axes = frechet_distance(network.project(real), network.project(fake))
    return [on_axes, frechet_distance(real, fake), kd]


def rows(made: Bench, network: EffNetLite0, images: int, steps: int) -> list[tuple[str, list[float]]]:
    """Return the name and the columns of each row, of some images of a half against all of the other."""
    chosen = torch.randperm(len(made.probe), generator=generator(0, "complement"))[:images]
    levels = made.probe[chosen]
    real, probe = features(network, made.real), features(network, levels)
    rest = complement(network)
    toward = torch.linalg.eigh(rest @ torch.cov(probe.T) @ rest)[1][:, -1]
    shifted = probe + (probe - probe.mean(0)).square().sum(1).mean().sqrt() * toward
    shown = {
        "none": probe,
        "noise 0.05": features(network, noise(levels, 0.05, 256)),
        "features, off the axes": shifted,
        "images, off the axes": features(network, moved(network, levels, rest, toward, steps)),
    }
    return [(name, columns(network, real, values)) for name, values in shown.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="that are scored")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    made = bench(scoring_config({"data": "emoji"}, "audit"), None, print)
    assert isinstance(made.setup.extractor, EffNetLite0)
    print(f"{given.images} images against {len(made.real)}\n")
    print("| damage | `FD[effnet-lite0]` | `FD-full[effnet-lite0]` | `KD[effnet-lite0]` |")
    print("| --- | --- | --- | --- |")
    for name, (on_axes, full, kd) in rows(made, made.setup.extractor, given.images, given.steps):
        print(f"| {name} | {on_axes:.4g} | {full:.4g} | {kd:.3f} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
