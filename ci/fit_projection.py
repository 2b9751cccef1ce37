#!/usr/bin/env python3
"""Fit the axes on which effnet-lite0's ranked distance is taken, and measure what they keep.

    python ci/fit_projection.py cifar10-jpeg.tar.xz      # train/<class>/NNNN.jpg
    python ci/fit_projection.py FILE --images 5000 --out axes.npz

The axes are the leading principal components of two sets of features, of equal weight: training images of
CIFAR-10 as JPEG, and every second training image of `emoji-twitter`. CIFAR-10's alone keep a quarter of the
variance of `emoji`. Printed: the fraction of the variance on the axes, for images that were not fitted too.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo_core.registry.resolution import resolve
from zoo_core.runs import load_data
from zoo_core.types import DataInfo
from zoo_eval.extractors.effnet import AXES, PROJECTION, EffNetLite0

BATCH = 250


def archived_images(archive: Path, count: int, split: str = "train") -> Tensor:
    """Return uint8 (count, 3, 32, 32) of a split: the classes by name, the same number of each of ten."""
    by_class: dict[str, list[Tensor]] = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = Path(member.name).parts
            if len(parts) < 3 or parts[-3] != split or not member.name.endswith(".jpg"):
                continue
            images = by_class.setdefault(parts[-2], [])
            content = opened.extractfile(member)
            if content is not None and len(images) < count // 10:
                pixels = np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB"))
                images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
    return torch.stack([image for _, images in sorted(by_class.items()) for image in images])


def features(images: Tensor, network: EffNetLite0) -> Tensor:
    """Return (n, 1280) float64."""
    info = DataInfo("images", tuple(images.shape[1:]), 256)

    def parts() -> Iterator[Tensor]:
        for k, batch in enumerate(images.split(BATCH)):
            with torch.no_grad():
                yield network(batch, info)[0].double()
            if k % 20 == 0:
                print(f"{k * BATCH:,} of {len(images):,}", file=sys.stderr, flush=True)

    return torch.cat(list(parts()))


def kept(values: Tensor, axes: Tensor) -> float:
    """Return the fraction of the features' variance on orthonormal axes (d, k)."""
    centered = values - values.mean(0)
    return float((centered @ axes).square().sum() / centered.square().sum())


def rows_of(name: str) -> Tensor:
    """Return the training images of a registered dataset, uint8."""
    table = load_data(resolve(["plugin=gaussian", f"data={name}"])).train
    return table.examples(torch.arange(len(table))).cpu()


def principal(sets: Sequence[Tensor], count: int) -> Tensor:
    """Return the leading axes (d, count) of the mean covariance of sets, each scaled to a trace of 1.

    The sign of an axis is that of its largest entry, because an eigenvector has none.
    """
    covariances = [torch.cov(one.T) for one in sets]
    mean = torch.stack([one / one.trace() for one in covariances]).mean(0)
    axes = torch.linalg.eigh(mean)[1].flip(1)[:, :count]
    return axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=20_000, help="of CIFAR-10, as many of each class")
    parser.add_argument("--out", type=Path, default=PROJECTION)
    given = parser.parse_args()
    network = EffNetLite0("cpu")
    cifar = features(archived_images(given.archive, given.images), network)
    twitter = features(rows_of("emoji-twitter"), network)
    fitted = (cifar, twitter[::2])
    axes = principal(fitted, AXES)
    mean = torch.stack([one.mean(0) for one in fitted]).mean(0)
    np.savez_compressed(given.out, mean=mean.float().numpy(), axes=axes.half().numpy())
    print(f"{given.out}: sha256 {hashlib.sha256(given.out.read_bytes()).hexdigest()}")
    shares = {
        f"cifar10-jpeg, {len(cifar):,} images": cifar,
        "emoji-twitter, fitted half": twitter[::2],
        "emoji-twitter, other half": twitter[1::2],
        "emoji": features(rows_of("emoji"), network),
    }
    for name, values in shares.items():
        own = kept(values, principal([values], AXES))
        print(f"{name}: {kept(values, axes):.1%} of the variance on {AXES} axes; on its own, {own:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
