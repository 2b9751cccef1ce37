#!/usr/bin/env python3
"""Fit the axes on which effnet-lite0's ranked distance is taken, and measure what they keep.

    python ci/fit_projection.py cifar10-jpeg.tar.xz      # train/<class>/NNNN.jpg, 50,000 images
    python ci/fit_projection.py FILE --images 5000 --out /tmp/projection.npz

The axes are the leading principal components of the features of CIFAR-10's training images as JPEG.
Printed: the fraction of the features' variance on the axes, for those images and for other data.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.registry.resolution import resolve
from zoo_core.runs import load_data
from zoo_core.types import DataInfo
from zoo_eval.extractors.effnet import AXES, PROJECTION, EffNetLite0

BATCH = 250


def training_images(archive: Path, count: int) -> Tensor:
    """Return uint8 (count, 3, 32, 32): of the archive's training images, the same number of each class."""
    by_class: dict[str, list[Tensor]] = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = Path(member.name).parts
            if len(parts) < 3 or parts[-3] != "train" or not member.name.endswith(".jpg"):
                continue
            images = by_class.setdefault(parts[-2], [])
            content = opened.extractfile(member)
            if content is not None and len(images) < count // 10:
                pixels = np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB"))
                images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
    return torch.stack([image for images in by_class.values() for image in images])


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--data", nargs="*", default=["emoji", "emoji-twitter"], help="measured beside")
    parser.add_argument("--out", type=Path, default=PROJECTION)
    given = parser.parse_args()
    network = EffNetLite0("cpu")
    fitted = features(training_images(given.archive, given.images), network)
    _, vectors = torch.linalg.eigh(torch.cov(fitted.T))
    axes = vectors.flip(1)[:, :AXES]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # a sign that LAPACK can't choose
    np.savez_compressed(given.out, mean=fitted.mean(0).float().numpy(), axes=axes.half().numpy())
    print(f"{given.out}: sha256 {hashlib.sha256(given.out.read_bytes()).hexdigest()}")
    print(f"{len(fitted):,} images: {kept(fitted, axes):.1%} of the variance on {AXES} axes")
    for name in given.data:
        config: RunConfig = resolve(["plugin=gaussian", f"data={name}"])
        table = load_data(config).train
        rows = table.examples(torch.arange(len(table))).cpu()
        print(f"{name}: {kept(features(rows, network), axes):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
