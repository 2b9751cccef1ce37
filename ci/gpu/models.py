"""Every trainable model on one device: trained, resumed from half way, sampled from and scored.

    python ci/gpu/models.py [--device cuda] [--slots 14] [--plugins vae,gan]

Prints {"models": {name: {"passed", "seconds", "fault"}}}; the presets `tiny`, on the 32x32 color emoji.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

OPTIONS = {
    "data": "emoji",
    "preset": "tiny",
    "train.steps": 12,
    "train.checkpoint_every": 6,
    "train.sample_every": 6,
    "sample.steps": 2,
    "eval.likelihood_n": 16,
    "eval.baselines": False,
    "track.wandb": "off",
}


def examine(plugin: str, device: str) -> None:
    """Train, score, resume and draw one model; raise where any of it fails."""
    import zoo_core

    made = zoo_core.run(plugin=plugin, device=device, **_fitting(plugin))
    folder = Path(made.run_dir)
    for late in folder.glob("checkpoints/step-0*12"):  # as if it had been killed half way
        shutil.rmtree(late)
    (folder / "result.json").unlink()
    resumed = zoo_core.resume(folder)
    images = zoo_core.load(resumed.run_dir).sample(8)
    assert len(images) == 8
    assert images.isfinite().all()


def _fitting(plugin: str) -> dict[str, Any]:
    """Return the options; without sampler steps for a model that has no sampler."""
    from zoo_core.errors import ZooError
    from zoo_core.registry.resolution import resolve

    try:
        resolve({"plugin": plugin, **OPTIONS})
    except ZooError:
        return {name: value for name, value in OPTIONS.items() if name != "sample.steps"}
    return dict(OPTIONS)


def outcome(plugin: str, device: str, home: Path) -> dict[str, Any]:
    """Return what became of one model, examined in a process of its own."""
    start = time.perf_counter()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ZOO_HOME": str(home)}
    words = [sys.executable, __file__, "--device", device, "--examine", plugin]
    try:
        done = subprocess.run(words, env=env, cwd=home, capture_output=True, text=True, timeout=220)
        fault = "\n".join(done.stderr.strip().splitlines()[-4:]) if done.returncode else ""
    except subprocess.TimeoutExpired:
        fault = "took over 220 s"
    found: dict[str, Any] = {"passed": not fault, "seconds": round(time.perf_counter() - start, 1)}
    print(f"{plugin}: {fault or found['seconds']}", file=sys.stderr, flush=True)
    return found | ({"fault": fault} if fault else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--slots", type=int, default=min(14, os.cpu_count() or 1))
    parser.add_argument("--plugins", default="")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--examine", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.examine:
        examine(args.examine, args.device)
        return
    from zoo_core.launch.suite import fitting

    plugins = args.plugins.split(",") if args.plugins else fitting("emoji")
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(args.slots) as pool:
        chosen = plugins[:1] if args.smoke else plugins
        found = pool.map(lambda plugin: outcome(plugin, args.device, Path(home)), chosen)
        print(json.dumps({"models": dict(zip(chosen, found, strict=True))}))


if __name__ == "__main__":
    main()
