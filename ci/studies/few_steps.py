"""Models that are made for few steps: FD in one and two evaluations beside many steps of the same network.

Run from the checkout, on folders of finished runs or addresses of trained weights:

    python ci/studies/few_steps.py RUN [RUN ...] --out results/few-steps/digits.json

Each run draws --n samples from one noise in one and two evaluations of its own sampler, and, where it has
a denoiser, in one and two steps of Euler and 25 of Heun, evenly in the time of straight paths. They are
scored by the run's protocol. The straightness of a rectified flow is that of its network and of the flow that
its reflow began with, where the run has kept it. A study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from samplers_nfe import measure

import zoo_core
from zoo_core.diffusion.denoiser import SigmaDenoiser
from zoo_core.diffusion.sampling import BoundSampler, bind
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser
from zoo_core.machine.files import write_atomic
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash
from zoo_core.runs import Run
from zoo_core.seeds import Seeds
from zoo_eval.pipeline import prepare
from zoo_eval.sampling import source_of
from zoo_flow.path import straightness
from zoo_flow.rectified import RectifiedFlow


def settings(run: Run) -> Iterator[tuple[str, int, BoundSampler | None]]:
    """Yield (name, steps, sampler) of what a run is drawn with; None for the model's own sampler."""
    yield "own, 1 step", 1, None
    yield "own, 2 steps", 2, None
    if isinstance(run.recipe, HasDenoiser):
        for name, steps in (("flow-euler", 1), ("flow-euler", 2), ("flow-heun", 25)):
            yield f"{name}, {steps}", steps, bind(manager().find("sampler", name).spec)


def bends(run: Run, n: int, whole: bool) -> dict[str, float]:
    """Return the straightness of a flow, and of the one before its reflow; {} without a denoiser.

    Args:
        run: a trained run.
        n: paths.
        whole: whether it has all networks of its training, which trained weights that are shipped have not.
    """
    if not isinstance(run.recipe, HasDenoiser):
        return {}
    noise = Seeds(0, range(n), run.device).randn(run.data.info.shape)
    with run.inference():
        found = {"network": straightness(run.recipe.denoiser(), noise)}
        if whole and isinstance(run.recipe, RectifiedFlow) and run.recipe.teacher is not None:
            first = SigmaDenoiser(run.recipe.teacher, run.recipe.schedule, "velocity")
            found["before reflow"] = straightness(first, noise)
    return found


def study(run: Run, n: int, whole: bool) -> dict[str, Any]:
    """Return the figures of one run; arguments as in `bends`, n samples."""
    setup = prepare(source_of(run))
    rows = []
    for name, steps, sampler in settings(run):
        try:
            found = measure(run, setup, steps, sampler, n)
        except UsageError as error:
            found = {"absent": error.what}
        rows.append({"setting": name, **found})
        print(run.config.plugin, name, found.get("value", found.get("absent")), flush=True)
    return {"rows": rows, "straightness": bends(run, n, whole)}


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", help="folders of finished runs, or addresses of weights")
    parser.add_argument("--n", type=int, default=2000, help="samples of each distance")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    record: list[dict[str, Any]] = json.loads(given.out.read_text()) if given.out.exists() else []
    for address in given.runs:
        run = zoo_core.load(address)
        about = {
            "plugin": run.config.plugin,
            "data": run.config.data.name,
            "seed": run.config.seed,
            "config_hash": config_hash(run.config),
            "n": given.n,
        }
        if any({key: one.get(key) for key in about} == about for one in record):
            continue
        record.append(about | study(replace(run, sampler=None), given.n, "://" not in address))
        write_atomic(given.out, json.dumps(record, indent=1).encode())


if __name__ == "__main__":
    main()
