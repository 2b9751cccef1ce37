"""A sampler bound to its options, and the one function that draws with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import SamplerConfig
from zoo_core.diffusion.denoiser import CountsCalls
from zoo_core.diffusion.levels import on_host
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser, Sampler, coupling_of
from zoo_core.nn.conditioning import kept_conditions
from zoo_core.registry.spec import SamplerSpec, load_target
from zoo_core.types import SampleRequest, Samples

Grid = Callable[[Denoiser, int], Tensor]


@dataclass(frozen=True)
class BoundSampler:
    """A sampler with all that it needs beside a denoiser and noise.

    Attributes:
        name: as registered.
        function: with the signature of `interfaces.Sampler`.
        grid: gives the levels for a number of steps.
        steps: of the grid where a request names none.
        options: keywords of the function.
        score: as in `SamplerSpec`.
        optimized: whether its levels are to be fitted to the model.
    """

    name: str
    function: Sampler
    grid: Grid
    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    score: str = ""
    optimized: bool = False

    @property
    def uses_score(self) -> bool:
        """Whether it uses the score with these options."""
        return self.score == "always" or bool(self.options.get(self.score, False))


def bind(spec: SamplerSpec, config: SamplerConfig | None = None) -> BoundSampler:
    """Return a registered sampler bound to its options; its defaults where there is no config.

    Raises:
        ImportError, AttributeError: where the spec names code that is not there.
    """
    config = load_target(spec.config)() if config is None else config
    options = config.model_dump(exclude={"name", "grid"})
    if spec.parts:
        name, _, part = config.name.partition(":")
        options["part"] = part if name == spec.name else ""
    return BoundSampler(
        name=config.name or spec.name,
        function=load_target(spec.target),
        grid=load_target(spec.grid),
        steps=spec.steps,
        options=options,
        score=spec.score,
        optimized=config.grid == "optimized",
    )


class _Watch:
    """Counts a sampler's calls and keeps its states, scaled to unit variance so that all can be drawn."""

    def __init__(self, keep: bool) -> None:
        self.calls = 0
        self.keep = keep
        self.states: list[Tensor] = []
        self.sigmas: list[float] = []

    def __call__(self, step: int, sigma: Tensor, x: Tensor, x0: Tensor) -> None:
        self.calls += 1
        if self.keep:
            self.states.append(x * (1 + sigma**2).rsqrt().to(x))
            self.sigmas.append(float(on_host(sigma).flatten()[0]))


def check_score(denoise: Denoiser, sampler: BoundSampler) -> None:
    """Refuse a sampler that uses the score, for a model whose noise depends on the data.

    Raises:
        UsageError: as said.
    """
    if sampler.uses_score and coupling_of(denoise) == "dependent":
        option = "" if sampler.score == "always" else f" sampler.{sampler.score}=0, or"
        raise UsageError(
            f"sampler={sampler.name} uses the score, and the model was trained on pairs of noise and data "
            "that depend on each other: it has a probability flow and no score",
            f"next:{option} sampler=euler, heun, dpmpp-2m or pf-ode",
        )


def at_most(steps: int, denoise: Denoiser) -> int:
    """Return the default, or the number of trained levels where that is less."""
    return steps if denoise.levels is None else min(steps, len(denoise.levels))


@torch.no_grad()
def draw(denoise: Denoiser, shape: Sequence[int], request: SampleRequest, default: BoundSampler) -> Samples:
    """Draw `len(request)` samples, (n, *shape), from the denoiser's start down to level 0.

    Args:
        denoise: the model.
        shape: of one sample.
        request: whose sampler and steps, where it names them, stand in for the default's.
        default: the model's own choice of sampler.

    Raises:
        UsageError: where the grid has no such number of steps, or the sampler needs a score that the model
            lacks.
    """
    sampler: BoundSampler = request.sampler or default
    check_score(denoise, sampler)
    sigmas = sampler.grid(denoise, request.steps or at_most(sampler.steps, denoise))
    x = request.noise.randn(tuple(shape), name="start") * denoise.prior_std
    watch = _Watch(request.trace)
    before = denoise.calls if isinstance(denoise, CountsCalls) else 0
    with kept_conditions():
        x = sampler.function(denoise, x, sigmas, noise=request.noise, callback=watch, **sampler.options)
    calls = denoise.calls - before if isinstance(denoise, CountsCalls) else watch.calls
    return Samples(x, calls=calls, trajectory=tuple(watch.states), sigmas=tuple(watch.sigmas))
