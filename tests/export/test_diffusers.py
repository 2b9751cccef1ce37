"""Exported pipelines of diffusers: the network, one step of the scheduler, and whole chains, on one noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zoo_core.diffusion.grids import trailing
from zoo_core.diffusion.samplers import ancestral, ddim
from zoo_core.errors import UsageError
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import Seeds
from zoo_core.types import DataInfo

pytest.importorskip("diffusers")
from zoo_export import pipelines

T = 20
WIDE = ["plugin=ddpm", f"model.T={T}", "model.attention=[8]"]


def built(*words: str, classes: int = 0, channels: int = 128) -> tuple[Any, DataInfo]:
    """Return a model with random weights, also in the layers that start at zero, and its data."""
    config = resolve([*WIDE, f"model.channels={channels}", *words])
    task = "class" if classes else "unconditional"
    data = DataInfo("digits", (1, 8, 8), 17, classes, task=task)
    torch.manual_seed(0)
    recipe = load_entry("plugin", manager().find("plugin", "ddpm"))(config, data).eval()
    with torch.no_grad():
        for parameter in recipe.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return recipe, data


@pytest.mark.slow(depends=("zoo_core/nn", "zoo_core/diffusion", "plugins/zoo_export", "plugins/zoo_ddpm"))
@pytest.mark.parametrize(("words", "classes"), [([], 0), (["data.task=class"], 10)])
def test_the_network_of_diffusers_gives_the_same_outputs(words: list[str], classes: int) -> None:
    recipe, data = built(*words, classes=classes)
    unet = pipelines.unet_of(recipe.net, data)
    assert pipelines.difference(unet, recipe, data) <= 1e-5
    with torch.no_grad():  # times that are off by one are far beyond the tolerance
        x = torch.randn(2, 1, 8, 8)
        label = torch.tensor([1, 2]) if classes else None
        near, off = (unet(x, t, class_labels=label).sample for t in (4, 5))
    assert float((near - off).abs().max() / near.abs().max()) > 1e-3


@pytest.mark.slow(depends=("zoo_core/nn", "zoo_core/diffusion", "plugins/zoo_export", "plugins/zoo_ddpm"))
@pytest.mark.parametrize("prediction", ["eps", "v"])
@torch.no_grad()
def test_steps_and_chains_agree_on_one_noise(prediction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of diffusers is alpha times ours; one step with given noise, then the whole chain."""
    from diffusers.schedulers import scheduling_ddpm

    recipe, data = built(f"model.prediction={prediction}")
    pipeline = pipelines.pipeline_of(recipe, data)
    unet, scheduler, denoise = pipeline.unet, pipeline.scheduler, recipe.denoiser()
    noise, taken = Seeds(3, range(2)), iter(range(T))
    given: list[Tensor] = [Seeds(3, range(2)).randn(data.shape, name="step", step=i) for i in range(T)]
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: given[next(taken)])
    start = noise.randn(data.shape, name="start")
    scheduler.set_timesteps(T)
    state, states = start, []
    for t in scheduler.timesteps:
        state = scheduler.step(unet(state, t).sample, t, state).prev_sample
        states.append(state)
    sigmas = trailing(denoise, T)
    own: list[Tensor] = []
    x = ancestral(
        denoise,
        start * denoise.prior_std,
        sigmas,
        noise=noise,
        callback=lambda step, sigma, x, x0: own.append(x * (1 + sigma**2).rsqrt().to(x)),
    )
    torch.testing.assert_close(states[0], own[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[-1], x, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_ddim_with_the_exported_scheduler_skips_the_same_levels() -> None:
    from diffusers import DDIMScheduler

    recipe, data = built()
    pipeline = pipelines.pipeline_of(recipe, data)
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(5)
    start = Seeds(0, range(2)).randn(data.shape, name="start")
    state = start
    for t in scheduler.timesteps:
        eps = pipeline.unet(state, t).sample
        state = scheduler.step(eps, t, state, eta=0.0, use_clipped_model_output=True).prev_sample
    denoise = recipe.denoiser()
    x = ddim(denoise, start * denoise.prior_std, trailing(denoise, 5), noise=Seeds(0, range(2)), eta=0.0)
    torch.testing.assert_close(state, x, atol=1e-3, rtol=1e-3)


def test_what_does_not_map_is_refused_with_its_reasons() -> None:
    recipe, data = built(channels=32)
    with pytest.raises(UsageError, match="can't hold this model") as raised:
        pipelines.pipeline_of(recipe, data)
    assert "group norms" in str(raised.value)
    recipe, data = built("model.skip_scale=0.5", "model.time=fourier")
    assert len(pipelines.unfit(recipe, data)) == 2
