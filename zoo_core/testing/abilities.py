"""Checks of what a model may offer beside samples: likelihood, codes, translation; and of a scored run."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from zoo_core.data.loading import Dataset, Resident, to_unit
from zoo_core.data.splits import resident
from zoo_core.errors import ZooError
from zoo_core.interfaces import HasEncoder, HasLikelihood, Translator
from zoo_core.registry.manager import manager
from zoo_core.results import read_result
from zoo_core.runs.job import run
from zoo_core.seeds import Seeds, generator
from zoo_core.testing.results import Failed, NotApplicable
from zoo_core.types import DataInfo, Likelihood, LikelihoodKind

if TYPE_CHECKING:
    from zoo_core.runs import Run
    from zoo_core.testing.subject import Model

N = 6
SIDE, LEVELS = 2, 3
"""Of the images that are few enough to add up: 2x2 of 3 levels, 81 in all."""
REACH, STEP = 4.0, 0.125
"""Of the grid that densities of points are added up on, where the data are N(0, 1/4)."""
DRAWS = 6
"""Of a bound at each example, for its mean and standard error."""
SLACK = 0.05
"""By which a sum of probabilities may exceed 1."""
EXACT_SLACK = 0.02
"""By which a sum of exact probabilities may differ from 1."""


def likelihoods_are_sound(model: Model) -> None:
    """Finite, one float64 an example, of a declared kind, at most 0 for levels; the noise decides it."""
    recipe = model.recipe
    if not isinstance(recipe, HasLikelihood):
        raise NotApplicable("it has no `likelihoods`")
    run, x = model.trained, model.batch(N)
    with run.harness.quiet():
        found, again = (recipe.likelihoods(x, noise=Seeds(0, range(N)), k=4) for _ in range(2))
    if not found or not all(isinstance(one, Likelihood) for one in found):
        raise Failed(f"likelihoods returned {found!r}"[:200], "return a list of zoo_core.types.Likelihood")
    for one, other in zip(found, again, strict=True):
        if one.kind not in get_args(LikelihoodKind):
            raise Failed(f"kind {one.kind!r}", f"expected: one of {', '.join(get_args(LikelihoodKind))}")
        if tuple(one.log_prob.shape) != (N,) or one.log_prob.dtype != torch.float64:
            raise Failed(
                f"{one.name}: log_prob is {one.log_prob.dtype} of {tuple(one.log_prob.shape)}",
                f"expected: float64 of ({N},), nats summed over each example's values",
            )
        if not bool(torch.isfinite(one.log_prob).all()):
            raise Failed(f"{one.name}: log_prob is not finite", "give no example a probability of zero")
        if (
            one.dequantization == "none"
            and run.data.info.levels is not None
            and bool((one.log_prob > 0).any())
        ):
            raise Failed(
                f"{one.name}: log_prob reaches {float(one.log_prob.max()):.4g}",
                "a probability of levels is at most 1; a density needs likelihood.dequantized",
            )
        if not torch.equal(one.log_prob, other.log_prob):
            raise Failed(
                f"{one.name}: the same noise gave another value", "draw from `noise` only, in eval mode"
            )


def _few_images() -> Dataset:
    rng = generator(0, "few images")
    gray = torch.randint(LEVELS, (160, 1, 1, 1), generator=rng)
    flip = torch.rand(160, 1, SIDE, SIDE, generator=rng) < 0.3
    noise = torch.randint(LEVELS, (160, 1, SIDE, SIDE), generator=rng)
    x = torch.where(flip, noise, gray).to(torch.uint8)
    label = gray.flatten().clamp(max=1)
    info = DataInfo("few-images", (1, SIDE, SIDE), levels=LEVELS, classes=2)
    return resident(info, Resident(x[:128], label[:128]), Resident(x[128:], label[128:]))


def _one_blob() -> Dataset:
    x = 0.5 * torch.randn(1280, 2, generator=generator(0, "one blob"))
    label = (x[:, 0] > 0).to(torch.int64)
    info = DataInfo("one-blob", (2,), levels=None, classes=2)
    return resident(info, Resident(x[:1024], label[:1024]), Resident(x[1024:], label[1024:]))


def _everything(info: DataInfo, draw: int) -> tuple[Tensor, float]:
    """Return all examples that there are, as a model sees them, and the log of the volume of each.

    Points stand on a grid that is shifted at each draw, so that no grid of a model's own goes unseen.
    """
    if info.levels is not None:
        every = torch.tensor(list(itertools.product(range(info.levels), repeat=info.dims)), dtype=torch.uint8)
        return to_unit(every.reshape(-1, *info.shape), info.levels), 0.0
    axis = torch.arange(-REACH, REACH, STEP)
    shift = STEP * torch.rand(2, generator=generator(draw, "grid"))
    return torch.cartesian_prod(axis, axis) + shift, 2 * math.log(STEP)


def _totals(run: Run) -> dict[str, tuple[bool, float]]:
    """Return name -> (whether it claims to be exact, the sum of exp(log_prob) over everything)."""
    recipe = run.recipe
    assert isinstance(recipe, HasLikelihood)
    draws: dict[str, list[Tensor]] = {}
    exact: dict[str, bool] = {}
    with run.harness.quiet():
        for draw in range(DRAWS):
            x, log_volume = _everything(run.data.info, draw)
            for one in recipe.likelihoods(x, noise=Seeds(draw, range(len(x))), k=8):
                exact[one.name] = one.kind == "exact" and one.dequantization == "none"
                draws.setdefault(one.name, []).append(one.log_prob + log_volume)
    totals = {}
    for name, values in draws.items():
        drawn = torch.stack(values)
        # What is drawn may overshoot by chance: three standard errors below the mean is a floor of it.
        floor = drawn.mean(0) - 3 * drawn.std(0) / DRAWS**0.5
        total = drawn.exp().sum(1).mean() if exact[name] else floor.exp().sum()
        totals[name] = (exact[name], float(total))
    return totals


def probabilities_add_up_to_one(model: Model) -> None:
    """On data small enough to add up: `exact` sums to one, and a lower bound to at most one."""
    from zoo_core.testing.subject import Model as Subject

    if not isinstance(model.recipe, HasLikelihood):
        raise NotApplicable("it has no `likelihoods`")
    if model.task:
        raise NotApplicable("it is checked on the model's first task")
    small = _few_images() if model.trained.data.info.is_image else _one_blob()
    subject = Subject(model.entry, model.data, model.task, loaded=small)
    try:
        run = subject.build()
        run.harness.run()
    except (ZooError, RuntimeError) as error:
        raise NotApplicable(
            f"it can't be trained on {small.info.shape} data: {error}".splitlines()[0]
        ) from error
    for name, (exact, total) in _totals(run).items():
        if exact and abs(total - 1) > EXACT_SLACK:
            raise Failed(
                f"{name}: the probabilities of all data there are sum to {total:.4g}",
                "an exact likelihood is normalized: look for a missing constant, or a factor of 2 / (L - 1)",
            )
        if total > 1 + SLACK:
            raise Failed(
                f"{name}: the probabilities of all data there are sum to {total:.4g}, more than 1",
                "a lower bound lies below a probability: look for a KL that is missing, or a wrong sign",
            )


def codes_decode_to_data(model: Model) -> None:
    """`decode(encode(x))` has the form of x, and `encode` draws nothing."""
    recipe = model.recipe
    if not isinstance(recipe, HasEncoder):
        raise NotApplicable("it has no `encode` and `decode`")
    x = model.batch(N)
    with model.trained.harness.quiet():
        z, again = recipe.encode(x), recipe.encode(x)
        back = recipe.decode(z)
    if not torch.equal(z, again):
        raise Failed("`encode` gives two codes for one image", "encode to the mean, not to a draw")
    if back.shape != x.shape or not bool(torch.isfinite(back).all()):
        raise Failed(
            f"decode(encode(x)) has shape {tuple(back.shape)}", f"expected: {tuple(x.shape)}, finite"
        )


def a_translator_translates(model: Model) -> None:
    """`translate` maps images to finite images that depend on them, and on (seed, k) alone beside."""
    recipe = model.recipe
    if not isinstance(recipe, Translator):
        raise NotApplicable("it has no `translate`")
    x = model.sources(N)

    def translate(x: Tensor, rows: range) -> Tensor:
        with model.trained.harness.quiet():
            return recipe.translate(x, noise=Seeds(0, rows))

    whole = translate(x, range(N))
    if len(whole) != N or not bool(torch.isfinite(whole).all()):
        raise Failed(f"{N} images became {tuple(whole.shape)}", "return one finite image for each")
    if not torch.allclose(whole[2:3], translate(x[2:3], range(2, 3)), rtol=1e-4, atol=1e-5):
        raise Failed(
            "an image's translation depends on the batch it is in", "draw from `noise` only, in eval mode"
        )
    if torch.equal(whole, translate(x.flip(0), range(N))):
        raise Failed("a translation does not depend on the image", "use x")


def a_run_is_scored_and_recorded(model: Model) -> None:
    """The whole job: trained, sampled, scored, drawn and recorded in strict JSON."""
    if not model.first:
        raise NotApplicable("a run on other data is scored already")
    if not any(True for _ in manager().hooks("zoo_score")):
        raise NotApplicable("nothing that is installed scores runs")
    folder = model.workspace / "run"
    config = model.config(f"run_dir={folder}", "eval.baselines=false", "track.plots=true")
    made = run(config)
    if (
        made.result is None
        or read_result(folder / "result.json").content_hash() != made.scored.content_hash()
    ):
        raise Failed("result.json is not what run() returned", "look at the warnings of `zoo run`")
    missing = [path for path in made.images.values() if not (folder / path).exists()]
    if not made.metrics or missing:
        raise Failed(f"no metrics, or no image {missing}", "look at the warnings of `zoo run`")


CHECKS = (
    likelihoods_are_sound,
    probabilities_add_up_to_one,
    codes_decode_to_data,
    a_translator_translates,
    a_run_is_scored_and_recorded,
)
