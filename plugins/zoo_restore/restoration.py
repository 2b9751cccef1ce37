"""Restoration of images by a trained run: measure, restore, compare with the trivial restorations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.config import Config
from zoo_core.data.conditioning import GIVEN, given_images, read_conditions
from zoo_core.data.levels import quantize, to_unit
from zoo_core.diffusion.denoiser import Clips, CountsCalls
from zoo_core.diffusion.grids import trailing
from zoo_core.diffusion.guidance import Conditioned
from zoo_core.diffusion.sampling import at_most
from zoo_core.errors import UsageError
from zoo_core.interfaces import Denoiser
from zoo_core.registry.spec import load_target
from zoo_core.runs import Run
from zoo_core.seeds import Seeds
from zoo_core.types import Cond
from zoo_restore.operator import Operator
from zoo_restore.problem import Problem
from zoo_restore.spec import MethodSpec, OperatorSpec

HELD_OUT = "test"
"""In place of a folder: images of the run's test split."""


@dataclass(frozen=True)
class Restored:
    """Images that a method restored.

    Attributes:
        draws: one after another, each (n, *shape) float32 on the CPU, at the gray levels of the data.
        calls: network evaluations per image and draw.
        seconds: per image and draw.
    """

    draws: tuple[Tensor, ...]
    calls: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """Images and what was measured of them.

    Attributes:
        names: of the files.
        image: (n, *shape) in [-1, 1]: the originals, or degraded images where they are not known.
        y: the measurements, (n, *measured).
        noise: standard deviation of their noise.
        original: whether `image` holds the originals.
    """

    names: Sequence[str]
    image: Tensor
    y: Tensor
    noise: float
    original: bool


def read_images(
    run: Run, images: str, n: int | None, say: Callable[[str], None]
) -> tuple[Sequence[str], Tensor]:
    """Return the names of images and the images as the model sees them, (n, *shape).

    Args:
        images: a folder of image files, one image file, or `test` for images of the run's test split.
        n: at most so many; None for all of a folder, or 16 of the test split.
        say: called with what was converted.

    Raises:
        UsageError: for a path that does not exist, and for files that are not images.
    """
    info = run.data.info
    if images == HELD_OUT:
        rows = torch.arange(min(n or 16, len(run.data.test)))
        return [f"test-{row}.png" for row in rows.tolist()], run.to_model(run.data.test.examples(rows))
    if not Path(images).expanduser().exists():
        raise UsageError(
            f"found no image file or folder {images!r}",
            f"expected: an image file, a folder of images, or {HELD_OUT} for images of the test split",
        )
    # `given_images` reads the images that a model translates: here they are of the data's own channels.
    dataset = replace(run.data, info=replace(info, image_channels=info.shape[0]))
    names, image, report = given_images(images, dataset, run.config.data)
    for line in report:
        say(f"{images}: {line}")
    return names[:n], image[:n].to(run.device)


def measure(
    operator: Operator, names: Sequence[str], image: Tensor, noise: float, seed: int, original: bool
) -> Measured:
    """Return measurements of images: degraded with noise added, or read from images that are degraded.

    Args:
        noise: standard deviation of the noise; it is only added to originals.
        seed: of the noise.
        original: whether the images are originals.
    """
    y = operator(image) if original else operator.read(image)
    if original and noise:
        y = y + noise * Seeds(seed, range(len(y)), y.device).randn(y.shape[1:], name="measurement").to(y)
    return Measured(names, image, y, noise, original)


def condition(run: Run, text: str, n: int, say: Callable[[str], None]) -> Cond | None:
    """Return the conditions of n images; None for a run without conditions.

    Raises:
        UsageError: where a conditional run is given none, or another run is given some.
    """
    task = run.data.info.task
    if not text:
        if task in GIVEN:
            raise UsageError(
                f"the run is conditional (data.task={task}), and no condition was given",
                "expected: cond=CLASS or cond=CAPTION, several separated by commas, one for each image",
            )
        return None
    return read_conditions(text, run.data, n, run.config.data, say).to(run.device)


def denoiser_of(run: Run, cond: Cond | None) -> Denoiser:
    """Return the run's denoiser, which does not clamp x0, with conditions bound and without guidance."""
    recipe: Any = run.recipe
    denoise: Denoiser = recipe.denoiser()
    if isinstance(denoise, Clips):
        denoise = denoise.unclipped()
    return denoise if cond is None else Conditioned(denoise, cond)


def restore(
    run: Run,
    operator: Operator,
    spec: OperatorSpec,
    method: MethodSpec,
    options: Config,
    measured: Measured,
    *,
    steps: int | None = None,
    draws: int = 1,
    seed: int = 0,
    cond: Cond | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Restored:
    """Return restorations of measurements; draw j of image k depends on (seed, j n + k) alone.

    Args:
        steps: of the noise schedule; None for the method's default, or as many as there are trained levels
            where that is less.
        draws: restorations per image.
        progress: called with the number of images and draws that are done.

    Raises:
        UsageError: for more steps than the model has noise levels.
    """
    recipe: Any = run.recipe
    function = load_target(method.target)
    n, size = len(measured.y), run.config.sample.batch_size
    calls, done, parts = 0, 0, []
    begin = time.perf_counter()
    with run.inference():
        for draw in range(draws):
            whole = []
            for rows in torch.arange(n).split(size):
                denoise = denoiser_of(run, None if cond is None else cond[rows])
                problem = _problem(run, operator, spec, measured, rows, denoise.space)
                sigmas = trailing(denoise, steps or at_most(method.steps, denoise))
                noise = Seeds(seed, (draw * n + rows).tolist(), run.device)
                watch = _Count()
                before = denoise.calls if isinstance(denoise, CountsCalls) else 0
                x = function(denoise, problem, sigmas, noise=noise, callback=watch, **options.model_dump())
                calls = denoise.calls - before if isinstance(denoise, CountsCalls) else watch.calls
                if denoise.space == "latent":
                    x = recipe.decode(x)
                _check_finite(x, method)
                whole.append(levels_of(x.detach().cpu(), run))
                done += len(rows)
                progress(done)
            parts.append(torch.cat(whole))
    return Restored(tuple(parts), calls, (time.perf_counter() - begin) / (n * draws))


class _Count:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, step: int, sigma: Tensor, x: Tensor, x0: Tensor) -> None:
        self.calls += 1


def _problem(
    run: Run, operator: Operator, spec: OperatorSpec, measured: Measured, rows: Tensor, space: str
) -> Problem:
    recipe: Any = run.recipe
    y = measured.y[rows]
    guide = operator.inverse(y)
    if space == "latent":
        guide = recipe.encode(guide.clamp(-1, 1))
    spectrum = operator.spectrum if spec.linear else None
    return Problem(y, guide, operator, spectrum, measured.noise, bounded=space == "data")


def _check_finite(x: Tensor, method: MethodSpec) -> None:
    if not bool(torch.isfinite(x).all()):
        raise UsageError(
            f"method={method.name} diverged: restored images hold a NaN or an infinity",
            "next: more steps, a smaller step length, or another method",
        )


def levels_of(x: Tensor, run: Run) -> Tensor:
    """Return images as they are stored: clamped, rounded to the data's gray levels, in [-1, 1]."""
    count = run.data.info.levels
    return x if count is None else to_unit(quantize(x, count), count)
