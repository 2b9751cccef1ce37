"""Every trainable model on one device: trained, resumed from half way, sampled from and scored.

    python ci/gpu/models.py [--device cuda] [--slots 14] [--plugins vae,gan] [--data emoji]

Prints {"models": {name: {"passed", "seconds", "fault"}}} of each model as it ends; the presets `tiny`, on the
32x32 color emoji. --smoke examines one model, on the digits.
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
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

LIMIT, SMOKE_LIMIT = 220.0, 3600.0
"""Seconds of one model: less than those of a part, and many where nothing is measured."""
OPTIONS: dict[str, Any] = {
    "preset": "tiny",
    "train.steps": 12,
    "train.checkpoint_every": 6,
    "train.sample_every": 6,
    "sample.steps": 2,
    "eval.likelihood_n": 16,
    "eval.baselines": False,
    "track.wandb": "off",
}


def examine(plugin: str, device: str, data: str) -> None:
    """Train, score, resume and draw one model; raise where any of it fails."""
    import zoo_core

    made = zoo_core.run(plugin=plugin, device=device, **_fitting(plugin, data))
    folder = Path(made.run_dir)
    for late in folder.glob("checkpoints/step-0*12"):  # as if it had been killed half way
        shutil.rmtree(late)
    (folder / "result.json").unlink()
    resumed = zoo_core.resume(folder)
    images = zoo_core.load(resumed.run_dir).sample(8)
    assert len(images) == 8
    assert images.isfinite().all()


def _fitting(plugin: str, data: str) -> dict[str, Any]:
    """Return the options; without sampler steps for a model that has no sampler."""
    options = {"data": data, **OPTIONS}
    from zoo_core.errors import ZooError
    from zoo_core.registry.resolution import resolve

    try:
        resolve({"plugin": plugin, **options})
    except ZooError:
        return {name: value for name, value in options.items() if name != "sample.steps"}
    return options


def outcome(plugin: str, device: str, data: str, home: Path, limit: float) -> dict[str, Any]:
    """Return what became of one model, examined in a process of its own."""
    start = time.perf_counter()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ZOO_HOME": str(home)}
    words = [sys.executable, __file__, "--device", device, "--data", data, "--examine", plugin]
    try:
        done = subprocess.run(words, env=env, cwd=home, capture_output=True, text=True, timeout=limit)
        fault = "\n".join(done.stderr.strip().splitlines()[-4:]) if done.returncode else ""
    except subprocess.TimeoutExpired:
        fault = f"took over {limit:g} s"
    found: dict[str, Any] = {"passed": not fault, "seconds": round(time.perf_counter() - start, 1)}
    print(f"{plugin}: {fault or found['seconds']}", file=sys.stderr, flush=True)
    return found | ({"fault": fault} if fault else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--slots", type=int, default=min(14, os.cpu_count() or 1))
    parser.add_argument("--plugins", default="")
    parser.add_argument("--data", default="emoji")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--examine", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.examine:
        examine(args.examine, args.device, args.data)
        return
    from zoo_core.launch.suite import fitting

    data, limit = ("digits", SMOKE_LIMIT) if args.smoke else (args.data, LIMIT)
    chosen = args.plugins.split(",") if args.plugins else ["vae"] if args.smoke else fitting(data)
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(args.slots) as pool:
        work = {pool.submit(outcome, name, args.device, data, Path(home), limit): name for name in chosen}
        for done in as_completed(work):
            print(json.dumps({"models": {work[done]: done.result()}}), flush=True)


if __name__ == "__main__":
    main()
