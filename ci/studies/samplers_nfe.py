"""One trained denoiser, all samplers: the Frechet distance against the NFE of a sample.

Run from the checkout, on the folder of a finished run of a diffusion model:

    python ci/studies/samplers_nfe.py runs/digits/ddpm/0123456789ab-s0

Every registered sampler draws from the run's weights in each of --steps, from one noise, and is scored by the
run's protocol, on --n samples; a sampler that chooses its steps itself is given --tolerances instead. With
--nfe, each sampler takes as many steps as that many model evaluations allow, and a table by NFE is printed:

    python ci/studies/samplers_nfe.py RUN --nfe 3 5 8 12 20 35 50

Scores are in RUN/samplers/samplers.json, the plot beside it; a study that was stopped goes on where it was.
Such a file in place of the run is plotted, and nothing is sampled:

    python ci/studies/samplers_nfe.py results/samplers/digits-vp-sde.json --out docs/assets/samplers-nfe.png

Levels that are fitted to the run have a study of their own, fitted_levels.py.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
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
from zoo_core.viz.style import COLORS, GRAY, INK, MARKERS, SMALL, make_figure, set_title, styled
from zoo_eval.context import Context
from zoo_eval.metrics.frechet import cell, check_pair, expected_floor
from zoo_eval.pipeline import Setup, prepare
from zoo_eval.sampling import Sampled, sample, source_of

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


def measure(run: Run, setup: Setup, steps: int, sampler: BoundSampler | None, n: int) -> dict[str, Any]:
    """Return the scores of n samples from a run's weights, by a sampler or the model's own."""
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


def curves_of(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each curve by NFE, the curve that ends highest first.

    Samplers that have the same scores everywhere share a curve, whose name has all of theirs.
    """
    own: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["calls"]):
        own.setdefault(row["sampler"], []).append(row)
    same: dict[tuple[tuple[int, float], ...], list[str]] = {}
    for name in sorted(own):
        same.setdefault(tuple((row["calls"], row["value"]) for row in own[name]), []).append(name)
    ordered = sorted(same, key=lambda scores: scores[-1][1], reverse=True)
    return {" = ".join(same[scores]): own[same[scores][0]] for scores in ordered}


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return ascending places that are at least `gap` apart, each group of them about the mean of its own."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _ends(groups[-1], gap)[0] < _ends(groups[-2], gap)[1] + gap:
            groups[-2:] = [[*groups[-2], *groups[-1]]]
    return [_ends(group, gap)[0] + k * gap for group in groups for k in range(len(group))]


def _ends(group: Sequence[float], gap: float) -> tuple[float, float]:
    center, half = sum(group) / len(group), gap * (len(group) - 1) / 2
    return center - half, center + half


@styled
def draw_study(record: dict[str, Any], path: Path) -> None:
    """Plot distance against NFE with 95 % intervals, deterministic samplers beside those that add noise."""
    rows = [row for row in record["rows"] if "absent" not in row]
    noisy = {
        name: bind(manager().find("sampler", name).spec).uses_score for name in {r["sampler"] for r in rows}
    }
    figure = make_figure(10.4, 5.0)
    left = figure.add_subplot(1, 2, 1, title="deterministic", ylabel=rows[0]["column"])
    right = figure.add_subplot(1, 2, 2, title="adding noise", sharex=left, sharey=left)
    panels = [
        (left, curves_of(row for row in rows if not noisy[row["sampler"]])),
        (right, curves_of(row for row in rows if noisy[row["sampler"]])),
    ]
    for axes, curves in panels:
        axes.set(xscale="log", yscale="log", xlabel="NFE per sample")
        axes.axhline(record["floor"], color=INK, linewidth=1, linestyle=":")
        for number, own in enumerate(curves.values()):
            _draw_curve(axes, own, _look(number))
    ticks = [2**k for k in range(2, 12) if 2**k <= 1.1 * max(row["calls"] for row in rows)]
    left.set_xticks(ticks, [str(tick) for tick in ticks])
    bottom, top = left.get_ylim()
    heights = [c * 10**k for k in range(-3, 4) for c in (1, 2, 5) if bottom < c * 10**k < top]
    left.set_yticks(heights, [f"{height:g}" for height in heights])
    where = {"xycoords": left.get_yaxis_transform(), "textcoords": "offset points"}
    note = "noise floor: as many real images"
    left.annotate(note, (0.02, record["floor"]), (0, 3), fontsize=SMALL, color=GRAY, **where)
    for axes, curves in panels:  # once the limits stand
        axes.minorticks_off()
        _label_ends(axes, curves)
    set_title(
        figure,
        f"Samplers of one trained {record['plugin']} on {record['data']}: quality against cost",
        f"{rows[0]['column']}, lower is better; {record['n']:,} samples a point from one noise, "
        "shaded: 95 % interval over samples",
    )
    figure.savefig(path)


def _look(number: int) -> dict[str, Any]:
    """Return color and marker of a curve."""
    colors = (*COLORS, GRAY)
    return {"color": colors[number % len(colors)], "marker": MARKERS[number % len(MARKERS)]}


def _draw_curve(axes: Any, rows: Sequence[dict[str, Any]], look: dict[str, Any]) -> None:
    nfe = [row["calls"] for row in rows]
    axes.plot(nfe, [row["value"] for row in rows], markersize=4, **look)
    known = [row for row in rows if row["low"] is not None]
    ends = [row["low"] for row in known], [row["high"] for row in known]
    axes.fill_between([r["calls"] for r in known], *ends, color=look["color"], alpha=0.13, linewidth=0)


def _label_ends(axes: Any, curves: dict[str, list[dict[str, Any]]]) -> None:
    """Write each curve's name at the right edge, in its color, with a thin line to the curve's end."""
    bottom, top = (math.log(limit) for limit in axes.get_ylim())
    heights = [(math.log(rows[-1]["value"]) - bottom) / (top - bottom) for rows in curves.values()]
    free = [1 - height for height in spread([1 - height for height in heights], 0.042)]
    for number, ((name, rows), height) in enumerate(zip(curves.items(), free, strict=True)):
        look = _look(number)
        arrow = {"arrowstyle": "-", "color": look["color"], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            name,
            (rows[-1]["calls"], rows[-1]["value"]),
            (1.03, height),
            textcoords="axes fraction",
            arrowprops={**arrow, "relpos": (0, 0.5)},
            color=look["color"],
            fontsize=SMALL,
            va="center",
            annotation_clip=False,
        )


def main() -> None:
    """Measure, print a table, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run, or its samplers.json")
    parser.add_argument("--n", type=int, default=1000, help="samples of each score")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of the samplers that take steps")
    parser.add_argument("--tolerances", type=float, nargs="+", default=TOLERANCES, help="of those that don't")
    parser.add_argument("--nfe", type=int, nargs="+", default=(), help="NFE, in place of --steps")
    parser.add_argument(
        "--out", type=Path, help="folder, by default samplers/ in the run's; or the plot of a file"
    )
    given = parser.parse_args()
    if given.run.suffix == ".json":
        draw_study(json.loads(given.run.read_text()), given.out or given.run.with_suffix(".png"))
        return
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
