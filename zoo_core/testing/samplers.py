"""Checks of a sampler, on data whose denoiser is known in closed form."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from zoo_core.config import SamplerConfig
from zoo_core.diffusion.prediction import like
from zoo_core.diffusion.sampling import BoundSampler, bind
from zoo_core.errors import UsageError
from zoo_core.registry.manager import Entry, load_entry
from zoo_core.seeds import Seeds
from zoo_core.testing.results import Failed
from zoo_core.types import Cond

MEAN, STD = 0.3, 0.5
"""Of the data: every value is N(0.3, 0.25), as images in [-1, 1] roughly are."""
N = 4000
"""Samples whose mean and spread are measured: their standard errors are 1.6% and 1.1% of STD."""
TOLERANCE = 0.1
"""Relative to STD: what is allowed of a sampler's own error and of chance together."""
T = 1000


class ExactDenoiser:
    """E[x0 | x0 + sigma eps] for data N(MEAN, STD^2), value by value; counts its calls.

    Args:
        levels: of Ho et al.'s chain, (T,), for a variance-preserving denoiser; None for a continuous,
            variance-exploding one.
    """

    def __init__(self, levels: Tensor | None) -> None:
        self.levels = levels
        self.sigma_min = 0.002 if levels is None else float(levels[0])
        self.sigma_max = 80.0 if levels is None else float(levels[-1])
        self.prior_std = self.sigma_max if levels is None else math.hypot(1, self.sigma_max)
        self.space: Literal["data", "latent"] = "data"
        self.calls = 0

    def alpha(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma) if self.levels is None else (1 + sigma**2).rsqrt()

    def __call__(self, x: Tensor, sigma: Tensor, cond: Cond | None = None) -> Tensor:
        self.calls += 1
        level = like(sigma, x)
        return MEAN + STD**2 / (STD**2 + level**2) * (x - MEAN)


def _chain() -> Tensor:
    kept = (1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64)).cumprod(0)
    return ((1 - kept) / kept).sqrt()


CASES = {"continuous levels": None, "trained levels": _chain()}


class SamplerSubject:
    """A registered sampler with one kind of denoiser."""

    kind = "sampler"

    def __init__(self, entry: Entry, case: str) -> None:
        self.entry = entry
        self.case = case

    @property
    def denoiser(self) -> ExactDenoiser:
        """A fresh denoiser, which has counted no calls."""
        return ExactDenoiser(CASES[self.case])

    @cached_property
    def bound(self) -> BoundSampler:
        """The sampler at its defaults."""
        load_entry("sampler", self.entry)
        load_entry("sampler", self.entry, "grid")
        load_entry("sampler", self.entry, "config")
        return bind(self.entry.spec)

    def grid(self, steps: int | None = None) -> Tensor:
        """Return its levels."""
        steps = steps or self.bound.steps
        return self.bound.grid(self.denoiser, steps)

    def draw(
        self, indices: range, shape: tuple[int, ...] = (2,), steps: int | None = None, seed: int = 0
    ) -> Tensor:
        """Draw samples of these indices."""
        noise = Seeds(seed, indices)
        start = noise.randn(shape) * self.denoiser.prior_std
        sampler = self.bound
        return sampler.function(self.denoiser, start, self.grid(steps), noise=noise, **sampler.options)


def subjects(entry: Entry, data: tuple[str, ...] = ()) -> Iterator[SamplerSubject]:
    """Yield the sampler with each kind of denoiser that its grid accepts; with both where it refuses both.

    A sampler must accept one of them: where it refuses both, each check fails with the reason.
    """
    every = [SamplerSubject(entry, case) for case in CASES]
    accepted = [subject for subject in every if not _refuses(subject)]
    yield from accepted or every


def _refuses(subject: SamplerSubject) -> bool:
    try:
        subject.grid()
    except UsageError:
        return True
    except Exception:  # broken, not refusing: the checks report it
        return False
    return False


def options_are_keywords_of_the_function(subject: SamplerSubject) -> None:
    """Its config is a SamplerConfig that refuses unknown keys, and the function takes every option."""
    config = load_entry("sampler", subject.entry, "config")
    if not (isinstance(config, type) and issubclass(config, SamplerConfig)):
        raise Failed(f"its config {config!r} is not a SamplerConfig", "extend zoo_core.config.SamplerConfig")
    if config.model_config.get("extra") != "forbid":
        raise Failed("its config accepts unknown keys", "do not change model_config")
    takes = inspect.signature(subject.bound.function).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
    missing = [name for name in (*subject.bound.options, "noise", "callback") if name not in takes]
    if missing and not anything:
        raise Failed(
            f"the function does not take {', '.join(missing)}",
            "its signature is (denoise, x, sigmas, *, noise, callback=None, ...options of its config)",
        )


def the_grid_descends_to_zero(subject: SamplerSubject) -> None:
    """The levels are 1-D, finite, descending, in the denoiser's range, and end in 0; `steps` is heeded."""
    sigmas, fewer = subject.grid(), subject.grid(max(2, subject.bound.steps // 2))
    good = sigmas.ndim == 1 and len(sigmas) >= 2 and bool(torch.isfinite(sigmas).all())
    if not good or bool((sigmas.diff() > 0).any()) or float(sigmas[-1]) != 0:
        raise Failed(
            f"its grid is {sigmas.flatten()[:3].tolist()} ... {sigmas.flatten()[-2:].tolist()}",
            "return levels from sigma_max down, ending in 0",
        )
    if float(sigmas[0]) > subject.denoiser.sigma_max * (1 + 1e-6):
        raise Failed(f"its grid starts at {float(sigmas[0]):.4g}", "start at denoise.sigma_max at most")
    if len(fewer) > len(sigmas):
        raise Failed(f"{len(sigmas)} levels, and {len(fewer)} for half the steps", "use `steps`")


def it_reproduces_a_gaussian(subject: SamplerSubject) -> None:
    """At its default steps, with the exact denoiser, mean and spread of the samples are the data's."""
    x = subject.draw(range(N), (1,)).double()
    mean, std = float(x.mean()), float(x.std())
    if not (abs(mean - MEAN) < TOLERANCE * STD and abs(std - STD) < TOLERANCE * STD):
        raise Failed(
            f"samples of N({MEAN}, {STD}^2) have mean {mean:.3f} and spread {std:.3f}",
            "check the step's coefficients, the noise it adds, and that the default steps are enough",
        )


def the_same_seeds_give_the_same_samples(subject: SamplerSubject) -> None:
    """Sample k depends on (seed, k) alone."""
    advice = "draw from `noise` only, and make no decision that depends on the rest of the batch"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = subject.draw(range(8), steps=5)
        torch.manual_seed(2)
        again = subject.draw(range(8), steps=5)
    if not torch.equal(whole, again):
        raise Failed("the same seeds gave other samples", advice)
    split = torch.cat([subject.draw(rows, steps=5) for rows in (range(3), range(3, 4), range(4, 8))])
    if not torch.allclose(whole, split, rtol=1e-4, atol=1e-5):
        raise Failed(
            f"in batches of 3, 1 and 4 samples differ by {float((whole - split).abs().max()):.3g}", advice
        )


def it_takes_any_shape(subject: SamplerSubject) -> None:
    """Points and images, in the dtype that it is given, finite; and the start is left as it was."""
    for shape in ((2,), (1, 4, 4)):
        noise = Seeds(0, range(3))
        start = noise.randn(shape) * subject.denoiser.prior_std
        kept = start.clone()
        bound = subject.bound
        x = bound.function(subject.denoiser, start, subject.grid(5), noise=noise, **bound.options)
        if x.shape != start.shape or x.dtype != start.dtype or not bool(torch.isfinite(x).all()):
            raise Failed(
                f"from {tuple(start.shape)} {start.dtype} it made {tuple(x.shape)} {x.dtype}",
                "keep shape and dtype: tables of coefficients in float64, as Python numbers or x's dtype",
            )
        if not torch.equal(start, kept):
            raise Failed("it changed its start in place", "write x = x + ..., not x += ...")


def each_call_is_told(subject: SamplerSubject) -> None:
    """The callback is called once for every call of the denoiser, with step, level, x and x0."""
    denoise, told = subject.denoiser, []
    noise = Seeds(0, range(2))
    start = noise.randn((2,)) * denoise.prior_std

    def callback(step: int, sigma: Tensor, x: Tensor, x0: Tensor) -> None:
        told.append((int(step), float(sigma), x.shape == start.shape == x0.shape))

    bound = subject.bound
    bound.function(denoise, start, subject.grid(5), noise=noise, callback=callback, **bound.options)
    if len(told) != denoise.calls:
        raise Failed(
            f"{denoise.calls} calls of the denoiser, {len(told)} of the callback",
            "call callback(step, sigma, x, x0) after each: the cost of a sample is counted by it",
        )
    if not all(good for *_, good in told):
        raise Failed("the callback was given tensors of another shape", "call callback(step, sigma, x, x0)")


CHECKS = (
    options_are_keywords_of_the_function,
    the_grid_descends_to_zero,
    it_reproduces_a_gaussian,
    the_same_seeds_give_the_same_samples,
    it_takes_any_shape,
    each_call_is_told,
)
