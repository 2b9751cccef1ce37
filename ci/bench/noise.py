"""What noise costs in sampling: the random numbers of a step beside one call of the smallest U-Net.

    python ci/bench/noise.py [--preset tiny] [--batch 64 500] [--rounds 15] [--json]

The network is that of `ddpm` on the 8x8 digits, in evaluation mode and float32. A step's noise is
`Seeds.randn` for a batch, as a sampler that adds noise asks for it: the mean over the steps of a chain, since
small samples have several steps computed at once. Both take turns, round after round; printed are the medians
and the noise as a part of a step (call and noise). The bound is 3 % on a CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from zoo_core.interfaces import HasDenoiser
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import Seeds
from zoo_core.training.recipe import Recipe
from zoo_core.types import DataInfo

INFO = DataInfo("digits", (1, 8, 8), 17, classes=10)
CALLS, STEPS = 4, 64
MOST = 0.03


def network_call(preset: str, batch: int) -> Callable[[], None]:
    """Return a function that evaluates the denoiser of `ddpm` a few times."""
    config = resolve({"plugin": "ddpm", "data": "digits", "preset": preset})
    recipe: Recipe = load_entry("plugin", manager().find("plugin", "ddpm"))(config, INFO).eval()
    assert isinstance(recipe, HasDenoiser)
    denoise = recipe.denoiser()
    assert denoise.levels is not None
    x, sigma = torch.randn(batch, *INFO.shape), denoise.levels[len(denoise.levels) // 2]

    def run() -> None:
        for _ in range(CALLS):
            denoise(x, sigma)

    return run


def noise(batch: int) -> Callable[[], None]:
    """Return a function that makes the noise of the steps of a chain."""

    def run() -> None:
        seeds = Seeds(0, range(batch))
        for step in range(STEPS):
            seeds.randn(INFO.shape, name="step", step=step)

    return run


def measured(preset: str, batch: int, rounds: int) -> dict[str, Any]:
    """Return the median milliseconds of a call and of a step's noise, and the noise's part of a step."""
    contestants = {"call": (network_call(preset, batch), CALLS), "noise": (noise(batch), STEPS)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, (run, count) in contestants.items():
            begun = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - begun) / count)
    parts = [
        noise / (call + noise) for call, noise in zip(*(each[1:] for each in seconds.values()), strict=True)
    ]
    low, middle, high = statistics.quantiles(parts, n=4) if len(parts) > 1 else parts * 3
    ms = {f"{name}_ms": 1e3 * statistics.median(each[1:]) for name, each in seconds.items()}
    return {**ms, "part": middle, "quartiles": [low, high]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 500])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with torch.inference_mode():
        found = {str(batch): measured(given.preset, batch, given.rounds) for batch in given.batch}
    if given.json:
        print(json.dumps(found))
        return
    for batch, row in found.items():
        low, high = row["quartiles"]
        print(
            f"batch {batch:>5}: call {row['call_ms']:.3f} ms, noise {row['noise_ms']:.4f} ms, noise is "
            f"{row['part']:.2%} of a step (quartiles {low:.2%} to {high:.2%}; at most {MOST:.0%})"
        )


if __name__ == "__main__":
    main()
