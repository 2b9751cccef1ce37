"""One trained denoiser, several guidance scales: distance and class accuracy against the scale.

Run from the checkout, on the folder of a finished run of a diffusion model with data.task=class, or of one
that has a weaker run to guide it (sample.guide=auto):

    python ci/studies/guidance.py runs/emoji/ddpm/0123456789ab-s0

Each of --scales draws --n samples from the run's weights and one noise; they are scored by the run's
extractor and, where there are labels, its classifier. With --interval LOW HIGH the scales are drawn once
more, with guidance at noise levels from LOW to HIGH only. Scale 1 is the model without guidance.

With --select, for a run that was trained with data.validation, the scale is chosen by the distance to the
validation part, of samples with seeds of their own; the choice and the model without guidance are then scored
on noise that no choice has seen, from --fresh other seeds. Scores are in RUN/guidance/guidance.json, the plot
beside it; a study that was stopped goes on where it was. Such a file in place of the run is plotted, and
nothing is sampled:

    python ci/studies/guidance.py results/guidance/emoji-ddpm.json --out docs/assets/guidance-emoji-ddpm.png
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

from zoo_core.diffusion.options import GuidedSampleConfig
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser
from zoo_core.machine.files import write_atomic
from zoo_core.registry.resolution import config_hash
from zoo_core.results import Value
from zoo_core.runs import Run, load, saved_config
from zoo_core.viz.style import make_figure, set_title, styled
from zoo_eval.context import Context
from zoo_eval.metrics.frechet import cell, check_pair
from zoo_eval.metrics.modes import class_accuracy
from zoo_eval.modes import classifier_card
from zoo_eval.pipeline import Setup, prepare
from zoo_eval.sampling import sample, source_of
from zoo_eval.validation import validate

SCALES = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)


Interval = tuple[float, float] | None


def guided(run: Run, scale: float, interval: Interval = None, seed: int | None = None) -> Run:
    """Return the run with other options of guidance, at all noise levels without an interval."""
    sample_options = run.config.sample
    low, high = interval or (0.0, None)
    update = {"guidance_scale": scale, "guidance_low": low, "guidance_high": high}
    update["seed"] = sample_options.seed if seed is None else seed
    config = run.config.model_copy(update={"sample": sample_options.model_copy(update=update)})
    vars(run.recipe).update(config=config)  # the recipe reads the scale where it samples
    return replace(run, config=config)


def measure(run: Run, setup: Setup, n: int) -> dict[str, Any]:
    """Return the scores of n samples."""
    source = source_of(run)
    drawn = sample(source, n)
    ctx = Context(source, setup.protocol, setup.extractor, drawn)
    labeled = run.data.info.task == "class"
    accuracy = next(iter(class_accuracy(ctx).values())) if labeled else None
    return {
        "column": ctx.column("FD"),
        "nfe": drawn.nfe,
        "seconds": round(drawn.seconds, 3),
        "distance": _numbers(cell(*check_pair(ctx.train.main, ctx.generated.main))),
        "accuracy": _numbers(accuracy) if isinstance(accuracy, Value) else None,
    }


def _numbers(value: Value) -> list[float]:
    """Return a value and the ends of its interval, where it has one."""
    ends = value.interval
    return [value.value] if ends is None else [value.value, ends.low, ends.high]


def opened_run(folder: Path) -> Run:
    """Return a trained run with its guide, which a run at scale 1 does not load."""
    config = saved_config(folder)
    sample_options = config.sample.model_copy(update={"guidance_scale": max(SCALES)})
    guided_config = config.model_copy(update={"sample": sample_options})
    return load(folder, config=guided_config if isinstance(config.sample, GuidedSampleConfig) else config)


def opened(run: Run, folder: Path, setup: Setup, n: int) -> dict[str, Any]:
    """Return the record of a study in a folder: what it measured so far, or an empty one.

    Raises:
        UsageError: where the folder has another study.
    """
    path = folder / "guidance.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    card = classifier_card(run.data)
    about = {
        "plugin": run.config.plugin,
        "config_hash": config_hash(run.config),
        "seed": run.config.seed,
        "data": run.config.data.name,
        "guide": run.config.sample.model_dump()["guide"],
        "n": n,
        "protocol": setup.protocol.hash,
        "accuracy_on_real": card and card["test_accuracy"],
    }
    if record and {key: record.get(key) for key in about} != about:
        raise UsageError(f"{path} is of another study", "next: remove it, or --out another folder")
    return {**about, "rows": record.get("rows", []), "fresh": record.get("fresh", [])}


def study(
    run: Run, folder: Path, n: int, settings: Sequence[tuple[float, Interval]], fresh: int
) -> dict[str, Any]:
    """Measure what is not measured yet, write all of it down after each setting, and return it.

    Args:
        run: to sample from.
        folder: of the record.
        n: samples of each setting.
        settings: scale and interval of each.
        fresh: seeds of the final scores; 0 to choose nothing.
    """
    setup = prepare(source_of(run))
    record = opened(run, folder, setup, n)
    for scale, interval in settings:
        about = {"scale": scale, "interval": interval and list(interval)}
        if any({key: row.get(key) for key in about} == about for row in record["rows"]):
            continue
        here = guided(run, scale, interval)
        chosen_by = {"validation": next(iter(validate(here).values()))} if fresh else {}
        record["rows"].append(about | measure(here, setup, n) | chosen_by)
        _write(folder, record)
        print(line_of(record["rows"][-1]), flush=True)
    if fresh and not record["fresh"]:
        record["fresh"] = final_scores(run, setup, record["rows"], n, fresh)
        _write(folder, record)
    return record


def final_scores(
    run: Run, setup: Setup, rows: Sequence[dict[str, Any]], n: int, seeds: int
) -> list[dict[str, Any]]:
    """Return the distances without guidance and of the choice on the validation part, from fresh noises."""
    best = min(rows, key=lambda row: row["validation"])
    scores: list[dict[str, Any]] = []
    plain: dict[str, Any] = {"scale": 1.0, "interval": None}
    for row in (plain, best):
        interval = row["interval"] and tuple(row["interval"])
        drawn = [
            measure(guided(run, row["scale"], interval, run.config.sample.seed + 1 + k), setup, n)
            for k in range(seeds)
        ]
        distances = [one["distance"][0] for one in drawn]
        scores.append({"scale": row["scale"], "interval": row["interval"], "distances": distances})
    return scores


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_atomic(folder / "guidance.json", json.dumps(record, indent=1).encode())


def line_of(row: dict[str, Any]) -> str:
    """Return the scores of one setting as a line."""
    where = "" if row["interval"] is None else " at {:g} to {:g}".format(*row["interval"])
    accuracy = "" if row["accuracy"] is None else f"  accuracy {row['accuracy'][0]:.3f}"
    validation = f"  validation {row['validation']:8.4f}" if "validation" in row else ""
    head = f"scale {row['scale']:<5g}{where} {row['column']} {row['distance'][0]:8.4f}"
    return f"{head}{validation}{accuracy}  {row['nfe']} NFE {row['seconds']:7.1f} s"


def label_of(interval: Sequence[float] | None) -> str:
    """Return the name of a curve."""
    return "all noise levels" if interval is None else "σ from {:g} to {:g}".format(*interval)


@styled
def draw_study(record: dict[str, Any], path: Path) -> None:
    """Plot distance and class accuracy with their 95 % intervals against the scale, a curve an interval."""
    rows = sorted(record["rows"], key=lambda row: row["scale"])
    curves = list(dict.fromkeys(row["interval"] and tuple(row["interval"]) for row in rows))
    panels = {"distance": rows[0]["column"], "accuracy": "class accuracy"}
    shown = [key for key in panels if any(row[key] for row in rows)]
    figure = make_figure(4.0 * len(shown), 3.4)
    for place, key in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), place + 1)
        for number, interval in enumerate(curves):
            known = [r for r in rows if r[key] and (r["interval"] and tuple(r["interval"])) == interval]
            scales, values = [row["scale"] for row in known], [row[key] for row in known]
            style = {"color": f"C{number}", "marker": "os^D"[number % 4], "label": label_of(interval)}
            axes.plot(scales, [value[0] for value in values], markersize=4, **style)
            for scale, value in zip(scales, values, strict=True):
                if len(value) == 3:
                    axes.vlines(scale, value[1], value[2], linewidth=1, color=f"C{number}")
        if key == "accuracy" and record["accuracy_on_real"]:
            label = "classifier on held-out real images"
            axes.axhline(record["accuracy_on_real"], color="black", linestyle=":", label=label)
        if len(curves) > 1 or key == "accuracy":
            axes.legend()
        axes.set(xlabel="guidance scale", ylabel=panels[key])
    kinds = {"free": "classifier-free guidance", "classifier": "guidance by a classifier"}
    kind = kinds.get(record["guide"], "autoguidance")
    title = f"Guidance scale of {record['plugin']} on {record['data']}"
    set_title(figure, title, f"{kind}; {record['n']:,} samples a point, bars: 95 % interval over samples")
    figure.savefig(path)


def main() -> None:
    """Measure, print a table, and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run, or its guidance.json")
    parser.add_argument("--n", type=int, default=1000, help="samples of each setting")
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES, help="guidance scales")
    parser.add_argument("--interval", type=float, nargs=2, help="noise levels that are guided, once more")
    parser.add_argument("--select", action="store_true", help="choose a scale on the validation part")
    parser.add_argument("--fresh", type=int, default=5, help="with --select: seeds of the final scores")
    parser.add_argument(
        "--out", type=Path, help="folder, by default guidance/ in the run's; or the plot of a file"
    )
    given = parser.parse_args()
    if given.run.suffix == ".json":
        draw_study(json.loads(given.run.read_text()), given.out or given.run.with_suffix(".png"))
        return
    start = time.monotonic()
    run = opened_run(given.run)
    options = run.config.sample
    if not (
        isinstance(run.recipe, HasDenoiser)
        and isinstance(options, GuidedSampleConfig)
        and (options.guide == "auto" or run.data.info.task == "class")
    ):
        raise SystemExit(f"{given.run}: needs a diffusion model with data.task=class or sample.guide=auto")
    folder = given.out or given.run / "guidance"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(options.guide == "classifier")  # which takes a gradient
    settings: list[tuple[float, Interval]] = [(scale, None) for scale in given.scales]
    if given.interval:
        low, high = given.interval
        settings += [(scale, (low, high)) for scale in given.scales if scale != 1]
    record = study(run, folder, given.n, settings, given.fresh if given.select else 0)
    for row in record["fresh"]:
        values = ", ".join(f"{value:.4f}" for value in row["distances"])
        print(f"fresh noise: scale {row['scale']:g}, {label_of(row['interval'])}: {values}")
    draw_study(record, folder / "guidance.png")
    print(f"{time.monotonic() - start:.0f} s; {folder / 'guidance.png'}")


if __name__ == "__main__":
    main()
