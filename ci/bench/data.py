"""What data cost: the start on a folder of images, the time a step waits for streamed images, and memory.

    python ci/bench/data.py [--images 50000] [--side 64] [--steps 30] [--batch 16] [--json]
    python ci/bench/data.py --memory --images 200000 --side 32

Written first: a folder of square JPEG files, in a temporary folder. Measured, each in a process of
its own: the first start (decodes and caches every image), the second (reads the cache), steps of a small
U-Net on images that are decoded ahead of the step, and the rate of decoding alone, which bounds the networks
that are fed. A start is the time of `load`, without that of imports.

With --memory, two processes are measured instead: one that loads the folder for the first time, and one that
trains `ddpm preset=tiny` on it by `zoo_core.run`, for --steps steps. Each reports its largest anonymous
memory (looked at every 5 ms), which images that are mapped from the cache are not part of, and ru_maxrss, the
largest resident size, which their pages are part of for as long as nothing else needs the memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

LOOK_EVERY = 0.005


def write_images(root: Path, count: int, side: int) -> None:
    """Write JPEG files of smooth random images, a thousand a folder and class."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for k in range(count):
        folder = root / f"class{k // 1000:03}"
        if k % 1000 == 0:
            folder.mkdir(parents=True)
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{k:06}.jpg", quality=90)


def start(root: str, side: int) -> dict[str, float]:
    """Load the folder and return how long that took, and how many images there are."""
    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.folder import load

    begun = time.perf_counter()
    data = load(FolderConfig(path=root, size=side))
    return {"seconds": time.perf_counter() - begun, "images": len(data.train) + len(data.test)}


def steps(root: str, side: int, count: int, batch: int) -> dict[str, float]:
    """Train a small U-Net on streamed images and return the fraction of the time that it waits for data."""
    import torch

    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.folder import load
    from zoo_core.data.loading import TrainData
    from zoo_core.nn.unet import UNet, UNetConfig

    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = load(FolderConfig(path=root, size=side, storage="streamed"))
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


def decoding(root: str, side: int, count: int, batch: int) -> dict[str, float]:
    """Return how many images a second are decoded with nothing else to do."""
    from zoo_core.data.configs import FolderConfig
    from zoo_core.data.folder import load
    from zoo_core.data.loading import TrainData

    data = load(FolderConfig(path=root, size=side, storage="streamed"))
    stream = TrainData(data.train, data.info, 0)
    stream.next(batch)
    begun = time.perf_counter()
    for _ in range(count):
        stream.next(batch)
    return {"images_per_second": batch * count / (time.perf_counter() - begun)}


def anonymous() -> int:
    """Return the bytes of memory of this process that are not pages of files."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("no RssAnon in /proc/self/status; --memory needs Linux")
    return 1024 * int(found[1])


@contextlib.contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Within the block, look at this process's memory; the record is filled in at its end, in MB."""
    found: dict[str, float] = {"before_mb": anonymous() / 1e6}
    most, done = [anonymous()], threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY):
            most[0] = max(most[0], anonymous())

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield found
    finally:
        done.set()
        watch.join()
        found["peak_anonymous_mb"] = max(most[0], anonymous()) / 1e6
        found["maxrss_mb"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def memory_of_start(root: str, side: int) -> dict[str, float]:
    """Load the folder and return what memory that took."""
    with watched() as found:
        found |= start(root, side)
    return found


def memory_of_training(root: str, side: int, count: int, batch: int) -> dict[str, float]:
    """Train on the folder, and return what memory that took."""
    import zoo_core

    data = {"name": "folder", "path": root, "size": side}
    options = {"train.steps": count, "train.batch_size": batch, "eval.protocol": "none", "track.wandb": "off"}
    with watched() as found:
        begun = time.perf_counter()
        zoo_core.run({"plugin": "ddpm", "preset": "tiny", "data": data, "run_dir": f"{root}-run", **options})
        found["seconds"] = time.perf_counter() - begun
    return found


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


MEASURED: Mapping[str, Callable[[str, int, int, int], dict[str, float]]] = {
    "start": lambda root, side, *_: start(root, side),
    "steps": steps,
    "decoding": decoding,
    "memory-start": lambda root, side, *_: memory_of_start(root, side),
    "memory-training": memory_of_training,
}
TIMES = {"first start": "start", "second start": "start", "steps": "steps", "decoding alone": "decoding"}
MEMORY = {"first start": "memory-start", "training": "memory-training"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", type=int, default=64, help="pixels of an image's side")
    parser.add_argument("--memory", action="store_true", help="measure memory, not time")
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        words = (given.side, given.steps, given.batch)
        print(json.dumps(MEASURED[given.measure](given.root, *words)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root, home = str(Path(folder) / "images"), str(Path(folder) / "home")
        write_images(Path(root), given.images, given.side)
        common = ["--root", root]
        for name in ("side", "steps", "batch"):
            common += [f"--{name}", str(getattr(given, name))]
        parts = MEMORY if given.memory else TIMES
        found = {name: apart(home, "--measure", measure, *common) for name, measure in parts.items()}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for name, values in found.items():
        print(f"{name:15}", ", ".join(f"{key} {value:,.4g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
