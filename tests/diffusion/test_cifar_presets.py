"""The presets for CIFAR-10: the papers' sizes of network, and one step of each at full size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo_core.data.loading import Resident, TrainData
from zoo_core.diffusion.sampling import bind
from zoo_core.nn.backbone import build_backbone
from zoo_core.nn.embedding import FourierFeatures
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.seeds import Seeds
from zoo_core.training.harness import Harness
from zoo_core.types import DataInfo, SampleRequest
from zoo_ncsn.refinenet import RefineNet

CIFAR = DataInfo("cifar10", (3, 32, 32), levels=256, classes=10)
SIZES = {
    "ddpm": 35_746_307,  # 35.7 M: Ho et al. 2020, appendix B
    "iddpm": 49_066_246,  # ours: the paper's shifts and scales by the time, and has four heads
    "ncsn": 30_117_635,  # of the authors' network, counted layer by layer in tests/ncsn/test_refinenet.py
    "vp-sde": 61_804_419,  # DDPM++: arXiv:2509.15591, appendix C, prints it; counted again below
    "subvp-sde": 61_804_419,
    "ve-sde": 62_758_787,  # NCSN++: the authors print none; counted below
    "edm": 55_733_891 - 9 * 128,  # 55.7 M, less a row each for nine augmentations
}


def song_size(
    *, fourier, pyramid, first=128, mult=(1, 2, 2, 2), blocks=4, attention=(16,), side=32, colors=3
):
    """Parameters of DDPM++ or NCSN++, summed over the layers of the authors' code and configs."""

    def conv(given, out, kernel):
        return given * out * kernel**2 + out

    def dense(given, out):
        return given * out + out

    def block(given, out, resamples=False):
        shortcut = conv(given, out, 1) if given != out or resamples else 0
        return (
            2 * given + conv(given, out, 3) + dense(4 * first, out) + 2 * out + conv(out, out, 3) + shortcut
        )

    def attend(level, at):
        return 2 * at + 4 * dense(at, at) if side >> level in attention else 0

    size = dense((1 + fourier) * first, 4 * first) + dense(4 * first, 4 * first) + conv(colors, first, 3)
    at, shown, kept = first, colors, [first]
    for level, factor in enumerate(mult):
        for _ in range(blocks):
            size += block(at, first * factor) + attend(level, first * factor)
            at = first * factor
            kept.append(at)
        if level < len(mult) - 1:
            size += block(at, at, resamples=True) + pyramid * conv(shown, at, 3)
            shown = at
            kept.append(at)
    size += 2 * block(at, at) + 2 * at + 4 * dense(at, at)
    for level in reversed(range(len(mult))):
        for _ in range(blocks + 1):
            size += block(at + kept.pop(), first * mult[level])
            at = first * mult[level]
        size += attend(level, at) + (block(at, at, resamples=True) if level else 0)
    return size + 2 * at + conv(at, colors, 3)


def test_the_sizes_of_songs_networks_are_those_of_their_layers():
    """Catches a count that is our own network's and no one else's."""
    assert song_size(fourier=False, pyramid=False) == SIZES["vp-sde"]
    assert song_size(fourier=True, pyramid=True) == SIZES["ve-sde"]


def config(plugin, **more):
    words = [f"plugin={plugin}", "data=cifar10", "preset=paper", *(f"{k}={v}" for k, v in more.items())]
    return resolve(words)


@pytest.mark.parametrize("plugin", SIZES)
def test_the_network_has_its_papers_size(plugin):
    """Catches an option of the network that a preset leaves at our small default."""
    model = config(plugin).model
    with torch.device("meta"):
        if model.net == "refinenet":
            net = RefineNet(3, model.channels, model.L)
        else:
            net = build_backbone(model, CIFAR, outputs=2 if plugin == "iddpm" else 1)
    assert sum(p.numel() for p in net.parameters()) == SIZES[plugin]


@pytest.mark.slow(
    depends=("zoo_core/nn", "zoo_core/diffusion", "plugins/zoo_ddpm", "plugins/zoo_ncsn", "plugins/zoo_sde")
)
@pytest.mark.parametrize("plugin", [name for name in SIZES if name != "subvp-sde"])  # its net is vp-sde's
def test_one_step_of_training_and_one_of_sampling(plugin):
    """Catches a preset that names an option wrongly, or a sampler that its model can't follow."""
    asked = config(plugin, **{"train.batch_size": 1, "train.steps": 1, "device": "cpu"})
    recipe = load_entry("plugin", manager().find("plugin", plugin))(asked, CIFAR)
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=rng).to(torch.uint8)
    harness = Harness(recipe, asked.train, TrainData(Resident(images), CIFAR, 0))
    harness.run()
    assert harness.counts.images == 1
    name = asked.sampler.name
    sampler = bind(manager().find("sampler", name).spec, asked.sampler) if name else None
    if plugin == "ncsn":  # a hundred calls a level, by the preset
        sampler = replace(sampler, options={**sampler.options, "repeats": 1})
    with harness.quiet("ema"):
        x = recipe.sample(SampleRequest(Seeds(0, range(1)), None, sampler, 1)).x
    assert x.shape == (1, 3, 32, 32)
    assert bool(torch.isfinite(x).all())


@pytest.mark.parametrize(
    ("plugin", "more"),
    [
        ("ve-sde", {"preset": "paper", "data": "cifar10"}),
        ("ddpm", {"model.T": 50, "model.beta_T": 0.2}),
        ("iddpm", {}),
        ("ncsn", {}),
        ("ncsn", {"model.levels": "continuous"}),
        ("vp-sde", {}),
        ("edm", {}),
    ],
    ids=str,
)
def test_fourier_features_have_their_periods_over_the_whole_range(plugin, more):
    """Catches a clock that runs ten times too slow: fourier_scale periods between the ends of the levels."""
    given = {"data": "digits", "preset": "tiny", "model.time": "fourier", "model.channels": 8, **more}
    made = resolve([f"plugin={plugin}", *(f"{key}={value}" for key, value in given.items())])
    info = CIFAR if given["data"] == "cifar10" else DataInfo("digits", (1, 8, 8), levels=17, classes=10)
    recipe = load_entry("plugin", manager().find("plugin", plugin))(made, info)
    (features,) = [part for part in recipe.net.modules() if isinstance(part, FourierFeatures)]
    seen = []
    features.register_forward_hook(lambda module, t, out: seen.append(float(t[0][0])))
    denoise, x = recipe.denoiser(), torch.zeros(1, *info.shape)
    with torch.no_grad():
        for sigma in (denoise.sigma_min, denoise.sigma_max):
            denoise(x, torch.tensor(sigma, dtype=torch.float64))
    rate = float(features.rates.square().mean().sqrt())  # of a normal with this spread
    count = len(features.rates)
    assert abs(seen[1] - seen[0]) * rate == pytest.approx(
        made.model.fourier_scale, rel=4 / (2 * count) ** 0.5
    )
