"""What fast sampling costs in quality: few steps against the converged ODE, and bfloat16 against float32.

Run from the checkout, on the folder of a finished run of a diffusion model or the address of trained weights:

    python ci/studies/fast_paths.py zoo://digits/edm --n 2048

Samples are drawn from one noise by the run's own sampler and steps, by dpmpp-2m in its 20 steps (which
ci/gpu/sample.py times), and by Heun's method with 200 NFE, the converged solution of the same ODE. Each
difference of FD has a paired bootstrap interval: both sides are resampled in the same rows. Its upper end is
to be at most 5 % of the FD. The run's own sampler also draws in bfloat16, compared with float32: at most 1 %.

A sampler that adds noise after the start solves no ODE, and its sample k is not that of the ODE from noise k.
If the run's own sampler does, it is compared with the ODE's samples by an interval of independent resamples,
without a threshold; its two precisions draw the same noise and are compared in pairs. FD-full (all features)
is not compared where a protocol ranks FD on a few axes.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo_core.config import RunConfig
from zoo_core.diffusion.sampling import BoundSampler, at_most, bind
from zoo_core.errors import UsageError
from zoo_core.interfaces import HasDenoiser
from zoo_core.machine.files import write_atomic
from zoo_core.registry.manager import manager
from zoo_core.registry.resolution import config_hash
from zoo_core.runs import Run, load, saved_config
from zoo_core.runs.exchange import run_folder
from zoo_core.seeds import generator
from zoo_eval.context import Context
from zoo_eval.features import arithmetic_device
from zoo_eval.metrics.frechet import Moments, distance, moments
from zoo_eval.pipeline import Setup, prepare
from zoo_eval.sampling import Sampled, sample, source_of

FAST = "dpmpp-2m"
NFE = 200
ROUNDS = 200
SOLVER, PRECISION = 0.05, 0.01
"""Most that the upper end of a difference may be, as a part of the FD: of few steps, of bfloat16."""


class Drawn(NamedTuple):
    """Samples of one setting.

    Attributes:
        name: of the setting.
        features: (n, d) float64, those that the ranked FD compares.
        nfe: network evaluations per sample.
        seconds: of sampling.
        adds_noise: whether noise enters after the start.
    """

    name: str
    features: Tensor
    nfe: int
    seconds: float
    adds_noise: bool


def differences(
    real: Moments, one: Tensor, other: Tensor, rng: torch.Generator, *, paired: bool, rounds: int = ROUNDS
) -> Tensor:
    """Return FD of the second set minus that of the first, in bootstrap resamples, (rounds,) float64.

    Args:
        real: moments of the reference.
        one, other: (n, d) float64 features; row k of both is of the same noise where they are paired.
        rng: of the resamples.
        paired: whether both sets are resampled in the same rows.
        rounds: resamples.
    """
    found = []
    for _ in range(rounds):
        rows = torch.randint(len(one), (len(one),), generator=rng)
        others = rows if paired else torch.randint(len(other), (len(other),), generator=rng)
        found.append(distance(real, moments(other[others])) - distance(real, moments(one[rows])))
    return torch.tensor(found, dtype=torch.float64)


def settings(run: Run) -> tuple[tuple[BoundSampler, int], tuple[BoundSampler, int]]:
    """Return the run's own sampler and the fast one, each with its steps."""
    recipe: Any = run.recipe
    denoise = recipe.denoiser()
    fast = bind(manager().find("sampler", FAST).spec)
    own = run.sampler or bind(recipe.default_sampler)
    steps = run.config.sample.steps or at_most(own.steps, denoise)
    return (own, steps), (fast, at_most(fast.steps, denoise))


def draw(
    run: Run, setup: Setup, n: int, sampler: BoundSampler, steps: int, precision: str = "float32"
) -> Drawn:
    """Return n samples by a sampler, all from the noise of the run's sampling seed."""
    options = run.config.sample.model_copy(update={"steps": steps, "precision": precision})
    config = run.config.model_copy(update={"sample": options})
    source = source_of(replace(run, sampler=sampler, config=config))
    found = sample(source, n)
    ctx = Context(source, setup.protocol, setup.extractor, found)
    features = ctx.generated.main.to(arithmetic_device(run.device))
    name = f"{sampler.name}, {steps} steps, {precision}"
    return Drawn(name, features, found.nfe, found.seconds, sampler.uses_score)


def compared(real: Moments, slow: Drawn, fast: Drawn, most: float, *, paired: bool = True) -> dict[str, Any]:
    """Return by how much the FD of fast samples exceeds that of slow ones, with its interval.

    Args:
        real: moments of the reference.
        slow, fast: the samples.
        most: part of the slow FD that the interval's upper end may have, where rows are paired.
        paired: whether row k of both is of the same noise.
    """
    whole = distance(real, moments(slow.features))
    found = distance(real, moments(fast.features))
    changes = differences(real, slow.features, fast.features, generator(0, "resamples"), paired=paired)
    low, high = changes.quantile(changes.new_tensor([0.025, 0.975])).tolist()
    return {
        "fast": fast.name,
        "slow": slow.name,
        "nfe": [fast.nfe, slow.nfe],
        "seconds": [round(fast.seconds, 3), round(slow.seconds, 3)],
        "FD": [found, whole],
        "difference": found - whole,
        "interval": [low, high],
        "upper_part": high / whole,
        "paired": paired,
        "most": most if paired else None,
        "passed": high <= most * whole if paired else None,
    }


def study(run: Run, n: int, nfe: int = NFE) -> dict[str, Any]:
    """Return the record of all comparisons of a run.

    Args:
        run: after training, of a model that has a denoiser.
        n: samples of each setting.
        nfe: of the converged solution.
    """
    setup = prepare(source_of(run))
    (own, own_steps), (fast, fast_steps) = settings(run)
    ode = draw(run, setup, n, bind(manager().find("sampler", "heun").spec), (nfe + 1) // 2)
    first = draw(run, setup, n, own, own_steps)
    rounded = draw(run, setup, n, own, own_steps, "bfloat16")
    quick = draw(run, setup, n, fast, fast_steps)
    nothing = Sampled(torch.empty(0), None, 0, 0.0, 0.0)
    train = Context(source_of(run), setup.protocol, setup.extractor, nothing).train.main
    real = moments(train.to(quick.features.device))
    rows = [
        compared(real, ode, first, SOLVER, paired=not first.adds_noise),
        compared(real, ode, quick, SOLVER),
        compared(real, first, rounded, PRECISION),
    ]
    return {
        "plugin": run.config.plugin,
        "config_hash": config_hash(run.config),
        "seed": run.config.seed,
        "data": run.config.data.name,
        "steps": run.step,
        "device": str(run.device),
        "protocol": setup.protocol.hash,
        "n": n,
        "rounds": ROUNDS,
        "noise": "sample k of every setting starts from noise k",
        "rows": rows,
    }


def table(record: dict[str, Any]) -> str:
    """Return a line for each comparison."""
    lines = [
        "| fast | slow | FD fast | FD slow | difference | upper end / FD | at most | passed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in record["rows"]:
        low, high = row["interval"]
        most, passed = f"{row['most']:.0%}" if row["paired"] else "", "yes" if row["passed"] else "no"
        lines.append(
            f"| {row['fast']} ({row['nfe'][0]} NFE) | {row['slow']} ({row['nfe'][1]} NFE) "
            f"| {row['FD'][0]:.4g} | {row['FD'][1]:.4g} | {row['difference']:+.3g} [{low:+.3g}, {high:+.3g}] "
            f"| {row['upper_part']:+.2%} | {most} | {passed if row['paired'] else 'not paired'} |"
        )
    return "\n".join(lines)


def opened(address: str, device: str, protocol: str = "") -> Run:
    """Return a trained run on a device.

    Args:
        address: of its folder, or of weights.
        device: "auto", or a torch device.
        protocol: what it is scored by; "" for its own.

    Raises:
        UsageError: where it has no denoiser that samplers could drive.
    """
    folder = run_folder(address)
    config: RunConfig = saved_config(folder)
    scoring = config.eval.model_copy(update={"protocol": protocol or config.eval.protocol})
    run = load(folder, config=config.model_copy(update={"device": device, "eval": scoring}))
    if not isinstance(run.recipe, HasDenoiser) or not hasattr(run.recipe, "default_sampler"):
        raise UsageError(
            f"{address}: plugin {run.config.plugin!r} has no denoiser that samplers could drive",
            "expected: a run of a diffusion or flow model",
        )
    return run


def main() -> None:
    """Draw, compare, write the record and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="folder of a finished run, or the address of weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--n", type=int, default=2048, help="samples of each setting")
    parser.add_argument("--nfe", type=int, default=NFE, help="model evaluations of the converged solution")
    parser.add_argument("--out", type=Path, help="folder of fast_paths.json; by default that of the run")
    given = parser.parse_args()
    begun = time.monotonic()
    torch.set_grad_enabled(False)
    run = opened(given.run, given.device)
    record = study(run, given.n, given.nfe)
    path = (given.out or run.dir) / "fast_paths.json"
    write_atomic(path, json.dumps(record, indent=1).encode(), parents=True)
    print(table(record))
    print(f"{time.monotonic() - begun:.0f} s; {path}")


if __name__ == "__main__":
    main()
