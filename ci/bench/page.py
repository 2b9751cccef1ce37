"""How long the leaderboard's page takes to open: 10,000 entries, from disk, in a real Chromium.

    python ci/bench/page.py [--rows 10000] [--rounds 5]

Every entry has its config, provenance and three curves of 50 points. Printed: the size of the page, and the
seconds from the navigation to the first row that can be pressed, of each round and their median.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from zoo_eval.page import write_page
from zoo_eval.protocol import fields_hash
from zoo_eval.results import Stored

COLUMNS = {"FD": "lower", "KD": "lower", "precision": "higher", "recall": "higher", "density": "higher"}
FIELDS = {"name": "quick", "version": 1, "data": "digits", "n_generated": 2000, "n_reference": 1437}


def entry(k: int, rng: random.Random) -> dict[str, Any]:
    """Return a result with figures at random."""
    return {
        "schema": 1,
        "plugin": f"model-{k % 800}",
        "family": rng.choice(["gan", "vae", "diffusion", "score"]),
        "data": "digits",
        "seed": 0,
        "config_hash": f"{rng.getrandbits(48):012x}",
        "protocol": {"name": "quick", "version": 1, "hash": fields_hash(FIELDS), "fields": FIELDS},
        "metrics": {
            f"{name}[digits]": {"value": rng.random(), "better": better} for name, better in COLUMNS.items()
        },
        "likelihood": [{"name": "elbo", "bits_per_dim": rng.uniform(1, 4), "bound": True}],
        "memorisation": {"memorises": False},
        "floor": {"value": 0.01},
        "cost": {
            "train_seconds": rng.lognormvariate(5, 2),
            "images_seen": rng.randrange(10**7),
            "parameters": rng.randrange(10**8),
            "nfe": rng.choice([1, 10, 50, 1000]),
        },
        "provenance": {"versions": {f"package-{i}": f"1.{i}" for i in range(10)}, "command": ["zoo", "run"]},
        "config": {"model": {f"option_{i}": i for i in range(40)}},
        "curves": {f"loss-{i}": [[step, rng.random()] for step in range(50)] for i in range(3)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    rng = random.Random(0)
    program = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as room, sync_playwright() as driver:
        found = [Stored(Path(room) / f"{k}.json", entry(k, rng)) for k in range(asked.rows)]
        began = time.perf_counter()
        page = write_page(found, Path(room) / "page")
        print(f"{asked.rows:,} entries, {page.stat().st_size / 1e6:.1f} MB, written in "
              f"{time.perf_counter() - began:.1f} s")  # fmt: skip
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        times = []
        for _ in range(asked.rounds):
            view = browser.new_page()
            began = time.perf_counter()
            view.goto(page.as_uri())
            view.wait_for_selector("#rows .open")
            times.append(time.perf_counter() - began)
            view.close()
        browser.close()
    print(f"open: median {statistics.median(times):.2f} s of {', '.join(f'{t:.2f}' for t in times)}")


if __name__ == "__main__":
    main()
