"""A sampler's levels fitted to a trained run (`sampler.grid=optimized`), and kept in its folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import RunConfig, strict_json
from zoo_core.diffusion.fitting import fit_levels
from zoo_core.diffusion.sampling import BoundSampler, at_most
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser
from zoo_core.machine.files import write_atomic
from zoo_core.registry.resolution import config_hash
from zoo_core.seeds import derive

SAMPLES = 64
"""Drawn in each trial of the search."""
MANY = 100
"""Steps of the samples that few steps should lead to."""


def check_grid(config: RunConfig, sampler: BoundSampler | None) -> None:
    """Refuse to fit the levels of a sampler that is not named, draws noise, or chooses its steps itself.

    Raises:
        UsageError: as said.
    """
    if config.sampler.grid == "default":
        return
    if sampler is None:
        raise UsageError("sampler.grid=optimized needs a sampler", "next: sampler=heun, dpmpp-2m or unipc")
    if sampler.uses_score or "rtol" in sampler.options:
        raise UsageError(
            f"sampler.grid=optimized: the levels of {sampler.name} are not fitted, as it draws noise or "
            "chooses its steps itself",
            "expected: a deterministic sampler: euler, heun, dpmpp-2m, dpmpp-3m or unipc",
        )


def fitted(run: Any, sampler: BoundSampler) -> BoundSampler:
    """Return the sampler with levels fitted to the run's weights; other numbers of steps keep its own grid.

    The search draws from noise of its own, never that of the samples that are scored. Its result is kept as
    `grids/NAME-STEPS.json` in the run's folder, with what it was fitted to, and is searched again where that
    has changed.

    Args:
        run: a `Run` after training.
        sampler: deterministic.
    """
    denoise: Denoiser = run.recipe.denoiser()
    steps = run.config.sample.steps or at_most(sampler.steps, denoise)
    own = sampler.grid(denoise, steps)
    path: Path = run.dir / "grids" / f"{sampler.name}-{steps}.json"
    about = {"config_hash": config_hash(run.config), "seed": run.config.seed, "weights": _digest(run)}
    record = strict_json.mapping_or_empty(path)
    if {key: record.get(key) for key in about} != about:
        record = about | _searched(run, sampler, own)
        write_atomic(path, json.dumps(record, indent=1).encode(), parents=True)
        run.say(
            f"sampler.grid=optimized: levels of {sampler.name} in {steps} steps are fitted, error "
            f"{record['error_before']:.3g} -> {record['error']:.3g}"
        )
    levels = torch.tensor(record["sigmas"], dtype=torch.float64)
    return replace(sampler, grid=lambda d, count: levels if count == steps else sampler.grid(d, count))


def _searched(run: Any, sampler: BoundSampler, own: Tensor) -> dict[str, Any]:
    """Return levels and their errors, as the record has them."""
    seed = derive(run.config.sample.seed, "grid")
    request = run.request(range(SAMPLES), seed, fit=False)

    def draw(sigmas: Tensor) -> Tensor:
        here = replace(sampler, grid=lambda denoise, count: sigmas)
        found: Tensor = run.samples(replace(request, noise=request.noise[:], sampler=here)).x
        return found

    target = draw(sampler.grid(run.recipe.denoiser(), max(MANY, len(own) - 1)))
    fit = fit_levels(draw, own, target)
    return {"sigmas": fit.sigmas.tolist(), "error_before": fit.before, "error": fit.after}


def _digest(run: Any) -> str:
    """Return 16 hexadecimal digits of the weights that are scored."""
    digest = hashlib.sha256()
    with run.inference():
        for name, tensor in sorted(run.recipe.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
