"""One trained denoiser, all samplers: the Frechet distance against the number of model evaluations (NFE).

Run from the checkout, on the folder of a finished run of a diffusion model:

    python ci/studies/samplers_nfe.py runs/digits/ddpm/0123456789ab-s0

Every registered sampler draws from the run's weights in each of --steps, from one noise, and is scored by the
run's protocol, on --n samples; a sampler that chooses its steps itself is given --tolerances instead. With
--nfe, each sampler takes as many steps as that many model evaluations allow, and a table by NFE is printed:

    python ci/studies/samplers_nfe.py RUN --nfe 3 5 8 12 20 35 50

Scores are in RUN/samplers/samplers.json, the plot beside it; a study that was stopped goes on where it was.
Levels that are fitted to the run have a study of their own, fitted_levels.py.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import zoo_core
from zoo_core.diffusion.sampling import BoundSampler, bind
from zoo_core.errors import MachineError, UsageError
from zoo_core.interfaces import HasDenoiser
from zoo_core.machine.files import write_atomic
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash
from zoo_core.runs import Run
from zoo_core.seeds import Seeds
from zoo_core.testing.samplers import ExactDenoiser
from zoo_core.viz.style import make_figure
from zoo_eval.context import Context, Sampled, sample, source_of
from zoo_eval.metrics.frechet import cell, check_pair, expected_floor
from zoo_eval.pipeline import Setup, prepare

STEPS = (4, 8, 16, 32, 64)
TOLERANCES = (1e-1, 1e-2, 1e-3)


def calls(sampler: BoundSampler, steps: int) -> int:
    """Return the NFE of a sampler in a number of steps."""
    denoise, noise = ExactDenoiser(None), Seeds(0, range(1))
    start = noise.randn((1,)) * denoise.prior_std
    sampler.function(denoise, start, sampler.grid(denoise, steps), noise=noise, **sampler.options)
    return denoise.calls


def affordable(sampler: BoundSampler, budgets: Sequence[int]) -> list[int]:
    """Return the most steps that each NFE allows, where it allows 2 or more."""
    each = (calls(sampler, 8) - calls(sampler, 4)) // 4
    constant = calls(sampler, 4) - 4 * each
    counts = ((budget - constant) // each for budget in budgets)
    return list(dict.fromkeys(count for count in counts if count > 1))


def settings(
    steps: Sequence[int], tolerances: Sequence[float], budgets: Sequence[int] = ()
) -> Iterator[tuple[str, int, BoundSampler]]:
    """Yield (name of the setting, steps, sampler) for all that is to be drawn with.

    Args:
        steps: of each sampler, where there are no budgets.
        tolerances: of the samplers that choose their steps.
        budgets: model evaluations (NFE).
    """
    for entry in manager().entries("sampler"):
        if entry.spec.parts:  # it stands for another library's samplers
            continue
        sampler = bind(entry.spec)
        if "rtol" in sampler.options:
            for tolerance in tolerances:
                options = {**sampler.options, "rtol": tolerance, "atol": tolerance}
                yield f"tolerance {tolerance:g}", sampler.steps, replace(sampler, options=options)
            continue
        counts = affordable(sampler, budgets) if budgets else steps
        yield from ((f"{count} steps", count, sampler) for count in counts)


def measure(run: Run, setup: Setup, steps: int, sampler: BoundSampler, n: int) -> dict[str, Any]:
    """Return the scores of n samples by one sampler from a run's weights."""
    config = run.config.model_copy(update={"sample": run.config.sample.model_copy(update={"steps": steps})})
    source = source_of(replace(run, sampler=sampler, config=config))
    drawn = sample(source, n)
    ctx = Context(source, setup.protocol, setup.extractor, drawn)
    found = cell(*check_pair(ctx.train.values, ctx.generated.values))
    return {
        "calls": drawn.nfe,
        "seconds": round(drawn.seconds, 3),
        "column": ctx.column("FD"),
        "value": found.value,
        "low": found.interval and found.interval.low,
        "high": found.interval and found.interval.high,
    }


def study(
    run: Run,
    folder: Path,
    n: int,
    steps: Sequence[int],
    tolerances: Sequence[float],
    budgets: Sequence[int] = (),
) -> dict[str, Any]:
    """Measure what is not measured yet, write all of it down after each figure, and return it."""
    path = folder / "samplers.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    setup = prepare(source_of(run))
    about = {
        "plugin": run.config.plugin,
        "config_hash": config_hash(run.config),
        "seed": run.config.seed,
        "data": run.config.data.name,
        "n": n,
        "protocol": setup.protocol.hash,
    }
    if record and {key: record.get(key) for key in about} != about:
        raise UsageError(f"{path} is of another study", "next: remove it, or --out another folder")
    ctx = Context(source_of(run), setup.protocol, setup.extractor, Sampled(torch.empty(0), None, 0, 0.0, 0.0))
    floor = expected_floor(ctx.train.values, ctx.test.values, n)
    record = {**about, "floor": floor.value, "rows": record.get("rows", [])}
    done = {(row["sampler"], row["setting"]) for row in record["rows"]}
    for setting, count, sampler in settings(steps, tolerances, budgets):
        if (sampler.name, setting) in done:
            continue
        try:
            found = measure(run, setup, count, sampler, n)
        except (UsageError, MachineError) as error:
            found = {"absent": error.what}
        record["rows"].append({"sampler": sampler.name, "setting": setting, **found})
        write_atomic(path, json.dumps(record, indent=1).encode())
        print(line_of(record["rows"][-1]), flush=True)
    return record


def line_of(row: dict[str, Any]) -> str:
    """Return one figure as a line."""
    head = f"{row['sampler']:<20} {row['setting']:<16}"
    if "absent" in row:
        return f"{head} n/a: {row['absent']}"
    return f"{head} NFE {row['calls']:>5} {row['column']} {row['value']:8.3f} {row['seconds']:7.1f} s"


def table_by_calls(record: dict[str, Any]) -> str:
    """Return a line for each sampler: the distance at each NFE."""
    rows = [row for row in record["rows"] if "absent" not in row]
    lines = []
    for name in dict.fromkeys(row["sampler"] for row in rows):
        own = sorted((row["calls"], row["value"]) for row in rows if row["sampler"] == name)
        lines.append(f"{name:<24}" + "  ".join(f"{cost}: {value:.3f}" for cost, value in own))
    return "\n".join(lines)


def draw_study(record: dict[str, Any], path: Path) -> None:
    """Draw a line for each sampler, the lowest named first."""
    rows = [row for row in record["rows"] if "absent" not in row]
    names = sorted(
        {row["sampler"] for row in rows},
        key=lambda name: min(row["value"] for row in rows if row["sampler"] == name),
    )
    figure = make_figure(8.6, 5.2)
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        own = sorted((row for row in rows if row["sampler"] == name), key=lambda row: row["calls"])
        style = {
            "color": f"C{place % 10}",
            "marker": "os^Dv"[place % 5],
            "linestyle": "-" if place < 10 else "--",
        }
        axes.plot([r["calls"] for r in own], [r["value"] for r in own], markersize=4, label=name, **style)
    axes.axhline(record["floor"], color="black", linewidth=0.8, linestyle=":", label="as many real examples")
    axes.set(xscale="log", yscale="log", xlabel="NFE per sample", ylabel=rows[0]["column"])
    ticks = sorted({2**k for k in range(2, 12) if 2**k <= 1.1 * max(row["calls"] for row in rows)})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    bottom, top = axes.get_ylim()
    heights = [c * 10**k for k in range(-3, 4) for c in (1, 2, 5) if bottom < c * 10**k < top]
    axes.set_yticks(heights, [f"{height:g}" for height in heights])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    axes.set_title(f"{record['plugin']} on {record['data']}: {record['n']:,} samples a point", fontsize=10)
    figure.savefig(path)


def main() -> None:
    """Measure, print a table, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--n", type=int, default=1000, help="samples of each figure")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of the samplers that take steps")
    parser.add_argument("--tolerances", type=float, nargs="+", default=TOLERANCES, help="of those that don't")
    parser.add_argument("--nfe", type=int, nargs="+", default=(), help="NFE, in place of --steps")
    parser.add_argument("--out", type=Path, help="folder; by default samplers/ in the run's")
    given = parser.parse_args()
    start = time.monotonic()
    run = zoo_core.load(given.run)
    if not isinstance(run.recipe, HasDenoiser):
        raise SystemExit(
            f"{given.run}: plugin {run.config.plugin!r} has no denoiser that samplers could drive"
        )
    folder = given.out or given.run / "samplers"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)
    record = study(run, folder, given.n, given.steps, given.tolerances, given.nfe)
    if given.nfe:
        print(table_by_calls(record))
    draw_study(record, folder / "samplers.png")
    print(f"floor {record['floor']:.3f}; {time.monotonic() - start:.0f} s; {folder / 'samplers.png'}")


if __name__ == "__main__":
    main()
