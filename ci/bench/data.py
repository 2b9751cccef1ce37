"""What data cost: the start on a folder of images, and how long a training step waits for streamed images.

    python ci/bench/data.py [--images 50000] [--steps 30] [--batch 16] [--json]

Written first: a folder of JPEG files of 64x64 pixels, in a temporary folder. Measured, each in a process of
its own: the first start (decodes and caches every image), the second (reads the cache), steps of a small
U-Net on images that are decoded ahead of the step, and the rate of decoding alone, which bounds the networks
that are fed. A start is the time of `load`, without that of imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDE = 64


def write_images(root: Path, count: int) -> None:
    """Write JPEG files of smooth random images, a thousand a folder and class."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for k in range(count):
        folder = root / f"class{k // 1000:03}"
        if k % 1000 == 0:
            folder.mkdir(parents=True)
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{k:06}.jpg", quality=90)


def start(root: str) -> dict[str, float]:
    """Load the folder and return how long that took, and how many images there are."""
    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.folder import load

    begun = time.perf_counter()
    data = load(FolderConfig(path=root, size=SIDE))
    return {"seconds": time.perf_counter() - begun, "images": len(data.train) + len(data.test)}


def steps(root: str, count: int, batch: int) -> dict[str, float]:
    """Train a small U-Net on streamed images and return the fraction of the time that it waits for data."""
    import torch

    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.folder import load
    from zoo_core.data.loading import TrainData
    from zoo_core.nn.unet import UNet, UNetConfig

    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = load(FolderConfig(path=root, size=SIDE, storage="streamed"))
    stream = TrainData(data.train, data.info, 0, device)
    net = UNet(UNetConfig(mult=(1, 2, 2), attention=(16,)), data.info).to(device)
    optimizer = torch.optim.Adam(net.parameters(), 1e-4, fused=True)

    def synchronize() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    waited = worked = 0.0
    for k in range(count + 2):
        begun = time.perf_counter()
        x = stream.next(batch).x
        synchronize()
        ready = time.perf_counter()
        noise = torch.randn_like(x)
        loss = (net(x + noise, torch.full((batch,), 0.5, device=device), None) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        synchronize()
        if k >= 2:
            waited, worked = waited + ready - begun, worked + time.perf_counter() - ready
    return {
        "step_ms": 1e3 * worked / count,
        "wait_ms": 1e3 * waited / count,
        "waits": waited / (waited + worked),
        "decoded_per_second": batch * count / (waited + worked),
    }


def decoding(root: str, count: int, batch: int) -> dict[str, float]:
    """Return how many images a second are decoded with nothing else to do."""
    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.folder import load
    from zoo_core.data.loading import TrainData

    data = load(FolderConfig(path=root, size=SIDE, storage="streamed"))
    stream = TrainData(data.train, data.info, 0)
    stream.next(batch)
    begun = time.perf_counter()
    for _ in range(count):
        stream.next(batch)
    return {"images_per_second": batch * count / (time.perf_counter() - begun)}


def apart(home: str, *words: str) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *words],
        env={**os.environ, "ZOO_HOME": home},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", choices=["start", "steps", "decoding"], help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure == "start":
        print(json.dumps(start(given.root)))
        return
    if given.measure:
        measure = steps if given.measure == "steps" else decoding
        print(json.dumps(measure(given.root, given.steps, given.batch)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root, home = str(Path(folder) / "images"), str(Path(folder) / "home")
        write_images(Path(root), given.images)
        common = ("--root", root, "--steps", str(given.steps), "--batch", str(given.batch))
        found = {
            "first start": apart(home, "--measure", "start", *common),
            "second start": apart(home, "--measure", "start", *common),
            "steps": apart(home, "--measure", "steps", *common),
            "decoding alone": apart(home, "--measure", "decoding", *common),
        }
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for name, values in found.items():
        print(f"{name:15}", ", ".join(f"{key} {value:,.4g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
