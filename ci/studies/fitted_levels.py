"""One trained denoiser and sampler: the levels of Karras et al. against levels that are fitted to the model.

Run from the checkout, on the folder of a finished run of a diffusion model or the address of trained weights:

    python ci/studies/fitted_levels.py zoo://digits/vp-sde --sampler dpmpp-2m

For each of --nfe, levels are fitted once (sampler.grid=optimized), from noise that is used for nothing else.
Then both grids draw --n samples from each of --seeds other noises, which are scored by the run's protocol. A
pair shares its noise, so the test is Student's of the differences of log FD, with Holm's correction over
the values of --nfe. Scores are in OUT/fitted.json; a study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from samplers_nfe import affordable, calls
from scipy.stats import ttest_rel

import zoo_core
from zoo_core.diffusion.grids import karras
from zoo_core.diffusion.sampling import BoundSampler, bind
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser
from zoo_core.machine.files import write_atomic
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash
from zoo_core.runs import Run
from zoo_core.runs.fitted import fitted
from zoo_eval.context import Context
from zoo_eval.metrics.frechet import check_pair, frechet_distance
from zoo_eval.pipeline import Setup, prepare
from zoo_eval.sampling import sample, source_of

NFE = (3, 5, 8, 12, 20, 35, 50)
DETERMINISTIC = ("euler", "heun", "dpmpp-2m", "dpmpp-3m", "unipc")


def with_steps(run: Run, steps: int, seed: int) -> Run:
    """Return the run with other options of sampling."""
    options = run.config.sample.model_copy(update={"steps": steps, "seed": seed})
    return replace(run, config=run.config.model_copy(update={"sample": options}))


def distance(run: Run, setup: Setup, sampler: BoundSampler, n: int) -> float:
    """Return the Frechet distance of n samples by a sampler to the training split."""
    source = source_of(replace(run, sampler=sampler))
    ctx = Context(source, setup.protocol, setup.extractor, sample(source, n))
    return frechet_distance(*check_pair(ctx.train.values, ctx.generated.values))


def compare(run: Run, setup: Setup, sampler: BoundSampler, steps: int, n: int, seeds: int) -> dict[str, Any]:
    """Return the distances of both grids in a number of steps, a pair for each seed."""
    assert isinstance(run.recipe, HasDenoiser)
    fit = replace(fitted(with_steps(run, steps, 0), sampler), optimized=False)
    plain = replace(sampler, grid=karras, optimized=False)
    pairs = [
        [distance(with_steps(run, steps, seed), setup, chosen, n) for chosen in (plain, fit)]
        for seed in range(1, seeds + 1)
    ]
    found = fit.grid(run.recipe.denoiser(), steps)
    return {"calls": calls(plain, steps), "steps": steps, "pairs": pairs, "levels": found.tolist()}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a row for each number of calls: both mean distances, their ratio and the corrected p-value."""
    logs = [[[math.log(value) for value in pair] for pair in row["pairs"]] for row in rows]
    p_values = holm([float(ttest_rel(*zip(*pairs, strict=True)).pvalue) for pairs in logs])
    lines = ["| NFE | Karras | fitted | ratio | p |", "| --- | --- | --- | --- | --- |"]
    for row, pairs, p in zip(rows, logs, p_values, strict=True):
        plain, fit = (sum(column) / len(pairs) for column in zip(*row["pairs"], strict=True))
        ratio = math.exp(sum(b - a for a, b in pairs) / len(pairs))
        lines.append(f"| {row['calls']} | {plain:.3g} | {fit:.3g} | {ratio:.2f} | {p:.2g} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="folder of a finished run, or the address of weights")
    parser.add_argument(
        "--sampler", choices=DETERMINISTIC, default="dpmpp-2m", help="whose levels are fitted"
    )
    parser.add_argument("--nfe", type=int, nargs="+", default=NFE, help="model evaluations per sample")
    parser.add_argument("--n", type=int, default=1000, help="samples of each distance")
    parser.add_argument("--seeds", type=int, default=5, help="noises, from 1")
    parser.add_argument("--out", type=Path, required=True, help="folder of fitted.json")
    given = parser.parse_args()
    begun = time.monotonic()
    torch.set_grad_enabled(False)
    run = zoo_core.load(given.run)
    sampler = replace(bind(manager().find("sampler", given.sampler).spec), optimized=True)
    about = {
        "plugin": run.config.plugin,
        "config_hash": config_hash(run.config),
        "data": run.config.data.name,
        "sampler": given.sampler,
        "n": given.n,
        "seeds": given.seeds,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "fitted.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {**about, "rows": []}
    if {key: record.get(key) for key in about} != about:
        raise UsageError(f"{path} is of another study", "next: remove it, or --out another folder")
    setup = prepare(source_of(run))
    done = {row["steps"] for row in record["rows"]}
    for steps in affordable(sampler, given.nfe):
        if steps not in done:
            row = compare(run, setup, sampler, steps, given.n, given.seeds)
            record["rows"].append(row)
            write_atomic(path, json.dumps(record, indent=1).encode())
            print(f"{row['calls']} calls: {row['pairs']}", flush=True)
    print(table(record["rows"]))
    print(f"{time.monotonic() - begun:.0f} s; {path}")


if __name__ == "__main__":
    main()
