"""Checks of how a model is sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo_core.interfaces import Denoiser, HasDenoiser, HasEncoder
from zoo_core.registry.manager import manager
from zoo_core.testing.results import Failed, NotApplicable
from zoo_core.types import Cond, Samples

if TYPE_CHECKING:
    from zoo_core.testing.subject import Model

N = 12
"""Samples in most checks."""


def _draw(model: Model, indices: range, seed: int = 0) -> Tensor:
    run = model.trained
    return run.samples(run.request(indices, seed)).x


def samples_have_the_datas_form(model: Model) -> None:
    """Shape, dtype, range: n floats of the data's shape, images in [-1, 1], and no gradient kept."""
    run = model.trained
    info = run.data.info
    drawn = run.samples(run.request(range(N)))
    if not isinstance(drawn, Samples):
        raise Failed(f"sample returned {type(drawn).__name__}", "return zoo_core.types.Samples(x)")
    x = drawn.x
    if tuple(x.shape) != (N, *info.shape):
        raise Failed(f"{N} samples have shape {tuple(x.shape)}", f"expected: {(N, *info.shape)}")
    if not x.is_floating_point() or x.requires_grad:
        raise Failed(
            f"samples are {x.dtype}{', with a gradient' if x.requires_grad else ''}",
            "return floats; the core turns images into levels; sample without gradients",
        )
    if not bool(torch.isfinite(x).all()):
        raise Failed("samples hold a NaN or an infinity", "look for a division by zero, or a log of zero")
    if info.levels is None:
        return
    if float(x.min()) >= 0 or float(x.abs().max()) > 10:
        raise Failed(
            f"images span [{float(x.min()):.3g}, {float(x.max()):.3g}]",
            "images are floats in [-1, 1], in batches and in samples: not [0, 1], not [0, 255]",
        )


def the_same_seeds_give_the_same_samples(model: Model) -> None:
    """Sample k depends on (seed, k) alone: not on the batch it is drawn in, nor on torch's generator."""
    advice = (
        "draw from request.noise only, and let no layer mix the samples of a batch (batch norm: eval mode)"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = _draw(model, range(N))
        torch.manual_seed(2)
        again = _draw(model, range(N))
    if not torch.equal(whole, again):
        raise Failed("the same seeds gave other samples", advice)
    if bool((whole == whole[0]).all()):
        raise Failed("all samples are equal", "each has a stream of its own: request.noise.randn(shape)")
    split = torch.cat([_draw(model, range(5)), _draw(model, range(5, 6)), _draw(model, range(6, N))])
    if not torch.allclose(whole, split, rtol=1e-4, atol=1e-5):
        worst = float((whole - split).abs().max())
        raise Failed(f"drawn in batches of 5, 1 and {N - 6} the samples differ by up to {worst:.3g}", advice)
    cond = model.trained.request(range(N)).cond
    if cond is not None and cond.image is not None:
        return  # a translation may be a function of its image
    if torch.equal(whole, _draw(model, range(N), seed=1)):
        raise Failed("another seed gave the same samples", advice)


def conditions_are_heeded(model: Model) -> None:
    """With the same noise, another class or caption gives another sample."""
    run = model.trained
    request = run.request(range(N))
    cond = request.cond
    if cond is None:
        raise NotApplicable("it is unconditional")
    turned = cond[torch.arange(N).roll(1)]
    same = all(
        torch.equal(a, b)
        for a, b in ((cond.label, turned.label), (cond.tokens, turned.tokens), (cond.image, turned.image))
        if isinstance(a, Tensor) and isinstance(b, Tensor)
    )
    if same:
        raise NotApplicable("all conditions are equal")
    here = run.samples(request).x
    there = run.samples(replace(run.request(range(N)), cond=turned)).x
    if torch.equal(here, there):
        raise Failed("samples do not depend on request.cond", "hand request.cond to the networks")


@contextmanager
def _outermost_calls(recipe: nn.Module) -> Iterator[Counter[str]]:
    """Count the rows that each submodule is called with, where the caller is not a module itself."""
    rows: Counter[str] = Counter()
    depth = 0
    names = {id(module): name for name, module in recipe.named_modules()}

    def enter(module: nn.Module, inputs: Any) -> None:
        nonlocal depth
        if depth == 0 and inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim:
            rows[names[id(module)]] += len(inputs[0])
        depth += 1

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal depth
        depth -= 1

    handles = []
    for module in recipe.modules():
        if module is not recipe:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def model_evaluations_are_counted(model: Model) -> None:
    """`Samples.calls` is how often a sample went through the network: cost stands beside quality."""
    run = model.trained
    with _outermost_calls(run.recipe) as rows:
        drawn = run.samples(run.request(range(3)))
    sizes = {name: sum(p.numel() for p in run.recipe.get_submodule(name).parameters()) for name in rows}
    if not rows or not max(sizes.values()):
        if drawn.calls < 1:
            raise Failed(f"Samples.calls is {drawn.calls}", "a sample costs at least 1 call")
        return
    largest = max(sizes, key=lambda name: sizes[name])
    least, most = rows[largest] / 3, sum(rows.values()) / 3
    if not least <= drawn.calls <= most + 1e-9:
        raise Failed(
            f"Samples.calls is {drawn.calls}, and a sample went {least:g} times through {largest!r}",
            "return Samples(x, calls=...): the calls of the network that one sample takes",
        )


def the_denoiser_is_one(model: Model) -> None:
    """Its denoiser has the attributes of `interfaces.Denoiser`, and maps a batch to its like at any level."""
    recipe = model.recipe
    if not isinstance(recipe, HasDenoiser):
        raise NotApplicable("it has no `denoiser`")
    run = model.trained
    denoise = recipe.denoiser()
    if not isinstance(denoise, Denoiser):
        wanted = ("sigma_min", "sigma_max", "prior_std", "levels", "space", "alpha")
        missing = [name for name in wanted if not hasattr(denoise, name)]
        raise Failed(f"its denoiser has no {', '.join(missing)}", "see zoo_core.interfaces.Denoiser")
    if not 0 < denoise.sigma_min < denoise.sigma_max or denoise.prior_std <= 0:
        raise Failed(
            f"sigma_min {denoise.sigma_min}, sigma_max {denoise.sigma_max}, prior_std {denoise.prior_std}",
            "expected: 0 < sigma_min < sigma_max, and a positive prior_std",
        )
    if denoise.levels is not None and not bool((denoise.levels.diff() > 0).all()):
        raise Failed("its levels do not ascend", "levels are sigma / alpha, ascending")
    x = model.batch(3)
    with run.harness.quiet():
        if denoise.space == "latent" and isinstance(recipe, HasEncoder):
            x = recipe.encode(x)
        for level in (denoise.sigma_min, denoise.sigma_max):
            sigma = torch.tensor(level, dtype=torch.float64)
            one, each = denoise(x, sigma), denoise(x, sigma.expand(len(x)))
            if one.shape != x.shape or not bool(torch.isfinite(one).all()):
                raise Failed(
                    f"at sigma {level:.3g} it gives {tuple(one.shape)}, "
                    f"{'finite' if bool(torch.isfinite(one).all()) else 'not finite'}, for {tuple(x.shape)}",
                    "return E[x0 | x], like x, at every level from sigma_min to sigma_max",
                )
            if not torch.allclose(one, each, atol=1e-5):
                raise Failed("a scalar sigma and one for each row differ", "broadcast sigma over the batch")


def every_sampler_drives_the_denoiser(model: Model) -> None:
    """Each registered sampler draws finite samples of the data's shape from its denoiser."""
    if not isinstance(model.recipe, HasDenoiser):
        raise NotApplicable("it has no `denoiser`")
    from zoo_core.diffusion.sampling import bind
    from zoo_core.errors import MachineError, UsageError

    run = model.trained
    for entry in manager().entries("sampler"):
        request = replace(run.request(range(3)), sampler=bind(entry.spec), steps=5)
        try:
            drawn = run.samples(request)
        except (UsageError, MachineError):
            continue  # it may need what is not there: trained levels, more of them, a library
        if tuple(drawn.x.shape) != (3, *run.data.info.shape) or not bool(torch.isfinite(drawn.x).all()):
            raise Failed(
                f"sampler={entry.spec.name} drew {tuple(drawn.x.shape)}, or values that are not finite",
                "in `sample`, hand the denoiser and the request to zoo_core.diffusion.sampling.draw",
            )


def a_condition_may_be_missing(model: Model) -> None:
    """An unconditional model ignores conditions, and needs none."""
    run = model.trained
    request = run.request(range(3))
    if request.cond is not None:
        raise NotApplicable("it is conditional")
    label = torch.zeros(3, dtype=torch.int64)
    here, there = (
        run.samples(request).x,
        run.samples(replace(run.request(range(3)), cond=Cond(label=label))).x,
    )
    if not torch.equal(here, there):
        raise Failed(
            "its task is unconditional, and samples depend on request.cond", "add 'class' to its tasks"
        )


CHECKS = (
    samples_have_the_datas_form,
    the_same_seeds_give_the_same_samples,
    conditions_are_heeded,
    a_condition_may_be_missing,
    model_evaluations_are_counted,
    the_denoiser_is_one,
    every_sampler_drives_the_denoiser,
)
