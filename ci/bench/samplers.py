"""What a sampler costs beside the network: its loop, a bare one over tables, and diffusers' schedulers.

    python ci/bench/samplers.py [--rounds 15] [--steps 200] [--json]

The denoiser is trivial, so nothing but the loop is timed. Three loops walk down the same levels, in turn,
round after round, in one process:
  bare        x = x0 + a[i] (x - x0) + b[i] z[i], tables and noise made before
  ours        the sampler as a run calls it, with the callback that counts calls
  diffusers   its scheduler's own loop: scale_model_input, the network, step
Printed: the median microseconds of a step with their quartiles, and the medians over rounds of the ratios.
The noise is drawn before in all three: what a generator a sample costs is no matter of the loop.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from zoo_core.diffusion import grids
from zoo_core.diffusion.multistep import dpmpp_2m, dpmpp_sde
from zoo_core.diffusion.samplers import ancestral, ddim, ddpm, euler, euler_maruyama, heun
from zoo_core.diffusion.schedule import DiscreteVP, linear_betas
from zoo_core.interfaces import Sampler
from zoo_core.types import Cond

SHAPE = (3, 32, 32)
SCHEDULE = DiscreteVP(linear_betas(1000))

Loop = Callable[[], Tensor]


class Trivial:
    """A Denoiser of one operation."""

    levels: Tensor | None = SCHEDULE.levels
    sigma_min = SCHEDULE.ratio_min
    sigma_max = SCHEDULE.ratio_max
    prior_std = SCHEDULE.prior_std
    space: Literal["data", "latent"] = "data"

    def alpha(self, sigma: Tensor) -> Tensor:
        return SCHEDULE.alpha_of(sigma)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        return 0.5 * x


class Drawn:
    """Noise that was drawn before; stands in for Seeds."""

    def __init__(self, n: int, steps: int) -> None:
        self.z = list(torch.randn(steps, n, *SHAPE))
        self.used = 0

    def randn(self, shape: Sequence[int], **address: object) -> Tensor:
        self.used = (self.used + 1) % len(self.z)
        return self.z[self.used]


OURS: dict[str, tuple[Sampler, bool, int]] = {
    "ddpm": (ddpm, True, 1),
    "ancestral": (ancestral, True, 1),
    "ddim": (ddim, False, 1),
    "euler": (euler, False, 1),
    "heun": (heun, False, 2),
    "dpmpp-2m": (dpmpp_2m, False, 1),
    "dpmpp-sde": (dpmpp_sde, True, 1),
    "euler-maruyama": (euler_maruyama, True, 1),
}
"""Function, whether it adds noise, and calls a step."""

THEIRS = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpmpp-2m": "DPMSolverMultistepScheduler",
}


def bare(name: str, x: Tensor, sigmas: Tensor, noise: Drawn) -> Loop:
    """Return the loop that one would write by hand for this method, with its tables made."""
    denoise = Trivial()
    levels = list(sigmas)
    t, s = sigmas[:-1], sigmas[1:]
    _, noisy, _ = OURS[name]
    keep = ((s / t) ** 2 if noisy else s / t).tolist()
    std = (s * (1 - (s / t) ** 2).sqrt()).tolist()

    def one_call() -> Tensor:
        y = x
        for i, a in enumerate(keep):
            x0 = denoise(y, levels[i])
            y = x0 + a * (y - x0)
            if noisy and std[i]:
                y = y + std[i] * noise.z[i]
        return y

    def two_calls() -> Tensor:
        numbers, y = sigmas.tolist(), x
        for i in range(len(numbers) - 1):
            x0 = denoise(y, levels[i])
            slope = (y - x0) / numbers[i]
            ahead = y + (numbers[i + 1] - numbers[i]) * slope
            if numbers[i + 1]:
                x0 = denoise(ahead, levels[i + 1])
                slope = (slope + (ahead - x0) / numbers[i + 1]) / 2
                ahead = y + (numbers[i + 1] - numbers[i]) * slope
            y = ahead
        return y

    def two_steps() -> Tensor:
        share = [0.0, *(0.5 for _ in keep[1:-1]), 0.0]
        y = before = x
        for i, a in enumerate(keep):
            x0 = denoise(y, levels[i])
            ahead = x0 + share[i] * (x0 - before) if share[i] else x0
            y = ahead + a * (y - ahead)
            if noisy and std[i]:
                y = y + std[i] * noise.z[i]
            before = x0
        return y

    return two_calls if name == "heun" else two_steps if name.startswith("dpmpp") else one_call


def ours(name: str, x: Tensor, sigmas: Tensor, noise: Any) -> Loop:
    """Return our sampler's loop, its tables made anew in each run as a run makes them."""
    function, _, _ = OURS[name]
    told = 0

    def count(step: int, sigma: Tensor, x: Tensor, x0: Tensor) -> None:
        nonlocal told
        told += 1

    return lambda: function(Trivial(), x, sigmas, noise=noise, callback=count)


def theirs(name: str, x: Tensor, steps: int) -> Loop:
    """Return the loop of diffusers' scheduler, its timesteps set before."""
    import diffusers

    kind = getattr(diffusers, THEIRS[name])
    scheduler = kind(timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    start = x * scheduler.init_noise_sigma / x.std()

    def run() -> Tensor:
        scheduler.set_timesteps(steps)
        y = start
        for t in scheduler.timesteps:
            out = 0.5 * scheduler.scale_model_input(y, t)
            y = scheduler.step(out, t, y, return_dict=False)[0]
        return y

    return run


def compare(name: str, n: int, steps: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return per loop the quartiles of microseconds a step, and of its ratio to the bare loop's."""
    sigmas = grids.trailing(Trivial(), steps)
    noise = Drawn(n, steps)
    x = torch.randn(n, *SHAPE) * SCHEDULE.prior_std
    loops = {"bare": bare(name, x, sigmas, noise), "ours": ours(name, x, sigmas, noise)}
    if name in THEIRS:
        loops["diffusers"] = theirs(name, x, steps)
    times: dict[str, list[float]] = {which: [] for which in loops}
    for round_ in range(rounds + 2):
        order = list(loops)
        for which in order[round_ % len(order) :] + order[: round_ % len(order)]:
            start = time.perf_counter()
            loops[which]()
            if round_ >= 2:  # the first rounds warm up
                times[which].append((time.perf_counter() - start) / steps * 1e6)
    found = {}
    for which, measured in times.items():
        ratio = [a / b for a, b in zip(measured, times["bare"], strict=True)]
        found[which] = dict(
            zip(("low", "median", "high"), statistics.quantiles(measured, n=4), strict=True)
        ) | {"ratio": statistics.median(ratio)}
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = {
        f"batch {n}": {name: compare(name, n, args.steps, args.rounds) for name in OURS} for n in (1, 16)
    }
    if args.json:
        print(json.dumps(results, indent=1))
        return
    print(
        f"threads {torch.get_num_threads()}, {args.rounds} rounds of {args.steps} steps, samples of {SHAPE}; "
        "us a step: median (quartiles)"
    )
    for batch, rows in results.items():
        for name, loops in rows.items():
            for which, row in loops.items():
                print(
                    f"{batch:8} {name:15} {which:10} {row['median']:8.1f} ({row['low']:.1f} to "
                    f"{row['high']:.1f})   {row['ratio']:.2f} of bare"
                )


if __name__ == "__main__":
    main()
