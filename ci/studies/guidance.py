"""One trained conditional denoiser, several guidance scales: distance and class accuracy against the scale.

Run from the checkout, on the folder of a finished run of a diffusion model with data.task=class:

    python ci/studies/guidance.py runs/emoji/ddpm/0123456789ab-s0

Each of --scales draws --n samples from the run's weights and one noise; they are scored by the run's
extractor and classifier. Scores are in RUN/guidance/guidance.json, the plot beside it; a study that was
stopped goes on where it was. Scale 1 is the conditional model without guidance.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import zoo_core
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser
from zoo_core.machine.files import write_atomic
from zoo_core.registry.resolution import config_hash
from zoo_core.results import Value
from zoo_core.runs import Run
from zoo_core.viz.style import make_figure, styled
from zoo_eval.context import Context, sample, source_of
from zoo_eval.metrics.frechet import cell, check_pair
from zoo_eval.metrics.modes import class_accuracy
from zoo_eval.modes import classifier_card
from zoo_eval.pipeline import Setup, prepare

SCALES = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)


def measure(run: Run, setup: Setup, scale: float, n: int) -> dict[str, Any]:
    """Return the scores of n samples at one guidance scale."""
    guided = run.config.sample.model_copy(update={"guidance_scale": scale})
    config = run.config.model_copy(update={"sample": guided})
    run.recipe.config = config  # the recipe reads the scale where it samples
    source = source_of(replace(run, config=config))
    drawn = sample(source, n)
    ctx = Context(source, setup.protocol, setup.extractor, drawn)
    distance = cell(*check_pair(ctx.train.main, ctx.generated.main))
    accuracy = next(iter(class_accuracy(ctx).values()))
    return {
        "scale": scale,
        "column": ctx.column("FD"),
        "nfe": drawn.nfe,
        "seconds": round(drawn.seconds, 3),
        "distance": _numbers(distance),
        "accuracy": _numbers(accuracy) if isinstance(accuracy, Value) else None,
    }


def _numbers(value: Value) -> list[float]:
    """Return a value and the ends of its interval, where it has one."""
    ends = value.interval
    return [value.value] if ends is None else [value.value, ends.low, ends.high]


def study(run: Run, folder: Path, n: int, scales: Sequence[float]) -> dict[str, Any]:
    """Measure what is not measured yet, write all of it down after each scale, and return it."""
    path = folder / "guidance.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    setup = prepare(source_of(run))
    card = classifier_card(run.data)
    about = {
        "plugin": run.config.plugin,
        "config_hash": config_hash(run.config),
        "seed": run.config.seed,
        "data": run.config.data.name,
        "guide": run.config.sample.guide,
        "n": n,
        "protocol": setup.protocol.hash,
        "accuracy_on_real": card and card["test_accuracy"],
    }
    if record and {key: record.get(key) for key in about} != about:
        raise UsageError(f"{path} is of another study", "next: remove it, or --out another folder")
    record = {**about, "rows": record.get("rows", [])}
    for scale in scales:
        if any(row["scale"] == scale for row in record["rows"]):
            continue
        record["rows"].append(measure(run, setup, scale, n))
        write_atomic(path, json.dumps(record, indent=1).encode())
        print(line_of(record["rows"][-1]), flush=True)
    return record


def line_of(row: dict[str, Any]) -> str:
    """Return the scores at one scale as a line."""
    accuracy = "n/a" if row["accuracy"] is None else f"{row['accuracy'][0]:.3f}"
    head = f"scale {row['scale']:<5g} {row['column']} {row['distance'][0]:8.4f}  accuracy {accuracy}"
    return f"{head}  {row['nfe']} NFE {row['seconds']:7.1f} s"


@styled
def draw_study(record: dict[str, Any], path: Path) -> None:
    """Plot distance and class accuracy, each with its 95 % interval, against the scale."""
    rows = sorted(record["rows"], key=lambda row: row["scale"])
    figure = make_figure(8.0, 3.2)
    for place, (key, title) in enumerate((("distance", rows[0]["column"]), ("accuracy", "class accuracy"))):
        axes = figure.add_subplot(1, 2, place + 1)
        known = [row for row in rows if row[key]]
        values = [row[key] for row in known]
        axes.plot([row["scale"] for row in known], [value[0] for value in values], "o-", markersize=4)
        for row, value in zip(known, values, strict=True):
            if len(value) == 3:
                axes.vlines(row["scale"], value[1], value[2], linewidth=1)
        if key == "accuracy" and record["accuracy_on_real"]:
            label = "classifier on held-out real images"
            axes.axhline(record["accuracy_on_real"], color="black", linestyle=":", label=label)
            axes.legend()
        axes.set(xlabel="guidance scale", ylabel=title)
    kinds = {"free": "classifier-free guidance", "classifier": "guidance by a classifier"}
    kind = kinds.get(record["guide"], "autoguidance")
    figure.suptitle(f"{record['plugin']} on {record['data']}, {kind}: {record['n']:,} samples a point")
    figure.savefig(path)


def main() -> None:
    """Measure, print a table, and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--n", type=int, default=1000, help="samples at each scale")
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES, help="guidance scales")
    parser.add_argument("--out", type=Path, help="folder; by default guidance/ in the run's")
    given = parser.parse_args()
    start = time.monotonic()
    run = zoo_core.load(given.run)
    if not isinstance(run.recipe, HasDenoiser) or run.data.info.task != "class":
        raise SystemExit(f"{given.run}: needs a diffusion model that was trained with data.task=class")
    folder = given.out or given.run / "guidance"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(run.config.sample.guide == "classifier")  # which takes a gradient
    record = study(run, folder, given.n, given.scales)
    draw_study(record, folder / "guidance.png")
    print(f"{time.monotonic() - start:.0f} s; {folder / 'guidance.png'}")


if __name__ == "__main__":
    main()
