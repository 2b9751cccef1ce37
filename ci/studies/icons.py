"""Every model on synthetic color icons at 32x32, at full batch: does training stay finite?

Run from the checkout:

    python ci/studies/icons.py --out runs/icons [--steps 4000] [--models vae iddpm] [--device cuda]

The icons are those of tests/families/icons.py, about 1,700 for training. Each model trains with its defaults:
batch size, network, optimizer and losses. The table, OUT/icons.md, has a row for each model: steps done,
first and last losses, seconds, and where it diverged, if it did. A study that was stopped goes on with the
models that OUT/icons.json does not have yet. `style-transfer` is not run without its encoder's weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from zoo_core.data.loading import Dataset
from zoo_core.errors import DivergedError, ZooError
from zoo_core.machine.files import write_atomic
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import build
from zoo_core.training.harness import Listener

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from families.icons import icons  # type: ignore[import-not-found]  # mypy's path has no tests


def train(name: str, data: Dataset, steps: int, device: str) -> dict[str, Any]:
    """Return the row of one model: its losses, seconds, and what ended it."""
    losses: list[dict[str, float]] = []

    def log(step: int, values: Any) -> None:
        losses.append({key: values[key] for key in values if key.endswith("/loss")})

    asked = {"plugin": name, "data": "folder", "data.path": ".", "data.size": 32, "device": device}
    begun, done, ended = time.perf_counter(), 0, "finished"
    try:
        config = resolve({**asked, "train.steps": steps, "train.log_every": max(1, steps // 80)})
        run = build(config, data, Path(), manager(), say=print, warn=print)
    except ZooError as error:
        return {"model": name, "steps": 0, "seconds": 0.0, "ended": f"not run: {error.what}"}
    run.harness.listener = Listener(log=log)
    try:
        run.harness.run()
        run.harness.checkpoint()
        run.sample(16)
    except DivergedError as error:
        ended = error.what
    done = run.harness.counts.total
    return {
        "model": name,
        "batch": config.train.batch_size,
        "steps": done,
        "first": losses[0] if losses else {},
        "last": losses[-1] if losses else {},
        "seconds": round(time.perf_counter() - begun, 1),
        "ended": ended,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""

    def shown(losses: dict[str, float]) -> str:
        return ", ".join(f"{key.removesuffix('/loss')} {value:.4g}" for key, value in losses.items())

    lines = ["| model | batch | steps | first losses | last losses | seconds | ended |", "|" + " --- |" * 7]
    for row in rows:
        losses = (shown(row.get("first", {})), shown(row.get("last", {})))
        cells = (row["model"], row.get("batch", ""), row["steps"], *losses, row["seconds"], row["ended"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    families = {entry.spec.name: entry.spec.family for entry in manager().entries("plugin")}
    parser = argparse.ArgumentParser(description="Train every model on synthetic color icons.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--images", type=int, default=1900)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", nargs="*", default=[n for n, f in families.items() if f != "baseline"])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    record = asked.out / "icons.json"
    rows = json.loads(record.read_text()) if record.exists() else []
    data = icons(asked.images)
    for name in asked.models:
        if any(row["model"] == name for row in rows):
            continue
        rows.append(train(name, data, asked.steps, asked.device))
        write_atomic(record, json.dumps(rows, indent=1).encode())
        write_atomic(asked.out / "icons.md", table(rows).encode())
        print(table(rows[-1:]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
