"""Time and memory of `zoo leaderboard` over many result files, and how they grow.

    python ci/bench/board.py [--files 10000 100000] [--rounds 3]

Each file has about 7 kB, with its options and provenance; a configuration has 5 seeds in folders as runs leave them.
Files are read once before they are timed, so that they are cached. Printed for each number of files: seconds of wall
clock and of processor, peak memory, of each round; and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo_core.results import Result
from zoo_core.results.result import fields_hash

SEEDS = 5
COLUMNS = {
    "FD": (0.3, 30.0), "FD-inf": (0.2, 29.0), "sFD": (0.3, 30.0), "KD": (0.01, 1.0), "IS": (1.0, 9.0),
    "precision": (0.1, 0.9), "recall": (0.1, 0.9), "density": (0.1, 1.2), "coverage": (0.1, 0.9),
}  # fmt: skip


def digest(*parts: object) -> str:
    """Return a sha256 that depends on the parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def fields() -> dict[str, Any]:
    """Return the fields of the one protocol."""
    return {
        "name": "quick", "version": 1, "n_generated": 2000, "data": "digits", "data_sha256": digest("digits"),
        "n_reference": 1437, "extractor": "digits", "extractor_sha256": digest("extractor"), "metrics_version": 3,
    }  # fmt: skip


def make(config: int, seed: int, rng: random.Random) -> Result:
    """Return a valid result with random values."""
    how = fields()
    metrics: dict[str, Any] = {"noise floor[FD[digits]]": {"value": 0.05}}
    for base, (low, high) in COLUMNS.items():
        value = low + (high - low) * (config % 997) / 997 * rng.uniform(0.9, 1.1)
        ends = {"low": value * 0.95, "high": value * 1.05}
        metrics[f"{base}[digits]"] = {"value": min(value, high), "interval": ends, "n": 2000}
    metrics["bits_per_dim[elbo]"] = {"value": rng.uniform(1, 4), "standard_error": 0.01, "bound": "upper"}
    metrics["memorization[pixels]"] = {"value": rng.uniform(-0.02, 0.02), "n": 2000}
    made = Result.model_validate(
        {
            "plugin": f"model-{config % 800}",
            "family": ("gan", "vae", "diffusion", "score")[config % 4],
            "seed": seed,
            "config_hash": digest(config)[:12],
            "config": {f"model.option_{i}": i + config % 7 / 8 for i in range(64)},
            "data": {"name": "digits", "sha256": how["data_sha256"]},
            "protocol": {"name": "quick", "version": 1, "hash": fields_hash(how), "fields": how},
            "metrics": metrics,
            "cost": {
                "train_seconds": rng.lognormvariate(5, 2), "images_seen": float(rng.randrange(10**7)),
                "parameters": rng.randrange(10**8), "nfe": float(rng.choice([1, 10, 50, 1000])),
            },
            "provenance": {
                "versions": {f"package-{i}": f"1.{i}" for i in range(12)},
                "command": ["zoo", "run", f"plugin=model-{config % 800}", f"seed={seed}"],
            },
            "samples_sha256": digest(config, seed, "samples"),
            "weights_sha256": digest(config, seed, "weights"),
        }
    )  # fmt: skip
    return made.model_copy(update={"content_sha256": made.content_hash()})


def results(count: int, rng: random.Random) -> Iterator[Result]:
    """Yield results, `SEEDS` of each configuration."""
    for k in range(count):
        yield make(k // SEEDS, k % SEEDS, rng)


def write_all(root: Path, count: int) -> int:
    """Write the files and return their mean size in bytes."""
    total = 0
    for result in results(count, random.Random(0)):
        folder = root / "digits" / result.plugin / f"{result.config_hash}-s{result.seed}"
        folder.mkdir(parents=True)
        text = result.text()
        total += (folder / "result.json").write_bytes(text)
    return total // count


def run(root: Path) -> tuple[float, float, float]:
    """Return wall seconds, processor seconds and peak megabytes of one `zoo leaderboard`, on one core."""
    command = [sys.executable, "-m", "zoo_core.cli", "leaderboard", str(root)]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=_one_core)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"zoo leaderboard failed with status {status}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    medians = []
    for count in asked.files:
        with tempfile.TemporaryDirectory() as folder:
            size = write_all(Path(folder), count)
            run(Path(folder))
            rounds = [run(Path(folder)) for _ in range(asked.rounds)]
        medians.append(statistics.median(wall for wall, *_ in rounds))
        shown = "; ".join(f"{wall:.2f} s ({cpu:.2f} s of processor, {mb:.0f} MB)" for wall, cpu, mb in rounds)
        print(f"{count:,} files of {size:,} bytes: {shown}", flush=True)
    if len(medians) > 1:
        ratio = medians[-1] / medians[0]
        print(f"growth from {asked.files[0]:,} to {asked.files[-1]:,}: {ratio:.1f} times")


if __name__ == "__main__":
    main()
